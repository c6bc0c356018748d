//! Layers: parameters and the fused operation that uses them. Field names are checkpoint names.

mod attention;
mod average_pool;
mod batch_norm;
mod block;
mod conv;
mod conv1d;
mod depthwise;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod perceiver;
mod post_block;

pub use attention::Attention;
pub use average_pool::average_pool2d;
pub use batch_norm::BatchNorm2d;
pub use block::{Block, BlockConfig};
pub use conv::{Conv2d, Conv2dConfig};
pub use conv1d::{Conv1d, Conv1dConfig};
pub use depthwise::DepthwiseConv1d;
pub use embedding::Embedding;
pub use linear::Linear;
pub use mlp::{Activation, Mlp};
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use perceiver::{PerceiverLayer, PerceiverLayerConfig};
pub use post_block::PostBlock;
