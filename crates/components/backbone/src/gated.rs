//! A Llama that is shown pictures: before some of its layers a gated block asks what they hold.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.2, <https://arxiv.org/abs/2204.14198>, as Idefics has it
//! (Laurençon et al. 2023, <https://arxiv.org/abs/2306.16527>).
//!
//! ```text
//! features [M, N, E] ──keys, values, once─────┐
//! embeds [B, T, D] ──▶ (gated block ──▶ layers)·· ──norm──▶ hidden [B, T, D] ──head──▶ logits [.., V]
//! ```
//! A token sees one picture, the latest before it, or none. `tanh(0) = 0`: with its gates at 0 the
//! model is exactly the Llama inside.

use std::ops::Range;

use sensorium_flow::{Embeds, Features, Forward, Hidden, Sequence};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cross::{KeysValues, cross_attention};
use crate::llama::{SwiGlu, normed, residual_std, split};
use crate::{Cache, CrossCache, Llama, LlamaConfig};

/// Shape of a [`GatedLlama`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedLlamaConfig {
    /// The language model.
    pub llama: LlamaConfig,
    /// Width E of a picture's features.
    pub features: usize,
    /// Layers from one gated block to the next, the first before layer 0; a divisor of their number.
    pub interval: usize,
    /// RMSNorm over each head's queries and keys in the gated blocks.
    pub qk_norm: bool,
    /// What a gate scales.
    pub gate: Gate,
}

/// What one number of a gate scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// All channels (Flamingo).
    Scalar,
    /// A channel of its own.
    Vector,
}

impl GatedLlamaConfig {
    /// Gated blocks.
    pub fn n_gated(&self) -> usize {
        self.llama.n_layers / self.interval
    }

    fn cross(&self) -> CrossConfig {
        let LlamaConfig { hidden_size: d, n_heads: heads, head_dim, eps, .. } = self.llama;
        let norm = self.qk_norm.then_some(eps);
        let out_std = residual_std(&self.llama);
        CrossConfig { widths: [d, self.features], heads: [heads, head_dim], norm, out_std }
    }

    /// Numbers of one gate.
    fn gates(&self) -> usize {
        match self.gate {
            Gate::Scalar => 1,
            Gate::Vector => self.llama.hidden_size,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| GatedLlama::init(self, init))
    }
}

/// A language model and its gated blocks, to run.
#[derive(Module, Debug)]
pub struct GatedLlama {
    llama: Llama,
    gated: Vec<GatedBlock>,
    #[module(skip)]
    interval: usize,
}

impl GatedLlama {
    /// Gates of 0: at first it is the Llama inside.
    pub fn init(config: &GatedLlamaConfig, init: &mut Init) -> Self {
        Self {
            llama: Llama::init(&config.llama, init),
            gated: (0..config.n_gated()).map(|_| GatedBlock::init(config, init)).collect(),
            interval: config.interval,
        }
    }

    /// The language model inside.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    /// What the gated blocks will ask of these media, `[M, N, E]`.
    pub fn cross_keys(&self, features: &Features) -> CrossCache {
        CrossCache { media: self.media(features), read: Cache::default() }
    }

    /// As [`forward`](Forward::forward), after so many layers and before the last norm, `[B, T, D]`:
    /// after none, the tokens, which the first gated block reads.
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
        let runs = runs(&embeds.0, sequence, cache.media());
        let before = |i, x| self.gate(i, x, &runs, &cache.media);
        self.llama.run(embeds, sequence, None, layers, before)
    }

    /// What a layer reads, `[B, T, D] -> [B, T, D]`: the stream after the gated block before it, where
    /// there is one.
    ///
    /// # Panics
    /// As [`forward`](Forward::forward).
    pub fn ask(
        &self,
        layer: usize,
        stream: Tensor<3>,
        sequence: &Sequence,
        cache: &CrossCache,
    ) -> Tensor<3> {
        let runs = runs(&stream, sequence, cache.media());
        self.gate(layer, stream, &runs, &cache.media)
    }

    fn media(&self, Features(x): &Features) -> Vec<Vec<KeysValues>> {
        cross_keys(x, self.gated.iter().map(|block| &block.cross))
    }

    fn gate(
        &self,
        layer: usize,
        x: Tensor<3>,
        runs: &[Run],
        media: &[Vec<KeysValues>],
    ) -> Tensor<3> {
        if !layer.is_multiple_of(self.interval) {
            return x;
        }
        let block = layer / self.interval;
        let keys: Vec<_> = media.iter().map(|layers| &layers[block]).collect();
        self.gated[block].forward(x, runs, &keys)
    }
}

