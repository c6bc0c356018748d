//! Image encoders.

mod pool;
mod vit;

pub use pool::AttentionPool;
pub use vit::{ActivationName, Conv, Pooling, Vit, VitConfig};
