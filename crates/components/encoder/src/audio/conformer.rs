//! Conformer: attention for what is far apart in a sound, convolution for what is near.
//!
//! Gulati et al. 2020, <https://arxiv.org/abs/2005.08100>; with rotary positions, and LayerNorm where the
//! paper has BatchNorm, so that no sound depends on those beside it. The head for transcripts is that of
//! CTC (Graves et al. 2006, <https://www.cs.toronto.edu/~graves/icml_2006.pdf>).
//!
//! ```text
//! mel [B, bands, 4N] ──2 convolutions, by 2 each──▶ [B, N, E] ──blocks──▶ [B, N, E] ──head──▶ [B, N, V]
//! ```

use std::ops::Range;
use std::sync::Arc;

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Conformer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConformerConfig {
    /// Bands of the spectrogram.
    pub bands: usize,
    /// Positions N of the longest sound: a quarter of its frames.
    pub positions: usize,
    /// Width E.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Positions that a block's convolution reads; odd.
    pub kernel: usize,
    /// Classes V of the head for transcripts, the blank among them; without, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
}

impl ConformerConfig {
    /// The embedded model's: 80 bands, 25 positions a second up to 10 s, 2.4 M parameters.
    pub fn small() -> Self {
        Self {
            bands: 80,
            positions: 250,
            hidden_size: 192,
            n_layers: 4,
            n_heads: 6,
            intermediate_size: 384,
            kernel: 15,
            vocab_size: Some(48),
        }
    }
}

/// Epsilon of every norm: PyTorch's default.
const EPS: f64 = 1e-5;

/// Base of the rotary rates.
const THETA: f32 = 1e4;

/// Two convolutions, blocks, a head for transcripts.
#[derive(Module, Debug)]
pub struct Conformer {
    conv1: Conv1d,
    conv2: Conv1d,
    blocks: Vec<ConformerBlock>,
    head: Option<Linear>,
    #[module(skip)]
    head_dim: usize,
}

sensorium_nn::pack!(Conformer: conv1, conv2, blocks, head);

impl Conformer {
    /// Matrices of `fan_in^-0.5`.
    pub fn init(config: &ConformerConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let conv = |c_in, init: &mut Init| {
            Conv1d::init(Conv1dConfig { c_in, c_out: e, kernel: 3, stride: 2, padding: 1 }, init)
        };
        Self {
            conv1: conv(config.bands, init),
            conv2: conv(e, init),
            blocks: (0..config.n_layers).map(|_| ConformerBlock::init(config, init)).collect(),
            head: config.vocab_size.map(|v| Linear::init(e, v, true, (e as f64).powf(-0.5), init)),
            head_dim: e / config.n_heads,
        }
    }

    /// Positions after so many blocks, `[B, bands, F] -> [B, N, E]`, N = F / 4: after none, what the first one
    /// reads. Of each sound the first `frames` count.
    ///
    /// # Panics
    /// When there is not one number of `frames` for each sound.
    pub fn hidden(&self, mel: Tensor<3>, frames: &[usize], blocks: usize) -> Tensor<3> {
        assert_eq!(mel.dims()[0], frames.len(), "a number of frames for each sound");
        let halved = |lengths: &[usize]| -> Arc<[usize]> {
            lengths.iter().map(|length| length.div_ceil(2)).collect()
        };
        let x = silenced(mel.swap_dims(1, 2), frames);
        let lengths = halved(frames);
        let x = silenced(self.conv1.activated(x, Activation::Gelu), &lengths); // [B, 2N, E]
        let lengths = halved(&lengths);
        let x = silenced(self.conv2.activated(x, Activation::Gelu), &lengths); // [B, N, E]
        let table = RotaryTable::new(THETA, self.head_dim, 0..x.dims()[1]);
        self.blocks.iter().take(blocks).fold(x, |x, block| block.forward(x, &table, &lengths))
    }

    /// All positions after the last block: `[B, bands, F] -> [B, N, E]`, zeros behind a sound's end.
    ///
    /// # Panics
    /// As [`hidden`](Self::hidden).
    pub fn encode_padded(&self, mel: Tensor<3>, frames: &[usize]) -> Features {
        let positions: Vec<usize> = frames.iter().map(|&frames| positions(frames)).collect();
        Features(silenced(self.hidden(mel, frames, self.blocks.len()), &positions))
    }

    /// The head's logits, `[B, N, E] -> [B, N, V]`; nothing without a head.
    pub fn logits(&self, Features(x): Features) -> Option<Tensor<3>> {
        Some(self.head.as_ref()?.forward(x))
    }
}

/// Positions of a sound of so many frames.
pub fn positions(frames: usize) -> usize {
    frames.div_ceil(2).div_ceil(2)
}

impl Encode for Conformer {
    type Input = Tensor<3>;