impl Forward for GatedLlama {
    type Cache = CrossCache;

    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        self.llama.embed(ids, shape)
    }

    /// # Panics
    /// When there is not a medium, or none, for each token, or one that was not shown.
    fn forward(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut CrossCache>,
    ) -> Hidden {
        let shown = sequence.features.iter().flat_map(|features| self.media(features));
        CrossCache::call(cache, shown, |media, read| {
            let runs = runs(&embeds.0, sequence, media.len());
            self.llama.read(embeds, sequence, read, |i, x| self.gate(i, x, &runs, media))
        })
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.llama.logits(hidden)
    }
}

sensorium_nn::pack!(GatedLlama: llama, gated);

/// What these blocks' attentions will ask of each of the media `[M, N, E]`.
pub(crate) fn cross_keys<'a>(
    x: &Tensor<3>,
    blocks: impl Iterator<Item = &'a CrossAttention> + Clone,
) -> Vec<Vec<KeysValues>> {
    let medium = |i| x.clone().narrow(0, i, 1);
    let show = |i| blocks.clone().map(|cross| cross.cross_keys(medium(i))).collect();
    (0..x.dims()[0]).map(show).collect()
}

/// Neighbouring tokens, row after row, that see the same medium, or none.
pub(crate) struct Run {
    tokens: Range<usize>,
    pub(crate) medium: Option<usize>,
}

/// The runs of a call's tokens `[B, T, D]`, of so many media.
pub(crate) fn runs(x: &Tensor<3>, sequence: &Sequence, media: usize) -> Vec<Run> {
    let [b, t, _] = x.dims();
    let seen = cross_attention(sequence, [b, t], media);
    assert!(seen.len() == b * t, "{} seen media for {b}x{t} tokens", seen.len());
    let mut start = 0;
    let run = |chunk: &[Option<usize>]| {
        let tokens = start..start + chunk.len();
        start = tokens.end;
        Run { tokens, medium: chunk[0] }
    };
    seen.chunk_by(|a, b| a == b).map(run).collect()
}

/// `x + tanh(cross_gate)·cross(norm1(x), medium)`, then `x + tanh(mlp_gate)·mlp(norm2(x))`.
#[derive(Module, Debug)]
struct GatedBlock {
    norm1: RmsNorm,
    cross: CrossAttention,
    cross_gate: Param<Tensor<1>>,
    norm2: RmsNorm,
    mlp: SwiGlu,
    mlp_gate: Param<Tensor<1>>,
}

impl GatedBlock {
    fn init(config: &GatedLlamaConfig, init: &mut Init) -> Self {
        let (d, eps) = (config.llama.hidden_size, config.llama.eps);
        Self {
            norm1: RmsNorm::init(d, eps, init),
            cross: CrossAttention::init(&config.cross(), init),
            cross_gate: init.constant([config.gates()], 0.0),
            norm2: RmsNorm::init(d, eps, init),
            mlp: SwiGlu::init(&config.llama, init),
            mlp_gate: init.constant([config.gates()], 0.0),
        }
    }

    /// `[B, T, D] -> [B, T, D]`. A token that sees no medium passes the MLP alone.
    fn forward(&self, x: Tensor<3>, runs: &[Run], keys: &[&KeysValues]) -> Tensor<3> {
        let x = match runs.iter().any(|run| run.medium.is_some()) {
            true => {
                let y = self.cross.forward(self.norm1.forward(x.clone()), runs, keys);
                x + gated(y, &self.cross_gate)
            }
            false => x,
        };
        let y = self.mlp.forward(self.norm2.forward(x.clone()));
        x + gated(y, &self.mlp_gate)
    }
}

