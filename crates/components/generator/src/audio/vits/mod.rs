//! VITS: letters to samples, by one model.
//!
//! Kim et al. 2021, <https://arxiv.org/abs/2106.06103>, without what only its training needs.
//!
//! ```text
//! letters [T] ──text encoder──▶ [1, T, D], means and deviations [1, T, C] ──each as long as it lasts──▶ [1, F, C]
//!                 └──durations, of noise──▶ frames of each letter ──────────┘
//! means + noise ──flow, backwards──▶ [1, F, C] ──decoder──▶ samples
//! ```

mod duration;
mod flow;
mod spline;
mod text;

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;

use duration::{Durations, PlainDurations, StochasticDurations};
use flow::Flow;
use text::TextEncoder;

use super::hifigan::{HifiGan, HifiGanConfig};

/// Shape of a [`Vits`].
#[derive(Clone, Debug, PartialEq)]
pub struct VitsConfig {
    /// Letters that it knows.
    pub vocab_size: usize,
    /// Width D of the text encoder, and of all else but the decoder.
    pub hidden_size: usize,
    /// Blocks of the text encoder.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// How far apart letters may stand that are told apart by it.
    pub window: usize,
    /// Whether attention has biases.
    pub bias: bool,
    /// Width inside the blocks' convolutions.
    pub intermediate_size: usize,
    /// Letters that they read; odd.
    pub kernel: usize,
    /// Between them.
    pub activation: Activation,
    /// Epsilon of the blocks' norms.
    pub eps: f64,
    /// Channels C of what is decoded; even.
    pub channels: usize,
    /// How long a letter lasts.
    pub durations: DurationConfig,
    /// The flow's layers.
    pub flow: FlowConfig,
    /// From channels to samples.
    pub decoder: HifiGanConfig,
    /// Voices, and the width of their vectors, where there are several.
    pub speakers: Option<[usize; 2]>,
}

/// Shape of what tells how long letters last.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationConfig {
    /// Drawn: a flow from noise.
    Stochastic {
        /// Layers of the flow that are run.
        flows: usize,
        /// Convolutions of each.
        convs: usize,
        /// Letters that they read; odd. Each reads letters that are so much further apart.
        kernel: usize,
        /// Bins of a layer's spline.
        bins: usize,
        /// Where the spline ends, on either side of 0.
        bound: f64,
    },
    /// Told.
    Plain {
        /// Width of the convolutions.
        channels: usize,
        /// Letters that they read; odd.
        kernel: usize,
        /// Epsilon of the norms.
        eps: f64,
    },
}

/// Shape of the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// Layers.
    pub flows: usize,
    /// Gated convolutions of each.
    pub layers: usize,
    /// Frames that they read; odd.
    pub kernel: usize,
    /// By how much further apart each of them reads frames.
    pub dilation: usize,
}

impl VitsConfig {
    /// Samples of a frame.
    pub fn hop(&self) -> usize {
        self.decoder.hop()
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Vits::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Vits {
    text: TextEncoder,
    durations: Durations,
    flow: Flow,
    decoder: HifiGan,
    speakers: Option<Embedding>,
    #[module(skip)]
    channels: usize,
}

sensorium_nn::pack!(Vits: text, durations, flow, decoder);

/// What is drawn, and how loud it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitsNoise {
    /// Of what is decoded.
    pub scale: f64,
    /// Of durations.
    pub duration_scale: f64,
}

/// What the text encoder makes of letters.
#[derive(Clone, Debug)]
pub struct VitsText {
    /// `[1, T, D]`
    pub hidden: Tensor<3>,
    /// `[1, T, C]`
    pub means: Tensor<3>,
    /// Logarithms of deviations, `[1, T, C]`.
    pub deviations: Tensor<3>,
}

/// Frames of the longest letter: about ten seconds.
const LONGEST: f64 = 1000.0;

impl Vits {
    /// Weights of `fan_in^-0.5` or thereabouts.
    pub fn init(config: &VitsConfig, init: &mut Init) -> Self {
        let speaker = config.speakers.map(|[_, width]| width);
        Self {
            text: TextEncoder::init(config, init),
            durations: match &config.durations {
                DurationConfig::Stochastic { .. } => {
                    Durations::Stochastic(StochasticDurations::init(config, speaker, init))
                }
                DurationConfig::Plain { .. } => {
                    Durations::Plain(PlainDurations::init(config, speaker, init))
                }
            },
            flow: Flow::init(config, speaker, init),
            decoder: HifiGan::init(config.channels, &config.decoder, speaker, init),
            speakers: config.speakers.map(|[n, width]| Embedding::init(n, width, 1.0, init)),
            channels: config.channels,
        }
    }

    /// What letters say, `[T]`.
    pub fn read(&self, letters: &[u32]) -> VitsText {
        let hidden = self.text.hidden(letters, usize::MAX);
        let [means, deviations] = self.text.prior(hidden.clone());
        VitsText { hidden, means, deviations }
    }

    /// Positions of the text encoder after so many blocks, `[1, T, D]`: after none, what the first one reads.
    pub fn hidden(&self, letters: &[u32], blocks: usize) -> Tensor<3> {
        self.text.hidden(letters, blocks)
    }

