//! Affine map of the last axis.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;
use crate::pack::{Pack, Packed, Packer};

/// `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as PyTorch stores it; `[0, 0]` once packed.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    packed: Option<Arc<Packed>>,
}

impl Linear {
    /// Normal weights of `std`, zero bias.
    pub fn init(in_: usize, out: usize, bias: bool, std: f64, init: &mut Init) -> Self {
        Self {
            weight: init.normal([out, in_], std),
            bias: bias.then(|| init.constant([out], 0.0)),
            precision: init.precision(),
            packed: None,
        }
    }

    /// `[.., in] -> [.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.packed {
            Some(packed) => fused::packed_linear(x, packed, bias),
            None => fused::linear(self.precision, x, self.weight.val(), bias),
        }
    }
}

impl Pack for Linear {
    fn pack(&mut self, path: &str, packer: &mut Packer<'_>) {
        self.packed = Some(packer(path, &self.weight));
        let device = self.weight.val().device();
        self.weight = Param::from_tensor(Tensor::zeros([0, 0], &device));
    }
}
