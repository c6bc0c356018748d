//! What phonemes say: for prosody an ALBERT (Lan et al. 2019, <https://arxiv.org/abs/1909.11942>) that was taught with
//! phonemes (Li et al. 2023, <https://arxiv.org/abs/2301.08810>), for sound convolutions and an LSTM.

use sensorium_nn::prelude::*;

use super::KokoroConfig;
use super::style::{EPS, SLOPE};
use crate::audio::same;

/// One block that is run many times.
#[derive(Module, Debug)]
pub(super) struct Albert {
    words: Embedding,
    /// `[positions, embedding]`
    position: Param<Tensor<2>>,
    /// Of kinds of texts, of which there is one here, `[2, embedding]`.
    kinds: Embedding,
    norm: LayerNorm,
    wider: Linear,
    block: PostBlock,
    #[module(skip)]
    layers: usize,
}

sensorium_nn::pack!(Albert: wider, block);

impl Albert {
    pub(super) fn init(config: &KokoroConfig, init: &mut Init) -> Self {
        let albert = &config.albert;
        let (e, d) = (albert.embedding_size, albert.hidden_size);
        let block = BlockConfig {
            d,
            heads: albert.n_heads,
            hidden: albert.intermediate_size,
            eps: albert.eps,
            activation: albert.activation,
            n_layers: albert.n_layers,
        };
        Self {
            words: Embedding::init(config.vocab_size, e, 0.02, init),
            position: init.normal([albert.positions, e], 0.02),
            kinds: Embedding::init(albert.kinds, e, 0.02, init),
            norm: LayerNorm::init(e, albert.eps, init),
            wider: Linear::init(e, d, true, 0.02, init),
            block: PostBlock::init(&block, init),
            layers: albert.n_layers,
        }
    }

    /// `[T] -> [1, T, D]`
    pub(super) fn forward(&self, ids: &[u32]) -> Tensor<3> {
        let t = ids.len();
        let places = self.position.val().narrow(0, 0, t).unsqueeze();
        let x = self.words.forward(ids, [1, t]) + places + self.kinds.forward(&[0], [1, 1]);
        let x = self.wider.forward(self.norm.forward(x));
        (0..self.layers).fold(x, |x, _| self.block.forward(x, &Mask::Full, None))
    }
}

/// Convolutions, and what was read before and behind.
#[derive(Module, Debug)]
pub(super) struct TextEncoder {
    embedding: Embedding,
    convs: Vec<Conv1d>,
    norms: Vec<LayerNorm>,
    lstm: BiLstm,
}

sensorium_nn::pack!(TextEncoder: convs);

impl TextEncoder {
    pub(super) fn init(config: &KokoroConfig, init: &mut Init) -> Self {
        let (d, kernel) = (config.hidden_size, config.text_kernel);
        let layers = 0..config.n_layers;
        Self {
            embedding: Embedding::init(config.vocab_size, d, (d as f64).powf(-0.5), init),
            convs: layers.clone().map(|_| same([d; 2], kernel, 1, init)).collect(),
            norms: layers.map(|_| LayerNorm::init(d, EPS, init)).collect(),
            lstm: BiLstm::init([d, d / 2], init),
        }
    }

    /// `[T] -> [1, T, D]`
    pub(super) fn forward(&self, ids: &[u32]) -> Tensor<3> {
        let x = self.embedding.forward(ids, [1, ids.len()]);
        let layers = self.convs.iter().zip(&self.norms);
        let x = layers
            .fold(x, |x, (conv, norm)| fused::leaky_relu(norm.forward(conv.forward(x)), SLOPE));
        self.lstm.forward(x)
    }
}
