//! Speech: phonemes to spectrograms.

mod convnext;
pub mod talker;

pub use talker::{Speech, Talker, TalkerConfig};