/// `tanh(gate)·y`, `[B, T, D]`
pub(crate) fn gated(y: Tensor<3>, gate: &Param<Tensor<1>>) -> Tensor<3> {
    y * gate.val().tanh().unsqueeze()
}

sensorium_nn::pack!(GatedBlock: cross, mlp);

/// Shape of a [`CrossAttention`].
pub(crate) struct CrossConfig {
    /// Of the stream, D, and of the media, E.
    pub widths: [usize; 2],
    /// Heads H, and their width K.
    pub heads: [usize; 2],
    /// Epsilon of an RMSNorm over each head's queries and keys.
    pub norm: Option<f64>,
    /// Spread of what writes to the stream.
    pub out_std: f64,
}

/// Queries from tokens, keys and values from media. No biases: who sees nothing adds nothing.
#[derive(Module, Debug)]
pub(crate) struct CrossAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl CrossAttention {
    pub(crate) fn init(config: &CrossConfig, init: &mut Init) -> Self {
        let ([d, e], [heads, k]) = (config.widths, config.heads);
        let inner = heads * k;
        let head_norm = |init: &mut Init| config.norm.map(|eps| RmsNorm::init(k, eps, init));
        Self {
            q: Linear::init(d, inner, false, 0.02, init),
            k: Linear::init(e, inner, false, 0.02, init),
            v: Linear::init(e, inner, false, 0.02, init),
            o: Linear::init(inner, d, false, config.out_std, init),
            q_norm: head_norm(init),
            k_norm: head_norm(init),
            heads,
            precision: init.precision(),
        }
    }

    /// One medium, `[1, N, E]`.
    pub(crate) fn cross_keys(&self, x: Tensor<3>) -> KeysValues {
        let [k, v] = Linear::together([&self.k, &self.v], x);
        [normed(split(k, self.heads), &self.k_norm), split(v, self.heads)]
    }

    /// `[B, T, D] -> [B, T, D]`
    pub(crate) fn forward(&self, x: Tensor<3>, runs: &[Run], keys: &[&KeysValues]) -> Tensor<3> {
        let q = normed(split(self.q.forward(x), self.heads), &self.q_norm); // [B, T, H, K]
        let [b, t, h, k] = q.dims();
        // What is asked of media has no order: all rows are one.
        let q = q.reshape([1, b * t, h, k]);
        let ask = |run: &Run| {
            let q = q.clone().narrow(1, run.tokens.start, run.tokens.len());
            let Some(medium) = run.medium else { return q.zeros_like() };
            let [keys, values] = keys[medium].clone();
            fused::attention(self.precision, q, keys, values, Mask::Full, None)
        };
        let o = Tensor::cat(runs.iter().map(ask).collect(), 1);
        self.o.forward(o.reshape([b, t, h * k]))
    }
}

