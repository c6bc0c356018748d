//! A Llama that is shown pictures: before some of its layers a gated block asks what they hold.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.2, <https://arxiv.org/abs/2204.14198>, as Idefics has it
//! (Laurençon et al. 2023, <https://arxiv.org/abs/2306.16527>).
//!
//! ```text
//! features [M, N, E] ──keys, values, once─────┐
//! embeds [1, T, D] ──▶ (gated block ──▶ layers)·· ──norm──▶ hidden [1, T, D] ──head──▶ logits [.., V]
//! ```
//! A token sees one picture, the latest before it, or none. `tanh(0) = 0`: with its gates at 0 the
//! model is exactly the Llama inside.

use std::ops::Range;

use sensorium_flow::{Embeds, Features, Forward, Hidden, Sequence};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::llama::{SwiGlu, normed, residual_std, split};
use crate::{Cache, Llama, LlamaConfig};

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

/// What was shown and read: each gated block's keys and values of every picture, made once, and those
/// of the tokens read so far.
#[derive(Clone, Debug, Default)]
pub struct GatedCache {
    /// Of each picture, for each block.
    pictures: Vec<Vec<KeysValues>>,
    read: Cache,
}

/// Keys and values `[1, N, H, K]` of one picture.
type KeysValues = [Tensor<4>; 2];

impl GatedCache {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.read.tokens()
    }

    /// Pictures shown.
    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }
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

    /// What the gated blocks will ask of these pictures, `[M, N, E]`. Without one it is
    /// [`GatedCache::default`].
    pub fn cross_keys(&self, Features(x): &Features) -> GatedCache {
        let [m, _, _] = x.dims();
        let picture = |i| x.clone().narrow(0, i, 1);
        let show = |i| self.gated.iter().map(|block| block.cross.cross_keys(picture(i))).collect();
        GatedCache { pictures: (0..m).map(show).collect(), read: Cache::default() }
    }

    /// Token ids, row-major `[1, T]`, to `[1, T, D]`.
    pub fn embed(&self, ids: &[u32]) -> Embeds {
        self.llama.embed(ids, [1, ids.len()])
    }

    /// `[1, T, D] -> [1, T, D]` from the first position on. `looks [T]` is the picture that each token
    /// sees.
    ///
    /// # Panics
    /// When there is not a look for each token, or one at a picture that was not shown.
    pub fn forward(
        &self,
        embeds: Embeds,
        image_attention: &[Option<usize>],
        cache: &GatedCache,
    ) -> Hidden {
        self.read(embeds, image_attention, &cache.pictures, None)
    }

    /// As [`forward`](Self::forward), after so many layers and before the last norm, `[1, T, D]`: after
    /// none, the tokens, which the first gated block reads.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn hidden(
        &self,
        embeds: Embeds,
        image_attention: &[Option<usize>],
        cache: &GatedCache,
        layers: usize,
    ) -> Tensor<3> {
        let before = |i, x| self.gate(i, x, image_attention, &cache.pictures);
        self.llama.run(embeds, &Sequence::default(), None, layers, before)
    }

    /// What a layer reads, `[1, T, D] -> [1, T, D]`: the stream after the gated block before it, where
    /// there is one.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn ask(
        &self,
        layer: usize,
        stream: Tensor<3>,
        image_attention: &[Option<usize>],
        cache: &GatedCache,
    ) -> Tensor<3> {
        self.gate(layer, stream, image_attention, &cache.pictures)
    }

    /// As [`forward`](Self::forward), after the tokens that `shown` has read, which grow by these.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn extend(
        &self,
        embeds: Embeds,
        image_attention: &[Option<usize>],
        cache: &mut GatedCache,
    ) -> Hidden {
        let GatedCache { pictures, read } = cache;
        self.read(embeds, image_attention, pictures, Some(read))
    }

    /// `[rows, D] -> [rows, V]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.llama.logits(hidden)
    }

    fn read(
        &self,
        embeds: Embeds,
        image_attention: &[Option<usize>],
        pictures: &[Vec<KeysValues>],
        cache: Option<&mut Cache>,
    ) -> Hidden {
        self.llama.read(embeds, &Sequence::default(), cache, |i, x| {
            self.gate(i, x, image_attention, pictures)
        })
    }

    fn gate(
        &self,
        layer: usize,
        x: Tensor<3>,
        image_attention: &[Option<usize>],
        pictures: &[Vec<KeysValues>],
    ) -> Tensor<3> {
        let [b, t, _] = x.dims();
        assert!(
            b == 1 && t == image_attention.len(),
            "{} looks for {b}x{t} tokens",
            image_attention.len()
        );
        if !layer.is_multiple_of(self.interval) {
            return x;
        }
        let block = layer / self.interval;
        let seen = |run: Run| (run.tokens, run.look.map(|picture| &pictures[picture][block]));
        let seen: Vec<_> = runs(image_attention).into_iter().map(seen).collect();
        self.gated[block].forward(x, &seen)
    }
}

sensorium_nn::pack!(GatedLlama: llama, gated);

/// Neighbouring tokens that see the same picture, or none.
struct Run {
    tokens: Range<usize>,
    look: Option<usize>,
}

fn runs(image_attention: &[Option<usize>]) -> Vec<Run> {
    let mut start = 0;
    let chunks = image_attention.chunk_by(|a, b| a == b);
    let run = |chunk: &[Option<usize>]| {
        let tokens = start..start + chunk.len();
        start = tokens.end;
        Run { tokens, look: chunk[0] }
    };
    chunks.map(run).collect()
}

