//! Qwen2.5-Omni's encoder of sounds: Whisper's, which hears a sound chunk by chunk, two seconds each, that know
//! nothing of each other, and whose positions are averaged two by two, one for every 40 ms.
//!
//! Xu et al. 2025, <https://arxiv.org/abs/2503.20215>, section 2.2
//!
//! ```text
//! mel [1, bands, F] ──chunks──▶ [n, bands, 2W] ──Whisper's convolutions, blocks──▶ [n, W, E]
//!                   ──in a row──▶ [1, 2N, E] ──means, norm──▶ [1, N, E]
//! ```

use sensorium_flow::{Encode, Features, Sounds};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::qwen2_audio::averaged;
use super::{WhisperEncoder, WhisperEncoderConfig};

/// Shape of an [`OmniEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OmniEncoderConfig {
    /// Whisper's; its positions are those of the longest chunk.
    pub whisper: WhisperEncoderConfig,
    /// Positions W of a chunk: half its frames.
    pub window: usize,
    /// Frames of the longest sound.
    pub frames: usize,
}

/// Whisper's, by chunks.
#[derive(Module, Debug)]
pub struct OmniEncoder {
    /// Convolutions, blocks, and the norm that stands behind the means here.
    pub whisper: WhisperEncoder,
    #[module(skip)]
    window: usize,
}

sensorium_nn::pack!(OmniEncoder: whisper);

impl OmniEncoder {
    /// Weights by Whisper's scheme.
    pub fn init(config: &OmniEncoderConfig, init: &mut Init) -> Self {
        let whisper = WhisperEncoder::init(&config.whisper, init).without_table();
        Self { whisper, window: config.window }
    }

    /// Positions of one sound after so many of Whisper's blocks, `[1, bands, F] -> [1, 2N, E]`. A last chunk that is
    /// shorter is heard by itself, so that nothing stands behind its end.
    pub fn hidden(&self, mel: Tensor<3>, blocks: usize) -> Tensor<3> {
        let ([_, bands, frames], chunk) = (mel.dims(), 2 * self.window);
        let (n, rest) = (frames / chunk, frames % chunk);
        let whole = (n > 0).then(|| {
            let whole = mel.clone().narrow(2, 0, n * chunk);
            whole.reshape([bands, n, chunk]).swap_dims(0, 1)
        });
        let last = (rest > 0).then(|| mel.narrow(2, n * chunk, rest));
        let heard = whole.into_iter().chain(last).map(|chunks| {
            let x = self.whisper.hidden(chunks, blocks);
            let [n, positions, e] = x.dims();
            x.reshape([1, n * positions, e])
        });
        Tensor::cat(heard.collect(), 1)
    }
}

impl Encode for OmniEncoder {
    type Input = Sounds;

    /// `[B, bands, F] -> [B, N, E]`, of which [`pooled_positions`](super::pooled_positions) count of each sound.
    fn encode(&self, Sounds { mel, frames }: Sounds) -> Features {
        let sound = |(i, &frames): (usize, &usize)| {
            let alone = mel.clone().narrow(0, i, 1).narrow(2, 0, frames);
            averaged(&self.whisper, self.hidden(alone, usize::MAX))
        };
        let sounds: Vec<Tensor<3>> = frames.iter().enumerate().map(sound).collect();
        let longest = sounds.iter().map(|x| x.dims()[1]).max().unwrap_or_default();
        let padded = sounds.into_iter().map(|x| {
            let [_, n, e] = x.dims();
            match longest - n {
                0 => x,
                behind => {
                    let device = x.device();
                    Tensor::cat(vec![x, Tensor::zeros([1, behind, e], &device)], 1)
                }
            }
        });
        Features(Tensor::cat(padded.collect(), 0))
    }
}
