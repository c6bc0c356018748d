//! Whisper: what was said in a sound.
//!
//! Radford et al. 2022, <https://arxiv.org/abs/2212.04356>
//!
//! ```text
//! samples ──log-mel──▶ [bands, frames] ──30 s at a time, encoder──▶ features ──hear──▶ keys, values
//! <|startoftranscript|> language task ──decoder──▶ rules ──best──▶ tokens, times ──▶ segments
//! ```

mod rules;

use sensorium_backbone::{CrossCache, WhisperDecoder, WhisperDecoderConfig};
use sensorium_encoder::audio::{WhisperEncoder, WhisperEncoderConfig};
use sensorium_flow::Encode;
use sensorium_nn::prelude::*;

use crate::weights::under;

pub use rules::{Rules, Task, Tasks};

/// What a model cannot be asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhisperError {
    /// The model does not know the language.
    #[error("expected a language that the model knows, got {got:?}\nhint: {known}")]
    Language {
        /// As asked for.
        got: String,
        /// Those it knows.
        known: String,
    },

    /// The model was trained on one task.
    #[error(
        "expected the task transcribe, got translate\nhint: this model knows English only; take a multilingual one"
    )]
    Task,
}

/// Shape of a [`Whisper`].
#[derive(Clone, Debug, PartialEq)]
pub struct WhisperConfig {
    /// Sound to features.
    pub encoder: WhisperEncoderConfig,
    /// Features and tokens to the next token.
    pub decoder: WhisperDecoderConfig,
}

impl WhisperConfig {
    /// Name and shape of every parameter, without making one.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        [under("encoder", self.encoder.parameters()), under("decoder", self.decoder.parameters())]
            .concat()
    }

    /// Frames of the spectrogram that are heard at once.
    pub fn frames(&self) -> usize {
        2 * self.encoder.positions
    }
}

/// Both halves.
#[derive(Module, Debug)]
pub struct Whisper {
    /// Sound to features.
    pub encoder: WhisperEncoder,
    /// Features and tokens to the next token.
    pub decoder: WhisperDecoder,
}

impl Whisper {
    /// Weights by each half's scheme.
    pub fn init(config: &WhisperConfig, init: &mut Init) -> Self {
        Self {
            encoder: WhisperEncoder::init(&config.encoder, init),
            decoder: WhisperDecoder::init(&config.decoder, init),
        }
    }

    /// What the decoder will ask of one window `[bands, frames]`, row-major.
    pub fn cross_keys(&self, mel: Vec<f32>, bands: usize, device: &Device) -> CrossCache {
        let frames = mel.len() / bands.max(1);
        let mel = TensorData::new(mel, [1, bands, frames]);
        self.decoder.cross_keys(&self.encoder.encode(Tensor::from_data(mel, device)))
    }
}

sensorium_nn::pack!(Whisper: encoder, decoder);
