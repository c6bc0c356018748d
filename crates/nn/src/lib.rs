//! Layers, losses and parameters on burn: the only crate that names the tensor framework.
//!
//! burn's own CPU operations lose most of a training step to memory-bound loops, so every hot
//! operation here is *fused*: one forward and one hand-written backward over raw slices (from
//! `sensorium-kernels`), registered with burn's autodiff graph. Everything else is plain burn.
//!
//! Axes, in all crates: **B** batch, **T** tokens, **N** encoder positions, **Q** learned queries,
//! **D** backbone width, **E** encoder width, **C** condition width, **H** heads, **K** width per
//! head, **V** vocabulary; image axes `c, h, w`.

pub mod device;
mod features;
pub mod fused;
pub mod init;
pub mod layers;
pub mod lora;
pub mod loss;
pub mod machine;
pub mod optim;
pub mod pack;
pub mod params;
pub mod profile;

pub use sensorium_kernels::memory::keep_freed_pages;
pub use sensorium_kernels::rng;

/// What model code imports: burn's tensors and modules, and our layers.
pub mod prelude {
    pub use burn;
    pub use burn::module::{Module, Param};
    pub use burn::tensor::{Device, Tensor, TensorData};

    pub use crate::fused::{ConvShape, Gelu, Mask, Precision, RotaryTable, Span, Transcript};
    pub use crate::init::{Init, waves};
    pub use crate::layers::{
        Activation, Attention, BatchNorm2d, BiLstm, Block, BlockConfig, ChannelNorm, Conv1d,
        Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose1d, DepthwiseConv1d, DepthwiseConv2d,
        Embedding, GroupNorm, GroupedConv1d, LayerNorm, Linear, Mlp, Norm, NormKind,
        PerceiverLayer, PerceiverLayerConfig, PostBlock, RmsNorm, attention_weights,
        average_pool2d, weighted,
    };
    pub use crate::pack::{self, Pack, Packed};
    pub use crate::{fused, loss, params};
}
