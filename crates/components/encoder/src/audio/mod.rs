//! Sound encoders.

mod whisper;

pub use whisper::{WhisperEncoder, WhisperEncoderConfig};
