//! Fused operations: forward and hand-written backward on slices, inside burn's autodiff graph.
//!
//! An [`Operation`] is a small value (shapes, masks, token ids) with a forward and a backward.
//! [`Fused`] is the backend extension that carries it through burn's dispatch: on the plain CPU it
//! only runs forward; on the autodiff CPU it saves what the backward needs. On other devices the
//! formula in the framework's own operations takes its place.

mod activation;
mod attention;
mod backend;
mod cached;
mod conv;
mod cross_entropy;
mod ctc;
mod embedding;
mod group_norm;
mod linear;
mod norm;
mod packed;
mod quantized;
mod recompute;
mod rotary;

pub use activation::{gelu, swiglu};
pub use attention::{Mask, attention, softcapped_attention};
pub(crate) use backend::ask;
pub use backend::{
    Array, Call, Fused, Operation, SharedOperation, has_kernels, last_asked, with_twins,
};
pub use burn::tensor::activation::{leaky_relu, sigmoid, softmax};
pub use cached::KeyValues;
pub use conv::{ConvShape, conv2d};
pub use cross_entropy::cross_entropy;
pub use ctc::ctc;
pub use embedding::embedding;
pub use group_norm::group_norm;
pub use linear::linear;
pub use norm::{layer_norm, rms_norm};
pub use packed::{
    packed_conv1d, packed_conv1d_onto, packed_gated, packed_gelu, packed_linear, packed_onto,
    packed_patches, packed_together,
};
pub use quantized::{Quantized, quantized_linear};
pub use recompute::{Places, Recompute, Recomputed, SharedPart, recompute};
pub use rotary::{RotaryTable, rotary};
pub use sensorium_kernels::Precision;
pub use sensorium_kernels::activation::Gelu;
pub use sensorium_kernels::attention::Span;
pub use sensorium_kernels::conv1d::Taps;
pub use sensorium_kernels::ctc::{BLANK, Transcript};
pub use sensorium_kernels::rotary::rotary_rates;
