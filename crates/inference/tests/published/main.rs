//! Checkpoints in directories, against what transformers makes of the same files
//! (`reference/published.py`), and everything that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod as_found;
mod bad_inputs;
mod blip2;
mod blip2_writing;
mod configs;
mod gemma;
mod idefics;
mod llava;
mod open;
mod outputs;
mod seeing;
mod settings;
mod siglip2;
mod tiles;
mod tower;

use std::path::{Path, PathBuf};

/// A golden's directory.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name)
}