    /// Frames of each letter at a speed, of `noise` `[2, T]`, which what is told does not read.
    pub fn frames(
        &self,
        text: &VitsText,
        voice: Option<u32>,
        noise: &[f32],
        speed: f64,
    ) -> Vec<usize> {
        let logs = self.durations.logs(text.hidden.clone(), self.vector(voice), noise);
        let frames = |log: f32| (f64::from(log).exp() / speed).ceil().clamp(0.0, LONGEST) as usize;
        let mut frames: Vec<usize> = logs.into_iter().map(frames).collect();
        if frames.iter().all(|&n| n == 0)
            && let Some(last) = frames.last_mut()
        {
            *last = 1;
        }
        frames
    }

    /// What is decoded: `noise` of deviation 1, `[F, C]`, times `scale`, through the flow; `[1, F, C]`.
    pub fn latents(
        &self,
        text: &VitsText,
        frames: &[usize],
        voice: Option<u32>,
        noise: Vec<f32>,
        scale: f64,
    ) -> Tensor<3> {
        let rows = |(i, &n): (usize, &usize)| std::iter::repeat_n(i as i32, n);
        let rows: Vec<i32> = frames.iter().enumerate().flat_map(rows).collect();
        let (all, c) = (rows.len(), self.channels);
        let lasting = |x: &Tensor<3>| {
            let [_, t, _] = x.dims();
            fused::embedding(x.clone().reshape([t, c]), rows.clone()).reshape([1, all, c])
        };
        let [means, deviations] = [&text.means, &text.deviations].map(lasting);
        let noise = Tensor::from_data(TensorData::new(noise, [1, all, c]), &means.device());
        self.flow.backwards(means + noise * deviations.exp() * scale, self.vector(voice))
    }

    /// Samples of what is decoded, `[1, F, C]`.
    pub fn samples(&self, latents: Tensor<3>, voice: Option<u32>) -> Vec<f32> {
        read(self.decoder.forward(latents, self.vector(voice)))
    }

    /// Samples of letters, all noise drawn from a seed; nothing where the model computes no numbers.
    pub fn speak(
        &self,
        letters: &[u32],
        voice: Option<u32>,
        noise: VitsNoise,
        speed: f64,
        seed: u64,
    ) -> Option<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let mut draw = |n: usize, scale: f64| -> Vec<f32> {
            (0..n).map(|_| (rng.normal() * scale) as f32).collect()
        };
        let text = self.read(letters);
        let drawn = draw(2 * letters.len(), noise.duration_scale);
        let frames = self.frames(&text, voice, &drawn, speed);
        let drawn = draw(frames.iter().sum::<usize>() * self.channels, 1.0);
        let samples = self.samples(self.latents(&text, &frames, voice, drawn, noise.scale), voice);
        samples.iter().all(|sample| sample.is_finite()).then_some(samples)
    }

    /// A voice's vector, `[1, 1, S]`.
    fn vector(&self, voice: Option<u32>) -> Option<Tensor<3>> {
        Some(self.speakers.as_ref()?.forward(&[voice?], [1, 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(durations: DurationConfig, speakers: Option<[usize; 2]>) -> VitsConfig {
        VitsConfig {
            vocab_size: 7,
            hidden_size: 8,
            n_layers: 2,
            n_heads: 2,
            window: 2,
            bias: true,
            intermediate_size: 12,
            kernel: 3,
            activation: Activation::Relu,
            eps: 1e-5,
            channels: 6,
            durations,
            flow: FlowConfig { flows: 2, layers: 2, kernel: 5, dilation: 2 },
            decoder: HifiGanConfig {
                channels: 8,
                upsamples: vec![[4, 8], [2, 4]],
                blocks: vec![(3, vec![1, 3]), (5, vec![1])],
                paired: speakers.is_none(),
                slope: 0.1,
                bias: false,
            },
            speakers,
        }
    }

    #[test]
    fn a_seed_says_the_same_twice_and_another_says_it_otherwise() {
        let stochastic =
            DurationConfig::Stochastic { flows: 2, convs: 2, kernel: 3, bins: 4, bound: 5.0 };
        let plain = DurationConfig::Plain { channels: 6, kernel: 3, eps: 1e-5 };
        let noise = VitsNoise { scale: 0.7, duration_scale: 0.8 };
        for (durations, speakers) in [(stochastic, None), (plain, Some([3, 4]))] {
            let config = tiny(durations, speakers);
            let vits = Vits::init(&config, &mut Init::new(5, &Device::flex()));
            let voice = speakers.map(|_| 1);
            let say = |letters: &[u32], voice, seed| {
                vits.speak(letters, voice, noise, 1.0, seed).expect("finite")
            };
            let said = say(&[0, 3, 0, 6, 0], voice, 1);
            assert!(!said.is_empty() && said.len().is_multiple_of(config.hop()));
            assert_eq!(said, say(&[0, 3, 0, 6, 0], voice, 1));
            assert_ne!(said, say(&[0, 3, 0, 6, 0], voice, 2));
            assert!(say(&[2], voice, 1).iter().all(|x| x.abs() <= 1.0));
            if voice.is_some() {
                assert_ne!(said, say(&[0, 3, 0, 6, 0], Some(2), 1));
            }
        }
    }
}
