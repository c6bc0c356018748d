//! [`Embeds`](sensorium_flow::Embeds) to [`Hidden`](sensorium_flow::Hidden): language models.

mod any;
mod cache;
mod gated;
mod gpt2;
mod llama;
mod opt;
mod rope;
mod sample;
mod sequence;
mod whisper;

pub use any::{Backbone, BackboneConfig};
pub use cache::Cache;
pub use gated::{Gate, GatedCache, GatedLlama, GatedLlamaConfig};
pub use gpt2::{Gpt2, Gpt2Config};
pub use llama::{Biases, GateActivation, Llama, LlamaConfig};
pub use opt::{Opt, OptConfig};
pub use rope::RopeScaling;
pub use sample::{Sampler, Sampling};
pub use whisper::{WhisperCache, WhisperDecoder, WhisperDecoderConfig};
