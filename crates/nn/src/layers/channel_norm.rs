//! Normalisation of each channel over time.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::init::Init;

/// PyTorch's, which nobody changes.
const EPS: f64 = 1e-5;

/// GroupNorm (Wu and He 2018) of a sequence with a group for each channel: every channel of a sound gets mean
/// 0 and deviation 1 over all of its positions, then a scale and a shift.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    /// Scale `[c]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[c]`.
    pub bias: Param<Tensor<1>>,
}

impl ChannelNorm {
    /// Scale 1, shift 0.
    pub fn init(channels: usize, init: &mut Init) -> Self {
        Self { weight: init.constant([channels], 1.0), bias: init.constant([channels], 0.0) }
    }

    /// `[B, T, c] -> [B, T, c]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let c = x.dims()[2];
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1); // [B, 1, c]
        let scale = self.weight.val().reshape([1, 1, c]) / (variance + EPS).sqrt();
        centred * scale + self.bias.val().reshape([1, 1, c])
    }
}
