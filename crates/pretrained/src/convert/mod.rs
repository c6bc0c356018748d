//! A language model's directory as a GGUF file, and back. Whole or not at all, never over what is
//! there.
//!
//! ```text
//! config.json, tokenizer.json, *.safetensors ──to_gguf──▶ FILE.gguf, as llama.cpp reads it
//! FILE.gguf ──to_directory──▶ config.json, generation_config.json, tokenizer.json,
//!                             tokenizer_config.json, model.safetensors, as transformers reads them
//! ```
//! A tensor is in memory at a time.

mod to_directory;
mod to_gguf;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Error;
use sensorium_checkpoint::gguf::Kind;

pub use to_directory::read;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// `general.architecture` or `model_type`.
    pub family: &'static str,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Tensors by how they are stored.
    pub stored: BTreeMap<String, usize>,
    /// Of all files.
    pub bytes: u64,
}

/// Writes the model at `from`, a directory or a GGUF file, as the other of the two at `to`, its
/// matrices in `kind`; without one, as they are stored where all are stored alike and `to` can hold
/// that, else in f32. `progress` hears how many numbers of all are written.
///
/// # Errors
/// `from` is missing, damaged or of a model that is not supported, or holds what is not heeded where
/// it is to be `strict`; something is at `to`, or cannot be
/// written; `to` cannot say what `from` says.
pub fn convert(
    from: &Path,
    to: &Path,
    kind: Option<Kind>,
    strict: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted> {
    if to.symlink_metadata().is_ok() {
        return Err(unwritable(
            to,
            "nothing there",
            "a file or directory",
            "name another place, or move it away",
        )
        .into());
    }
    let is_gguf = to.extension().is_some_and(|extension| extension == "gguf");
    match (from.is_dir(), is_gguf) {
        (true, true) => to_gguf::write(from, to, kind, strict, progress),
        (true, false) => Err(unwritable(
            to,
            "a name that ends in .gguf",
            "another",
            "a directory becomes a GGUF file",
        )
        .into()),
        (false, false) => to_directory::write(from, to, kind, strict, progress),
        (false, true) => Err(unwritable(
            to,
            "the name of a directory",
            "that of a GGUF file",
            "a GGUF file becomes a directory; convert that again to have other block types",
        )
        .into()),
    }
}

fn unwritable(to: &Path, expected: &str, got: &str, hint: &'static str) -> checkpoint::Error {
    Error::Unwritable {
        what: to.display().to_string(),
        expected: expected.into(),
        got: got.into(),
        hint,
    }
}

/// The one kind of all matrices, if it is of numbers without blocks; else f32.
fn common(mut kinds: impl Iterator<Item = Kind>) -> Kind {
    let first = kinds.next().filter(|kind| kind.block() == 1);
    first.filter(|first| kinds.all(|kind| kind == *first)).unwrap_or(Kind::F32)
}

/// Counts and tells what is done.
struct Meter<'a> {
    done: u64,
    all: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Meter<'a> {
    fn new(all: u64, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self { done: 0, all, progress }
    }

    fn add(&mut self, n: usize) {
        self.done += n as u64;
        (self.progress)(self.done, self.all);
    }
}
