//! SpeechT5: a text to a log-mel spectrogram, frames after frames.
//!
//! Ao et al. 2021, <https://arxiv.org/abs/2110.07205>, as it speaks: its text encoder and its speech decoder.
//!
//! ```text
//! ids [T] ──encoder──▶ [1, T, D] ─────────────────────┐ asked by every step
//! last frame ──prenet, voice──▶ [1, 1, D] ──decoder──▶ [1, 1, D] ──▶ r frames, whether these are the last
//! all frames ──postnet──▶ log-mel [1, F, bands] ──HiFi-GAN──▶ samples
//! ```

mod decoder;
mod encoder;
mod vocoder;

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use decoder::{Decoder, Postnet, Prenet};
use encoder::TextEncoder;

pub use vocoder::{SpeechT5HifiGan, SpeechT5HifiGanConfig};

/// Shape of a [`SpeechT5`].
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechT5Config {
    /// Characters that it knows.
    pub vocab_size: usize,
    /// Width D.
    pub hidden_size: usize,
    /// Blocks of the encoder, their heads, and the width inside their MLPs.
    pub encoder: [usize; 3],
    /// The same of the decoder.
    pub decoder: [usize; 3],
    /// Inside the MLPs.
    pub activation: Activation,
    /// Epsilon of every norm.
    pub eps: f64,
    /// How far apart characters may stand that are told apart by it.
    pub relative: usize,
    /// Bands of a frame.
    pub bands: usize,
    /// Layers and width of what reads a frame.
    pub prenet: [usize; 2],
    /// Share of its numbers that are dropped while it speaks, too (Shen et al. 2017, section 2.2,
    /// <https://arxiv.org/abs/1712.05884>).
    pub prenet_dropout: f64,
    /// Layers, width and kernel of what looks at all frames once more.
    pub postnet: [usize; 3],
    /// Frames of a step.
    pub reduction: usize,
    /// Numbers of a voice's vector.
    pub speaker: usize,
    /// The longest text, in characters.
    pub max_text: usize,
    /// The most steps.
    pub max_steps: usize,
}

impl SpeechT5Config {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| SpeechT5::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct SpeechT5 {
    encoder: TextEncoder,
    prenet: Prenet,
    decoder: Decoder,
    postnet: Postnet,
    #[module(skip)]
    bands: usize,
    #[module(skip)]
    max_steps: usize,
}

sensorium_nn::pack!(SpeechT5: encoder, prenet, decoder, postnet);

/// When it has said all.
const STOP: f32 = 0.5;

/// Steps after which it is stopped, for each character and each frame of a step.
const STEPS: usize = 20;

/// What was made of a text.
#[derive(Clone, Debug)]
pub struct SpeechT5Frames {
    /// As the decoder has made them, `[1, F, bands]`.
    pub before: Tensor<3>,
    /// Looked at once more, `[1, F, bands]`.
    pub log_mel: Tensor<3>,
    /// Whether it came to an end by itself.
    pub ended: bool,
}

impl SpeechT5 {
    /// Weights of `D^-0.5`.
    pub fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        Self {
            encoder: TextEncoder::init(config, init),
            prenet: Prenet::init(config, init),
            decoder: Decoder::init(config, init),
            postnet: Postnet::init(config, init),
            bands: config.bands,
            max_steps: config.max_steps,
        }
    }

    /// Characters after so many blocks of the encoder, `[1, T, D]`: after none, what the first one reads.
    pub fn hidden(&self, ids: &[u32], blocks: usize) -> Tensor<3> {
        self.encoder.hidden(ids, blocks)
    }

    /// Frames of a text for a voice's vector. `kept` gives, for each step and each layer of the prenet, which of so
    /// many numbers are kept.
    pub fn frames(
        &self,
        ids: &[u32],
        speaker: &[f32],
        kept: &mut dyn FnMut(usize) -> Vec<bool>,
    ) -> SpeechT5Frames {
        let text = self.encoder.hidden(ids, usize::MAX);
        let (device, reduction) = (text.device(), self.postnet.reduction());
        let speaker = normalized(speaker, &device);
        let mut decoding = self.decoder.begin(&text);
        let most = (STEPS * ids.len() / reduction).clamp(1, self.max_steps);
        let mut last = Tensor::zeros([1, 1, self.bands], &device);
        let (mut all, mut ended) = (Vec::new(), false);
        while all.len() < most && !ended {
            let x = self.prenet.forward(last, all.len(), &speaker, kept);
            let x = self.decoder.step(x, &mut decoding);
            let frames = self.postnet.frames(x.clone()); // [1, r, bands]
            last = frames.clone().narrow(1, reduction - 1, 1);
            all.push(frames);
            // Of several frames each says whether it is the last; their sum counts, as where it was taught.
            ended = read(self.postnet.ends(x)).iter().sum::<f32>() >= STOP;
        }
        let before = Tensor::cat(all, 1);
        SpeechT5Frames { log_mel: self.postnet.forward(before.clone()), before, ended }
    }
}

/// A vector of length 1, `[1, 1, S]`.
fn normalized(vector: &[f32], device: &Device) -> Tensor<3> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    let values: Vec<f32> = vector.iter().map(|x| x / length).collect();
    let shape = [1, 1, values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Sines and cosines of places, in turn, from `first` on: `[1, T, D]` (Vaswani et al. 2017, section 3.5).
fn sinusoids([t, d]: [usize; 2], first: usize, device: &Device) -> Tensor<3> {
    let mut values = vec![0.0f32; t * d];
    for (i, value) in values.iter_mut().enumerate() {
        let (place, k) = ((first + i / d) as f32, i % d);
        let slow = (-(10_000f64.ln() / d as f64) as f32 * (k / 2 * 2) as f32).exp();
        let angle = place * slow;
        *value = if k % 2 == 0 { angle.sin() } else { angle.cos() };
    }
    Tensor::from_data(TensorData::new(values, [1, t, d]), device)
}
