//! `y = x Wᵀ + b` with a frozen W in blocks of few bits, which is widened where it is read, as QLoRA has it
//! (Dettmers et al. 2023, section 3, <https://arxiv.org/abs/2305.14314>).

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use sensorium_kernels::quant::Kind;
use sensorium_kernels::{Precision, buffer, linear as kernel};

use super::backend::{Array, Call, Operation, apply1, gradient, shaped};
use super::linear;

/// A matrix `[out, in]` in blocks.
#[derive(Debug)]
pub struct Quantized {
    kind: Kind,
    shape: [usize; 2],
    bytes: Vec<u8>,
}

impl Quantized {
    /// Rounds `w`, `[out, in]`; nothing where its rows are no whole blocks, or a number is too large for them.
    pub fn new(kind: Kind, shape: [usize; 2], w: &[f32]) -> Option<Self> {
        if !shape[1].is_multiple_of(kind.block()) {
            return None;
        }
        let bytes = kind.quantize(w);
        kind.bad_block(&bytes).is_none().then_some(Self { kind, shape, bytes })
    }

    /// The matrix as a tensor.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values(), self.shape), device)
    }

    fn values(&self) -> Vec<f32> {
        let mut values = buffer(self.shape[0] * self.shape[1]);
        self.kind.dequantize(&self.bytes, &mut values);
        values
    }
}

#[derive(Debug)]
struct QuantizedLinear {
    precision: Precision,
    weight: Arc<Quantized>,
}

impl Operation for QuantizedLinear {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let (x, [out, in_]) = (&inputs[0], self.weight.shape);
        let mut y = buffer(x.rows() * out);
        let weights = self.weight.values();
        kernel::linear(self.precision, x.rows(), in_, out, x.values(), &weights, None, &mut y);
        let mut shape = x.shape();
        shape.pop();
        shape.push(out);
        (Array::new(y, &shape), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, [out, in_]) = (&call.inputs[0], self.weight.shape);
        let mut dx = gradient(wanted[0], x);
        kernel::linear_backward(
            self.precision,
            x.rows(),
            in_,
            out,
            x.values(),
            &self.weight.values(),
            grad.values(),
            dx.as_deref_mut(),
            None,
            None,
        );
        vec![shaped(dx, x)]
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        2.0 * (inputs[0].rows() * self.weight.shape[0] * self.weight.shape[1]) as f64
    }
}

/// `[.., in] -> [.., out]`: `x Wᵀ`; nothing is learned of W.
pub fn quantized_linear<const D: usize>(
    precision: Precision,
    x: Tensor<D>,
    weight: &Arc<Quantized>,
) -> Tensor<D> {
    let op = QuantizedLinear { precision, weight: weight.clone() };
    apply1(op, x, |x| {
        let weight = weight.tensor(&x.device());
        linear::composed(precision, x, weight, None)
    })
}
