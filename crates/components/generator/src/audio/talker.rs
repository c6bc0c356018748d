//! Phonemes to the spectrogram of their speech, all frames at once.
//!
//! Ren et al. 2020 (FastSpeech 2), <https://arxiv.org/abs/2006.04558>, without its pitch and energy: how long each
//! phoneme takes is predicted, and tells how many frames it is repeated over. With rotary positions, and blocks of
//! ConvNeXt in place of the convolutions.
//!
//! ```text
//! phonemes, voice [B, P, D] ──blocks──▶ [B, P, D] ──durations──▶ frames [B, F, D] ──blocks──▶ log-mel [B, F, bands]
//!                                           └──────▶ ln(1 + frames of each) [B, P]
//! ```

use std::sync::Arc;

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::convnext::{ConvNext, EPS, counting, silenced};

/// Shape of a [`Talker`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TalkerConfig {
    /// Width D.
    pub hidden_size: usize,
    /// Blocks over phonemes.
    pub encoder_layers: usize,
    /// Blocks over frames.
    pub decoder_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Positions that a block's convolution reads; odd.
    pub kernel: usize,
    /// Bands of the spectrogram.
    pub bands: usize,
}

impl TalkerConfig {
    /// The embedded model's: 2 and 4 blocks of 160, 2.1 M parameters.
    pub fn small() -> Self {
        Self {
            hidden_size: 160,
            encoder_layers: 2,
            decoder_layers: 4,
            n_heads: 4,
            intermediate_size: 640,
            kernel: 9,
            bands: 80,
        }
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let Self { hidden_size, n_heads, intermediate_size, kernel, bands, .. } = *self;
        let above = ![hidden_size, n_heads, intermediate_size, bands].contains(&0);
        let fits = above && hidden_size.is_multiple_of(2 * n_heads) && !kernel.is_multiple_of(2);
        let expected = "sizes above 0, an odd kernel, and heads of an even width";
        (!fits).then(|| (expected, format!("{self:?}")))
    }

    fn block(&self, init: &mut Init) -> TalkerBlock {
        TalkerBlock::init(self, init)
    }
}

/// Base of the rotary rates.
const THETA: f32 = 1e4;

/// About the mean and the spread of a log-mel spectrogram of speech.
const LEVEL: f64 = -5.0;
const SPREAD: f64 = 2.0;

/// Frames of a phoneme that are about one in the talker's sight of them.
const USUAL: f32 = 8.0;

/// Phonemes of sentences by voices, padded to the longest.
#[derive(Clone, Debug)]
pub struct Speech {
    /// Numbers of phonemes, `[B, P]`.
    pub phonemes: Vec<u32>,
    /// Phonemes of each sentence; P is the most.
    pub lengths: Vec<usize>,
    /// The voice of each.
    pub voices: Vec<u32>,
}

