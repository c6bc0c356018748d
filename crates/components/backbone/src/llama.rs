//! The decoder of Llama: RMSNorm, rotary positions, grouped queries, SwiGLU.
//!
//! Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>; grouped queries: Ainslie et al. 2023;
//! query-key norm: Dehghani et al. 2023 (as Qwen3 has it, over each head, before the rotation).
//!
//! ```text
//! embeds [B, T, D] ──blocks──▶ [B, T, D] ──norm──▶ hidden [B, T, D] ──head──▶ logits [.., V]
//! ```

use std::sync::Arc;

use sensorium_flow::{Embeds, Hidden};
use sensorium_nn::fused::{KeyValues, RotaryTable};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Cache;

/// Shape of a [`Llama`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaConfig {
    /// Entries of the token table.
    pub vocabulary: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width D.
    pub width: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; a divisor of `n_heads`.
    pub n_kv_heads: usize,
    /// Width K of a head.
    pub head_width: usize,
    /// Width inside the SwiGLU.
    pub mlp: usize,
    /// Base of the rotary angles.
    pub theta: f32,
    /// Epsilon of every norm.
    pub eps: f64,
    /// RMSNorm over each head's queries and keys.
    pub qk_norm: bool,
    /// The head is the token table.
    pub tied: bool,
}

impl LlamaConfig {
    /// The embedded model's backbone: 8x256, 6.95 M parameters.
    pub fn nano() -> Self {
        Self {
            vocabulary: 4096,
            context: 512,
            width: 256,
            n_layers: 8,
            n_heads: 8,
            n_kv_heads: 4,
            head_width: 32,
            mlp: 704,
            theta: 1e4,
            eps: 1e-6,
            qk_norm: true,
            tied: true,
        }
    }

    /// Name and shape of every parameter of such a [`Llama`], without making one: a file can be
    /// compared with them before memory is taken for its claims.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, q, kv) =
            (self.width, self.n_heads * self.head_width, self.n_kv_heads * self.head_width);
        let mut all = vec![("embedding".to_owned(), vec![self.vocabulary, d])];
        for i in 0..self.n_layers {
            let mut put = |name: &str, shape: &[usize]| {
                all.push((format!("layers.{i}.{name}"), shape.to_vec()));
            };
            put("norm1", &[d]);
            put("attention.q", &[q, d]);
            put("attention.k", &[kv, d]);
            put("attention.v", &[kv, d]);
            put("attention.o", &[d, q]);
            if self.qk_norm {
                put("attention.q_norm", &[self.head_width]);
                put("attention.k_norm", &[self.head_width]);
            }
            put("norm2", &[d]);
            put("mlp.gate", &[self.mlp, d]);
            put("mlp.up", &[self.mlp, d]);
            put("mlp.down", &[d, self.mlp]);
        }
        all.push(("norm".to_owned(), vec![d]));
        if !self.tied {
            all.push(("head".to_owned(), vec![self.vocabulary, d]));
        }
        all.into_iter().map(|(part, shape)| (format!("{part}.weight"), shape)).collect()
    }

    /// Floating-point operations of the forward pass of `t` tokens, `heads` of them through the
    /// language-model head.
    pub fn flops(&self, t: usize, heads: usize) -> f64 {
        let (d, q) = (self.width, self.n_heads * self.head_width);
        let kv = self.n_kv_heads * self.head_width;
        let layer = t * (2 * d * q + 2 * d * kv + 3 * d * self.mlp) + t * t * q;
        2.0 * (self.n_layers * layer + heads * d * self.vocabulary) as f64
    }
}

/// A decoder: token table, layers, norm, head.
#[derive(Module, Debug)]
pub struct Llama {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Option<Linear>,
    #[module(skip)]
    rotary: Rotary,
}

/// Angles for new positions, made when asked for.
#[derive(Clone, Debug)]
struct Rotary {
    theta: f32,
    head_width: usize,
}

/// Where the tokens of one call stand, and what each may see.
#[derive(Clone)]
struct Place {
    table: RotaryTable,
    mask: Mask,
}

impl Llama {
    /// Weights of 0.02, residual writes scaled by `(2 n_layers)^-0.5` (GPT-2).
    pub fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (v, d) = (config.vocabulary, config.width);
        Self {
            embedding: Embedding::init(v, d, 0.02, init),
            layers: (0..config.n_layers).map(|_| Layer::init(config, init)).collect(),
            norm: RmsNorm::init(d, config.eps, init),
            head: (!config.tied).then(|| Linear::init(d, v, false, 0.02, init)),
            rotary: Rotary { theta: config.theta, head_width: config.head_width },
        }
    }

    /// Token ids, row-major `[B, T]`, to `[B, T, D]`.
    pub fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        Embeds(self.embedding.forward(ids, shape))
    }

    /// `[B, T, D] -> [B, T, D]`, later tokens seeing earlier ones.
    ///
    /// `spans [B*T]` (0 = none) marks positions that see each other both ways: a picture's tokens.
    pub fn forward(&self, embeds: Embeds, spans: Option<Arc<[i32]>>) -> Hidden {
        self.read(embeds, spans, None)
    }

    /// As [`forward`](Self::forward), after the tokens in `cache`, which grows by these. Spans must
    /// lie within one call.
    pub fn extend(&self, embeds: Embeds, spans: Option<Arc<[i32]>>, cache: &mut Cache) -> Hidden {
        self.read(embeds, spans, Some(cache))
    }

    /// `[rows, D] -> [rows, V]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => head.forward(hidden),
            None => self.embedding.unembed(hidden),
        }
    }

    fn read(
        &self,
        Embeds(x): Embeds,
        spans: Option<Arc<[i32]>>,
        mut cache: Option<&mut Cache>,
    ) -> Hidden {
        let t = x.dims()[1];
        let offset = cache.as_ref().map_or(0, |cache| cache.tokens());
        let Rotary { theta, head_width } = self.rotary;
        let place = Place {
            table: RotaryTable::new(theta, head_width, offset..offset + t),
            mask: match spans {
                // Spans are numbered over all keys; earlier calls' keys carry none.
                Some(spans) => {
                    let spans = spans
                        .chunks(t)
                        .flat_map(|row| std::iter::repeat_n(0, offset).chain(row.iter().copied()));
                    Mask::Prefix { offset, spans: spans.collect() }
                }
                None => Mask::Causal { offset },
            },
        };
        let x = self.layers.iter().enumerate().fold(x, |x, (i, layer)| {
            layer.forward(x, &place, cache.as_deref_mut().map(|cache| cache.layer(i)))
        });
        if let Some(cache) = cache {
            cache.advance(t);
        }
        Hidden(self.norm.forward(x))
    }
}

