//! BigVGAN: HiFi-GAN whose values are bent by sines, each between two samplings, so that no tone is folded back.
//!
//! Lee et al. 2023, <https://arxiv.org/abs/2206.04658>, without its discriminators.
//!
//! ```text
//! frames [1, F, bands] ──conv──▶ [1, F, c] ──rate, blocks──▶ [1, F·rate, c / 2] .. ──bend, conv──▶ [1, F·hop, 1]
//! ```

use std::f64::consts::{LN_10, PI};

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::audio::same;

/// Shape of a [`BigVgan`].
#[derive(Clone, Debug, PartialEq)]
pub struct BigVganConfig {
    /// Bands of a frame.
    pub bands: usize,
    /// Channels before the first step, half as many after each.
    pub channels: usize,
    /// Of each step, by how much longer it makes the sound, and its kernel.
    pub upsamples: Vec<[usize; 2]>,
    /// Kernels and dilations of the blocks after each step.
    pub blocks: Vec<(usize, Vec<usize>)>,
}

/// Frames that the first and the last convolution read.
const KERNEL: usize = 7;

/// The quietest level in dB, and what is taken from all: spectrograms go from there to 0 dB as from -1 to 1.
const QUIETEST: f64 = -115.0;
const REFERENCE: f64 = 20.0;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct BigVgan {
    pre: Conv1d,
    ups: Vec<ConvTranspose1d>,
    blocks: Vec<AmpBlock>,
    bend: Snake,
    post: Conv1d,
}

sensorium_nn::pack!(BigVgan: pre, ups, blocks, post);

impl BigVgan {
    /// Seeded weights.
    pub fn init(config: &BigVganConfig, init: &mut Init) -> Self {
        let channels = |step: usize| config.channels >> step;
        let up = |(i, &[rate, kernel]): (usize, &[usize; 2]), init: &mut Init| {
            let shape = [kernel, rate, (kernel - rate) / 2];
            ConvTranspose1d::init([channels(i), channels(i + 1)], shape, init)
        };
        let steps = 1..=config.upsamples.len();
        let blocks = steps.flat_map(|step| config.blocks.iter().map(move |block| (step, block)));
        let last = channels(config.upsamples.len());
        Self {
            pre: same([config.bands, channels(0)], KERNEL, 1, init),
            ups: config.upsamples.iter().enumerate().map(|step| up(step, init)).collect(),
            blocks: blocks
                .map(|(step, (kernel, dilations))| {
                    AmpBlock::init([channels(step), *kernel], dilations, init)
                })
                .collect(),
            bend: Snake::init(last, init),
            post: same([last, 1], KERNEL, 1, init).without_bias(),
        }
    }

    /// Samples of log-mel features `[1, F, bands]`, -1 to 1.
    pub fn samples(&self, log_mel: Tensor<3>) -> Vec<f32> {
        let mut x = self.pre.forward(levels(log_mel));
        let each = self.blocks.len() / self.ups.len().max(1);
        for (up, blocks) in self.ups.iter().zip(self.blocks.chunks(each.max(1))) {
            x = up.forward(x);
            let read = blocks.iter().map(|block| block.forward(x.clone()));
            let sum = read.reduce(|sum, y| sum + y).unwrap_or_else(|| x.clone());
            x = sum / blocks.len() as f64;
        }
        read(self.post.forward(self.bend.forward(x)).clamp(-1.0, 1.0))
    }
}

/// Natural logarithms of magnitudes as levels from -1 to 1.
fn levels(log_mel: Tensor<3>) -> Tensor<3> {
    let decibels = (log_mel * (20.0 / LN_10)).clamp_min(QUIETEST) - REFERENCE;
    (((decibels - QUIETEST) * (2.0 / -QUIETEST)) - 1.0).clamp(-1.0, 1.0)
}

/// Pairs of convolutions, the first of each at its own distance, each behind a [`Snake`] (AMP, section 3.2).
#[derive(Module, Debug)]
struct AmpBlock {
    convs1: Vec<Conv1d>,
    convs2: Vec<Conv1d>,
    /// Before each convolution, in the order in which they read.
    bends: Vec<Snake>,
}

sensorium_nn::pack!(AmpBlock: convs1, convs2);

impl AmpBlock {
    fn init([channels, kernel]: [usize; 2], dilations: &[usize], init: &mut Init) -> Self {
        let mut conv = |dilation| same([channels; 2], kernel, dilation, init);
        Self {
            convs1: dilations.iter().map(|&dilation| conv(dilation)).collect(),
            convs2: dilations.iter().map(|_| conv(1)).collect(),
            bends: (0..2 * dilations.len()).map(|_| Snake::init(channels, init)).collect(),
        }
    }

    /// `[1, T, c] -> [1, T, c]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let pairs = self.convs1.iter().zip(&self.convs2).zip(self.bends.chunks(2));
        pairs.fold(x, |x, ((conv1, conv2), bends)| {
            let y = conv1.forward(bends[0].forward(x.clone()));
            x + conv2.forward(bends[1].forward(y))
        })
    }
}

