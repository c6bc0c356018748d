//! Models that embed pictures and texts: nano, or a published checkpoint in a directory.

use std::path::Path;

use anyhow::Result;
use sensorium_eval::label;
use sensorium_media::Picture;
use sensorium_model::clip::{Comparison, softmax};
use sensorium_model::nano::Nano;
use sensorium_model::published::blip2::Matcher;
use sensorium_model::published::{Directory, Published};

use crate::commands::precision::Precision;
use crate::nano;

/// What `--model` names.
pub enum Model {
    /// Embedded, or a directory with `tokenizer.json` and a file a component.
    Nano(Box<Nano>),
    /// A directory with `config.json`.
    Published(Box<Published>),
}

/// A label's place among others, and of its own.
pub struct Classified {
    /// Among all labels (softmax).
    pub probability: f32,
    /// Of the label alone (sigmoid), where a published model was trained to tell it.
    pub sigmoid: Option<f32>,
}

impl Model {
    /// The chosen model, laid out for running if a precision was chosen.
    pub fn open(choice: &str, precision: Precision) -> Result<Self> {
        let path = Path::new(choice);
        if choice == nano::EMBEDDED || !Directory::is(path) {
            return Ok(Self::Nano(Box::new(nano::open(choice, precision)?.0)));
        }
        let mut published = Published::open(path)?;
        if let Some(format) = precision.format() {
            published.pack(format);
        }
        Ok(Self::Published(Box::new(published)))
    }

    /// One vector of unit length for each picture.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        match self {
            // Nor is one without pictures.
            _ if pictures.is_empty() => Ok(Vec::new()),
            Self::Nano(nano) => Ok(nano.embed_pictures(pictures)),
            Self::Published(published) => Ok(published.embed_pictures(pictures)?),
        }
    }

    /// One vector of unit length for each text.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        match self {
            // A model without texts is none to complain about where there are none.
            _ if texts.is_empty() => Ok(Vec::new()),
            Self::Nano(nano) => Ok(nano.embed_texts(texts)),
            Self::Published(published) => Ok(published.embed_texts(texts)?),
        }
    }

    /// BLIP-2, which compares pictures and texts in its own ways.
    pub fn matcher(&self) -> Option<&Matcher> {
        match self {
            Self::Published(published) => published.matcher(),
            Self::Nano(_) => None,
        }
    }

    /// What makes logits of the two towers' cosines.
    pub fn comparison(&self) -> Result<Comparison> {
        match self {
            Self::Nano(nano) => Ok(nano.clip.comparison()),
            Self::Published(published) => Ok(published.towers()?.comparison),
        }
    }

    /// How well each label fits the picture; each stands in `template` at `{}`, in nano's own
    /// sentences without one.
    pub fn classify(
        &self,
        picture: &Picture,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>> {
        let comparison = self.comparison()?;
        let texts = match (self, template) {
            (Self::Nano(nano), None) => label::embed(nano, labels),
            (_, template) => {
                let template = template.unwrap_or(TEMPLATE);
                let inside = |label: &String| template.replace("{}", label);
                self.embed_texts(&labels.iter().map(inside).collect::<Vec<_>>())?
            }
        };
        let picture = self.embed_pictures(std::slice::from_ref(picture))?;
        let scores = comparison.scores(&picture, &texts).concat();
        let among = softmax(&scores.iter().map(|score| score.logit).collect::<Vec<_>>());
        let alone = comparison.bias.is_some() && matches!(self, Self::Published(_));
        let both = among.into_iter().zip(&scores).map(|(probability, score)| Classified {
            probability,
            sigmoid: alone.then_some(score.probability),
        });
        Ok(both.collect())
    }
}

/// What transformers puts labels into.
const TEMPLATE: &str = "This is a photo of {}.";
