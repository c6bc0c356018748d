//! The decoder of Llama: RMSNorm, rotary positions, grouped queries, SwiGLU.
//!
//! Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>; grouped queries: Ainslie et al. 2023;
//! query-key norm: Dehghani et al. 2023 (as Qwen3 has it, over each head, before the rotation).
//! With biases it is Qwen2's too; Mistral's is Llama's; Gemma's has what [`GemmaConfig`] says beside.
//!
//! ```text
//! embeds [B, T, D] ──blocks──▶ [B, T, D] ──norm──▶ hidden [B, T, D] ──head──▶ logits [.., V]
//! ```

use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_nn::fused::{KeyValues, RotaryTable};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::gemma::{GemmaConfig, softcapped};
use crate::rope::{Rotary, furthest};
use crate::sequence::mask;
use crate::{Cache, Mrope, RopeScaling};

/// Shape of a [`Llama`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaConfig {
    /// Entries of the token table.
    #[serde(alias = "vocabulary")]
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width D.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; a divisor of `n_heads`.
    pub n_kv_heads: usize,
    /// Width K of a head.
    #[serde(alias = "head_width")]
    pub head_dim: usize,
    /// Width inside the SwiGLU.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// Base of the rotary angles.
    pub theta: f32,
    /// Epsilon of every norm.
    pub eps: f64,
    /// RMSNorm over each head's queries and keys.
    pub qk_norm: bool,
    /// The head is the token table.
    pub tied: bool,
    /// Which of the linear maps have biases; none in Llama itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub biases: Biases,
    /// How the rotary angles were stretched for longer texts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rope_scaling: RopeScaling,
    /// How the angles are shared among the axes of a position, where it has three.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mrope: Option<Mrope>,
    /// What stands between a gate and what it lets through.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gate: GateActivation,
    /// Token embeddings are multiplied by it: the root of D in Gemma.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub embedding_scale: f32,
    /// What makes it a Gemma 2 or a Gemma 3.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gemma: Option<GemmaConfig>,
}

/// The activation of a [`Llama`]'s gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateActivation {
    /// `x·sigmoid(x)`: SwiGLU.
    #[default]
    Silu,
    /// GELU in its tanh form: GeGLU (Gemma).
    GeluTanh,
}

/// Biases of a [`Llama`]'s linear maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Biases {
    /// Of queries, keys and values (Qwen2).
    pub qkv: bool,
    /// Of attention's output.
    pub o: bool,
    /// Of all three maps of the SwiGLU.
    pub mlp: bool,
}

fn one() -> f32 {
    1.0
}