/// `x + sin²(αx) / β`, an α and a β for each channel, of twice as many samples as come in and go out: what the sine
/// adds above half the rate is filtered away. Both are learned as their logarithms.
#[derive(Module, Debug)]
struct Snake {
    /// `[c]`.
    alpha: Param<Tensor<1>>,
    /// `[c]`.
    beta: Param<Tensor<1>>,
}

/// Added to β, so that nothing is divided by zero.
const LEAST: f64 = 1e-9;

impl Snake {
    fn init(channels: usize, init: &mut Init) -> Self {
        Self { alpha: init.constant([channels], 0.0), beta: init.constant([channels], 0.0) }
    }

    /// `[1, T, c] -> [1, T, c]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [alpha, beta] = [&self.alpha, &self.beta].map(|x| x.val().exp().unsqueeze::<3>());
        let scale = (beta + LEAST).recip();
        let bent = |x: Tensor<3>| x.clone() + (x * alpha.clone()).sin().square() * scale.clone();
        let [even, odd] = doubled(x).map(bent);
        halved(even, odd)
    }
}

/// Taps of the filter at even places, and as many at odd ones.
const TAPS: usize = 6;

/// A sinc of a quarter of the rate under Kaiser's window, `[even, odd]`, whose taps sum up to 1.
fn filter() -> [[f64; TAPS]; 2] {
    /// Width of the slope from what passes to what does not, as Kaiser's formula has it.
    const SLOPE: f64 = 1.2;
    let half = TAPS as f64;
    let attenuation = 2.285 * (half - 1.0) * PI * SLOPE + 7.95;
    let beta = 0.1102 * (attenuation - 8.7);
    let taps: Vec<f64> = (0..2 * TAPS)
        .map(|i| {
            let at = i as f64 - half + 0.5;
            let x = at / (half - 0.5);
            let window = bessel(beta * (1.0 - x * x).max(0.0).sqrt()) / bessel(beta);
            window * (PI * at / 2.0).sin() / (PI * at / 2.0)
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    [0, 1].map(|odd| std::array::from_fn(|i| taps[2 * i + odd] / sum))
}

/// The modified Bessel function of order 0, by its series.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let terms = (1..64).scan(1.0, |term, k| {
        *term *= quarter / f64::from(k * k);
        Some(*term)
    });
    1.0 + terms.sum::<f64>()
}

/// Samples at even and at odd places of the doubled rate, `[1, T, c] -> 2 x [1, T, c]`.
fn doubled(x: Tensor<3>) -> [Tensor<3>; 2] {
    let t = x.dims()[1];
    let ends = [0, t - 1].map(|at| x.clone().narrow(1, at, 1));
    let x = edged(x, &ends, [TAPS / 2; 2]);
    let [even, odd] = filter();
    // Between each two there is now a zero, which takes half the strength.
    [filtered(&x, even, 0) * 2.0, filtered(&x, odd, 1) * 2.0].map(|x| x.narrow(1, 0, t))
}

/// The other way.
fn halved(even: Tensor<3>, odd: Tensor<3>) -> Tensor<3> {
    let t = even.dims()[1];
    let ends = [even.clone().narrow(1, 0, 1), odd.clone().narrow(1, t - 1, 1)];
    let taps = filter();
    let even = filtered(&edged(even, &ends, [TAPS / 2 - 1, TAPS / 2]), taps[1], 0);
    even + filtered(&edged(odd, &ends, [TAPS / 2, TAPS / 2 - 1]), taps[0], 0)
}

/// A sequence with what stands at its ends so many times more.
fn edged(x: Tensor<3>, [first, last]: &[Tensor<3>; 2], [before, behind]: [usize; 2]) -> Tensor<3> {
    let more = |end: &Tensor<3>, times| end.clone().repeat_dim(1, times);
    Tensor::cat(vec![more(first, before), x, more(last, behind)], 1)
}

/// What the taps read of each place from `at` on, `[1, T, c] -> [1, T - at - 5, c]`.
fn filtered(x: &Tensor<3>, taps: [f64; TAPS], at: usize) -> Tensor<3> {
    let t = x.dims()[1] - at - (TAPS - 1);
    let tap = |(i, tap): (usize, f64)| x.clone().narrow(1, at + i, t) * tap;
    let [first, rest @ ..] = taps;
    let rest = rest.into_iter().enumerate().map(|(i, weight)| (i + 1, weight));
    rest.fold(tap((0, first)), |sum, next| sum + tap(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone far below half the rate goes through both samplings as it is, and so does a constant.
    #[test]
    fn slow_tones_pass() {
        let wave = |i: usize| (i as f32 * 0.3).sin();
        let x: Vec<f32> = (0..64).flat_map(|i| [wave(i), 2.0]).collect();
        let x = Tensor::<3>::from_data(TensorData::new(x, [1, 64, 2]), &Device::flex());
        let [even, odd] = doubled(x.clone());
        let between = read(odd.clone());
        let passed = read(halved(even, odd) - x);
        for i in 8..56 {
            assert!((between[2 * i] - (i as f32 * 0.3 + 0.075).sin()).abs() < 0.02, "{i}");
            assert!(passed[2 * i].abs() < 0.02 && passed[2 * i + 1].abs() < 1e-5, "{i}");
        }
    }
}
