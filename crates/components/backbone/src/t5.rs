//! T5: an encoder that reads all of a text at once, and a decoder whose every layer asks what was read.
//!
//! Raffel et al. 2020, <https://arxiv.org/abs/1910.10683>; gated MLPs, Shazeer 2020,
//! <https://arxiv.org/abs/2002.05202>
//!
//! ```text
//! embeds [B, N, D] ──blocks──▶ ──norm──▶ features [B, N, D] ──keys, values, once──┐
//! embeds [B, T, D] ──blocks──▶ [B, T, D] ──norm──▶ hidden ──head──▶ logits [.., V]  ▲
//! ```
//! Nothing is added to embeddings: how far a key lies from a query, in coarser steps the further, adds a learned
//! number to the score, the same in all layers of a stack.

use sensorium_flow::{Embeds, Features, Forward, Hidden, Sequence};
use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::*;

use crate::cross::KeysValues;
use crate::{Cache, CrossCache};

/// Shape of a [`T5`].
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Width D.
    pub hidden_size: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width K of a head: they need not share D.
    pub head_dim: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Blocks of the encoder and of the decoder.
    pub n_layers: [usize; 2],
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Whether a second map is multiplied with what the activation gives.
    pub gated: bool,
    /// How distances become entries of a table.
    pub buckets: Buckets,
    /// Whether the head is the token table.
    pub tied: bool,
    /// What the head reads is multiplied by `D^-0.5`.
    pub scaled: bool,
    /// Epsilon of every norm.
    pub eps: f64,
}

/// How distances between tokens become entries of a table: the first half one by one, the others in steps that
/// grow with the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Entries, for both directions together where there are two.
    pub entries: usize,
    /// From here on all are alike.
    pub furthest: usize,
}

impl Buckets {
    /// The entry for a key that stands `ahead` tokens behind its query in the text, before it if less than 0.
    fn entry(self, ahead: i64, both_ways: bool) -> usize {
        let (entries, first) = match both_ways {
            true => (self.entries / 2, if ahead > 0 { self.entries / 2 } else { 0 }),
            false => (self.entries, 0),
        };
        let far = if both_ways { ahead.unsigned_abs() } else { ahead.min(0).unsigned_abs() };
        let (far, single) = (far as usize, entries / 2);
        if far < single {
            return first + far;
        }
        let steps = (entries - single) as f32;
        let whole = (self.furthest as f64 / single as f64).ln() as f32;
        let step = (far as f32 / single as f32).ln() / whole * steps;
        first + (single + step as usize).min(entries - 1)
    }
}

impl T5Config {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| T5::init(self, init))
    }
}

/// Token table, two stacks, and a head unless the table is it.
#[derive(Module, Debug)]
pub struct T5 {
    embedding: Embedding,
    encoder: Stack,
    decoder: Stack,
    head: Option<Linear>,
    /// What the head reads is multiplied by it.
    #[module(skip)]
    scale: f64,
}

impl T5 {
    /// Weights of 1 over the square root of what a map reads, as in the paper's code.
    pub fn init(config: &T5Config, init: &mut Init) -> Self {
        let (v, d) = (config.vocab_size, config.hidden_size);
        let std = (d as f64).powf(-0.5);
        let [encoder, decoder] = config.n_layers;
        Self {
            embedding: Embedding::init(v, d, 1.0, init),
            encoder: Stack::init(config, encoder, false, init),
            decoder: Stack::init(config, decoder, true, init),
            head: (!config.tied).then(|| Linear::init(d, v, false, std, init)),
            scale: if config.scaled { std } else { 1.0 },
        }
    }

    /// What is read of a whole text, or of whatever stands for one: `[B, N, D] -> [B, N, D]`.
    pub fn encode(&self, embeds: Embeds) -> Features {
        let blocks = self.encoder.blocks.len();
        Features(self.encoder.norm.forward(self.encoded(embeds, blocks)))
    }

    /// The encoder's stream after so many blocks, `[B, N, D]`: after none, what the first one reads.
    pub fn encoded(&self, Embeds(x): Embeds, blocks: usize) -> Tensor<3> {
        let n = x.dims()[1];
        let bias = self.encoder.bias(0, n);
        let blocks = self.encoder.blocks.iter().take(blocks);
        blocks.fold(x, |x, block| block.forward(x, &bias, None, None))
    }

    /// What every block of the decoder will ask of these features, `[B, N, D]`.
    pub fn cross_keys(&self, features: &Features) -> CrossCache {
        CrossCache { media: vec![self.media(features)], read: Cache::default() }
    }

    /// As [`forward`](Forward::forward), after so many blocks and before the last norm, `[B, T, D]`.
    ///
    /// # Panics
    /// As [`forward`](Forward::forward).
    pub fn hidden(&self, embeds: Embeds, cache: &CrossCache, blocks: usize) -> Tensor<3> {
        self.run(embeds, &cache.media, None, blocks)
    }

