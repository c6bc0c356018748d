//! Qwen2-Audio's encoder: Whisper's, whose positions are averaged two by two, one for every 40 ms.
//!
//! Chu et al. 2024, <https://arxiv.org/abs/2407.10759>
//!
//! ```text
//! mel [B, bands, 4N] ──Whisper's convolutions, blocks──▶ [B, 2N, E] ──means, norm──▶ [B, N, E]
//! ```

use std::sync::Arc;

use sensorium_flow::{Encode, Features, Sounds};
use sensorium_nn::prelude::*;

use super::{WhisperEncoder, WhisperEncoderConfig};

/// Whisper's, which hears where a sound ends.
#[derive(Module, Debug)]
pub struct Qwen2AudioEncoder {
    /// Convolutions, blocks, and the norm that stands behind the means here.
    pub whisper: WhisperEncoder,
}

sensorium_nn::pack!(Qwen2AudioEncoder: whisper);

impl Qwen2AudioEncoder {
    /// Weights by Whisper's scheme.
    pub fn init(config: &WhisperEncoderConfig, init: &mut Init) -> Self {
        Self { whisper: WhisperEncoder::init(config, init) }
    }

    /// Positions after so many of Whisper's blocks, `[B, 2N, E]`: after none, what the first one reads.
    pub fn hidden(&self, Sounds { mel, frames }: &Sounds, blocks: usize) -> Tensor<3> {
        let heard: Arc<[usize]> = frames.iter().map(|frames| frames.div_ceil(2)).collect();
        self.whisper.hidden_within(mel.clone(), blocks, Some(&heard))
    }
}

/// Positions that a sound of so many frames has: what is left over is passed over.
pub fn pooled_positions(frames: usize) -> usize {
    frames.div_ceil(2) / 2
}

impl Encode for Qwen2AudioEncoder {
    type Input = Sounds;

    /// `[B, bands, 4N] -> [B, N, E]`, of which [`pooled_positions`] count of each sound.
    fn encode(&self, sounds: Sounds) -> Features {
        Features(averaged(&self.whisper, self.hidden(&sounds, usize::MAX)))
    }
}

/// Means of neighbours, normed, `[B, 2N, E] -> [B, N, E]`.
pub(super) fn averaged(whisper: &WhisperEncoder, x: Tensor<3>) -> Tensor<3> {
    let [b, n, e] = x.dims();
    let pairs = x.narrow(1, 0, n / 2 * 2).reshape([b, n / 2, 2, e]);
    whisper.norm.forward(pairs.mean_dim(2).reshape([b, n / 2, e]))
}