sensorium_nn::pack!(CrossAttention: q, k, v, o);

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{read, update};

    use super::*;

    fn config(interval: usize, gate: Gate) -> GatedLlamaConfig {
        let llama = LlamaConfig {
            vocab_size: 19,
            hidden_size: 24,
            n_layers: 4,
            n_heads: 3,
            n_kv_heads: 3,
            head_dim: 8,
            intermediate_size: 20,
            qk_norm: false,
            tied: false,
            ..LlamaConfig::small()
        };
        GatedLlamaConfig { llama, features: 12, interval, qk_norm: gate == Gate::Vector, gate }
    }

    /// A model whose gates are open.
    fn open(config: &GatedLlamaConfig) -> GatedLlama {
        let model = GatedLlama::init(config, &mut Init::new(3, &Device::flex()));
        update(model, |name, _, data| {
            let is_gate = name.ends_with("cross_gate") || name.ends_with("mlp_gate");
            if is_gate {
                data.fill(1.0);
            }
            // Weights of 0.02 would say too little of what was seen.
            data.iter_mut().for_each(|x| *x *= if name.contains("norm") { 1.0 } else { 10.0 });
            true
        })
    }

    fn features(seeds: [u64; 2]) -> Features {
        let picture = |seed| Init::new(seed, &Device::flex()).normal([1, 5, 12], 1.0).val();
        Features(Tensor::cat(seeds.map(picture).to_vec(), 0))
    }

    const IDS: [u32; 7] = [1, 5, 3, 2, 7, 3, 18];
    const LOOKS: [Option<usize>; 7] = [None, None, Some(0), Some(0), Some(0), Some(1), Some(1)];

    fn seeing(features: Option<Features>, looks: &[Option<usize>]) -> Sequence {
        Sequence { features, cross_attention: Some(looks.into()), ..Sequence::default() }
    }

    fn hidden(model: &GatedLlama, seeds: [u64; 2]) -> Vec<f32> {
        let sequence = seeing(Some(features(seeds)), &LOOKS);
        read(model.forward(model.embed(&IDS, [1, 7]), &sequence, None).0)
    }

    #[test]
    fn with_gates_at_zero_it_is_the_llama_inside_bit_for_bit() {
        for config in [config(1, Gate::Scalar), config(2, Gate::Vector)] {
            let model = GatedLlama::init(&config, &mut Init::new(3, &Device::flex()));
            let llama = model.llama();
            let embeds = llama.embed(&IDS, [1, 7]);
            let plain = read(llama.forward(embeds, &Sequence::default(), None).0);
            assert_eq!(hidden(&model, [1, 2]), plain);
            assert_ne!(hidden(&open(&config), [1, 2]), plain);
        }
    }

    /// At one gated block only: self-attention carries what earlier tokens saw to later ones.
    #[test]
    fn a_token_sees_the_latest_picture_before_it_alone() {
        let model = open(&config(1, Gate::Vector));
        let block = |seeds: [u64; 2]| {
            let cache = model.cross_keys(&features(seeds));
            let keys: Vec<_> = cache.media.iter().map(|layers| &layers[0]).collect();
            let x = model.embed(&IDS, [1, 7]).0;
            let runs = runs(&x, &seeing(None, &LOOKS), 2);
            read(model.gated[0].forward(x, &runs, &keys))
        };
        let (both, first, second) = (block([1, 2]), block([9, 2]), block([1, 9]));
        let token = |all: &[f32], i: usize| all[i * 24..(i + 1) * 24].to_vec();
        for (i, look) in LOOKS.iter().enumerate() {
            let moved = [&first, &second].map(|other| token(other, i) != token(&both, i));
            assert_eq!(moved, [*look == Some(0), *look == Some(1)], "token {i}");
        }
    }

    /// Who sees nothing passes the MLP alone, whatever the cross-attention's weights.
    #[test]
    fn without_a_picture_only_the_mlp_acts() {
        let model = open(&config(1, Gate::Scalar));
        let block = &model.gated[0];
        let x = model.embed(&IDS, [1, 7]).0;
        let alone =
            x.clone() + gated(block.mlp.forward(block.norm2.forward(x.clone())), &block.mlp_gate);
        let runs = runs(&x, &seeing(None, &[None; 7]), 0);
        assert_eq!(read(block.forward(x, &runs, &[])), read(alone));
    }

    #[test]
    fn token_by_token_it_reads_the_same() {
        let model = open(&config(2, Gate::Vector));
        let whole = hidden(&model, [1, 2]);
        let (mut cache, mut parts, mut shown) = (CrossCache::default(), Vec::new(), None);
        for (tokens, looks) in IDS.chunks(3).zip(LOOKS.chunks(3)) {
            let shown = shown.replace(()).is_none().then(|| features([1, 2]));
            let embeds = model.embed(tokens, [1, tokens.len()]);
            parts.extend(read(model.forward(embeds, &seeing(shown, looks), Some(&mut cache)).0));
        }
        assert_eq!((cache.tokens(), cache.media()), (7, 2));
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