    fn media(&self, Features(x): &Features) -> Vec<KeysValues> {
        let cross = self.decoder.blocks.iter().filter_map(|block| block.cross.as_ref());
        cross.map(|cross| cross.attention.keys(x)).collect()
    }

    fn run(
        &self,
        Embeds(x): Embeds,
        media: &[Vec<KeysValues>],
        mut read: Option<&mut Cache>,
        blocks: usize,
    ) -> Tensor<3> {
        let heard = media.last().expect("a text was read");
        let t = x.dims()[1];
        let bias = self.decoder.bias(read.as_ref().map_or(0, |read| read.tokens()), t);
        let blocks = self.decoder.blocks.iter().zip(heard).take(blocks).enumerate();
        let x = blocks.fold(x, |x, (i, (block, heard))| {
            let kept = read.as_deref_mut().map(|read| read.layer(i));
            block.forward(x, &bias, kept, Some(heard))
        });
        if let Some(read) = read {
            read.advance(t);
        }
        x
    }
}

impl Forward for T5 {
    type Cache = CrossCache;

    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        Embeds(self.embedding.forward(ids, shape))
    }

    /// The decoder. Every row asks its own of the features, `[B, N, D]`.
    ///
    /// # Panics
    /// When nothing was read, in this call or the cache.
    fn forward(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut CrossCache>,
    ) -> Hidden {
        let shown = sequence.features.iter().map(|features| self.media(features));
        let blocks = self.decoder.blocks.len();
        let x = CrossCache::call(cache, shown, |media, read| self.run(embeds, media, read, blocks));
        Hidden(self.decoder.norm.forward(x))
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let hidden = hidden * self.scale;
        match &self.head {
            Some(head) => head.forward(hidden),
            None => self.embedding.unembed(hidden),
        }
    }
}

impl Pack for T5 {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        self.encoder.matrices(&pack::join(path, "encoder"), visit);
        self.decoder.matrices(&pack::join(path, "decoder"), visit);
        match &mut self.head {
            Some(head) => head.matrices(&pack::join(path, "head"), visit),
            None => self.embedding.matrices(&pack::join(path, "embedding"), visit),
        }
    }
}

/// The encoder or the decoder.
#[derive(Module, Debug)]
struct Stack {
    /// What a distance adds to each head's scores, `[entries, H]`.
    position: Param<Tensor<2>>,
    blocks: Vec<T5Block>,
    norm: RmsNorm,
    #[module(skip)]
    buckets: Buckets,
    #[module(skip)]
    causal: bool,
}

sensorium_nn::pack!(Stack: blocks);

impl Stack {
    fn init(config: &T5Config, n_layers: usize, causal: bool, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let std = (d as f64).powf(-0.5);
        Self {
            position: init.normal([config.buckets.entries, config.n_heads], std),
            blocks: (0..n_layers).map(|_| T5Block::init(config, causal, init)).collect(),
            norm: RmsNorm::init(d, config.eps, init),
            buckets: config.buckets,
            causal,
        }
    }

    /// What is added to the scores of `t` tokens after `offset` others, for themselves and those: `[1, H, t,
    /// offset + t]`, with next to nothing left of what a decoder's token may not see.
    fn bias(&self, offset: usize, t: usize) -> Tensor<4> {
        const UNSEEN: f32 = -1e30;
        let ([_, h], keys) = (self.position.dims(), offset + t);
        let ahead = |i: usize| (i % keys) as i64 - (offset + i / keys) as i64;
        let entry = |i| self.buckets.entry(ahead(i), !self.causal) as i32;
        let rows = fused::embedding(self.position.val(), (0..t * keys).map(entry).collect());
        let bias = rows.reshape([1, t, keys, h]).permute([0, 3, 1, 2]);
        if !self.causal || t == 1 {
            return bias;
        }
        let unseen = (0..t * keys).map(|i| if ahead(i) > 0 { UNSEEN } else { 0.0 }).collect();
        let unseen = TensorData::new::<f32, _>(unseen, [1, 1, t, keys]);
        let device = bias.device().without_autodiff();
        bias + Tensor::from_data(unseen, &device)
    }
}

/// `x + attention(norm1(x))`, in the decoder `x + cross(norm(x), features)`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
struct T5Block {
    norm1: RmsNorm,
    attention: T5Attention,
    cross: Option<Cross>,
    norm2: RmsNorm,
    mlp: T5Mlp,
}

sensorium_nn::pack!(T5Block: attention, cross, mlp);

