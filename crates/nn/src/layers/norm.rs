//! Normalisation of the last axis.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused;
use crate::init::Init;

/// LayerNorm with scale and shift.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[D]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// Scale 1, shift 0.
    pub fn init(d: usize, eps: f64, init: &mut Init) -> Self {
        Self { weight: init.constant([d], 1.0), bias: init.constant([d], 0.0), eps }
    }

    /// `[.., D] -> [.., D]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::layer_norm(x, self.weight.val(), self.bias.val(), self.eps as f32)
    }
}

/// RMSNorm with scale.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale `[D]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    /// Scale 1.
    pub fn init(d: usize, eps: f64, init: &mut Init) -> Self {
        Self { weight: init.constant([d], 1.0), eps }
    }

    /// `[.., D] -> [.., D]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::rms_norm(x, self.weight.val(), self.eps as f32)
    }
}