    /// Spectrograms of one length: `[B, bands, F] -> [B, N, E]`.
    fn encode(&self, mel: Tensor<3>) -> Features {
        let [b, _, frames] = mel.dims();
        self.encode_padded(mel, &vec![frames; b])
    }
}

/// Zeros behind each sound's end, `[B, T, E] -> [B, T, E]`: as convolutions find them behind the longest.
fn silenced(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [b, t, _] = x.dims();
    if lengths.iter().all(|&length| length >= t) {
        return x;
    }
    let row = |&length: &usize| (0..t).map(move |at| if at < length { 1.0f32 } else { 0.0 });
    let heard: Vec<f32> = lengths.iter().flat_map(row).collect();
    x.clone() * Tensor::from_data(TensorData::new(heard, [b, t, 1]), &x.device())
}

/// Half a feed-forward part, attention, convolution, the other half, a norm.
#[derive(Module, Debug)]
struct ConformerBlock {
    mlp1_norm: LayerNorm,
    mlp1: Mlp,
    attention_norm: LayerNorm,
    attention: Attention,
    convolution: Convolution,
    mlp2_norm: LayerNorm,
    mlp2: Mlp,
    norm: LayerNorm,
}

sensorium_nn::pack!(ConformerBlock: mlp1, attention, convolution, mlp2);

impl ConformerBlock {
    fn init(config: &ConformerConfig, init: &mut Init) -> Self {
        let (e, inner) = (config.hidden_size, config.intermediate_size);
        let std = [e, inner].map(|fan_in| (fan_in as f64).powf(-0.5));
        let norm = |init: &mut Init| LayerNorm::init(e, EPS, init);
        let mlp = |init: &mut Init| Mlp::init([e, inner, e], Activation::Silu, std, init);
        Self {
            mlp1_norm: norm(init),
            mlp1: mlp(init),
            attention_norm: norm(init),
            attention: Attention::init(e, config.n_heads, [std[0]; 2], init),
            convolution: Convolution::init(e, config.kernel, init),
            mlp2_norm: norm(init),
            mlp2: mlp(init),
            norm: norm(init),
        }
    }

    /// `[B, N, E] -> [B, N, E]`; of each sound so many positions count.
    fn forward(&self, x: Tensor<3>, table: &RotaryTable, lengths: &Arc<[usize]>) -> Tensor<3> {
        let x = x.clone() + self.mlp1.forward(self.mlp1_norm.forward(x)) * 0.5;
        let y = self.attention_norm.forward(x.clone());
        let x = self.attention.add_self_rotary(x, y, table, Some(lengths.clone()));
        let x = x.clone() + self.convolution.forward(x, lengths);
        let x = x.clone() + self.mlp2.forward(self.mlp2_norm.forward(x)) * 0.5;
        self.norm.forward(x)
    }
}

/// Gated channels, each of which sees its neighbours in time.
#[derive(Module, Debug)]
struct Convolution {
    norm: LayerNorm,
    gate: Linear,
    depthwise: DepthwiseConv1d,
    depthwise_norm: LayerNorm,
    out: Linear,
}

sensorium_nn::pack!(Convolution: gate, out);

impl Convolution {
    fn init(e: usize, kernel: usize, init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        Self {
            norm: LayerNorm::init(e, EPS, init),
            gate: Linear::init(e, 2 * e, true, std, init),
            depthwise: DepthwiseConv1d::init(e, kernel, init),
            depthwise_norm: LayerNorm::init(e, EPS, init),
            out: Linear::init(e, e, true, std, init),
        }
    }

    fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let x = self.gate.activated(self.norm.forward(x), Activation::Glu);
        let x = self.depthwise.forward(silenced(x, lengths));
        self.out.forward(Activation::Silu.forward(self.depthwise_norm.forward(x)))
    }
}

/// A class that a sound spells, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// None of them the blank.
    pub class: u32,
    /// Positions in a row at which it is the likeliest.
    pub positions: Range<usize>,
    /// Logarithm of its probability at the one of them where that is highest.
    pub log_prob: f64,
}

