//! Affine map of the last axis.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;

/// `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as PyTorch stores it.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
}

impl Linear {
    /// Normal weights of `std`, zero bias.
    pub fn init(in_: usize, out: usize, bias: bool, std: f64, init: &mut Init) -> Self {
        Self {
            weight: init.normal([out, in_], std),
            bias: bias.then(|| init.constant([out], 0.0)),
            precision: init.precision(),
        }
    }

    /// `[.., in] -> [.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        fused::linear(self.precision, x, self.weight.val(), bias)
    }
}
