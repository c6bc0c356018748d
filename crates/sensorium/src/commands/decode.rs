//! `decode`: what this program's children do for it.

use anyhow::{Context, Result};
use clap::Args;
use sensorium_media::media_decoder;

/// Decode media for the process that started this one.
#[derive(Args, Debug)]
pub struct Decode {
    /// What that process asks for.
    job: String,
}

impl Decode {
    pub fn run(&self) -> Result<()> {
        media_decoder::run(&self.job).context(
            "expected to decode for another process of this program\nhint: it starts this command by itself",
        )
    }
}
