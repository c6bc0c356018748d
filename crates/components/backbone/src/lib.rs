//! [`Embeds`](sensorium_flow::Embeds) to [`Hidden`](sensorium_flow::Hidden): language models.

mod any;
mod cache;
mod cross;
mod flamingo;
mod gated;
mod gemma;
mod gpt2;
mod llama;
mod omni_talker;
mod opt;
mod rope;
mod sample;
mod sequence;
mod t5;
mod whisper;

pub use any::{Backbone, BackboneConfig};
pub use cache::Cache;
pub use cross::CrossCache;
pub use flamingo::{GatedBackbone, GatedBackboneConfig};
pub use gated::{Gate, GatedLlama, GatedLlamaConfig};
pub use gemma::GemmaConfig;
pub use gpt2::{Gpt2, Gpt2Config};
pub use llama::{Biases, GateActivation, Llama, LlamaConfig};
pub use omni_talker::{OmniTalker, OmniTalkerConfig};
pub use opt::{Opt, OptConfig};
pub use rope::{Mrope, RopeScaling};
pub use sample::{Sampler, Sampling};
pub use t5::{Buckets, T5, T5Config};
pub use whisper::{WhisperDecoder, WhisperDecoderConfig};