fn is_one(x: &f32) -> bool {
    *x == 1.0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl LlamaConfig {
    /// The embedded model's backbone: 8x256, 6.95 M parameters.
    pub fn small() -> Self {
        Self {
            vocab_size: 4096,
            context: 512,
            hidden_size: 256,
            n_layers: 8,
            n_heads: 8,
            n_kv_heads: 4,
            head_dim: 32,
            intermediate_size: 704,
            theta: 1e4,
            eps: 1e-6,
            qk_norm: true,
            tied: true,
            biases: Biases::default(),
            rope_scaling: RopeScaling::None,
            mrope: None,
            gate: GateActivation::Silu,
            embedding_scale: 1.0,
            gemma: None,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Llama::init(self, init))
    }

    /// Floating-point operations of the forward pass of `t` tokens, `heads` of them through the
    /// language-model head.
    pub fn flops(&self, t: usize, heads: usize) -> f64 {
        let (d, q) = (self.hidden_size, self.n_heads * self.head_dim);
        let kv = self.n_kv_heads * self.head_dim;
        let layer = t * (2 * d * q + 2 * d * kv + 3 * d * self.intermediate_size) + t * t * q;
        2.0 * (self.n_layers * layer + heads * d * self.vocab_size) as f64
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
    #[module(skip)]
    embedding_scale: f32,
    #[module(skip)]
    gemma: Option<GemmaConfig>,
}

/// Where the tokens of one call stand, and what each may see.
#[derive(Clone)]
struct Place {
    table: RotaryTable,
    mask: Mask,
}

/// The same in all layers, but for those that see only the last tokens.
struct Places {
    all: Place,
    sliding: Option<Place>,
}

impl Llama {
    /// Weights of 0.02, residual writes scaled by `(2 n_layers)^-0.5` (GPT-2).
    pub fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (v, d) = (config.vocab_size, config.hidden_size);
        Self {
            embedding: Embedding::init(v, d, 0.02, init),
            layers: (0..config.n_layers).map(|i| Layer::init(config, i, init)).collect(),
            norm: RmsNorm::init(d, config.eps, init),
            head: (!config.tied).then(|| Linear::init(d, v, false, 0.02, init)),
            rotary: Rotary {
                theta: config.theta,
                head_width: config.head_dim,
                rope_scaling: config.rope_scaling.clone(),
                mrope: config.mrope,
            },
            embedding_scale: config.embedding_scale,
            gemma: config.gemma.clone(),
        }
    }

    /// As [`forward`](Forward::forward) of a plain sequence, after so many layers and before the last
    /// norm, `[B, T, D]`: after none, what the first one reads.
    pub fn hidden(&self, embeds: Embeds, layers: usize) -> Tensor<3> {
        self.hidden_of(embeds, &Sequence::default(), layers)
    }

    /// As [`hidden`](Self::hidden), of any sequence.
    pub fn hidden_of(&self, embeds: Embeds, sequence: &Sequence, layers: usize) -> Tensor<3> {
        self.run(embeds, sequence, None, layers, |_, x| x)
    }

    /// One more token of each of several texts, `ids [S]`, after those in its cache, which grows by it:
    /// `[S, D]`. Each row has the bits that [`forward`](Forward::forward) gives it alone.
    ///
    /// # Panics
    /// When there is not a token for each cache, or one of them holds several texts.
    pub fn step(&self, ids: &[u32], caches: &mut [&mut Cache]) -> Tensor<2> {
        Cache::step(caches, self.embed(ids, [ids.len(), 1]), |x, positions, all| {
            let last = positions.iter().max().copied().unwrap_or_default();
            let places = self.places(|rotary| rotary.of_each(positions), Mask::Full, last, 1);
            let all = Some(all);
            self.norm.forward(self.stack(x, &places, all, self.layers.len(), &[], |_, x| x))
        })
    }

    /// As [`forward`](Forward::forward); what each layer reads, `[B, T, D]`, passes through `before` with the layer's number.
    pub(crate) fn read(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut Cache>,
        before: impl Fn(usize, Tensor<3>) -> Tensor<3>,
    ) -> Hidden {
        let x = self.run(embeds, sequence, cache, self.layers.len(), before);
        Hidden(self.norm.forward(x))
    }

    /// As [`read`](Self::read), the first so many layers without the last norm.
    pub(crate) fn run(
        &self,
        Embeds(x): Embeds,
        sequence: &Sequence,
        mut cache: Option<&mut Cache>,
        layers: usize,
        before: impl Fn(usize, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let t = x.dims()[1];
        let offset = cache.as_ref().map_or(0, |cache| cache.tokens());
        let first = cache.as_ref().map_or(0, |cache| cache.position());
        let table = |rotary: &Rotary| match (&sequence.grid, &sequence.positions) {
            (Some(grid), _) => rotary.on(grid),
            (None, Some(positions)) => rotary.at(positions.iter().map(|&at| at as usize)),
            (None, None) => rotary.at(first..first + t),
        };
        let places = self.places(table, mask(sequence, offset, t), offset, t);
        let deepstack = &sequence.deepstack;
        let x = self.stack(x, &places, cache.as_deref_mut(), layers, deepstack, before);
        if let Some(cache) = cache {
            cache.advance(t);
            if let Some(grid) = &sequence.grid {
                cache.go_on_at(furthest(grid) + 1);
            }
        }
        x
    }

    /// Where `t` tokens after `offset` others stand, in each kind of layer.
    fn places(
        &self,
        table: impl Fn(&Rotary) -> RotaryTable,
        mask: Mask,
        offset: usize,
        t: usize,
    ) -> Places {
        let sliding = self.gemma.as_ref().map(|gemma| {
            let theta = gemma.sliding_theta;
            let rotary = Rotary { theta, rope_scaling: RopeScaling::None, ..self.rotary.clone() };
            Place { table: table(&rotary), mask: gemma.mask(&mask, offset, t) }
        });
        Places { all: Place { table: table(&self.rotary), mask }, sliding }
    }

    /// The first so many layers, with what is added behind them.
    fn stack(
        &self,
        x: Tensor<3>,
        places: &Places,
        mut cache: Option<&mut Cache>,
        layers: usize,
        deepstack: &[Tensor<3>],
        before: impl Fn(usize, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let layers = self.layers.iter().take(layers).enumerate();
        layers.fold(x, |x, (i, layer)| {
            let kept = cache.as_deref_mut().map(|cache| cache.layer(i));
            let place = places.sliding.as_ref().filter(|_| layer.slides).unwrap_or(&places.all);
            let x = layer.forward(before(i, x), place, kept);
            deepstack.get(i).into_iter().fold(x, |x, seen| x + seen.clone())
        })
    }
}

impl Forward for Llama {
    type Cache = Cache;

    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        let x = self.embedding.forward(ids, shape);
        Embeds(if self.embedding_scale == 1.0 { x } else { x * self.embedding_scale })
    }

    fn forward(&self, embeds: Embeds, sequence: &Sequence, cache: Option<&mut Cache>) -> Hidden {
        self.read(embeds, sequence, cache, |_, x| x)
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = match &self.head {
            Some(head) => head.forward(hidden),
            None => self.embedding.unembed(hidden),
        };
        softcapped(logits, self.gemma.as_ref().and_then(|gemma| gemma.final_softcap))
    }
}

impl Pack for Llama {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        self.layers.matrices(&pack::join(path, "layers"), visit);
        match &mut self.head {
            Some(head) => head.matrices(&pack::join(path, "head"), visit),
            None => self.embedding.matrices(&pack::join(path, "embedding"), visit),
        }
    }
}

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`; what joins `x` is normed too in Gemma 2 and 3.
#[derive(Module, Debug)]
struct Layer {
    norm1: RmsNorm,
    attention: GroupedAttention,
    post_norm1: Option<RmsNorm>,
    norm2: RmsNorm,
    mlp: SwiGlu,
    post_norm2: Option<RmsNorm>,
    #[module(skip)]
    slides: bool,
    #[module(skip)]
    recompute: bool,
}

impl Layer {
    fn init(config: &LlamaConfig, layer: usize, init: &mut Init) -> Self {
        let norm = |init: &mut Init| RmsNorm::init(config.hidden_size, config.eps, init);
        let post_norm = |init: &mut Init| config.gemma.as_ref().map(|_| norm(init));
        Self {
            norm1: norm(init),
            attention: GroupedAttention::init(config, init),
            post_norm1: post_norm(init),
            norm2: norm(init),
            mlp: SwiGlu::init(config, init),
            post_norm2: post_norm(init),
            slides: config.gemma.as_ref().is_some_and(|gemma| gemma.slides(layer)),
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
        let x = match &self.post_norm1 {
            Some(norm) => x + norm.forward(self.attention.forward(y, place, kept)),
            None => self.attention.add_to(x, y, place, kept),
        };
        let y = self.norm2.forward(x.clone());
        match &self.post_norm2 {
            Some(norm) => x + norm.forward(self.mlp.forward(y)),
            None => self.mlp.add_to(x, y),
        }
    }
}

sensorium_nn::pack!(Layer: attention, mlp);

pub(crate) fn residual_std(config: &LlamaConfig) -> f64 {
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
    query_scale: f32,
    #[module(skip)]
    softcap: Option<f32>,
    #[module(skip)]
    precision: Precision,
}

impl GroupedAttention {
    fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (d, k) = (config.hidden_size, config.head_dim);
        let (h, hkv) = (config.n_heads, config.n_kv_heads);
        let head_norm =
            |init: &mut Init| config.qk_norm.then(|| RmsNorm::init(k, config.eps, init));
        Self {
            q: Linear::init(d, h * k, config.biases.qkv, 0.02, init),
            k: Linear::init(d, hkv * k, config.biases.qkv, 0.02, init),
            v: Linear::init(d, hkv * k, config.biases.qkv, 0.02, init),
            o: Linear::init(h * k, d, config.biases.o, residual_std(config), init),
            q_norm: head_norm(init),
            k_norm: head_norm(init),
            heads: [h, hkv],
            query_scale: config.gemma.as_ref().map_or(1.0, |gemma| gemma.query_scale),
            softcap: config.gemma.as_ref().and_then(|gemma| gemma.attn_softcap),
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
        self.o.add_to(stream, self.mixed(x, place, kept))
    }

    /// `[B, T, D] -> [B, T, D]`
    fn forward(&self, x: Tensor<3>, place: &Place, kept: Option<&mut KeyValues>) -> Tensor<3> {
        self.o.forward(self.mixed(x, place, kept))
    }

    /// `[B, T, D] -> [B, T, H·K]`
    fn mixed(&self, x: Tensor<3>, place: &Place, kept: Option<&mut KeyValues>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let [h, hkv] = self.heads;
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x);
        let q = normed(split(q, h), &self.q_norm);
        let q = if self.query_scale == 1.0 { q } else { q * self.query_scale };
        let k = normed(split(k, hkv), &self.k_norm);
        let v = split(v, hkv);

        let q = fused::rotary(q, &place.table);
        let k = fused::rotary(k, &place.table);
        let mask = place.mask.clone();
        let o = match (kept, self.softcap) {
            (Some(kept), None) => kept.attention(self.precision, q, k, v, mask),
            (None, None) => fused::attention(self.precision, q, k, v, mask, None),
            (Some(kept), Some(cap)) => kept.softcapped(&q, &k, &v, &mask, cap),
            (None, Some(cap)) => fused::softcapped_attention(q, k, v, &mask, cap),
        }; // [B, T, H, K]
        let width = o.dims()[2] * o.dims()[3];
        o.reshape([b, t, width])
    }
}

sensorium_nn::pack!(GroupedAttention: q, k, v, o);

/// `[B, T, H·K] -> [B, T, H, K]`
pub(crate) fn split(y: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, t, inner] = y.dims();
    y.reshape([b, t, heads, inner / heads])
}

/// Each head normed, where there is a norm.
pub(crate) fn normed(y: Tensor<4>, norm: &Option<RmsNorm>) -> Tensor<4> {
    match norm {
        Some(norm) => norm.forward(y),
        None => y,
    }
}

#[derive(Module, Debug)]
pub(crate) struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
    #[module(skip)]
    activation: GateActivation,
}

impl SwiGlu {
    pub(crate) fn init(config: &LlamaConfig, init: &mut Init) -> Self {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        Self {
            gate: Linear::init(d, hidden, config.biases.mlp, 0.02, init),
            up: Linear::init(d, hidden, config.biases.mlp, 0.02, init),
            down: Linear::init(hidden, d, config.biases.mlp, residual_std(config), init),
            activation: config.gate,
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(self.gated(x))
    }

    /// `stream + mlp(x)`, `[B, T, D]`
    fn add_to(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.down.add_to(stream, self.gated(x))
    }

    fn gated(&self, x: Tensor<3>) -> Tensor<3> {
        match self.activation {
            GateActivation::Silu => Linear::gated(&self.gate, &self.up, x),
            GateActivation::GeluTanh => {
                self.gate.activated(x.clone(), Activation::GeluTanh) * self.up.forward(x)
            }
        }
    }
}

sensorium_nn::pack!(SwiGlu: gate, up, down);
