//! Layers that a voice's style moves: norms whose scale and shift it tells (Huang and Belongie 2017,
//! <https://arxiv.org/abs/1703.06868>), and blocks of convolutions between them.

use sensorium_nn::prelude::*;

use crate::audio::{pointwise, same};

/// Epsilon of all norms: PyTorch's default, which no checkpoint states.
pub(super) const EPS: f64 = 1e-5;

/// What is left of values below zero, but in the last steps.
pub(super) const SLOPE: f64 = 0.2;

/// To a mean of 0 and a deviation of 1, then as the style says.
#[derive(Module, Debug)]
pub(super) struct AdaNorm {
    fc: Linear,
}

sensorium_nn::pack!(AdaNorm: fc);

impl AdaNorm {
    pub(super) fn init([style, channels]: [usize; 2], init: &mut Init) -> Self {
        Self { fc: Linear::init(style, 2 * channels, true, (style as f64).powf(-0.5), init) }
    }

    /// Each channel over all frames (AdaIN): `x [1, T, c], style [1, 1, S] -> [1, T, c]`.
    pub(super) fn channels(&self, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        self.over(1, x, style)
    }

    /// Each frame over all channels, of the same shapes.
    pub(super) fn frames(&self, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        self.over(2, x, style)
    }

    fn over(&self, axis: usize, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        let c = x.dims()[2];
        let centred = x.clone() - x.mean_dim(axis);
        let variance = centred.clone().square().mean_dim(axis);
        let both = self.fc.forward(style.clone());
        let [gamma, beta] = [0, c].map(|at| both.clone().narrow(2, at, c));
        (gamma + 1.0) * centred / (variance + EPS).sqrt() + beta
    }
}

/// Two convolutions behind norms, and beside them what came in; some make twice as many frames.
#[derive(Module, Debug)]
pub(super) struct StyledBlock {
    norm1: AdaNorm,
    pool: Option<Doubling>,
    conv1: Conv1d,
    norm2: AdaNorm,
    conv2: Conv1d,
    /// Of what came in, where the block changes its channels.
    shortcut: Option<Conv1d>,
}

sensorium_nn::pack!(StyledBlock: norm1, conv1, norm2, conv2, shortcut);

impl StyledBlock {
    pub(super) fn init(
        [c_in, c_out]: [usize; 2],
        style: usize,
        doubles: bool,
        init: &mut Init,
    ) -> Self {
        Self {
            norm1: AdaNorm::init([style, c_in], init),
            pool: doubles.then(|| Doubling::init(c_in, init)),
            conv1: same([c_in, c_out], 3, 1, init),
            norm2: AdaNorm::init([style, c_out], init),
            conv2: same([c_out; 2], 3, 1, init),
            shortcut: (c_in != c_out).then(|| pointwise([c_in, c_out], init).without_bias()),
        }
    }

    /// `x [1, T, c_in], style [1, 1, S] -> [1, T, c_out]`, or twice as many frames.
    pub(super) fn forward(&self, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        let y = fused::leaky_relu(self.norm1.channels(x.clone(), style), SLOPE);
        let (x, y) = match &self.pool {
            Some(pool) => (twice(x), pool.forward(y)),
            None => (x, y),
        };
        let y = self.norm2.channels(self.conv1.forward(y), style);
        let y = self.conv2.forward(fused::leaky_relu(y, SLOPE));
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        (x + y) / std::f64::consts::SQRT_2
    }
}

/// Each frame twice, `[1, T, c] -> [1, 2 T, c]`.
fn twice(x: Tensor<3>) -> Tensor<3> {
    interleaved(x.clone(), x)
}

/// Frames of the one and of the other in turn, `2 x [1, T, c] -> [1, 2 T, c]`.
fn interleaved(even: Tensor<3>, odd: Tensor<3>) -> Tensor<3> {
    let [b, t, c] = even.dims();
    Tensor::cat(vec![even, odd], 2).reshape([b, 2 * t, c])
}

/// A transposed convolution of kernel 3 and stride 2, each channel by itself.
#[derive(Module, Debug)]
struct Doubling {
    /// `[c, 1, 3]`.
    weight: Param<Tensor<3>>,
    /// `[c]`.
    bias: Param<Tensor<1>>,
}

impl Doubling {
    fn init(channels: usize, init: &mut Init) -> Self {
        Self {
            weight: init.normal([channels, 1, 3], 3f64.powf(-0.5)),
            bias: init.constant([channels], 0.0),
        }
    }

    /// `[1, T, c] -> [1, 2 T, c]`: of the frames between two, both tell; of the others, one.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, c] = x.dims();
        let tap = |k: usize| self.weight.val().narrow(2, k, 1).reshape([1, 1, c]);
        let after = Tensor::zeros([b, 1, c], &x.device());
        let next = Tensor::cat(vec![x.clone().narrow(1, 1, t - 1), after], 1);
        let odd = x.clone() * tap(2) + next * tap(0);
        interleaved(x * tap(1), odd) + self.bias.val().reshape([1, 1, c])
    }
}
