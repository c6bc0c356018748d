//! From phonemes over their frames to samples: blocks that the style moves, and iSTFTNet (Kaneko et al. 2022,
//! <https://arxiv.org/abs/2203.02395>), whose last step is an inverse STFT, around the sines of the voice's height.

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::source::Source;
use super::stft::Stft;
use super::style::{AdaNorm, StyledBlock};
use super::{IstftNetConfig, KokoroConfig};
use crate::audio::{pointwise, same};

/// What is left of values below zero before each step, and before the last convolution.
const SLOPE: f64 = 0.1;
const LAST_SLOPE: f64 = 0.01;

/// Frames that the last convolution reads, and the blocks that read sines: before the last step, and at it.
const KERNEL: usize = 7;
const SOURCE_KERNELS: [usize; 2] = [7, 11];

/// Distances of their convolutions.
const DILATIONS: [usize; 3] = [1, 3, 5];

/// See the [module](self).
#[derive(Module, Debug)]
pub(super) struct Decoder {
    pitch: Conv1d,
    energy: Conv1d,
    beside: Conv1d,
    encode: StyledBlock,
    decode: Vec<StyledBlock>,
    net: IstftNet,
}

sensorium_nn::pack!(Decoder: pitch, energy, beside, encode, decode, net);

impl Decoder {
    pub(super) fn init(config: &KokoroConfig, init: &mut Init) -> Self {
        let (d, style) = (config.hidden_size, config.style);
        // The published widths are 512, 1024 and 64.
        let (wide, narrow) = (2 * d, d / 8);
        let halving = |init: &mut Init| {
            let config = Conv1dConfig { c_in: 1, c_out: 1, kernel: 3, stride: 2, padding: 1 };
            Conv1d::init(config, init)
        };
        let with = wide + narrow + 2;
        let block = |i: usize, init: &mut Init| match i {
            3 => StyledBlock::init([with, config.net.channels], style, true, init),
            _ => StyledBlock::init([with, wide], style, false, init),
        };
        Self {
            pitch: halving(init),
            energy: halving(init),
            beside: pointwise([d, narrow], init),
            encode: StyledBlock::init([d + 2, wide], style, false, init),
            decode: (0..4).map(|i| block(i, init)).collect(),
            net: IstftNet::init(&config.net, style, init),
        }
    }

    /// Samples of `x [1, F, D]`, and of height and loudness, `[1, 2 F, 1]`.
    pub(super) fn samples(
        &self,
        x: Tensor<3>,
        [height, loudness]: [Tensor<3>; 2],
        style: &Tensor<3>,
        noise: &mut dyn FnMut(usize) -> Vec<f32>,
    ) -> Vec<f32> {
        let hertz = read(height.clone());
        let curves = [self.pitch.forward(height), self.energy.forward(loudness)];
        let beside = self.beside.forward(x.clone());
        let with = |parts: &[&Tensor<3>]| {
            Tensor::cat(parts.iter().copied().chain(&curves).cloned().collect(), 2)
        };
        let x = self.encode.forward(with(&[&x]), style);
        let x = self.decode.iter().fold(x, |x, block| block.forward(with(&[&x, &beside]), style));
        self.net.samples(x, &hertz, style, noise)
    }
}

/// Steps that make the sound longer, each with what sines say, and the inverse STFT.
#[derive(Module, Debug)]
struct IstftNet {
    source: Source,
    ups: Vec<ConvTranspose1d>,
    source_convs: Vec<Conv1d>,
    source_blocks: Vec<SnakeBlock>,
    blocks: Vec<SnakeBlock>,
    post: Conv1d,
    #[module(skip)]
    rate: usize,
    #[module(skip)]
    n_fft: usize,
    #[module(skip)]
    hop: usize,
}

sensorium_nn::pack!(IstftNet: ups, source_convs, source_blocks, blocks, post);

impl IstftNet {
    fn init(config: &IstftNetConfig, style: usize, init: &mut Init) -> Self {
        let channels = |step: usize| config.channels >> step;
        let steps = config.upsamples.len();
        let up = |(i, &[rate, kernel]): (usize, &[usize; 2]), init: &mut Init| {
            let shape = [kernel, rate, (kernel - rate) / 2];
            ConvTranspose1d::init([channels(i), channels(i + 1)], shape, init)
        };
        // Frames of the sines' STFT for one at each step.
        let rest =
            |i: usize| config.upsamples[i + 1..].iter().map(|[rate, _]| rate).product::<usize>();
        let source_conv = |i: usize, init: &mut Init| {
            let (c_in, c_out, stride) = (config.n_fft + 2, channels(i + 1), rest(i));
            let [kernel, padding] =
                if i + 1 < steps { [2 * stride, stride.div_ceil(2)] } else { [1, 0] };
            Conv1d::init(Conv1dConfig { c_in, c_out, kernel, stride, padding }, init)
        };
        let source_block = |i: usize, init: &mut Init| {
            let kernel = SOURCE_KERNELS[usize::from(i + 1 == steps)];
            SnakeBlock::init([channels(i + 1), kernel], &DILATIONS, style, init)
        };
        let blocks = (1..=steps).flat_map(|step| config.blocks.iter().map(move |b| (step, b)));
        Self {
            source: Source::init(init),
            ups: config.upsamples.iter().enumerate().map(|step| up(step, init)).collect(),
            source_convs: (0..steps).map(|i| source_conv(i, init)).collect(),
            source_blocks: (0..steps).map(|i| source_block(i, init)).collect(),
            blocks: blocks
                .map(|(step, (kernel, dilations))| {
                    SnakeBlock::init([channels(step), *kernel], dilations, style, init)
                })
                .collect(),
            post: same([channels(steps), config.n_fft + 2], KERNEL, 1, init),
            rate: config.rate(),
            n_fft: config.n_fft,
            hop: config.hop,
        }
    }

