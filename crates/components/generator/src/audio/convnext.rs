//! A block of ConvNeXt over time: each channel sees its neighbours, then each position its channels.
//!
//! Liu et al. 2022, <https://arxiv.org/abs/2201.03545>, in one dimension, without its scale of channels.

use sensorium_nn::prelude::*;

/// Epsilon of every norm: PyTorch's default.
pub const EPS: f64 = 1e-5;

/// `x + mlp(norm(depthwise(x)))`.
#[derive(Module, Debug)]
pub struct ConvNext {
    depthwise: DepthwiseConv1d,
    norm: LayerNorm,
    mlp: Mlp,
}

sensorium_nn::pack!(ConvNext: mlp);

impl ConvNext {
    /// Of a width, a width inside the MLP and an odd kernel; matrices of `fan_in^-0.5`, residual writes by so many
    /// layers less.
    pub fn init([d, hidden, kernel]: [usize; 3], n_layers: usize, init: &mut Init) -> Self {
        let write = (hidden as f64 * n_layers as f64).powf(-0.5);
        Self {
            depthwise: DepthwiseConv1d::init(d, kernel, init),
            norm: LayerNorm::init(d, EPS, init),
            mlp: Mlp::init([d, hidden, d], Activation::Gelu, [(d as f64).powf(-0.5), write], init),
        }
    }

    /// `[B, T, D] -> [B, T, D]`; of each sample so many positions count.
    pub fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let y = self.norm.forward(self.depthwise.forward(silenced(x.clone(), lengths)));
        self.mlp.add_to(x, y)
    }
}

/// Zeros behind each sample's end, `[B, T, D] -> [B, T, D]`: as convolutions find them behind the longest.
pub fn silenced(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let t = x.dims()[1];
    if lengths.iter().all(|&length| length >= t) {
        return x;
    }
    let counts = counting(lengths, t, &x.device());
    x * counts
}

/// One where a position counts, else zero, `[B, T, 1]`.
pub fn counting(lengths: &[usize], t: usize, device: &Device) -> Tensor<3> {
    let row = |&length: &usize| (0..t).map(move |at| if at < length { 1.0f32 } else { 0.0 });
    let counts: Vec<f32> = lengths.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(counts, [lengths.len(), t, 1]), device)
}
