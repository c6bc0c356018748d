//! Sounds and texts as vectors of one space, and how well they fit each other.

use sensorium_media::{Media, Modality, Picture, Sound};
use sensorium_pretrained::families::clap::{ClapTowers, TEMPLATES};

use crate::embed::{Classified, Score, classify, score};
use crate::error::{Error, Result};
use crate::{EmbeddingModel, ScoreModel};

/// What it reads.
const KNOWN: [Modality; 2] = [Modality::Text, Modality::Audio];

/// The sound that a medium is.
fn sound(medium: &Media) -> Result<&Sound> {
    let other = || Error::Modality { got: medium.modality(), known: KNOWN.to_vec() };
    medium.sound().ok_or_else(other)
}

impl EmbeddingModel for ClapTowers {
    fn embed_pictures(&self, _: &[Picture]) -> Result<Vec<Vec<f32>>> {
        Err(Error::Modality { got: Modality::Image, known: KNOWN.to_vec() })
    }

    fn embed_media(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        let sounds = media.iter().map(sound).collect::<Result<Vec<_>>>()?;
        Ok(self.embed_sounds(sounds))
    }

    fn features(&self, media: &[Media]) -> Result<Vec<Vec<f32>>> {
        self.embed_media(media)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(ClapTowers::embed_texts(self, texts)?)
    }

    fn templates(&self) -> Vec<String> {
        TEMPLATES.map(str::to_owned).to_vec()
    }
}

impl ScoreModel for ClapTowers {
    fn score(&self, media: &[Media], texts: &[String]) -> Result<Vec<Vec<Score>>> {
        score(self, |_| self.comparison, media, texts)
    }

    fn classify(
        &self,
        medium: &Media,
        labels: &[String],
        template: Option<&str>,
    ) -> Result<Vec<Classified>> {
        classify(self, self.comparison, medium, labels, template)
    }
}
