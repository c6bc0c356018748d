//! Whisper's encoder: a log-mel spectrogram, one position for every 20 ms.
//!
//! Radford et al. 2022, section 2.2, <https://arxiv.org/abs/2212.04356>
//!
//! ```text
//! mel [B, bands, 2N] ──convolution, by 1──▶ ──convolution, by 2──▶ [B, N, E] ──blocks, norm──▶ [B, N, E]
//! ```

use std::sync::Arc;

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`WhisperEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhisperEncoderConfig {
    /// Bands of the spectrogram.
    pub bands: usize,
    /// Positions N: half the frames.
    pub positions: usize,
    /// Width E.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
}

/// Epsilon of every norm: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

/// Frames that a convolution reads at once.
const KERNEL: usize = 3;

impl WhisperEncoderConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| WhisperEncoder::init(self, init))
    }
}

/// Two convolutions, positions, blocks, a norm.
#[derive(Module, Debug)]
pub struct WhisperEncoder {
    conv1: Conv1d,
    conv2: Conv1d,
    /// Sines and cosines, which checkpoints carry with them, or which are made for what is heard.
    position: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    pub(super) norm: LayerNorm,
}

impl WhisperEncoder {
    /// Weights by the blocks' scheme.
    pub fn init(config: &WhisperEncoderConfig, init: &mut Init) -> Self {
        let e = config.hidden_size;
        let conv = |c_in, stride, init: &mut Init| {
            Conv1d::init(Conv1dConfig { c_in, c_out: e, kernel: KERNEL, stride, padding: 1 }, init)
        };
        let block = BlockConfig {
            d: e,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: Activation::Gelu,
            eps: EPS,
            n_layers: config.n_layers,
        };
        let waves = || (0..config.positions).flat_map(|at| waves(at, e)).collect();
        Self {
            conv1: conv(config.bands, 1, init),
            conv2: conv(e, 2, init),
            position: Some(init.values(waves, [config.positions, e])),
            blocks: (0..config.n_layers).map(|_| without_key_bias(&block, init)).collect(),
            norm: LayerNorm::init(e, EPS, init),
        }
    }

    /// The same, whose positions are made for what is heard, of any length: Whisper's own sines and cosines.
    pub(super) fn without_table(self) -> Self {
        Self { position: None, ..self }
    }

    /// Positions after so many blocks, `[B, N, E]`: after none, what the first one reads.
    pub fn hidden(&self, mel: Tensor<3>, blocks: usize) -> Tensor<3> {
        self.hidden_within(mel, blocks, None)
    }

    /// As [`hidden`](Self::hidden), where of each sound so many positions are heard.
    pub(super) fn hidden_within(
        &self,
        mel: Tensor<3>,
        blocks: usize,
        lengths: Option<&Arc<[usize]>>,
    ) -> Tensor<3> {
        let x = self.conv1.activated(mel.swap_dims(1, 2), Activation::Gelu); // [B, 2N, E]
        let x = self.conv2.activated(x, Activation::Gelu); // [B, N, E]
        let [_, n, e] = x.dims();
        let position = match &self.position {
            Some(table) => table.val(),
            None => Tensor::from_data(TensorData::new(sinusoids(n, e), [n, e]), &x.device()),
        };
        let x = x + position.unsqueeze();
        self.blocks.iter().take(blocks).fold(x, |x, block| block.forward(x, &Mask::Full, lengths))
    }
}

impl Encode for WhisperEncoder {
    type Input = Tensor<3>;

    /// Spectrograms to positions after the last norm: `[B, bands, 2N] -> [B, N, E]`.
    fn encode(&self, mel: Tensor<3>) -> Features {
        Features(self.norm.forward(self.hidden(mel, self.blocks.len())))
    }
}

sensorium_nn::pack!(WhisperEncoder: conv1, conv2, blocks);

/// Whisper's places, `[n, width]`: half of each sines, half cosines, of wavelengths from 2π to 20,000π.
fn sinusoids(n: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let step = (10_000_f64.ln() / (half.max(2) - 1) as f64) as f32;
    let rates: Vec<f32> = (0..half).map(|i| (-step * i as f32).exp()).collect();
    let place = |at: usize| {
        let angles = rates.iter().map(move |rate| at as f32 * rate);
        angles.clone().map(f32::sin).chain(angles.map(f32::cos))
    };
    (0..n).flat_map(place).collect()
}

/// A bias that is added to every key changes no softmax: Whisper leaves it out.
fn without_key_bias(config: &BlockConfig, init: &mut Init) -> Block {
    let mut block = Block::init(config, init);
    block.attention.k.bias = None;
    block
}
