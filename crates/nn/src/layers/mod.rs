//! Layers: parameters and the fused operation that uses them. Field names are checkpoint names.

mod attention;
mod average_pool;
mod batch_norm;
mod block;
mod channel_norm;
mod conv;
mod conv1d;
mod conv_transpose1d;
mod depthwise;
mod embedding;
mod grouped_conv1d;
mod linear;
mod lstm;
mod mlp;
mod norm;
mod perceiver;
mod post_block;
mod relative_attention;

pub use attention::Attention;
pub use average_pool::average_pool2d;
pub use batch_norm::BatchNorm2d;
pub use block::{Block, BlockConfig};
pub use channel_norm::ChannelNorm;
pub use conv::{Conv2d, Conv2dConfig};
pub use conv_transpose1d::ConvTranspose1d;
pub use conv1d::{Conv1d, Conv1dConfig};
pub use depthwise::{DepthwiseConv1d, DepthwiseConv2d};
pub use embedding::Embedding;
pub use grouped_conv1d::GroupedConv1d;
pub use linear::Linear;
pub use lstm::{BiLstm, Lstm};
pub use mlp::{Activation, Mlp};
pub use norm::{GroupNorm, LayerNorm, Norm, NormKind, RmsNorm};
pub use perceiver::{PerceiverLayer, PerceiverLayerConfig};
pub use post_block::PostBlock;
pub use relative_attention::{attention_weights, weighted};
