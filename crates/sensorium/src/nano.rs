//! Finding and loading the model that a command uses.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use sensorium_media::Picture;
use sensorium_model::nano::{Files, Nano, read_dir};

use crate::commands::precision::Precision;

/// Means the model inside the binary.
pub const EMBEDDED: &str = "embedded";

/// The path of a model that is named: itself where it is one, else the snapshot in the cache.
pub fn find(name: &str) -> Result<String> {
    Ok(sensorium_hub::find(name, &sensorium_hub::Settings::from_env())?.display().to_string())
}

/// The files of the chosen model.
pub fn files(choice: &str) -> Result<Files<'static>> {
    if choice == EMBEDDED {
        return Ok(sensorium::embedded::files());
    }
    let dir = Path::new(choice);
    if !dir.is_dir() {
        return Err(anyhow!(
            "expected a model directory at {choice}, found no directory there\nhint: pass the \
             directory that holds tokenizer.json, or leave --model out to use the embedded model"
        ));
    }
    Ok(read_dir(dir)?)
}

/// The chosen model, and the seconds that loading took.
pub fn open(choice: &str, precision: Precision) -> Result<(Nano, f64)> {
    let start = Instant::now();
    let nano = load(&files(choice)?, precision)?;
    Ok((nano, start.elapsed().as_secs_f64()))
}

/// The model of these files; with a precision, laid out for running.
pub fn load(files: &Files<'_>, precision: Precision) -> Result<Nano> {
    let mut nano = Nano::load(files)?;
    if let Some(format) = precision.format() {
        nano.pack(format);
    }
    Ok(nano)
}

/// Reads pictures from files.
pub fn pictures(paths: &[impl AsRef<Path>]) -> Result<Vec<Picture>> {
    Ok(paths.iter().map(|path| Picture::read(path.as_ref())).collect::<Result<_, _>>()?)
}
