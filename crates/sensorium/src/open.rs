//! Finding and opening the model that a command uses.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use sensorium_inference::{ChatModel, Error, GenerateOptions, Model, Options, Reply};
use sensorium_media::media_decoder::{Limits, MediaDecoder};
use sensorium_media::{Media, Message, Picture};
use sensorium_nn::device::{has_bf16, is_cpu};
use sensorium_nn::pack::Format;
use sensorium_pretrained::Directory;

use crate::commands::precision::Precision;
use crate::global::{EMBEDDED, Global};
use crate::print;

/// The chosen model, and the seconds that loading took.
pub fn open(global: &Global, precision: Precision) -> Result<(Model, f64)> {
    let start = Instant::now();
    let (format, strict) = (precision.format(), global.strict);
    let (adapter, device) = (global.adapter.clone(), global.device()?);
    let gguf = format.is_none() && global.model.ends_with(".gguf");
    let is_kept = |format| match format {
        Format::F32 => true,
        Format::Bf16 => has_bf16(&device),
        _ => false,
    };
    if !is_cpu(&device) && (gguf || format.is_some_and(|format| !is_kept(format))) {
        log::warn!("matrices are packed on the CPU alone: on this device they are kept in f32");
    }
    let options = Options { format, strict, adapter, ..Options::on(&device) };
    let model = match global.model.as_str() {
        EMBEDDED => Model::load(&directory(EMBEDDED)?, &options)?,
        path => Model::open(path.as_ref(), &options)?,
    };
    Ok((model, start.elapsed().as_secs_f64()))
}

/// The directory of the chosen model.
pub fn directory(choice: &str) -> Result<Directory> {
    Ok(match choice {
        EMBEDDED => sensorium::embedded::directory()?,
        path => Directory::open(path.as_ref())?,
    })
}

/// Decodes in children, which are this program.
pub fn decoder() -> MediaDecoder {
    // This very program, even where another was installed in its place meanwhile.
    let running = Path::new("/proc/self/exe");
    let program = match running.exists() {
        true => Ok(running.to_owned()),
        false => std::env::current_exe(),
    };
    program.map_or_else(
        |error| {
            log::warn!(
                "expected to find this program, to decode media in children of it, got: {error}; \
                 media are decoded in this process"
            );
            MediaDecoder::here()
        },
        |program| MediaDecoder::children(program, &["decode"], Limits::default()),
    )
}

/// Reads media of a prompt from files: pictures.
pub fn media(paths: &[impl AsRef<Path>], decoder: &MediaDecoder) -> Result<Vec<Media>> {
    Ok(pictures(paths, decoder)?.into_iter().map(Media::Image).collect())
}

/// Reads pictures from files.
pub fn pictures(paths: &[impl AsRef<Path>], decoder: &MediaDecoder) -> Result<Vec<Picture>> {
    Ok(paths.iter().map(|path| decoder.picture(path.as_ref())).collect::<Result<_, _>>()?)
}

/// As [`ChatModel::answer`], printing it as it is made.
pub fn say(
    model: &dyn ChatModel,
    messages: &[Message],
    media: &[Media],
    options: &GenerateOptions,
) -> Result<Reply> {
    let mut stream = print::Stream::default();
    let reply =
        model.answer(messages, media, options, &mut |step| stream.step(step.text.trim_start()))?;
    stream.finish(reply.continuation.text.trim())?;
    for (i, far) in reply.distances.iter().enumerate().filter(|(_, far)| far.is_outside()) {
        eprintln!(
            "note: picture {} is unlike all that the model has learned from ({:.0} deviations away, {:.0} at most there); its answer may mean nothing",
            i + 1,
            far.distance,
            far.limit
        );
    }
    Ok(reply)
}

/// Whether an error says that a conversation fills the model's context.
pub fn is_full(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_full)
}
