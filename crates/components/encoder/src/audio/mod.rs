//! Sound encoders.

mod conformer;
mod htsat;
mod qwen2_5_omni;
mod qwen2_audio;
mod wav2vec2;
mod whisper;

pub use conformer::{Conformer, ConformerConfig, Label, best_path, positions};
pub use htsat::{Htsat, HtsatConfig};
pub use qwen2_5_omni::{OmniEncoder, OmniEncoderConfig};
pub use qwen2_audio::{Qwen2AudioEncoder, pooled_positions};
pub use wav2vec2::{ConvNorm, SampleConv, Wav2Vec2, Wav2Vec2Config};
pub use whisper::{WhisperEncoder, WhisperEncoderConfig};

use sensorium_flow::{Encode, Features, Sounds};
use sensorium_nn::prelude::*;

/// One of the encoders.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
pub enum Encoder {
    /// Whisper's.
    Whisper(WhisperEncoder),
    /// A Conformer.
    Conformer(Conformer),
    /// Qwen2-Audio's.
    Qwen2Audio(Qwen2AudioEncoder),
    /// Qwen2.5-Omni's.
    Omni(OmniEncoder),
}

impl Encode for Encoder {
    type Input = Sounds;

    /// `[B, bands, F] -> [B, N, E]`
    fn encode(&self, Sounds { mel, frames }: Sounds) -> Features {
        match self {
            Self::Whisper(whisper) => whisper.encode(mel),
            Self::Conformer(conformer) => conformer.encode_padded(mel, &frames),
            Self::Qwen2Audio(encoder) => encoder.encode(Sounds { mel, frames }),
            Self::Omni(encoder) => encoder.encode(Sounds { mel, frames }),
        }
    }
}

impl Pack for Encoder {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Whisper(whisper) => whisper.matrices(path, visit),
            Self::Conformer(conformer) => conformer.matrices(path, visit),
            Self::Qwen2Audio(encoder) => encoder.matrices(path, visit),
            Self::Omni(encoder) => encoder.matrices(path, visit),
        }
    }
}
