//! Finding and opening the model that a command uses.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use sensorium_inference::nano::{Files, read_dir};
use sensorium_inference::{ChatModel, Error, GenerateOptions, Model, Options, Reply};
use sensorium_media::{Message, Picture};

use crate::commands::Global;
use crate::commands::precision::Precision;
use crate::print;

/// Means the model inside the binary.
pub const EMBEDDED: &str = "embedded";

/// The path of a model that is named: itself where it is one, else the snapshot in the cache.
pub fn find(name: &str) -> Result<String> {
    Ok(sensorium_hub::find(name, &sensorium_hub::Settings::from_env())?.display().to_string())
}

/// The chosen model, and the seconds that loading took.
pub fn open(global: &Global, precision: Precision) -> Result<(Model, f64)> {
    let start = Instant::now();
    let options = Options { format: precision.format(), device: global.device() };
    let path = Path::new(&global.model);
    let published = path.join("config.json").is_file()
        || path.join("open_clip_config.json").is_file()
        || path.extension().is_some_and(|end| end == "gguf");
    let model = match published {
        true => Model::open(path, &options)?,
        false => Model::nano(&files(&global.model)?, &options)?,
    };
    Ok((model, start.elapsed().as_secs_f64()))
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
    Ok(read_dir(dir).map_err(Error::from)?)
}

/// Reads pictures from files.
pub fn pictures(paths: &[impl AsRef<Path>]) -> Result<Vec<Picture>> {
    Ok(paths.iter().map(|path| Picture::read(path.as_ref())).collect::<Result<_, _>>()?)
}

/// As [`ChatModel::answer`], printing it as it is made.
pub fn say(
    model: &dyn ChatModel,
    messages: &[Message],
    pictures: &[Picture],
    options: &GenerateOptions,
) -> Result<Reply> {
    let mut stream = print::Stream::default();
    let reply = model
        .answer(messages, pictures, options, &mut |step| stream.step(step.text.trim_start()))?;
    stream.finish(reply.continuation.text.trim())?;
    Ok(reply)
}

/// Whether an error says that a conversation fills the model's context.
pub fn is_full(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_full)
}
