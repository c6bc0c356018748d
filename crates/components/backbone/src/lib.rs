//! [`Embeds`](sensorium_flow::Embeds) to [`Hidden`](sensorium_flow::Hidden): language models.

mod cache;
mod llama;
mod sample;

pub use cache::Cache;
pub use llama::{Llama, LlamaConfig};
pub use sample::{Sampler, Sampling};
