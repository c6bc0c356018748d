//! What commands that take videos have in common.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_media::Sampling;
use sensorium_media::video::MAX_SAMPLED;

/// Videos, and which of their frames are looked at.
#[derive(Args, Debug)]
pub struct Videos {
    /// A video: MP4, MOV or Matroska with H.264, GIF, APNG or WebP. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub video: Vec<PathBuf>,
    /// Frames of each video, evenly from its first to its last; 1 to 64 [default: 8].
    #[arg(long, value_name = "N", requires = "video", conflicts_with = "fps")]
    num_frames: Option<usize>,
    /// Frames a second instead; at most 64 are taken of a video, then further apart.
    #[arg(long, value_name = "RATE", requires = "video")]
    fps: Option<f64>,
}

impl Videos {
    /// Which frames are taken.
    ///
    /// # Errors
    /// A number of frames that cannot be taken.
    pub fn sampling(&self) -> Result<Sampling> {
        match (self.num_frames, self.fps) {
            (Some(n), _) if !(1..=MAX_SAMPLED).contains(&n) => Err(anyhow!(
                "expected --num-frames of 1 to {MAX_SAMPLED}, got {n}\nhint: --num-frames 8"
            )),
            (_, Some(fps)) if !(fps.is_finite() && fps > 0.0) => {
                Err(anyhow!("expected --fps above 0, got {fps}\nhint: --fps 1"))
            }
            (Some(n), _) => Ok(Sampling::Frames(n)),
            (_, Some(fps)) => Ok(Sampling::PerSecond(fps)),
            _ => Ok(Sampling::default()),
        }
    }
}
