//! One file a paper. A recipe owns its loop: every stage and every freeze in plain sight.

pub mod blip2;
pub mod clip;
pub mod conditional_vae;
pub mod ctc;
pub mod domain;
pub mod flamingo;
pub mod flow;
pub mod gan;
pub mod gill;
pub mod imagebind;
pub mod llava;
pub mod masked;
pub mod next_gpt;
pub mod talker;
pub mod text;
pub mod tokenizer;
pub mod vae;
pub mod vocoder;
pub mod wav2vec2;
pub mod whisper;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::dry::Planned;
use crate::error::Result;
use crate::run::RunOptions;

/// Which recipe a file is for: its `recipe` key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// Learn a byte-pair vocabulary.
    Tokenizer,
    /// Pictures and texts in one space.
    Clip,
    /// A language model.
    Text,
    /// A language model that sees.
    Llava,
    /// A Q-Former between an image encoder and a language model.
    Blip2,
    /// Gated blocks in a language model.
    Flamingo,
    /// An encoder of pictures or sounds, from media alone.
    Masked,
    /// What the pictures of a model are like.
    Domain,
    /// Sounds, videos and tables in the space of pictures and texts.
    Imagebind,
    /// What is said in sounds.
    Whisper,
    /// The same letter by letter, by an encoder from nothing.
    Ctc,
    /// The same by a published encoder of samples.
    Wav2vec2,
    /// Speech of phonemes.
    Talker,
    /// Samples of spectrograms.
    Vocoder,
    /// Pictures in short, and pictures of that.
    Vae,
    /// Media from texts.
    Flow,
    /// Media from texts, by two that learn against each other.
    Gan,
    /// Media from texts and what they leave open.
    ConditionalVae,
    /// When to answer with media, and what to tell their generator.
    Gill,
    /// All kinds of media in, all kinds out.
    NextGpt,
}

#[derive(Deserialize)]
struct Which {
    recipe: Recipe,
}

/// The recipe that the file at `path` is for.
///
/// # Errors
/// The file cannot be read, or names no recipe.
pub fn which(path: &Path, sets: &[String]) -> Result<Recipe> {
    Ok(config::load::<Which>(path, sets)?.recipe)
}

/// The recipe at `path` with overrides, which may be written as recipes once were.
///
/// # Errors
/// As [`config::load`].
pub fn load<T: DeserializeOwned>(path: &Path, sets: &[String]) -> Result<T> {
    parse(&config::read(path)?, &path.display().to_string(), sets)
}

/// As [`load`], from text in memory; errors call it `name`.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(text: &str, name: &str, sets: &[String]) -> Result<T> {
    let (translated, gone) = crate::older::translated(&config::parse(text, name, sets)?);
    config::parse_without(text, name, &[&translated, sets].concat(), &gone)
}

/// Reads `path` with overrides and trains.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(path: &Path, sets: &[String], options: &RunOptions) -> Result<()> {
    match which(path, sets)? {
        Recipe::Tokenizer => tokenizer::train(&config::load(path, sets)?, options),
        Recipe::Clip => clip::train(&load(path, sets)?, options),
        Recipe::Text => text::train(&load(path, sets)?, options),
        Recipe::Llava => llava::train(&load(path, sets)?, options),
        Recipe::Blip2 => blip2::train(&config::load(path, sets)?, options),
        Recipe::Flamingo => flamingo::train(&config::load(path, sets)?, options),
        Recipe::Domain => domain::train(&config::load(path, sets)?, options),
        Recipe::Imagebind => imagebind::train(&config::load(path, sets)?, options),
        Recipe::Masked => masked::train(&config::load(path, sets)?, options),
        Recipe::Whisper => whisper::train(&config::load(path, sets)?, options),
        Recipe::Ctc => ctc::train(&config::load(path, sets)?, options),
        Recipe::Wav2vec2 => wav2vec2::train(&config::load(path, sets)?, options),
        Recipe::Talker => talker::train(&config::load(path, sets)?, options),
        Recipe::Vocoder => vocoder::train(&config::load(path, sets)?, options),
        Recipe::Vae => vae::train(&config::load(path, sets)?, options),
        Recipe::Flow => flow::train(&config::load(path, sets)?, options),
        Recipe::Gill => gill::train(&config::load(path, sets)?, options),
        Recipe::NextGpt => next_gpt::train(&config::load(path, sets)?, options),
        Recipe::Gan => gan::train(&config::load(path, sets)?, options),
        Recipe::ConditionalVae => conditional_vae::train(&config::load(path, sets)?, options),
    }
}

/// What the recipe at `path` would train; nothing large is read, and nothing is written.
///
/// # Errors
/// The recipe is not acceptable, or names a model whose settings are not there.
pub fn dry_run(path: &Path, sets: &[String]) -> Result<Vec<Planned>> {
    match which(path, sets)? {
        Recipe::Tokenizer => Ok(Vec::new()),
        Recipe::Clip => clip::stages(&load(path, sets)?),
        Recipe::Text => text::stages(&load(path, sets)?),
        Recipe::Llava => llava::stages(&load(path, sets)?),
        Recipe::Blip2 => blip2::stages(&config::load(path, sets)?),
        Recipe::Flamingo => flamingo::stages(&config::load(path, sets)?),
        Recipe::Domain => domain::stages(&config::load(path, sets)?),
        Recipe::Imagebind => imagebind::stages(&config::load(path, sets)?),
        Recipe::Masked => masked::stages(&config::load(path, sets)?),
        Recipe::Whisper => whisper::stages(&config::load(path, sets)?),
        Recipe::Ctc => ctc::stages(&config::load(path, sets)?),
        Recipe::Wav2vec2 => wav2vec2::stages(&config::load(path, sets)?),
        Recipe::Talker => talker::stages(&config::load(path, sets)?),
        Recipe::Vocoder => vocoder::stages(&config::load(path, sets)?),
        Recipe::Vae => vae::stages(&config::load(path, sets)?),
        Recipe::Flow => flow::stages(&config::load(path, sets)?),
        Recipe::Gill => gill::stages(&config::load(path, sets)?),
        Recipe::NextGpt => next_gpt::stages(&config::load(path, sets)?),
        Recipe::Gan => gan::stages(&config::load(path, sets)?),
        Recipe::ConditionalVae => conditional_vae::stages(&config::load(path, sets)?),
    }
}