/// What the positions of one sound spell: the likeliest class of each, repeats and those of the class `blank`
/// left out (best path decoding; Graves et al. 2006, section 3.2). `logits [N, V]`, row by row.
pub fn best_path(logits: &[f32], classes: usize, blank: u32) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for (position, row) in logits.chunks_exact(classes.max(1)).enumerate() {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let Some((class, &most)) = best else { continue };
        let sum: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
        let (class, log_prob) = (class as u32, -sum.ln());
        match labels.last_mut().filter(|last| last.class == class) {
            Some(last) => {
                last.positions.end = position + 1;
                last.log_prob = last.log_prob.max(log_prob);
            }
            None => labels.push(Label { class, positions: position..position + 1, log_prob }),
        }
    }
    labels.retain(|label| label.class != blank);
    labels
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{count, read};

    use super::*;

    fn tiny() -> (Conformer, Init) {
        let config = ConformerConfig {
            bands: 7,
            positions: 10,
            hidden_size: 12,
            n_layers: 2,
            n_heads: 3,
            intermediate_size: 20,
            kernel: 5,
            vocab_size: Some(6),
        };
        let mut init = Init::new(4, &Device::flex());
        (Conformer::init(&config, &mut init), init)
    }

    fn off(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn the_embedded_one_has_as_many_parameters_as_it_says() {
        let shapes = params::shapes(|init| Conformer::init(&ConformerConfig::small(), init));
        let n: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(n, 2_409_648);
        assert!(count(&tiny().0) < 10_000);
    }

    /// Of every length, beside a longer sound and whatever lies behind its end.
    #[test]
    fn what_pads_a_sound_changes_nothing() {
        let (conformer, mut init) = tiny();
        for frames in [1, 2, 3, 4, 5, 11, 12, 36] {
            let mel = init.normal([1, 7, frames], 1.0).val();
            let alone = conformer.encode(mel.clone()).0;
            let behind = init.normal([1, 7, 40 - frames], 1.0).val();
            let padded = Tensor::cat(vec![mel, behind], 2);
            let other = init.normal([1, 7, 40], 1.0).val();
            let both = Tensor::cat(vec![other, padded], 0);
            let both = conformer.encode_padded(both, &[40, frames]).0;
            assert_eq!((both.dims(), alone.dims()), ([2, 10, 12], [1, positions(frames), 12]));
            let got = both.clone().narrow(0, 1, 1).narrow(1, 0, positions(frames));
            assert!(off(&read(got), &read(alone)) < 1e-5, "{frames} frames");
            let rest =
                read(both.narrow(0, 1, 1).narrow(1, positions(frames), 10 - positions(frames)));
            assert!(rest.iter().all(|&x| x == 0.0), "{frames} frames");
        }
    }

    /// Attention alone would not notice.
    #[test]
    fn the_order_of_time_matters() {
        let (conformer, mut init) = tiny();
        let mel = init.normal([1, 7, 32], 1.0).val();
        let there = read(conformer.encode(mel.clone()).0.mean_dim(1));
        let back = read(conformer.encode(mel.flip([2])).0.mean_dim(1));
        assert!(off(&there, &back) > 1e-2);
    }

    #[test]
    fn repeats_are_one_label_and_blanks_part_them() {
        let path = |classes: &[usize]| -> Vec<f32> {
            classes
                .iter()
                .flat_map(|&class| (0..4).map(move |k| f32::from(u8::from(k == class))))
                .collect()
        };
        // A one among three zeros.
        let log_prob = 1.0 - (1f64.exp() + 3.0).ln();
        let table: [(&[usize], &str); 6] = [
            (&[], ""),
            (&[0, 0], ""),
            (&[1, 1, 2], "1: 0..2, 2: 2..3"),
            (&[1, 0, 1], "1: 0..1, 1: 2..3"),
            (&[0, 3, 3, 0, 3, 2, 2], "3: 1..3, 3: 4..5, 2: 5..7"),
            (&[2, 1, 2], "2: 0..1, 1: 1..2, 2: 2..3"),
        ];
        for (classes, want) in table {
            let got = best_path(&path(classes), 4, fused::BLANK);
            assert!(got.iter().all(|label| (label.log_prob - log_prob).abs() < 1e-6), "{got:?}");
            let label = |label: &Label| format!("{}: {:?}", label.class, label.positions);
            let got = got.iter().map(label).collect::<Vec<_>>().join(", ");
            assert_eq!(got, want, "{classes:?}");
        }
    }

    /// The head learns where the labels stand, which nobody tells it.
    #[test]
    fn one_sound_is_learned_by_heart() {
        let device = Device::flex().autodiff();
        let mut init = Init::new(8, &device);
        let config = ConformerConfig {
            bands: 7,
            hidden_size: 12,
            n_layers: 1,
            kernel: 5,
            ..ConformerConfig::small()
        };
        let mut conformer = Conformer::init(&config, &mut init);
        let mel = init.normal([1, 7, 40], 1.0).val();
        let transcript = [Transcript { frames: 10, labels: vec![5, 5, 2, 47] }];
        let logits = |conformer: &Conformer| {
            conformer.logits(conformer.encode(mel.clone())).expect("it has a head")
        };
        for _ in 0..150 {
            let slopes = loss::ctc(logits(&conformer), &transcript).backward();
            let slopes = params::gradients(&conformer, slopes).expect("all is in the loss");
            conformer = params::update(conformer, |name, _, values| {
                let slope = slopes[name].clone().into_vec();
                values.iter_mut().zip(slope).for_each(|(x, slope)| *x -= 0.02 * slope);
                true
            });
        }
        let labels = best_path(&read(logits(&conformer)), 48, fused::BLANK);
        assert!(labels.iter().map(|label| label.class).eq([5, 5, 2, 47]), "{labels:?}");
    }
}
