//! ConvNeXt: convolutions built as a Transformer's blocks are.
//!
//! Liu et al. 2022, <https://arxiv.org/abs/2201.03545>; without labels learned from a Vision Transformer, Siméoni et al.
//! 2025, section 5, <https://arxiv.org/abs/2508.10104>. The factor of each channel that a block writes is multiplied into
//! the matrix before it when weights are read.
//!
//! ```text
//! image [B, 3, h, w] ──squares of 4x4──▶ stage ──squares of 2x2──▶ stage .. ──▶ [B, E, h/32, w/32]
//!     ──mean of all places in front of them, norm──▶ [B, 1+N, E]
//! ```

use sensorium_nn::prelude::*;

/// Side of a block's kernels.
const KERNEL: usize = 7;

/// Sides of the squares that the first stage reads, and the others.
const STEM: usize = 4;
const STEP: usize = 2;

/// Width inside a block's MLP over its own.
const EXPANSION: usize = 4;

/// Shape of a [`ConvNext`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNextConfig {
    /// Channels of each stage.
    pub hidden_sizes: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Between an MLP's matrices.
    pub activation: Activation,
    /// Epsilon of every norm.
    pub eps: f64,
}

impl ConvNextConfig {
    /// Pixels a side that a place stands for after the last stage.
    pub fn factor(&self) -> usize {
        STEM * STEP.pow(self.hidden_sizes.len().saturating_sub(1) as u32)
    }

    /// Width E of the places after the last stage.
    pub fn width(&self) -> usize {
        self.hidden_sizes.last().copied().unwrap_or_default()
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| ConvNext::init(self, init))
    }
}

/// An image encoder of convolutions (DINOv3's second kind).
#[derive(Module, Debug)]
pub struct ConvNext {
    stages: Vec<Stage>,
    norm: LayerNorm,
}

sensorium_nn::pack!(ConvNext: stages);

impl ConvNext {
    /// Seeded weights.
    pub fn init(config: &ConvNextConfig, init: &mut Init) -> Self {
        let stages = 0..config.hidden_sizes.len();
        Self {
            stages: stages.map(|i| Stage::init(config, i, init)).collect(),
            norm: LayerNorm::init(config.width(), config.eps, init),
        }
    }

    /// Places after so many stages, `[B, 3, h, w] -> [B, c, h', w']`: after none, the picture.
    pub fn hidden(&self, image: Tensor<4>, stages: usize) -> Tensor<4> {
        self.stages.iter().take(stages).fold(image, |x, stage| stage.forward(x))
    }

    /// The mean of all places, then each of them, row by row, after the last norm: `[B, 3, h, w] -> [B, 1+N, E]`.
    pub fn positions(&self, image: Tensor<4>) -> Tensor<3> {
        let x = rows(self.hidden(image, self.stages.len()));
        self.norm.forward(Tensor::cat(vec![x.clone().mean_dim(1), x], 1))
    }

    /// The mean of all places after the last norm: `[B, 3, h, w] -> [B, E]`.
    pub fn embed(&self, image: Tensor<4>) -> Tensor<2> {
        let mean = rows(self.hidden(image, self.stages.len())).mean_dim(1); // [B, 1, E]
        let [b, _, e] = mean.dims();
        self.norm.forward(mean.reshape([b, e]))
    }
}

/// `[B, c, h, w] -> [B, N, c]`
fn rows(x: Tensor<4>) -> Tensor<3> {
    x.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// Fewer places of more channels, then blocks.
#[derive(Module, Debug)]
struct Stage {
    /// Of the first stage behind the convolution, of the others in front of it.
    norm: LayerNorm,
    conv: Conv2d,
    layers: Vec<Layer>,
    #[module(skip)]
    first: bool,
}

sensorium_nn::pack!(Stage: layers);

impl Stage {
    fn init(config: &ConvNextConfig, i: usize, init: &mut Init) -> Self {
        let (c, first) = (config.hidden_sizes[i], i == 0);
        let before = if first { 3 } else { config.hidden_sizes[i - 1] };
        let kernel = if first { STEM } else { STEP };
        let conv =
            Conv2dConfig { c_in: before, c_out: c, kernel, stride: kernel, padding: 0, bias: true };
        Self {
            norm: LayerNorm::init(if first { c } else { before }, config.eps, init),
            conv: Conv2d::init(conv, init),
            layers: (0..config.depths[i]).map(|_| Layer::init(c, config, init)).collect(),
            first,
        }
    }

    /// `[B, c_in, h, w] -> [B, c, h', w']`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match self.first {
            true => normed(&self.norm, self.conv.forward(x)),
            false => self.conv.forward(normed(&self.norm, x)),
        };
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

/// The norm of each place's channels, `[B, c, h, w] -> [B, c, h, w]`.
fn normed(norm: &LayerNorm, x: Tensor<4>) -> Tensor<4> {
    norm.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}

/// `x + mlp(norm(depthwise(x)))`
#[derive(Module, Debug)]
struct Layer {
    depthwise: DepthwiseConv2d,
    norm: LayerNorm,
    mlp: Mlp,
}

sensorium_nn::pack!(Layer: mlp);

impl Layer {
    fn init(c: usize, config: &ConvNextConfig, init: &mut Init) -> Self {
        let (hidden, n_layers) = (EXPANSION * c, config.depths.iter().sum::<usize>());
        let write = (hidden as f64 * n_layers as f64).powf(-0.5);
        Self {
            depthwise: DepthwiseConv2d::init(c, KERNEL, init),
            norm: LayerNorm::init(c, config.eps, init),
            mlp: Mlp::init([c, hidden, c], config.activation, [(c as f64).powf(-0.5), write], init),
        }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let y = self.norm.forward(rows(self.depthwise.forward(x.clone())));
        self.mlp.add_to(rows(x), y).swap_dims(1, 2).reshape([b, c, h, w])
    }
}
