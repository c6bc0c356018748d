//! What makes samples of Qwen2.5-Omni's codes of speech.
//!
//! Xu et al. 2025, <https://arxiv.org/abs/2503.20215>, section 2.4
//!
//! ```text
//! codes [N], a voice ──Dit, from noise──▶ log-mel [1, F, bands] ──BigVgan──▶ samples [F·hop]     F = N·repeats
//! ```

pub mod bigvgan;
pub mod dit;
pub mod ecapa;

use sensorium_nn::prelude::*;

pub use bigvgan::{BigVgan, BigVganConfig};
pub use dit::{Dit, DitConfig, Voice};
pub use ecapa::{Ecapa, EcapaConfig};

/// Samples a second, which no file states.
pub const RATE: u32 = 24_000;

/// Shape of a [`Token2Wav`].
#[derive(Clone, Debug, PartialEq)]
pub struct Token2WavConfig {
    /// Codes to spectrograms.
    pub dit: DitConfig,
    /// Spectrograms to samples.
    pub bigvgan: BigVganConfig,
}

impl Token2WavConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Token2Wav::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Token2Wav {
    /// Codes to spectrograms.
    pub dit: Dit,
    /// Spectrograms to samples.
    pub bigvgan: BigVgan,
}

sensorium_nn::pack!(Token2Wav: dit, bigvgan);

impl Token2Wav {
    /// Seeded weights.
    pub fn init(config: &Token2WavConfig, init: &mut Init) -> Self {
        Self { dit: Dit::init(&config.dit, init), bigvgan: BigVgan::init(&config.bigvgan, init) }
    }
}
