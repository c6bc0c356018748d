//! HiFi-GAN: channels of frames to samples, by steps that make the sound longer, and blocks that read it at several
//! distances.
//!
//! Kong et al. 2020, <https://arxiv.org/abs/2010.05646>, without its discriminators.
//!
//! ```text
//! frames [1, F, C] ──conv──▶ [1, F, c] ──rate, blocks──▶ [1, F·rate, c / 2] .. ──conv──▶ samples [1, F·hop, 1]
//! ```

use sensorium_nn::prelude::*;

use super::{pointwise, same};

/// Shape of a [`HifiGan`].
#[derive(Clone, Debug, PartialEq)]
pub struct HifiGanConfig {
    /// Channels before the first step, half as many after each.
    pub channels: usize,
    /// Of each step, by how much longer it makes the sound, and its kernel.
    pub upsamples: Vec<[usize; 2]>,
    /// Kernels and dilations of the blocks after each step.
    pub blocks: Vec<(usize, Vec<usize>)>,
    /// Whether the blocks' convolutions come in pairs: ResBlock1 of the paper's table, not its ResBlock2.
    pub paired: bool,
    /// What is left of values below zero.
    pub slope: f64,
    /// Whether the last convolution has a bias.
    pub bias: bool,
}

impl HifiGanConfig {
    /// Samples of a frame.
    pub fn hop(&self) -> usize {
        self.upsamples.iter().map(|[rate, _]| rate).product()
    }
}

/// Frames that the first and the last convolution read.
const KERNEL: usize = 7;

/// What is left of values below zero before the last convolution: PyTorch's default.
const LAST_SLOPE: f64 = 0.01;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct HifiGan {
    pre: Conv1d,
    voice: Option<Conv1d>,
    ups: Vec<ConvTranspose1d>,
    blocks: Vec<Reading>,
    post: Conv1d,
    #[module(skip)]
    slope: f64,
}

sensorium_nn::pack!(HifiGan: pre, voice, ups, blocks, post);

impl HifiGan {
    /// Of frames of `c_in` channels, where the vectors of voices have `speaker`.
    pub fn init(
        c_in: usize,
        config: &HifiGanConfig,
        speaker: Option<usize>,
        init: &mut Init,
    ) -> Self {
        let channels = |step: usize| config.channels >> step;
        let up = |(i, &[rate, kernel]): (usize, &[usize; 2]), init: &mut Init| {
            let shape = [kernel, rate, (kernel - rate) / 2];
            ConvTranspose1d::init([channels(i), channels(i + 1)], shape, init)
        };
        let steps = 1..=config.upsamples.len();
        let blocks = steps.flat_map(|step| config.blocks.iter().map(move |block| (step, block)));
        let last = channels(config.upsamples.len());
        let pre = same([c_in, channels(0)], KERNEL, 1, init);
        let post = same([last, 1], KERNEL, 1, init);
        Self {
            pre,
            voice: speaker.map(|width| pointwise([width, channels(0)], init)),
            ups: config.upsamples.iter().enumerate().map(|step| up(step, init)).collect(),
            blocks: blocks
                .map(|(step, (kernel, dilations))| {
                    Reading::init([channels(step), *kernel], dilations, config.paired, init)
                })
                .collect(),
            post: if config.bias { post } else { post.without_bias() },
            slope: config.slope,
        }
    }

    /// `[1, F, C] -> [1, F·hop, 1]`, -1 to 1.
    pub fn forward(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
        let x = self.pre.forward(x);
        let mut x = match self.voice.as_ref().zip(voice) {
            Some((layer, voice)) => x + layer.forward(voice),
            None => x,
        };
        let each = self.blocks.len() / self.ups.len().max(1);
        for (up, blocks) in self.ups.iter().zip(self.blocks.chunks(each.max(1))) {
            x = up.after_leaky_relu(x, self.slope);
            let read = blocks.iter().map(|block| block.forward(x.clone(), self.slope));
            let sum = read.reduce(|sum, y| sum + y).unwrap_or_else(|| x.clone());
            x = sum / blocks.len() as f64;
        }
        self.post.after_leaky_relu(x, LAST_SLOPE).tanh()
    }
}

/// Pairs of convolutions, the first of each at its own distance; or those first ones alone.
#[derive(Module, Debug)]
struct Reading {
    convs1: Vec<Conv1d>,
    /// As many, or none.
    convs2: Vec<Conv1d>,
}

sensorium_nn::pack!(Reading: convs1, convs2);

impl Reading {
    fn init(
        [channels, kernel]: [usize; 2],
        dilations: &[usize],
        paired: bool,
        init: &mut Init,
    ) -> Self {
        let mut conv = |dilation| same([channels; 2], kernel, dilation, init);
        let second = if paired { dilations.len() } else { 0 };
        Self {
            convs1: dilations.iter().map(|&dilation| conv(dilation)).collect(),
            convs2: (0..second).map(|_| conv(1)).collect(),
        }
    }

    /// `[1, T, c] -> [1, T, c]`
    fn forward(&self, x: Tensor<3>, slope: f64) -> Tensor<3> {
        self.convs1.iter().enumerate().fold(x, |x, (i, conv1)| match self.convs2.get(i) {
            Some(conv2) => conv2.onto(x.clone(), conv1.after_leaky_relu(x, slope), slope),
            None => conv1.onto(x.clone(), x, slope),
        })
    }
}
