//! Whisper's decoder: a language model whose every layer asks what was heard.
//!
//! Radford et al. 2022, section 2.2, <https://arxiv.org/abs/2212.04356>
//!
//! ```text
//! embeds [B, T, D] ──positions──▶ [B, T, D] ──layers──▶ [B, T, D] ──norm──▶ hidden ──head──▶ logits [.., V]
//!                                               ▲
//! features [B, N, D] ──keys, values, once───────┘
//! ```

use sensorium_flow::{Embeds, Features, Forward, Hidden, Sequence};
use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cross::KeysValues;
use crate::sequence::{learned_positions, mask};
use crate::{Cache, CrossCache};

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

    /// What every layer will ask of these features, `[B, N, D]`.
    pub fn cross_keys(&self, features: &Features) -> CrossCache {
        CrossCache { media: vec![self.media(features)], read: Cache::default() }
    }

    /// As [`forward`](Forward::forward), after so many layers and before the last norm, `[B, T, D]`:
    /// after none, what the first one reads.
    ///
    /// # Panics
    /// As [`forward`](Forward::forward).
    pub fn hidden(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: &CrossCache,
        layers: usize,
    ) -> Tensor<3> {
        self.run(embeds, sequence, &cache.media, None, layers)
    }

    fn media(&self, Features(x): &Features) -> Vec<KeysValues> {
        self.layers.iter().map(|layer| layer.cross.keys_values(x.clone())).collect()
    }

    fn run(
        &self,
        Embeds(x): Embeds,
        sequence: &Sequence,
        media: &[Vec<KeysValues>],
        mut read: Option<&mut Cache>,
        layers: usize,
    ) -> Tensor<3> {
        assert!(sequence.cross_attention.is_none(), "every row hears its own sound");
        let heard = media.last().expect("a sound was heard");
        let t = x.dims()[1];
        let offset = read.as_ref().map_or(0, |read| read.tokens());
        let mask = mask(sequence, offset, t);
        let x = x + learned_positions(&self.position, 0, sequence, offset, t);
        let layers = self.layers.iter().zip(heard).take(layers).enumerate();
        let x = layers.fold(x, |x, (i, (layer, heard))| {
            let kept = read.as_deref_mut().map(|read| read.layer(i));
            layer.forward(x, &mask, kept, heard)
        });
        if let Some(read) = read {
            read.advance(t);
        }
        x
    }
}

impl Forward for WhisperDecoder {
    type Cache = CrossCache;

    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        Embeds(self.embedding.forward(ids, shape))
    }

    /// Every row hears its own of the features, `[B, N, D]`.
    ///
    /// # Panics
    /// When nothing was heard, in this call or the cache; when there are more tokens than positions.
    fn forward(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut CrossCache>,
    ) -> Hidden {
        let shown = sequence.features.iter().map(|features| self.media(features));
        let layers = self.layers.len();
        let x = CrossCache::call(cache, shown, |media, read| {
            self.run(embeds, sequence, media, read, layers)
        });
        Hidden(self.norm.forward(x))
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.embedding.unembed(hidden)
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
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(
        &self,
        x: Tensor<3>,
        mask: &Mask,
        kept: Option<&mut KeyValues>,
        heard: &KeysValues,
    ) -> Tensor<3> {
        let (y, mask) = (self.norm1.forward(x.clone()), mask.clone());
        let x = match kept {
            Some(kept) => self.attention.extend_self(x, y, mask, kept),
            None => self.attention.add_self(x, y, mask, None),
        };
        let y = self.norm2.forward(x.clone());
        let x = self.cross.add_across(x, y, heard);
        let y = self.norm3.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}

sensorium_nn::pack!(Layer: attention, cross, mlp);