    /// `x [1, T, C]` and T heights in Hz.
    fn samples(
        &self,
        mut x: Tensor<3>,
        hertz: &[f32],
        style: &Tensor<3>,
        noise: &mut dyn FnMut(usize) -> Vec<f32>,
    ) -> Vec<f32> {
        let stft = Stft::new(self.n_fft, self.hop);
        let sines = stft.polar(&self.source.samples(hertz, self.rate, noise));
        let shape = [1, sines.len() / (self.n_fft + 2), self.n_fft + 2];
        let sines = Tensor::from_data(TensorData::new(sines, shape), &x.device());
        let each = self.blocks.len() / self.ups.len();
        for (i, (up, blocks)) in self.ups.iter().zip(self.blocks.chunks(each)).enumerate() {
            x = up.forward(fused::leaky_relu(x, SLOPE));
            if i + 1 == self.ups.len() {
                // A frame more, as an STFT has: the second one stands before the first, too.
                x = Tensor::cat(vec![x.clone().narrow(1, 1, 1), x], 1);
            }
            let told = self.source_convs[i].forward(sines.clone());
            x = x + self.source_blocks[i].forward(told, style);
            let read = blocks.iter().map(|block| block.forward(x.clone(), style));
            let sum = read.reduce(|sum, y| sum + y).unwrap_or_else(|| x.clone());
            x = sum / blocks.len() as f64;
        }
        let mut frames = read(self.post.forward(fused::leaky_relu(x, LAST_SLOPE)));
        for frame in frames.chunks_mut(self.n_fft + 2) {
            let (magnitudes, angles) = frame.split_at_mut(self.n_fft / 2 + 1);
            magnitudes.iter_mut().for_each(|x| *x = x.exp());
            angles.iter_mut().for_each(|x| *x = x.sin());
        }
        stft.samples(&frames)
    }
}

/// Pairs of convolutions, each behind a norm and a periodic activation (Ziyin et al. 2020,
/// <https://arxiv.org/abs/2006.08195>).
#[derive(Module, Debug)]
struct SnakeBlock {
    convs1: Vec<Conv1d>,
    convs2: Vec<Conv1d>,
    norms1: Vec<AdaNorm>,
    norms2: Vec<AdaNorm>,
    /// `[1, c, 1]` each.
    alphas1: Vec<Param<Tensor<3>>>,
    alphas2: Vec<Param<Tensor<3>>>,
}

sensorium_nn::pack!(SnakeBlock: convs1, convs2, norms1, norms2);

impl SnakeBlock {
    fn init(
        [channels, kernel]: [usize; 2],
        dilations: &[usize],
        style: usize,
        init: &mut Init,
    ) -> Self {
        let each = |init: &mut Init| {
            dilations.iter().map(|_| AdaNorm::init([style, channels], init)).collect()
        };
        let alphas = |init: &mut Init| {
            dilations.iter().map(|_| init.constant([1, channels, 1], 1.0)).collect()
        };
        let convs = dilations.iter().map(|&dilation| same([channels; 2], kernel, dilation, init));
        Self {
            convs1: convs.collect(),
            convs2: dilations.iter().map(|_| same([channels; 2], kernel, 1, init)).collect(),
            norms1: each(init),
            norms2: each(init),
            alphas1: alphas(init),
            alphas2: alphas(init),
        }
    }

    /// `x [1, T, c], style [1, 1, S] -> [1, T, c]`
    fn forward(&self, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        (0..self.convs1.len()).fold(x, |x, i| {
            let y = self.norms1[i].channels(x.clone(), style);
            let y = self.convs1[i].forward(snake(y, &self.alphas1[i]));
            let y = self.norms2[i].channels(y, style);
            x + self.convs2[i].forward(snake(y, &self.alphas2[i]))
        })
    }
}

/// `x + sin²(a x) / a`, an `a` for each channel.
fn snake(x: Tensor<3>, alpha: &Param<Tensor<3>>) -> Tensor<3> {
    let alpha = alpha.val().swap_dims(1, 2);
    x.clone() + (x * alpha.clone()).sin().square() / alpha
}
