//! Whisper's decoder: a language model whose every layer asks what was heard.
//!
//! Radford et al. 2022, section 2.2, <https://arxiv.org/abs/2212.04356>
//!
//! ```text
//! ids [B, T] ──embed, positions──▶ [B, T, D] ──layers──▶ [B, T, D] ──norm──▶ hidden ──head──▶ logits [.., V]
//!                                               ▲
//! features [B, N, D] ──keys, values, once───────┘
//! ```

use sensorium_flow::{Features, Hidden};
use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Cache;

/// Shape of a [`WhisperDecoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhisperDecoderConfig {
    /// Entries of the token table.
    #[serde(alias = "vocabulary")]
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width D, the encoder's too.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
}

/// Epsilon of every norm: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

impl WhisperDecoderConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| WhisperDecoder::init(self, init))
    }
}

/// A decoder: token table, which is the head too, positions, layers, norm.
#[derive(Module, Debug)]
pub struct WhisperDecoder {
    embedding: Embedding,
    position: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

/// What was heard and said: each layer's keys and values of the features, made once, and those of
/// the tokens read so far.
#[derive(Clone, Debug)]
pub struct WhisperCache {
    /// Keys and values `[B, N, H, K]`.
    features: Vec<[Tensor<4>; 2]>,
    said: Cache,
}

impl WhisperCache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.said.tokens()
    }
}

impl WhisperDecoder {
    /// Weights of 0.02, residual writes scaled by `(3 n_layers)^-0.5`: three writes a layer.
    pub fn init(config: &WhisperDecoderConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        Self {
            embedding: Embedding::init(config.vocab_size, d, 0.02, init),
            position: init.normal([config.context, d], 0.02),
            layers: (0..config.n_layers).map(|_| Layer::init(config, init)).collect(),
            norm: LayerNorm::init(d, EPS, init),
        }
    }

    /// What every layer will ask of these features.
    pub fn cross_keys(&self, Features(x): &Features) -> WhisperCache {
        let features = self.layers.iter().map(|layer| layer.cross_keys(x)).collect();
        WhisperCache { features, said: Cache::default() }
    }

    /// Token ids, row-major `[B, T]`, to `[B, T, D]`, from the first position on.
    pub fn forward(&self, ids: &[u32], shape: [usize; 2], cache: &WhisperCache) -> Hidden {
        Hidden(self.norm.forward(self.hidden(ids, shape, cache, self.layers.len())))
    }

    /// As [`forward`](Self::forward), after so many layers and before the last norm, `[B, T, D]`:
    /// after none, what the first one reads.
    pub fn hidden(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        cache: &WhisperCache,
        layers: usize,
    ) -> Tensor<3> {
        let mask = Mask::Causal { offset: 0 };
        let layers = self.layers.iter().zip(&cache.features).take(layers);
        layers.fold(self.embed(ids, shape, 0), |x, (layer, features)| {
            layer.forward(x, &mask, None, features)
        })
    }

    /// As [`forward`](Self::forward), after the tokens that `heard` has read, which grow by these.
    ///
    /// # Panics
    /// When there are more tokens than positions.
    pub fn extend(&self, ids: &[u32], shape: [usize; 2], cache: &mut WhisperCache) -> Hidden {
        let WhisperCache { features, said } = cache;
        let offset = said.tokens();
        let mask = Mask::Causal { offset };
        let mut x = self.embed(ids, shape, offset);
        for (i, (layer, features)) in self.layers.iter().zip(features).enumerate() {
            x = layer.forward(x, &mask, Some(said.layer(i)), features);
        }
        said.advance(shape[1]);
        Hidden(self.norm.forward(x))
    }

    /// `[rows, D] -> [rows, V]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.embedding.unembed(hidden)
    }

    fn embed(&self, ids: &[u32], [b, t]: [usize; 2], offset: usize) -> Tensor<3> {
        let places = self.position.val().narrow(0, offset, t);
        self.embedding.forward(ids, [b, t]) + places.unsqueeze()
    }
}

sensorium_nn::pack!(WhisperDecoder: embedding, layers);

/// `x + attention(norm1(x))`, then `x + cross(norm2(x), features)`, then `x + mlp(norm3(x))`.
#[derive(Module, Debug)]
struct Layer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    cross: Attention,
    norm3: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl Layer {
    fn init(config: &WhisperDecoderConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let write = 0.02 * (3.0 * config.n_layers as f64).powf(-0.5);
        let attention = |init: &mut Init| {
            let mut attention = Attention::init(d, config.n_heads, [0.02, write], init);
            // A bias that is added to every key changes no softmax: Whisper leaves it out.
            attention.k.bias = None;
            attention
        };
        Self {
            norm1: LayerNorm::init(d, EPS, init),
            attention: attention(init),
            norm2: LayerNorm::init(d, EPS, init),
            cross: attention(init),
            norm3: LayerNorm::init(d, EPS, init),
            mlp: Mlp::init([d, config.intermediate_size, d], Activation::Gelu, [0.02, write], init),
            heads: config.n_heads,
            precision: init.precision(),
        }
    }

    /// `[B, N, D] -> keys and values [B, N, H, K]`
    fn cross_keys(&self, features: &Tensor<3>) -> [Tensor<4>; 2] {
        let both = Linear::together([&self.cross.k, &self.cross.v], features.clone());
        both.map(|y| self.split(y))
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(
        &self,
        x: Tensor<3>,
        mask: &Mask,
        kept: Option<&mut KeyValues>,
        [keys, values]: &[Tensor<4>; 2],
    ) -> Tensor<3> {
        let Attention { q, k, v, .. } = &self.attention;
        let qkv = Linear::together([q, k, v], self.norm1.forward(x.clone()));
        let [q, k, v] = qkv.map(|y| self.split(y));
        let mask = mask.clone();
        let o = match kept {
            Some(kept) => kept.attention(self.precision, q, k, v, mask),
            None => fused::attention(self.precision, q, k, v, mask, None),
        };
        let x = self.attention.o.add_to(x, joined(o));

        let q = self.split(self.cross.q.forward(self.norm2.forward(x.clone())));
        let (k, v) = (keys.clone(), values.clone());
        let o = fused::attention(self.precision, q, k, v, Mask::Full, None);
        let x = self.cross.o.add_to(x, joined(o));

        let y = self.norm3.forward(x.clone());
        self.mlp.add_to(x, y)
    }

    /// `[B, T, D] -> [B, T, H, K]`
    fn split(&self, y: Tensor<3>) -> Tensor<4> {
        let [b, t, d] = y.dims();
        y.reshape([b, t, self.heads, d / self.heads])
    }
}

sensorium_nn::pack!(Layer: attention, cross, mlp);

/// `[B, T, H, K] -> [B, T, D]`
fn joined(o: Tensor<4>) -> Tensor<3> {
    let [b, t, h, k] = o.dims();
    o.reshape([b, t, h * k])
}
