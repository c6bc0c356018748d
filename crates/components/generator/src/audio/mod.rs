//! Speech: phonemes to spectrograms, spectrograms to samples.

mod convnext;
pub mod stft;
pub mod talker;
pub mod vits;
pub mod vocoder;

pub use talker::{Speech, Talker, TalkerConfig};
pub use vocoder::{Vocoder, VocoderConfig};
