//! Checkpoints: named tensors on disk, written so that a crash never costs more than the newest one.
//!
//! ```text
//! Tensors ──safetensors::write──▶ bytes ─┐
//!         ──gguf::write─────────▶ bytes ─┼─▶ directory::save ──▶ run/step-00000120/{*, manifest.json}
//! config, optimizer, cursors ───▶ bytes ─┘         │
//!                                        directory::latest ◀── newest whose manifest verifies
//! ```
//!
//! This module knows names, shapes and `f32` slices, and no tensor framework. Every reader is total:
//! any bytes give `Ok` or a typed [`Error`] that says which field is wrong and where, with a heap of at
//! most four times the file plus 1 MiB. No reader executes anything: pickles are refused by their magic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod cursor;
pub mod directory;
mod error;
pub mod file;
pub mod gguf;
pub mod manifest;
mod narrow;
pub mod safetensors;
mod tensors;

pub use error::{Error, Result};
pub use tensors::{Differences, Tensor, Tensors, differences, strict, strict_shapes};

/// The tensors of one file: GGUF where the name ends so, else safetensors.
///
/// # Errors
/// It cannot be read, or is damaged or foreign.
pub fn load(path: &std::path::Path) -> Result<Tensors> {
    if path.extension().is_none_or(|extension| extension != "gguf") {
        return safetensors::load(path);
    }
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    gguf::Gguf::parse(&bytes)?.unpack()
}