impl Pack for Llama {
    fn pack(&mut self, path: &str, packer: &mut pack::Packer<'_>) {
        self.layers.pack(&pack::join(path, "layers"), packer);
        match &mut self.head {
            Some(head) => head.pack(&pack::join(path, "head"), packer),
            None => self.embedding.pack(&pack::join(path, "embedding"), packer),
        }
    }
}

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
struct Layer {
    norm1: RmsNorm,
    attention: GroupedAttention,
    norm2: RmsNorm,
    mlp: SwiGlu,
    #[module(skip)]
    recompute: bool,
}

impl Layer {
    fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        Self {
            norm1: RmsNorm::init(config.width, config.eps, init),
            attention: GroupedAttention::init(config, init),
            norm2: RmsNorm::init(config.width, config.eps, init),
            mlp: SwiGlu::init(config, init),
            recompute: init.recomputes(),
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(&self, x: Tensor<3>, place: &Place, kept: Option<&mut KeyValues>) -> Tensor<3> {
        if !self.recompute || kept.is_some() {
            return self.run(x, place, kept);
        }
        let place = place.clone();
        fused::recompute(self, x, move |layer, x| layer.run(x, &place, None))
    }

    fn run(&self, x: Tensor<3>, place: &Place, kept: Option<&mut KeyValues>) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_to(x, y, place, kept);
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}

sensorium_nn::pack!(Layer: attention, mlp);

fn residual_std(config: &LlamaConfig) -> f64 {
    0.02 * (2.0 * config.n_layers as f64).powf(-0.5)
}

#[derive(Module, Debug)]
struct GroupedAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    #[module(skip)]
    heads: [usize; 2],
    #[module(skip)]
    precision: Precision,
}

impl GroupedAttention {
    fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (d, k) = (config.width, config.head_width);
        let (h, hkv) = (config.n_heads, config.n_kv_heads);
        let head_norm =
            |init: &mut Init| config.qk_norm.then(|| RmsNorm::init(k, config.eps, init));
        Self {
            q: Linear::init(d, h * k, false, 0.02, init),
            k: Linear::init(d, hkv * k, false, 0.02, init),
            v: Linear::init(d, hkv * k, false, 0.02, init),
            o: Linear::init(h * k, d, false, residual_std(config), init),
            q_norm: head_norm(init),
            k_norm: head_norm(init),
            heads: [h, hkv],
            precision: init.precision(),
        }
    }

    /// `stream + attention(x)`, `[B, T, D]`
    fn add_to(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        place: &Place,
        kept: Option<&mut KeyValues>,
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let [h, hkv] = self.heads;
        let split = |y: Tensor<3>, h: usize| {
            let k = y.dims()[2] / h;
            y.reshape([b, t, h, k])
        };
        let normed = |y: Tensor<4>, norm: &Option<RmsNorm>| match norm {
            Some(norm) => norm.forward(y),
            None => y,
        };
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x);
        let q = normed(split(q, h), &self.q_norm);
        let k = normed(split(k, hkv), &self.k_norm);
        let v = split(v, hkv);

        let q = fused::rotary(q, &place.table);
        let k = fused::rotary(k, &place.table);
        let mask = place.mask.clone();
        let o = match kept {
            Some(kept) => kept.attention(self.precision, q, k, v, mask),
            None => fused::attention(self.precision, q, k, v, mask, None),
        }; // [B, T, H, K]
        let width = o.dims()[2] * o.dims()[3];
        self.o.add_to(stream, o.reshape([b, t, width]))
    }
}

sensorium_nn::pack!(GroupedAttention: q, k, v, o);

#[derive(Module, Debug)]
struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl SwiGlu {
    fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (d, hidden) = (config.width, config.mlp);
        Self {
            gate: Linear::init(d, hidden, false, 0.02, init),
            up: Linear::init(d, hidden, false, 0.02, init),
            down: Linear::init(hidden, d, false, residual_std(config), init),
        }
    }

    /// `stream + mlp(x)`, `[B, T, D]`
    fn add_to(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.down.add_to(stream, Linear::gated(&self.gate, &self.up, x))
    }
}

sensorium_nn::pack!(SwiGlu: gate, up, down);

#[cfg(test)]
mod tests {
    use super::*;
    use sensorium_nn::running_device;

    #[test]
    fn listed_parameters_are_those_that_are_made() {
        for (qk_norm, tied) in [(true, true), (false, false)] {
            let config = LlamaConfig { qk_norm, tied, n_layers: 2, ..LlamaConfig::nano() };
            let llama = Llama::init(&config, &mut Init::empty(&running_device()));
            let made: Vec<_> =
                params::list(&llama).into_iter().map(|p| (p.name, p.shape)).collect();
            assert_eq!(config.parameters(), made);
        }
    }
}
