//! Checkpoints in directories, against what transformers makes of the same files
//! (`reference/published.py`), and everything that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod as_found;
mod bad_inputs;
mod blip2;
mod blip2_writing;
mod clap;
mod configs;
mod consistency;
mod gemma;
mod idefics;
mod janus;
mod kokoro;
mod llava;
mod open;
mod outputs;
mod qwen2_5_omni;
mod qwen2_5_omni_voice;
mod qwen2_audio;
mod qwen_vl;
mod seeing;
mod settings;
mod siglip2;
mod sounds;
mod speecht5;
mod stable_diffusion;
mod t5;
mod tiles;
mod tower;
mod vits;
mod voxtral;
mod wav2vec2;

use std::path::{Path, PathBuf};

/// A golden's directory.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name)
}
