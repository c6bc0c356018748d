//! Group norm (Wu and He 2018) of pictures, with the SiLU that residual blocks put behind it.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use sensorium_kernels::buffer;
use sensorium_kernels::group_norm as kernel;

use super::backend::{Array, Call, Operation, apply3, shaped};

#[derive(Debug)]
struct GroupNorm {
    groups: usize,
    eps: f32,
    silu: bool,
}

impl GroupNorm {
    fn shape(&self, x: &Array) -> kernel::GroupShape {
        let [batch, channels, h, w] = x.shape()[..] else {
            unreachable!("group_norm takes [B, c, h, w]")
        };
        kernel::GroupShape { batch, channels, groups: self.groups, pixels: h * w }
    }
}

impl Operation for GroupNorm {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let [x, gamma, beta] = inputs else { unreachable!("group_norm has 3 inputs") };
        let shape = self.shape(x);
        let mut y = buffer(x.values().len());
        let rows = [shape.batch, shape.groups];
        let mut statistics = [vec![0.0; rows[0] * rows[1]], vec![0.0; rows[0] * rows[1]]];
        let [mean, rstd] = &mut statistics;
        kernel::group_norm(
            shape,
            x.values(),
            gamma.values(),
            beta.values(),
            self.eps,
            self.silu,
            &mut y,
            mean,
            rstd,
        );
        let saved = statistics.map(|values| Array::new(values, &rows));
        (Array::new(y, &x.shape()), saved.into())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, gamma, beta) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let (mut dx, c) = (buffer(x.values().len()), gamma.values().len());
        let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
        kernel::group_norm_backward(
            self.shape(x),
            x.values(),
            gamma.values(),
            beta.values(),
            call.saved[0].values(),
            call.saved[1].values(),
            self.silu,
            grad.values(),
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
        vec![shaped(Some(dx), x), shaped(Some(dgamma), gamma), shaped(Some(dbeta), beta)]
    }
}

/// `[B, c, h, w] -> [B, c, h, w]`: zero mean and unit variance over each of so many groups of channels, then
/// every channel scaled and shifted; SiLU of that if asked for.
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    with_silu: bool,
) -> Tensor<4> {
    let op = GroupNorm { groups, eps: eps as f32, silu: with_silu };
    apply3(op, x, gamma, beta, |x, gamma, beta| {
        let [b, c, h, w] = x.dims();
        let x = x.reshape([b, groups, c / groups * h * w]);
        let x = x.clone() - x.mean_dim(2);
        let x = x.clone() / (x.square().mean_dim(2) + eps).sqrt();
        let each = |values: Tensor<1>| values.reshape([1, c, 1, 1]);
        let y = x.reshape([b, c, h, w]) * each(gamma) + each(beta);
        if with_silu { silu(y) } else { y }
    })
}
