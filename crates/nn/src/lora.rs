//! What is learned beside a frozen matrix: a product of two small ones.
//!
//! Hu et al. 2021, section 4.1, <https://arxiv.org/abs/2106.09685>

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;

/// `scale · B A x`, which begins as nothing: B is 0.
#[derive(Module, Debug)]
pub struct Lora {
    /// A, `[r, in]`.
    pub a: Param<Tensor<2>>,
    /// B, `[out, r]`.
    pub b: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl Lora {
    /// Beside a matrix `[out, in]`: A uniform up to `in^-0.5`, as peft has it.
    pub fn init([out, in_]: [usize; 2], rank: usize, scale: f64, init: &mut Init) -> Self {
        let bound = (in_ as f64).powf(-0.5);
        Self { a: init.uniform([rank, in_], bound), b: init.constant([out, rank], 0.0), scale }
    }

    /// `[.., in] -> [.., out]`
    pub fn forward<const D: usize>(&self, precision: Precision, x: Tensor<D>) -> Tensor<D> {
        let x = fused::linear(precision, x, self.a.val(), None);
        fused::linear(precision, x, self.b.val(), None) * self.scale
    }
}
