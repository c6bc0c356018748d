//! [`Embeds`](sensorium_flow::Embeds) to [`Hidden`](sensorium_flow::Hidden): language models.

mod cache;
mod llama;
mod sample;
mod whisper;

pub use cache::Cache;
pub use llama::{Llama, LlamaConfig};
pub use sample::{Sampler, Sampling};
pub use whisper::{Heard, WhisperDecoder, WhisperDecoderConfig};
