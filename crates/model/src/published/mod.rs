//! Published checkpoints, as they lie in a directory: what `config.json` names is what is built, and
//! every tensor must find its place.
//!
//! ```text
//! config.json ──Config──▶ Plan: family, names and shapes ─┐ every tensor has its place
//! *.safetensors ──Directory::shapes, ::tensors────────────┴──▶ model ─┐
//! preprocessor_config.json, tokenizer.json ──▶ HubProcessor, HubTokenizer ─┴─▶ Published
//! ```

pub mod blip2;
mod clip;
mod clip_resnet;
mod config;
mod dinov2;
mod directory;
mod error;
pub mod idefics;
pub mod language;
mod open_clip;
mod plan;
mod positions;
pub mod sentence;
mod siglip;
mod siglip2;
pub mod splicing;
mod towers;
mod vision;
pub mod whisper;

use std::path::Path;

use sensorium_media::Picture;
use sensorium_nn::prelude::*;

pub use config::Config;
pub use dinov2::Dinov2;
pub use directory::Directory;
pub use error::{Error, Result};
pub use plan::{Expected, PARTS, Plan};
pub use sentence::SentenceEncoder;
pub use towers::{Processor, Towers};

/// `model_type` of every family that is built here.
const FAMILIES: [&str; 6] = ["clip", "siglip", "siglip2", "dinov2", "bert", blip2::FAMILY];

/// A model of a published checkpoint.
#[derive(Debug)]
pub enum Published {
    /// CLIP: pictures and texts compared by softmax.
    Clip(Towers),
    /// SigLIP and SigLIP 2: pictures and texts compared pair by pair.
    Siglip(Towers),
    /// DINOv2: pictures alone.
    Dinov2(Dinov2),
    /// BLIP-2 of the first stage: pictures and texts compared by a Q-Former.
    Blip2(Box<blip2::Matcher>),
    /// BERT as sentence-transformers publishes it: texts alone.
    Bert(SentenceEncoder),
}

impl Published {
    /// Loads the checkpoint in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged or asks for what is not built here; a tensor is missing, left over
    /// or of another shape. Memory is taken only for what the weights' files hold.
    pub fn open(path: &Path) -> Result<Self> {
        let directory = Directory::open(path)?;
        match family(&directory, &FAMILIES)? {
            "siglip" => siglip::open(&directory).map(Self::Siglip),
            "siglip2" => siglip2::open(&directory).map(Self::Siglip),
            "dinov2" => dinov2::open(&directory).map(Self::Dinov2),
            "bert" => SentenceEncoder::open(&directory).map(Self::Bert),
            blip2::FAMILY if !blip2::compares(&directory.config()) => {
                Err(Error::Writes { family: blip2::FAMILY })
            }
            blip2::FAMILY => {
                blip2::Matcher::open(&directory).map(|matcher| Self::Blip2(Box::new(matcher)))
            }
            _ => clip::open(&directory).map(Self::Clip),
        }
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        match self {
            Self::Clip(towers) | Self::Siglip(towers) => towers.pack(format),
            Self::Dinov2(dinov2) => dinov2.vit.pack_as(format),
            Self::Blip2(matcher) => matcher.pack(format),
            Self::Bert(encoder) => encoder.pack(format),
        }
    }

    /// One vector of unit length for each picture.
    ///
    /// # Errors
    /// The model sees no pictures, or has no one vector for each.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Clip(towers) | Self::Siglip(towers) => Ok(towers.embed_pictures(pictures)),
            Self::Dinov2(dinov2) => Ok(dinov2.embed_pictures(pictures)),
            Self::Blip2(_) => Err(Error::ManyVectors { family: blip2::FAMILY }),
            Self::Bert(_) => Err(Error::NoPictures { family: "bert" }),
        }
    }

    /// One vector for each text: of unit length, unless a sentence encoder is made otherwise.
    ///
    /// # Errors
    /// The model reads no texts, or its tokenizer fails at one.
    pub fn embed_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Bert(encoder) => encoder.embed(texts),
            Self::Blip2(matcher) => matcher.embed_texts(texts),
            _ => self.towers()?.embed_texts(texts),
        }
    }

    /// BLIP-2 of the first stage, if it is that.
    pub fn matcher(&self) -> Option<&blip2::Matcher> {
        if let Self::Blip2(matcher) = self { Some(matcher) } else { None }
    }

    /// The two towers.
    ///
    /// # Errors
    /// The model has no two towers.
    pub fn towers(&self) -> Result<&Towers> {
        match self {
            Self::Clip(towers) | Self::Siglip(towers) => Ok(towers),
            Self::Dinov2(_) => Err(Error::NoTexts { family: "dinov2" }),
            Self::Blip2(_) => Err(Error::ManyVectors { family: blip2::FAMILY }),
            Self::Bert(_) => Err(Error::NoPictures { family: "bert" }),
        }
    }
}

/// What a checkpoint's weights must be, by its settings alone.
///
/// # Errors
/// The settings are damaged or ask for what is not built here.
pub fn plan(directory: &Directory) -> Result<Plan> {
    if language::is_known(&directory.config()) {
        return language::plan(directory);
    }
    if idefics::is_known(&directory.config()) {
        return idefics::plan(directory);
    }
    if splicing::family(&directory.config()).is_some() {
        return splicing::plan(directory);
    }
    match family(directory, &known())? {
        "siglip" => siglip::plan(directory),
        "siglip2" => siglip2::plan(directory),
        "dinov2" => dinov2::plan(directory),
        "bert" => sentence::plan(directory),
        blip2::FAMILY => blip2::plan(directory),
        "whisper" => whisper::plan(directory),
        _ => clip::plan(directory),
    }
}

/// `model_type` of every family that has a plan.
fn known() -> Vec<&'static str> {
    let seeing = splicing::FAMILIES.into_iter().chain(["idefics"]);
    FAMILIES.into_iter().chain(["whisper"]).chain(seeing).chain(language::kinds()).collect()
}

/// That of `known` which the directory is of.
fn family(directory: &Directory, known: &[&'static str]) -> Result<&'static str> {
    let config = directory.config();
    if open_clip::is(directory) {
        return Ok("clip");
    }
    let kind = config.get("model_type").and_then(serde_json::Value::as_str);
    known.iter().find(|known| kind == Some(known)).copied().ok_or_else(|| {
        config.wrong(
            "model_type",
            &format!("one of {}", known.join(", ")),
            "models of other families cannot be run yet",
        )
    })
}