/// `x + tanh(cross_gate)·cross(norm1(x), picture)`, then `x + tanh(mlp_gate)·mlp(norm2(x))`.
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
            cross: CrossAttention::init(config, init),
            cross_gate: init.constant([config.gates()], 0.0),
            norm2: RmsNorm::init(d, eps, init),
            mlp: SwiGlu::init(&config.llama, init),
            mlp_gate: init.constant([config.gates()], 0.0),
        }
    }

    /// `[1, T, D] -> [1, T, D]`. A token that sees no picture passes the MLP alone.
    fn forward(&self, x: Tensor<3>, seen: &[(Range<usize>, Option<&KeysValues>)]) -> Tensor<3> {
        let x = match seen.iter().any(|(_, picture)| picture.is_some()) {
            true => {
                let y = self.cross.forward(self.norm1.forward(x.clone()), seen);
                x + gated(y, &self.cross_gate)
            }
            false => x,
        };
        let y = self.mlp.forward(self.norm2.forward(x.clone()));
        x + gated(y, &self.mlp_gate)
    }
}

/// `tanh(gate)·y`, `[1, T, D]`
fn gated(y: Tensor<3>, gate: &Param<Tensor<1>>) -> Tensor<3> {
    y * gate.val().tanh().unsqueeze()
}

sensorium_nn::pack!(GatedBlock: cross, mlp);

/// Queries from tokens, keys and values from pictures. No biases: who sees nothing adds nothing.
#[derive(Module, Debug)]
struct CrossAttention {
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
    fn init(config: &GatedLlamaConfig, init: &mut Init) -> Self {
        let LlamaConfig { hidden_size: d, n_heads: heads, head_dim: k, eps, .. } = config.llama;
        let (e, inner) = (config.features, heads * k);
        let head_norm = |init: &mut Init| config.qk_norm.then(|| RmsNorm::init(k, eps, init));
        Self {
            q: Linear::init(d, inner, false, 0.02, init),
            k: Linear::init(e, inner, false, 0.02, init),
            v: Linear::init(e, inner, false, 0.02, init),
            o: Linear::init(inner, d, false, residual_std(&config.llama), init),
            q_norm: head_norm(init),
            k_norm: head_norm(init),
            heads,
            precision: init.precision(),
        }
    }

    /// One picture, `[1, N, E]`.
    fn cross_keys(&self, x: Tensor<3>) -> KeysValues {
        let [k, v] = Linear::together([&self.k, &self.v], x);
        [normed(split(k, self.heads), &self.k_norm), split(v, self.heads)]
    }

    /// `[1, T, D] -> [1, T, D]`
    fn forward(&self, x: Tensor<3>, seen: &[(Range<usize>, Option<&KeysValues>)]) -> Tensor<3> {
        let q = normed(split(self.q.forward(x), self.heads), &self.q_norm); // [1, T, H, K]
        let [_, t, h, k] = q.dims();
        let ask = |(tokens, picture): &(Range<usize>, Option<&KeysValues>)| {
            let q = q.clone().narrow(1, tokens.start, tokens.len());
            match picture {
                Some([keys, values]) => {
                    let (keys, values) = (keys.clone(), values.clone());
                    fused::attention(self.precision, q, keys, values, Mask::Full, None)
                }
                None => q.zeros_like(),
            }
        };
        let o = Tensor::cat(seen.iter().map(ask).collect(), 1);
        self.o.forward(o.reshape([1, t, h * k]))
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

    fn hidden(model: &GatedLlama, cache: &GatedCache) -> Vec<f32> {
        read(model.forward(model.embed(&IDS), &LOOKS, cache).0)
    }

    #[test]
    fn with_gates_at_zero_it_is_the_llama_inside_bit_for_bit() {
        for config in [config(1, Gate::Scalar), config(2, Gate::Vector)] {
            let model = GatedLlama::init(&config, &mut Init::new(3, &Device::flex()));
            let llama = model.llama();
            let embeds = llama.embed(&IDS, [1, 7]);
            let plain = read(llama.forward(embeds, &Sequence::default(), None).0);
            assert_eq!(hidden(&model, &model.cross_keys(&features([1, 2]))), plain);
            assert_ne!(hidden(&open(&config), &open(&config).cross_keys(&features([1, 2]))), plain);
        }
    }

    /// At one gated block only: self-attention carries what earlier tokens saw to later ones.
    #[test]
    fn a_token_sees_the_latest_picture_before_it_alone() {
        let model = open(&config(1, Gate::Vector));
        let block = |seeds: [u64; 2]| {
            let cache = model.cross_keys(&features(seeds));
            let seen: Vec<_> = runs(&LOOKS)
                .into_iter()
                .map(|run| (run.tokens, run.look.map(|picture| &cache.pictures[picture][0])))
                .collect();
            read(model.gated[0].forward(model.embed(&IDS).0, &seen))
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
        let x = model.embed(&IDS).0;
        let alone =
            x.clone() + gated(block.mlp.forward(block.norm2.forward(x.clone())), &block.mlp_gate);
        assert_eq!(read(block.forward(x, &[(0..7, None)])), read(alone));
    }

    #[test]
    fn token_by_token_it_reads_the_same() {
        let model = open(&config(2, Gate::Vector));
        let mut cache = model.cross_keys(&features([1, 2]));
        let whole = hidden(&model, &cache);
        let mut parts = Vec::new();
        for (tokens, image_attention) in IDS.chunks(3).zip(LOOKS.chunks(3)) {
            parts.extend(read(model.extend(model.embed(tokens), image_attention, &mut cache).0));
        }
        assert_eq!((cache.tokens(), cache.pictures()), (7, 2));
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
