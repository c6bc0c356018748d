//! Reading a tokenizer's file.

use std::path::Path;

use sensorium_media::Tokenizer;

use crate::error::{Result, TrainError};

/// The tokenizer in `path`.
///
/// # Errors
/// The file is missing or no tokenizer.
pub fn load(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    Ok(Tokenizer::from_bytes(&bytes)?)
}
