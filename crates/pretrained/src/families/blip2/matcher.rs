//! `Blip2ForImageTextRetrieval`: pictures and texts compared.

use sensorium_encoder::text::Texts;
use sensorium_flow::Features;
use sensorium_input_projector::qformer::{MatchingConfig, Words};
use sensorium_media::{ImageProcessor, Picture, Style, Tokenizer};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::{FAMILY, as_published, flat, image, qformer};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, BLIP2};
use crate::plan::Plan;
use crate::towers::{CHUNK, planes};
use crate::{text, vision};
use sensorium_model::blip2::{Blip2Matcher, Blip2MatcherConfig};
use sensorium_model::clip::{in_chunks, softmax};

/// A picture and a text beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Largest cosine of a query's vector with the text's, -1 to 1 (contrast).
    pub similarity: f32,
    /// `similarity` among all texts of the picture (softmax), as transformers does it: the learned
    /// temperature is in no published file.
    pub probability: f32,
    /// That the text belongs to the picture, by what the queries see of both (matching), 0 to 1.
    pub matching: f32,
}

/// The model that compares, and what makes its inputs.
#[derive(Debug)]
pub struct Matcher {
    /// The model.
    pub model: Blip2Matcher,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub tokenizer: Tokenizer,
    pub(super) config: Blip2MatcherConfig,
    device: Device,
}

impl Matcher {
    /// The model in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not supported; the weights are not those of
    /// the settings.
    pub fn open(directory: &Directory, device: &Device) -> Result<Self> {
        Self::trainable(directory, &mut Init::empty(device))
    }

    /// As [`open`](Self::open), with layers as `init` makes them.
    pub(super) fn trainable(directory: &Directory, init: &mut Init) -> Result<Self> {
        let config = config(&directory.config())?;
        let processor = vision::square(directory, Style::Blip, config.image.image)?;
        let tokenizer = text::tokenizer(directory)?;
        text::tell_ignored(directory, &tokenizer, config.projector.words.context)?;
        let plan = plan(directory)?;
        let strays = plan.check(directory)?;
        let tensors =
            flat(directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?)?;
        let model = Blip2Matcher::init(&config, init);
        let model = names::take(model, tensors, &plan.layout)?;
        Ok(Self { model, processor, tokenizer, config, device: init.device().clone() })
    }

    /// Sizes.
    pub fn config(&self) -> &Blip2MatcherConfig {
        &self.config
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.model.image.pack_as(format);
        self.model.projector.pack_as(format);
    }

    /// A picture as the queries see it, `[1, N+1, E]`.
    pub fn encode(&self, picture: &Picture) -> Features {
        self.model.encode(planes(&self.processor, std::slice::from_ref(picture), &self.device))
    }

    /// One vector of unit length for each text, in the space of contrast.
    ///
    /// # Errors
    /// The tokenizer fails at a text, or gives an id that the model has no row for.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        Ok(self.vectors(&self.all_ids(texts)?))
    }

    /// The queries' vectors of a picture in the space of contrast, each of unit length, `[Q·C]`.
    pub fn views(&self, picture: &Picture) -> Vec<f32> {
        read(self.model.embed_images(&self.encode(picture)))
    }

    /// The logit that each text belongs to the picture.
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts).
    pub fn belongs<S: AsRef<str>>(&self, picture: &Picture, texts: &[S]) -> Result<Vec<f32>> {
        let logits = self.matching(&self.encode(picture), &self.all_ids(texts)?);
        Ok(logits.into_iter().map(|[_, belongs]| belongs).collect())
    }

    fn vectors(&self, ids: &[Vec<u32>]) -> Vec<Vec<f32>> {
        in_chunks(CHUNK, ids, |chunk| self.model.embed_texts(&Texts::pad(chunk, 0)))
    }

    /// Every picture beside every text, a row for each picture.
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts).
    pub fn compare<S: AsRef<str>>(
        &self,
        pictures: &[Picture],
        texts: &[S],
    ) -> Result<Vec<Vec<Match>>> {
        let ids = self.all_ids(texts)?;
        let vectors = self.vectors(&ids);
        let row = |picture| {
            let features = self.encode(picture);
            let queries = read(self.model.embed_images(&features));
            let similarities: Vec<f32> =
                vectors.iter().map(|text| similarity(&queries, text)).collect();
            let matching = self.matching(&features, &ids).into_iter();
            let all = similarities.iter().zip(softmax(&similarities)).zip(matching);
            let pair = |((&similarity, probability), logits): ((&f32, f32), [f32; 2])| Match {
                similarity,
                probability,
                matching: softmax(&logits)[1],
            };
            all.map(pair).collect()
        };
        Ok(pictures.iter().map(row).collect())
    }

    /// Logits of "does not belong" and "belongs" of one picture with each of the texts' ids.
    pub fn matching(&self, picture: &Features, ids: &[Vec<u32>]) -> Vec<[f32; 2]> {
        let compare = |chunk: &[Vec<u32>]| self.model.compare(picture, &Texts::pad(chunk, 0));
        let rows = in_chunks(CHUNK, ids, compare);
        rows.iter().map(|row| [row[0], row[1]]).collect()
    }

    /// Ids of a text as the model reads it; one longer than the context is cut before its end token.
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts).
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let Words { vocabulary: rows, context } = self.config.projector.words;
        let ids = vision::ids(&self.tokenizer, text, context, rows)?;
        // A tokenizer that puts nothing around a text: the model reads at least one position.
        Ok(if ids.is_empty() { vec![0] } else { ids })
    }

    fn all_ids<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.ids(text.as_ref())).collect()
    }
}

/// The best of the queries `[Q·C]`.
fn similarity(queries: &[f32], text: &[f32]) -> f32 {
    let cosine = |query: &[f32]| query.iter().zip(text).map(|(a, b)| a * b).sum::<f32>();
    queries.chunks(text.len()).map(cosine).fold(f32::MIN, f32::max)
}

/// What the weights of the model that compares must be.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let parameters = config(&directory.config())?.parameters();
    Ok(as_published(Plan::new(FAMILY, "projector", BLIP2, parameters)))
}

fn config(top: &Config<'_>) -> Result<Blip2MatcherConfig> {
    let image = image(top)?;
    let qformer = qformer(top, image.hidden_size)?;
    let settings = top.find_or_empty("qformer_config")?;
    if !qformer.text {
        let hint = "this class reads texts with its Q-Former; the file may be of another class";
        return Err(settings.wrong("use_qformer_text_input", "true", hint));
    }
    let words = Words {
        vocabulary: settings.size_or("vocab_size", 30_522)?,
        context: settings.size_or("max_position_embeddings", 512)?,
    };
    let embed = top.size_or("image_text_hidden_size", 256)?;
    Ok(Blip2MatcherConfig { image, projector: MatchingConfig { qformer, words, embed } })
}
