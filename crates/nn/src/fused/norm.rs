//! LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019) over the last axis.

use burn::tensor::{Tensor, module};
use sensorium_kernels::buffer;
use sensorium_kernels::norm as kernel;

use super::backend::{Array, Call, Operation, apply2, apply3, shaped};

#[derive(Debug)]
struct LayerNorm {
    eps: f32,
}

impl Operation for LayerNorm {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, gamma, beta] = inputs else { unreachable!("layer_norm has 3 inputs") };
        let (rows, d) = (x.rows(), x.width());
        let mut y = buffer(rows * d);
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        kernel::layer_norm(
            rows,
            d,
            x.values(),
            gamma.values(),
            beta.values(),
            self.eps,
            &mut y,
            &mut mean,
            &mut rstd,
        );
        let saved = vec![Array::new(mean, &[rows]), Array::new(rstd, &[rows])];
        (Array::new(y, &x.shape()), saved)
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, gamma, beta) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let (rows, d) = (x.rows(), x.width());
        let (mut dx, mut dgamma, mut dbeta) = (buffer(rows * d), vec![0.0; d], vec![0.0; d]);
        kernel::layer_norm_backward(
            rows,
            d,
            x.values(),
            gamma.values(),
            call.saved[0].values(),
            call.saved[1].values(),
            grad.values(),
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
        vec![shaped(Some(dx), x), shaped(Some(dgamma), gamma), shaped(Some(dbeta), beta)]
    }
}

/// `[.., D] -> [.., D]`: zero mean and unit variance a row, then scaled and shifted.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f32,
) -> Tensor<D> {
    apply3(LayerNorm { eps }, x, gamma, beta, |x, gamma, beta| {
        module::layer_norm(x, gamma, Some(beta), f64::from(eps))
    })
}

#[derive(Debug)]
struct RmsNorm {
    eps: f32,
}

impl Operation for RmsNorm {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, gamma] = inputs else { unreachable!("rms_norm has 2 inputs") };
        let (rows, d) = (x.rows(), x.width());
        let (mut y, mut rstd) = (buffer(rows * d), vec![0.0; rows]);
        kernel::rms_norm(rows, d, x.values(), gamma.values(), self.eps, &mut y, &mut rstd);
        (Array::new(y, &x.shape()), vec![Array::new(rstd, &[rows])])
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, gamma) = (&call.inputs[0], &call.inputs[1]);
        let (rows, d) = (x.rows(), x.width());
        let (mut dx, mut dgamma) = (buffer(rows * d), vec![0.0; d]);
        kernel::rms_norm_backward(
            rows,
            d,
            x.values(),
            gamma.values(),
            call.saved[0].values(),
            grad.values(),
            &mut dx,
            &mut dgamma,
        );
        vec![shaped(Some(dx), x), shaped(Some(dgamma), gamma)]
    }
}

/// `[.., D] -> [.., D]`: unit root mean square a row, then scaled.
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f32) -> Tensor<D> {
    apply2(RmsNorm { eps }, x, gamma, |x, gamma| {
        let square = x.clone().square().mean_dim(D - 1);
        x / (square + f64::from(eps)).sqrt() * gamma.unsqueeze()
    })
}
