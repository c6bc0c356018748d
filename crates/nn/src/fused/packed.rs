//! Dense layers whose weights are laid out for running.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::backend::{Array, Call, Operation, apply1, apply2};
use crate::pack::Packed;

#[derive(Debug)]
struct PackedLinear {
    weight: Arc<Packed>,
}

impl Operation for PackedLinear {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, bias @ ..] = inputs else { unreachable!("packed linear has 1 or 2 inputs") };
        let (rows, out) = (x.rows(), self.weight.out());
        let mut y = vec![0.0; rows * out];
        self.weight.linear(rows, x.values(), bias.first().map(Array::values), &mut y);
        let mut shape = x.shape();
        shape.pop();
        shape.push(out);
        (Array::new(y, &shape), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        panic!("packed weights run, they do not train")
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        2.0 * (inputs[0].values().len() * self.weight.out()) as f64
    }
}

/// `[.., in] -> [.., out]`: `x Wᵀ + b` with packed `W [out, in]` and `bias [out]`.
pub fn packed_linear<const D: usize>(
    x: Tensor<D>,
    weight: &Arc<Packed>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let op = PackedLinear { weight: weight.clone() };
    match bias {
        Some(bias) => apply2(op, x, bias),
        None => apply1(op, x),
    }
}
