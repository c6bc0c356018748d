//! `y = x Wᵀ + b`, weight stored `[out, in]` as in PyTorch.

use burn::tensor::{DType, FloatDType, Tensor, module};
use sensorium_kernels::linear as kernel;
use sensorium_kernels::{Precision, buffer};

use super::backend::{Array, Call, Operation, apply2, apply3, gradient, shaped};

#[derive(Debug)]
struct Linear {
    precision: Precision,
}

impl Operation for Linear {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, weight, bias @ ..] = inputs else { unreachable!("linear has 2 or 3 inputs") };
        let (rows, out) = (x.rows(), weight.shape()[0]);
        let mut y = buffer(rows * out);
        let bias = bias.first().map(Array::values);
        let (x_values, weights) = (x.values(), weight.values());
        kernel::linear(self.precision, rows, x.width(), out, x_values, weights, bias, &mut y);
        let mut shape = x.shape();
        shape.pop();
        shape.push(out);
        (Array::new(y, &shape), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        let (rows, out) = (x.rows(), weight.shape()[0]);
        let mut dx = gradient(wanted[0], x);
        let mut dw = gradient(wanted[1], weight);
        let mut db = call.inputs.get(2).and_then(|bias| gradient(wanted[2], bias));
        kernel::linear_backward(
            self.precision,
            rows,
            x.width(),
            out,
            x.values(),
            weight.values(),
            grad.values(),
            dx.as_deref_mut(),
            dw.as_deref_mut(),
            db.as_deref_mut(),
        );
        let mut gradients = vec![shaped(dx, x), shaped(dw, weight)];
        if let Some(bias) = call.inputs.get(2) {
            gradients.push(shaped(db, bias));
        }
        gradients
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        2.0 * (inputs[0].rows() * inputs[1].values().len()) as f64
    }
}

/// `[.., in] -> [.., out]`: `x Wᵀ + b` with `weight [out, in]` and `bias [out]`; forward and
/// backward products of numbers in `precision`.
pub fn linear<const D: usize>(
    precision: Precision,
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let op = Linear { precision };
    match bias {
        Some(bias) => apply3(op, x, weight, bias, |x, w, b| composed(precision, x, w, Some(b))),
        None => apply2(op, x, weight, |x, w| composed(precision, x, w, None)),
    }
}

/// In bfloat16 where the device computes with it and the precision or the weights are that; what comes
/// out, and the bias, are f32.
pub(super) fn composed<const D: usize>(
    precision: Precision,
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let halved = weight.dtype() == DType::BF16 || precision == Precision::Bf16;
    if !halved || !x.device().supports_dtype(FloatDType::BF16) {
        return module::linear(x, weight.transpose(), bias);
    }
    let (x, weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
    let y = module::linear(x, weight.transpose(), None).cast(FloatDType::F32);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}
