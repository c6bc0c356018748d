//! Weights of a dense layer, laid out once for many products: the running life of a model.

mod int8;

use crate::Precision;
use crate::gemm::{Prepared, Start};

/// How packed weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As they are.
    F32,
    /// bfloat16; activations are rounded to it too.
    Bf16,
    /// 8-bit integers with one scale an output; activations are rounded to such with one scale a
    /// row.
    Int8,
}

/// `[out, in]` weights, packed.
#[derive(Clone, Debug)]
pub struct Packed {
    out: usize,
    in_: usize,
    weights: Weights,
}

#[derive(Clone, Debug)]
enum Weights {
    Dense(Prepared),
    Int8(int8::Int8),
}

impl Packed {
    /// Packs `w [out, in]`.
    pub fn new(format: Format, out: usize, in_: usize, w: &[f32]) -> Self {
        assert_eq!(w.len(), out * in_, "packed: w is {out} x {in_}");
        let dense = |precision| Weights::Dense(Prepared::new(precision, out, in_, w));
        let weights = match format {
            Format::F32 => dense(Precision::F32),
            Format::Bf16 => dense(Precision::Bf16),
            Format::Int8 => Weights::Int8(int8::Int8::new(out, in_, w)),
        };
        Self { out, in_, weights }
    }

    /// Outputs.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Inputs.
    pub fn in_(&self) -> usize {
        self.in_
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Dense(dense) => dense.bytes(),
            Weights::Int8(int8) => int8.bytes(),
        }
    }

    /// `y[rows, out] = x[rows, in] · wᵀ + bias[out]`.
    pub fn linear(&self, rows: usize, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        assert_eq!(x.len(), rows * self.in_, "packed: x is {rows} x {}", self.in_);
        assert_eq!(y.len(), rows * self.out, "packed: y is {rows} x {}", self.out);
        assert!(bias.is_none_or(|bias| bias.len() == self.out), "packed: bias of {}", self.out);
        match &self.weights {
            Weights::Dense(dense) => {
                dense.multiply(rows, x, bias.map_or(Start::Zero, Start::Row), y);
            }
            Weights::Int8(int8) => int8.linear(rows, x, bias, y),
        }
    }
}

#[cfg(test)]
mod tests;