impl T5Block {
    fn init(config: &T5Config, asks: bool, init: &mut Init) -> Self {
        let norm = |init: &mut Init| RmsNorm::init(config.hidden_size, config.eps, init);
        Self {
            norm1: norm(init),
            attention: T5Attention::init(config, init),
            cross: asks
                .then(|| Cross { norm: norm(init), attention: T5Attention::init(config, init) }),
            norm2: norm(init),
            mlp: T5Mlp::init(config, init),
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(
        &self,
        x: Tensor<3>,
        bias: &Tensor<4>,
        kept: Option<&mut KeyValues>,
        heard: Option<&KeysValues>,
    ) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_self(x, y, bias, kept);
        let x = match (&self.cross, heard) {
            (Some(Cross { norm, attention }), Some(heard)) => {
                let y = norm.forward(x.clone());
                attention.add_asked(x, y, heard)
            }
            _ => x,
        };
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}

/// What a decoder's block asks of what was read.
#[derive(Module, Debug)]
struct Cross {
    norm: RmsNorm,
    attention: T5Attention,
}

sensorium_nn::pack!(Cross: attention);

/// Attention without biases of its maps. Scores are not scaled in the published model: its queries are read
/// multiplied by `K^0.5`, which the scaling here undoes.
#[derive(Module, Debug)]
struct T5Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

sensorium_nn::pack!(T5Attention: q, k, v, o);

impl T5Attention {
    fn init(config: &T5Config, init: &mut Init) -> Self {
        let (d, inner) = (config.hidden_size, config.n_heads * config.head_dim);
        let linear = |from: usize, to: usize, init: &mut Init| {
            Linear::init(from, to, false, (from as f64).powf(-0.5), init)
        };
        Self {
            q: linear(d, inner, init),
            k: linear(d, inner, init),
            v: linear(d, inner, init),
            o: linear(inner, d, init),
            heads: config.n_heads,
            precision: init.precision(),
        }
    }

    /// `stream + attention(x)`, `[B, T, D]`, over what was kept and `x`.
    fn add_self(
        &self,
        stream: Tensor<3>,
        x: Tensor<3>,
        bias: &Tensor<4>,
        kept: Option<&mut KeyValues>,
    ) -> Tensor<3> {
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(|y| self.split(y));
        let seen = match kept {
            Some(kept) => kept.each([&q, &k, &v], |_, qkv| asked(qkv, bias)),
            None => asked([q, k, v], bias),
        };
        self.o.add_to(stream, joined(seen))
    }

    /// `stream + attention(x, features)`, `[B, T, D]`: no distance counts.
    fn add_asked(&self, stream: Tensor<3>, x: Tensor<3>, [k, v]: &KeysValues) -> Tensor<3> {
        let q = self.split(self.q.forward(x));
        let (k, v) = (k.clone(), v.clone());
        let seen = fused::attention(self.precision, q, k, v, Mask::Full, None);
        self.o.add_to(stream, joined(seen))
    }

    /// `[B, N, D] -> keys and values [B, N, H, K]`
    fn keys(&self, features: &Tensor<3>) -> KeysValues {
        let both = Linear::together([&self.k, &self.v], features.clone());
        both.map(|y| self.split(y))
    }

    /// `[B, T, H·K] -> [B, T, H, K]`
    fn split(&self, y: Tensor<3>) -> Tensor<4> {
        let [b, t, inner] = y.dims();
        y.reshape([b, t, self.heads, inner / self.heads])
    }
}

/// Each score with its own of `bias`: `[B, T, H, K] -> [B, T, H, K]`.
fn asked([q, k, v]: [Tensor<4>; 3], bias: &Tensor<4>) -> Tensor<4> {
    weighted(attention_weights(q, k, bias.clone()), v)
}

/// `[B, T, H, K] -> [B, T, H·K]`
fn joined(o: Tensor<4>) -> Tensor<3> {
    let [b, t, h, k] = o.dims();
    o.reshape([b, t, h * k])
}

/// `fc2(act(fc1(x)))`, or `fc2(act(fc1(x)) · up(x))`.
#[derive(Module, Debug)]
struct T5Mlp {
    fc1: Linear,
    up: Option<Linear>,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

sensorium_nn::pack!(T5Mlp: fc1, up, fc2);

impl T5Mlp {
    fn init(config: &T5Config, init: &mut Init) -> Self {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        let std = [d, hidden].map(|width| (width as f64).powf(-0.5));
        Self {
            fc1: Linear::init(d, hidden, false, std[0], init),
            up: config.gated.then(|| Linear::init(d, hidden, false, std[0], init)),
            fc2: Linear::init(hidden, d, false, std[1], init),
            activation: config.activation,
        }
    }

    /// `stream + mlp(x)`, `[B, T, D]`
    fn add_to(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let y = self.fc1.activated(x.clone(), self.activation);
        let y = self.up.iter().fold(y, |y, up| y * up.forward(x.clone()));
        self.fc2.add_to(stream, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T5Attention._relative_position_bucket` of transformers.
    #[test]
    fn distances_become_entries() {
        let buckets = Buckets { entries: 32, furthest: 128 };
        let both = |ahead| buckets.entry(ahead, true);
        assert_eq!([-200, -20, -8, -7, 0].map(both), [15, 10, 8, 7, 0]);
        assert_eq!([1, 7, 8, 20, 127, 128].map(both), [17, 23, 24, 26, 31, 31]);
        let back = |ahead| buckets.entry(ahead, false);
        assert_eq!([5, 0, -15, -16, -40, -113, -500].map(back), [0, 0, 15, 16, 23, 31, 31]);
    }
}
