//! Channels of frames to samples: steps that make the sound longer, and blocks that read it at several distances.

use sensorium_nn::prelude::*;

use super::{VitsConfig, same};

/// Frames that the first and the last convolution read.
const KERNEL: usize = 7;

/// What is left of values below zero before the last convolution: PyTorch's default.
const LAST_SLOPE: f64 = 0.01;

/// See the [module](self).
#[derive(Module, Debug)]
pub(super) struct HifiGan {
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
    pub(super) fn init(config: &VitsConfig, speaker: Option<usize>, init: &mut Init) -> Self {
        let decoder = &config.decoder;
        let channels = |step: usize| decoder.channels >> step;
        let up = |(i, &[rate, kernel]): (usize, &[usize; 2]), init: &mut Init| {
            let shape = [kernel, rate, (kernel - rate) / 2];
            ConvTranspose1d::init([channels(i), channels(i + 1)], shape, init)
        };
        let steps = 1..=decoder.upsamples.len();
        let blocks = steps.flat_map(|step| decoder.blocks.iter().map(move |block| (step, block)));
        let last = channels(decoder.upsamples.len());
        Self {
            pre: same([config.channels, channels(0)], KERNEL, 1, init),
            voice: speaker.map(|width| super::pointwise([width, channels(0)], init)),
            ups: decoder.upsamples.iter().enumerate().map(|step| up(step, init)).collect(),
            blocks: blocks
                .map(|(step, (kernel, dilations))| {
                    Reading::init(channels(step), *kernel, dilations, init)
                })
                .collect(),
            post: same([last, 1], KERNEL, 1, init).without_bias(),
            slope: decoder.slope,
        }
    }

    /// `[1, F, C] -> [1, F·hop, 1]`, -1 to 1.
    pub(super) fn forward(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
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

/// Pairs of convolutions, the first of each at its own distance.
#[derive(Module, Debug)]
struct Reading {
    convs1: Vec<Conv1d>,
    convs2: Vec<Conv1d>,
}

sensorium_nn::pack!(Reading: convs1, convs2);

impl Reading {
    fn init(channels: usize, kernel: usize, dilations: &[usize], init: &mut Init) -> Self {
        let mut conv = |dilation| same([channels; 2], kernel, dilation, init);
        Self {
            convs1: dilations.iter().map(|&dilation| conv(dilation)).collect(),
            convs2: dilations.iter().map(|_| conv(1)).collect(),
        }
    }

    /// `[1, T, c] -> [1, T, c]`
    fn forward(&self, x: Tensor<3>, slope: f64) -> Tensor<3> {
        self.convs1.iter().zip(&self.convs2).fold(x, |x, (conv1, conv2)| {
            let y = conv1.after_leaky_relu(x.clone(), slope);
            conv2.onto(x, y, slope)
        })
    }
}
