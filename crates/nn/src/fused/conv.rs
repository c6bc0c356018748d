//! 2-D convolution, the stem of an image encoder.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use sensorium_kernels::conv as kernel;
pub use sensorium_kernels::conv::ConvShape;
use sensorium_kernels::{Precision, buffer};

use super::backend::{Array, Call, Operation, apply2, apply3, gradient, shaped};

#[derive(Debug)]
struct Conv {
    precision: Precision,
    stride: usize,
    padding: usize,
}

impl Conv {
    fn shape(&self, x: &Array, weight: &Array) -> ConvShape {
        let ([batch, c_in, h, w], [c_out, _, kernel, _]) = (&x.shape()[..], &weight.shape()[..])
        else {
            unreachable!("conv2d takes [B, c, h, w] and [c_out, c_in, k, k]")
        };
        ConvShape {
            batch: *batch,
            c_in: *c_in,
            h: *h,
            w: *w,
            c_out: *c_out,
            kernel: *kernel,
            stride: self.stride,
            padding: self.padding,
        }
    }
}

impl Operation for Conv {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, weight, bias @ ..] = inputs else { unreachable!("conv2d has 2 or 3 inputs") };
        let shape = self.shape(x, weight);
        let (h, w) = shape.output();
        let mut y = buffer(shape.batch * shape.c_out * h * w);
        let bias = bias.first().map(Array::values);
        kernel::conv2d(self.precision, shape, x.values(), weight.values(), bias, &mut y);
        (Array::new(y, &[shape.batch, shape.c_out, h, w]), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight) = (&call.inputs[0], &call.inputs[1]);
        let mut dx = gradient(wanted[0], x);
        let mut dw = gradient(wanted[1], weight);
        let mut db = call.inputs.get(2).and_then(|bias| gradient(wanted[2], bias));
        kernel::conv2d_backward(
            self.precision,
            self.shape(x, weight),
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
        let shape = self.shape(&inputs[0], &inputs[1]);
        let (h, w) = shape.output();
        2.0 * (shape.batch * h * w * inputs[1].values().len()) as f64
    }
}

/// `[B, c_in, h, w] -> [B, c_out, h', w']` with `weight [c_out, c_in, k, k]`; products of numbers in
/// `precision`, which is f32 on other devices than the CPU.
pub fn conv2d(
    precision: Precision,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let op = Conv { precision, stride, padding };
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    let composed = |x, weight, bias| module::conv2d(x, weight, bias, options);
    match bias {
        Some(bias) => apply3(op, x, weight, bias, |x, w, b| composed(x, w, Some(b))),
        None => apply2(op, x, weight, |x, w| composed(x, w, None)),
    }
}
