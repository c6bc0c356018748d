//! `embed --text` with a sentence encoder from a directory.

use std::path::Path;

use anyhow::Result;
use sensorium_model::published::{Directory, SentenceEncoder};

use crate::commands::precision::Precision;

/// The texts' vectors, if `model` is the directory of a sentence encoder.
pub fn embed(model: &str, texts: &[String], precision: Precision) -> Result<Option<Vec<Vec<f32>>>> {
    let path = Path::new(model);
    if !path.join("config.json").is_file() {
        return Ok(None);
    }
    let directory = Directory::open(path)?;
    if directory.config().text_or("model_type", "")? != "bert" {
        return Ok(None);
    }
    Ok(Some(SentenceEncoder::open(&directory, precision.format())?.embed(texts)?))
}