impl Speech {
    fn shape(&self) -> [usize; 2] {
        [self.lengths.len(), self.lengths.iter().copied().max().unwrap_or(0)]
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Talker {
    phonemes: Embedding,
    voices: Embedding,
    encoder: Vec<TalkerBlock>,
    duration_block: ConvNext,
    duration_norm: LayerNorm,
    duration: Linear,
    places: Linear,
    decoder: Vec<TalkerBlock>,
    norm: LayerNorm,
    mel: Linear,
    #[module(skip)]
    head_dim: usize,
}

sensorium_nn::pack!(Talker: encoder, duration_block, duration, places, decoder, mel);

impl Talker {
    /// Seeded weights for so many phonemes and voices.
    pub fn init(config: &TalkerConfig, [phonemes, voices]: [usize; 2], init: &mut Init) -> Self {
        let d = config.hidden_size;
        let sizes = [d, config.intermediate_size, config.kernel];
        let std = (d as f64).powf(-0.5);
        Self {
            phonemes: Embedding::init(phonemes, d, 1.0, init),
            voices: Embedding::init(voices, d, 1.0, init),
            encoder: (0..config.encoder_layers).map(|_| config.block(init)).collect(),
            duration_block: ConvNext::init(sizes, 1, init),
            duration_norm: LayerNorm::init(d, EPS, init),
            duration: Linear::init(d, 1, true, std, init),
            places: Linear::init(2, d, true, 1.0, init),
            decoder: (0..config.decoder_layers).map(|_| config.block(init)).collect(),
            norm: LayerNorm::init(d, EPS, init),
            mel: Linear::init(d, config.bands, true, std, init),
            head_dim: d / config.n_heads,
        }
    }

    /// What is known of each phoneme, `[B, P, D]`, and ln(1 + its frames), `[B, P]`.
    pub fn read(&self, speech: &Speech) -> (Tensor<3>, Tensor<2>) {
        let [b, p] = speech.shape();
        let voices = self.voices.forward(&speech.voices, [b, 1]);
        let x = self.phonemes.forward(&speech.phonemes, [b, p]) + voices;
        let x = self.run(&self.encoder, x, &speech.lengths);
        let y = self.duration_norm.forward(self.duration_block.forward(x.clone(), &speech.lengths));
        (x, self.duration.forward(y).reshape([b, p]))
    }

    /// The log-mel spectrogram of phonemes `[B, P, D]` that take so many frames each, `[B, F, bands]`; F is the most
    /// of a sentence, at least one.
    pub fn speak(&self, phonemes: Tensor<3>, frames: &[Vec<usize>]) -> Tensor<3> {
        let [b, p, d] = phonemes.dims();
        let lengths: Vec<usize> = frames.iter().map(|frames| frames.iter().sum()).collect();
        let most = lengths.iter().copied().max().unwrap_or(0).max(1);
        let (mut rows, mut places) = (vec![0; b * most], vec![0.0f32; b * most * 2]);
        for (i, frames) in frames.iter().enumerate() {
            let each =
                frames.iter().enumerate().flat_map(|(at, &n)| (0..n).map(move |k| (at, k, n)));
            for (frame, (at, k, n)) in each.enumerate() {
                rows[i * most + frame] = (i * p + at) as i32;
                let place = &mut places[(i * most + frame) * 2..][..2];
                place.copy_from_slice(&[(k as f32 + 0.5) / n as f32, n as f32 / USUAL]);
            }
        }
        let places = TensorData::new(places, [b, most, 2]);
        let places = Tensor::from_data(places, &phonemes.device().without_autodiff());
        let x = fused::embedding(phonemes.reshape([b * p, d]), rows).reshape([b, most, d]);
        let x = self.run(&self.decoder, x + self.places.forward(places), &lengths);
        self.mel.forward(self.norm.forward(x)) * SPREAD + LEVEL
    }

    /// Mean distance from log-mel spectrograms `[B, F, bands]` of speech whose phonemes take so many frames, and mean
    /// square of what is wrong with ln(1 + frames).
    pub fn losses(&self, speech: &Speech, frames: &[Vec<usize>], mel: Tensor<3>) -> [Tensor<1>; 2] {
        let device = mel.device();
        let (x, durations) = self.read(speech);
        let made = self.speak(x, frames);
        let [_, f, bands] = made.dims();
        let heard: Vec<usize> = frames.iter().map(|frames| frames.iter().sum()).collect();
        let count = |lengths: &[usize]| lengths.iter().sum::<usize>().max(1) as f64;
        let counts = counting(&heard, f, &device);
        let off = ((made - mel).abs() * counts).sum() / (count(&heard) * bands as f64);

        let [b, p] = speech.shape();
        let known = |frames: &Vec<usize>| {
            let logs = frames.iter().map(|&n| (1.0 + n as f32).ln());
            logs.chain(std::iter::repeat(0.0)).take(p).collect::<Vec<f32>>()
        };
        let known = TensorData::new(frames.iter().flat_map(known).collect::<Vec<_>>(), [b, p]);
        let known = Tensor::<2>::from_data(known, &device);
        let counts = counting(&speech.lengths, p, &device).reshape([b, p]);
        let wrong = ((durations - known).square() * counts).sum() / count(&speech.lengths);
        [off, wrong]
    }

    fn run(&self, blocks: &[TalkerBlock], x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let table = RotaryTable::new(THETA, self.head_dim, 0..x.dims()[1]);
        let lengths: Arc<[usize]> = lengths.into();
        blocks.iter().fold(x, |x, block| block.forward(x, &table, &lengths))
    }
}

/// Attention for what is far apart, ConvNeXt for what is near.
#[derive(Module, Debug)]
struct TalkerBlock {
    norm: LayerNorm,
    attention: Attention,
    convolution: ConvNext,
}

sensorium_nn::pack!(TalkerBlock: attention, convolution);

impl TalkerBlock {
    fn init(config: &TalkerConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let n_layers = 2 * (config.encoder_layers + config.decoder_layers);
        let std = (d as f64).powf(-0.5);
        let write = std * (n_layers as f64).powf(-0.5);
        let sizes = [d, config.intermediate_size, config.kernel];
        Self {
            norm: LayerNorm::init(d, EPS, init),
            attention: Attention::init(d, config.n_heads, [std, write], init),
            convolution: ConvNext::init(sizes, n_layers, init),
        }
    }

    fn forward(&self, x: Tensor<3>, table: &RotaryTable, lengths: &Arc<[usize]>) -> Tensor<3> {
        let y = self.norm.forward(x.clone());
        let x = self.attention.add_self_rotary(x, y, table, Some(lengths.clone()));
        silenced(self.convolution.forward(x, lengths), lengths)
    }
}

/// Frames of each phoneme, at least one, for predicted ln(1 + frames) at a speed: where a phoneme ends is rounded,
/// so that no error adds up.
pub fn durations(logs: &[f32], speed: f32) -> Vec<usize> {
    let (mut end, mut frames) = (0.0f32, 0usize);
    let each = logs.iter().map(|log| {
        end += log.clamp(0.0, LONGEST).exp_m1() / speed;
        let n = (end.round() as usize).saturating_sub(frames).max(1);
        frames += n;
        n
    });
    each.collect()
}

/// ln(1 + frames) of the longest phoneme, 2.4 s.
const LONGEST: f32 = 5.0;

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn tiny() -> (Talker, Init) {
        let config = TalkerConfig {
            hidden_size: 12,
            encoder_layers: 1,
            decoder_layers: 2,
            n_heads: 3,
            intermediate_size: 20,
            kernel: 5,
            bands: 7,
        };
        let mut init = Init::new(4, &Device::flex());
        (Talker::init(&config, [6, 2], &mut init), init)
    }

    #[test]
    fn the_embedded_one_has_as_many_parameters_as_it_says() {
        let shapes = params::shapes(|init| Talker::init(&TalkerConfig::small(), [41, 3], init));
        let n: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(n, 2_094_001);
    }

    /// Of every sentence, beside a longer one.
    #[test]
    fn what_pads_a_sentence_changes_nothing() {
        let (talker, _) = tiny();
        let alone = Speech { phonemes: vec![1, 2, 3], lengths: vec![3], voices: vec![1] };
        let both = Speech {
            phonemes: vec![5, 4, 3, 2, 1, 1, 2, 3, 0, 0],
            lengths: vec![5, 3],
            voices: vec![0, 1],
        };
        let frames = [vec![3, 1, 2, 2, 4], vec![2, 3, 1]];
        let (x, logs) = talker.read(&alone);
        let (mel, logs) = (read(talker.speak(x, &frames[1..])), read(logs));
        let (x, all_logs) = talker.read(&both);
        let all = talker.speak(x, &frames);
        assert_eq!(all.dims(), [2, 12, 7]);
        let got = read(all.narrow(0, 1, 1).narrow(1, 0, 6));
        let off = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
        };
        assert!(off(&got, &mel) < 1e-5, "{}", off(&got, &mel));
        assert!(off(&read(all_logs)[5..8], &logs) < 1e-5);
    }

    #[test]
    fn voices_and_order_are_heard() {
        let (talker, _) = tiny();
        let mel = |phonemes: [u32; 3], voice| {
            let speech =
                Speech { phonemes: phonemes.into(), lengths: vec![3], voices: vec![voice] };
            read(talker.speak(talker.read(&speech).0, &[vec![2, 2, 2]]))
        };
        let first = mel([1, 2, 3], 0);
        assert!(first != mel([1, 2, 3], 1) && first != mel([3, 2, 1], 0));
    }

    #[test]
    fn durations_add_up() {
        let logs = [2.5f32.ln(); 40];
        for speed in [0.25, 1.0, 1.3] {
            let frames = durations(&logs, speed);
            let all = 40.0 * 1.5 / speed;
            assert!(
                (frames.iter().sum::<usize>() as f32 - all).abs() <= 1.0,
                "{speed}: {frames:?}"
            );
        }
        assert_eq!(durations(&[-3.0, 0.0, f32::NAN], 4.0), [1, 1, 1]);
        assert!(durations(&[1e30], 1.0)[0] < 200);
    }
}
