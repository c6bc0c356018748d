//! Normalisation of the last axis, or of groups of channels.

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

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// LayerNorm.
    Layer,
    /// RMSNorm.
    Rms,
}

/// Either of the norms.
#[derive(Module, Debug)]
pub enum Norm {
    /// LayerNorm.
    Layer(LayerNorm),
    /// RMSNorm.
    Rms(RmsNorm),
}

impl Norm {
    /// Scale 1 and, where there is one, shift 0.
    pub fn init(kind: NormKind, d: usize, eps: f64, init: &mut Init) -> Self {
        match kind {
            NormKind::Layer => Self::Layer(LayerNorm::init(d, eps, init)),
            NormKind::Rms => Self::Rms(RmsNorm::init(d, eps, init)),
        }
    }

    /// `[.., D] -> [.., D]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => norm.forward(x),
        }
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

/// GroupNorm with scale and shift.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale `[c]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[c]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    /// Scale 1, shift 0; `groups` divides the channels.
    pub fn init(channels: usize, groups: usize, eps: f64, init: &mut Init) -> Self {
        let (weight, bias) = (init.constant([channels], 1.0), init.constant([channels], 0.0));
        Self { weight, bias, groups, eps }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.normed(x, false)
    }

    /// `silu(forward(x))`
    pub fn silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.normed(x, true)
    }

    fn normed(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        fused::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.eps, silu)
    }
}
