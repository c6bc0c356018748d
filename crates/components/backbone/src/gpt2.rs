//! The decoder of GPT-2: LayerNorm, learned positions, biases everywhere.
//!
//! Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
//!
//! ```text
//! embeds [B, T, D] + position ──blocks──▶ [B, T, D] ──norm──▶ hidden [B, T, D] ──head──▶ [.., V]
//! ```

use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Cache;
use crate::any::Before;
use crate::sequence::{learned_positions, mask};

/// Shape of a [`Gpt2`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2Config {
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
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// Epsilon of every norm.
    pub eps: f64,
    /// The head is the token table.
    pub tied: bool,
}

impl Gpt2Config {
    fn block(&self) -> BlockConfig {
        BlockConfig {
            d: self.hidden_size,
            heads: self.n_heads,
            hidden: self.intermediate_size,
            activation: Activation::GeluTanh,
            eps: self.eps,
            n_layers: self.n_layers,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Gpt2::init(self, init))
    }
}

/// A decoder: token table, positions, blocks, norm, head.
#[derive(Module, Debug)]
pub struct Gpt2 {
    embedding: Embedding,
    position: Param<Tensor<2>>,
    layers: Vec<Block>,
    norm: LayerNorm,
    head: Option<Linear>,
}

impl Gpt2 {
    /// Tables of 0.02 and 0.01; blocks by their own scheme.
    pub fn init(config: &Gpt2Config, init: &mut Init) -> Self {
        let (v, d) = (config.vocab_size, config.hidden_size);
        Self {
            embedding: Embedding::init(v, d, 0.02, init),
            position: init.normal([config.context, d], 0.01),
            layers: (0..config.n_layers).map(|_| Block::init(&config.block(), init)).collect(),
            norm: LayerNorm::init(d, config.eps, init),
            head: (!config.tied).then(|| Linear::init(d, v, false, 0.02, init)),
        }
    }

    /// As [`forward`](Forward::forward) of a plain sequence, after so many layers and before the last
    /// norm, `[B, T, D] -> [B, T, D]`: after none, what the first one reads.
    pub fn hidden(&self, embeds: Embeds, layers: usize) -> Tensor<3> {
        self.run(embeds, &Sequence::default(), None, layers, &|_, x| x)
    }

    /// As [`forward`](Forward::forward); what each layer reads, `[B, T, D]`, passes through `before` with
    /// the layer's number.
    pub(crate) fn read(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        cache: Option<&mut Cache>,
        before: Before<'_>,
    ) -> Hidden {
        let x = self.run(embeds, sequence, cache, self.layers.len(), before);
        Hidden(self.norm.forward(x))
    }

    fn run(
        &self,
        Embeds(x): Embeds,
        sequence: &Sequence,
        mut cache: Option<&mut Cache>,
        layers: usize,
        before: Before<'_>,
    ) -> Tensor<3> {
        let t = x.dims()[1];
        let offset = cache.as_ref().map_or(0, |cache| cache.tokens());
        let positions = learned_positions(&self.position, 0, sequence, offset, t);
        let mask = mask(sequence, offset, t);
        let x = self.stack(x + positions, &mask, cache.as_deref_mut(), layers, before);
        if let Some(cache) = cache {
            cache.advance(t);
        }
        x
    }

    /// One more token of each of several texts, `ids [S]`, after those in its cache, which grows by it:
    /// `[S, D]`. Each row has the bits that [`forward`](Forward::forward) gives it alone.
    ///
    /// # Panics
    /// When there is not a token for each cache, or one of them holds several texts.
    pub fn step(&self, ids: &[u32], caches: &mut [&mut Cache]) -> Tensor<2> {
        Cache::step(caches, self.embed(ids, [ids.len(), 1]), |x, positions, all| {
            let rows = positions.iter().map(|&at| at as i32).collect();
            let positions = fused::embedding(self.position.val(), rows).unsqueeze_dim(1);
            let x = x + positions;
            self.norm.forward(self.stack(x, &Mask::Full, Some(all), self.layers.len(), &|_, x| x))
        })
    }

    /// The first so many layers.
    fn stack(
        &self,
        x: Tensor<3>,
        mask: &Mask,
        mut cache: Option<&mut Cache>,
        layers: usize,
        before: Before<'_>,
    ) -> Tensor<3> {
        let layers = self.layers.iter().take(layers).enumerate();
        layers.fold(x, |x, (i, layer)| match cache.as_deref_mut() {
            Some(cache) => layer.extend(before(i, x), mask, cache.layer(i)),
            None => layer.forward(before(i, x), mask, None),
        })
    }
}

impl Forward for Gpt2 {
    type Cache = Cache;

    /// `[B, T, D]`, to which [`forward`](Self::forward) adds positions.
    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        Embeds(self.embedding.forward(ids, shape))
    }

    fn forward(&self, embeds: Embeds, sequence: &Sequence, cache: Option<&mut Cache>) -> Hidden {
        self.read(embeds, sequence, cache, &|_, x| x)
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.head {
            Some(head) => head.forward(hidden),
            None => self.embedding.unembed(hidden),
        }
    }
}

impl Pack for Gpt2 {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        self.layers.matrices(&pack::join(path, "layers"), visit);
        match &mut self.head {
            Some(head) => head.matrices(&pack::join(path, "head"), visit),
            None => self.embedding.matrices(&pack::join(path, "embedding"), visit),
        }
    }
}
