//! Kokoro: phonemes to samples in a style, StyleTTS 2's decoder without its diffusion.
//!
//! Li et al. 2023, <https://arxiv.org/abs/2306.07691>, section 3; <https://github.com/hexgrad/kokoro>.
//!
//! ```text
//! ids [T] ──ALBERT──▶ [1, T, D] ──LSTMs, style──▶ [1, T, D + S] ──▶ frames of each phoneme
//!                                       over its frames └──▶ height and loudness [1, 2 F, 1]
//! ids [T] ──convolutions, LSTM──▶ [1, T, D] ──over its frames──▶ [1, F, D] ──blocks, iSTFTNet──▶ samples
//! ```

mod decoder;
mod prosody;
mod source;
mod stft;
mod style;
mod text;

use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;

use decoder::Decoder;
use prosody::Prosody;
use text::{Albert, TextEncoder};

pub use source::RATE;

/// Shape of a [`Kokoro`].
#[derive(Clone, Debug, PartialEq)]
pub struct KokoroConfig {
    /// Phonemes that it knows.
    pub vocab_size: usize,
    /// Width D; a multiple of 8.
    pub hidden_size: usize,
    /// Numbers S of a style, of sound and of prosody each.
    pub style: usize,
    /// Layers of the text encoder and of the durations.
    pub n_layers: usize,
    /// Phonemes that the text encoder's convolutions read; odd.
    pub text_kernel: usize,
    /// The most frames of a phoneme.
    pub max_frames: usize,
    /// What prosody is told of.
    pub albert: AlbertConfig,
    /// From frames to samples.
    pub net: IstftNetConfig,
}

/// Shape of the ALBERT, all of whose layers are one.
#[derive(Clone, Debug, PartialEq)]
pub struct AlbertConfig {
    /// Width of the tables.
    pub embedding_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// How often its block is run.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// In the MLP.
    pub activation: Activation,
    /// Epsilon of its norms.
    pub eps: f64,
    /// The longest text.
    pub positions: usize,
    /// Kinds of texts that it was taught.
    pub kinds: usize,
}

/// Shape of the last part.
#[derive(Clone, Debug, PartialEq)]
pub struct IstftNetConfig {
    /// Channels before the first step, half as many after each.
    pub channels: usize,
    /// Of each step, by how much longer it makes the sound, and its kernel.
    pub upsamples: Vec<[usize; 2]>,
    /// Kernels and dilations of the blocks after each step.
    pub blocks: Vec<(usize, Vec<usize>)>,
    /// Samples of a window.
    pub n_fft: usize,
    /// Samples from window to window.
    pub hop: usize,
}

impl IstftNetConfig {
    /// Samples of each height of the voice.
    pub fn rate(&self) -> usize {
        self.hop * self.upsamples.iter().map(|[rate, _]| rate).product::<usize>()
    }
}

impl KokoroConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Kokoro::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Kokoro {
    albert: Albert,
    narrower: Linear,
    prosody: Prosody,
    text: TextEncoder,
    decoder: Decoder,
    #[module(skip)]
    style: usize,
}

sensorium_nn::pack!(Kokoro: albert, narrower, prosody, text, decoder);

/// How a text is to be said.
#[derive(Clone, Debug)]
pub struct Timed {
    /// Frames of each phoneme.
    pub frames: Vec<usize>,
    /// Phonemes with their style, `[1, T, D + S]`.
    pub phonemes: Tensor<3>,
    /// Of each half frame: how high the voice is, in Hz, and how loud, `[1, 2 F, 1]`.
    pub curves: [Tensor<3>; 2],
}

impl Kokoro {
    /// Weights of `fan_in^-0.5` or thereabouts.
    pub fn init(config: &KokoroConfig, init: &mut Init) -> Self {
        let (d, inner) = (config.hidden_size, config.albert.hidden_size);
        Self {
            albert: Albert::init(config, init),
            narrower: Linear::init(inner, d, true, (inner as f64).powf(-0.5), init),
            prosody: Prosody::init(config, init),
            text: TextEncoder::init(config, init),
            decoder: Decoder::init(config, init),
            style: config.style,
        }
    }

    /// What the ALBERT says of phonemes, `[T] -> [1, T, inner]`.
    pub fn read(&self, ids: &[u32]) -> Tensor<3> {
        self.albert.forward(ids)
    }

    /// How phonemes are to be said in a style at a speed.
    pub fn timed(&self, ids: &[u32], style: &[f32], speed: f64) -> Timed {
        let x = self.narrower.forward(self.albert.forward(ids));
        let style = self.part(style, 1, &x.device());
        let phonemes = self.prosody.phonemes(x, &style);
        let frames = self.prosody.frames(phonemes.clone()).into_iter();
        // As PyTorch rounds: of two that are as near, the even one.
        let whole = |frames: f32| (frames / speed as f32).round_ties_even().max(1.0) as usize;
        let frames: Vec<usize> = frames.map(whole).collect();
        let curves = self.prosody.curves(lasting(phonemes.clone(), &frames), &style);
        Timed { frames, phonemes, curves }
    }

    /// Samples of phonemes that are timed. `noise` gives so many numbers of deviation 1.
    pub fn samples(
        &self,
        ids: &[u32],
        timed: &Timed,
        style: &[f32],
        noise: &mut dyn FnMut(usize) -> Vec<f32>,
    ) -> Vec<f32> {
        let x = lasting(self.text.forward(ids), &timed.frames);
        let style = self.part(style, 0, &x.device());
        self.decoder.samples(x, timed.curves.clone(), &style, noise)
    }

    /// Samples of phonemes in a style, all noise drawn from a seed; nothing where the model computes no numbers.
    pub fn speak(&self, ids: &[u32], style: &[f32], speed: f64, seed: u64) -> Option<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let mut noise = |n: usize| (0..n).map(|_| rng.normal() as f32).collect();
        let samples = self.samples(ids, &self.timed(ids, style, speed), style, &mut noise);
        samples.iter().all(|sample| sample.is_finite()).then_some(samples)
    }

    /// The style of sound or that of prosody, `[1, 1, S]`.
    fn part(&self, style: &[f32], part: usize, device: &Device) -> Tensor<3> {
        let values = style[part * self.style..(part + 1) * self.style].to_vec();
        Tensor::from_data(TensorData::new(values, [1, 1, self.style]), device)
    }
}

/// Each phoneme over its frames, `[1, T, c] -> [1, F, c]`.
fn lasting(x: Tensor<3>, frames: &[usize]) -> Tensor<3> {
    let [_, t, c] = x.dims();
    let rows = |(i, &n): (usize, &usize)| std::iter::repeat_n(i as i32, n);
    let rows: Vec<i32> = frames.iter().enumerate().flat_map(rows).collect();
    let all = rows.len();
    fused::embedding(x.reshape([t, c]), rows).reshape([1, all, c])
}
