//! The decoder of OPT: learned positions, ReLU, norms before or after each part.
//!
//! Zhang et al. 2022, <https://arxiv.org/abs/2205.01068>
//!
//! ```text
//! embeds [B, T, P] ──project in──▶ [B, T, D] + position ──blocks──▶ norm ──project out──▶ [B, T, P]
//!                                                                 hidden [B, T, P] ──head──▶ [.., V]
//! ```
//! The projections exist where tokens are of another width P than the stream.

use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Cache;
use crate::any::Before;
use crate::sequence::{learned_positions, mask};

/// Rows of the position table before that of the first token: it was made for padded texts.
const OFFSET: usize = 2;

/// Epsilon of every norm, which OPT's files do not state.
const EPS: f64 = 1e-5;

/// Shape of an [`Opt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptConfig {
    /// Entries of the token table.
    #[serde(alias = "vocabulary")]
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width P of the token table.
    pub embed: usize,
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
    /// Norms stand after attention and MLP, not before (350M).
    pub post_norm: bool,
    /// A norm after the last block.
    pub final_norm: bool,
    /// The head is the token table.
    pub tied: bool,
}

impl OptConfig {
    fn block(&self) -> BlockConfig {
        BlockConfig {
            d: self.hidden_size,
            heads: self.n_heads,
            hidden: self.intermediate_size,
            activation: Activation::Relu,
            eps: EPS,
            n_layers: self.n_layers,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Opt::init(self, init))
    }
}

/// A decoder: token table, positions, blocks, norm, head, and projections between two widths.
#[derive(Module, Debug)]
pub struct Opt {
    embedding: Embedding,
    position: Param<Tensor<2>>,
    project_in: Option<Linear>,
    layers: Vec<Layer>,
    norm: Option<LayerNorm>,
    project_out: Option<Linear>,
    head: Option<Linear>,
}

/// A block with its norms where the size of the model has them.
#[derive(Module, Debug)]
enum Layer {
    Pre(Block),
    Post(PostBlock),
}

impl Layer {
    fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        match self {
            Self::Pre(block) => block.forward(x, mask, None),
            Self::Post(block) => block.forward(x, mask, None),
        }
    }

    fn extend(&self, x: Tensor<3>, mask: &Mask, kept: &mut KeyValues) -> Tensor<3> {
        match self {
            Self::Pre(block) => block.extend(x, mask, kept),
            Self::Post(block) => block.extend(x, mask, kept),
        }
    }
}

impl Pack for Layer {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Pre(block) => block.matrices(path, visit),
            Self::Post(block) => block.matrices(path, visit),
        }
    }
}

impl Opt {
    /// Tables of 0.02; blocks by their own scheme.
    pub fn init(config: &OptConfig, init: &mut Init) -> Self {
        let (v, p, d) = (config.vocab_size, config.embed, config.hidden_size);
        let between = |from: usize, to: usize, init: &mut Init| {
            (p != d).then(|| Linear::init(from, to, false, 0.02, init))
        };
        let block = config.block();
        let layer = |init: &mut Init| match config.post_norm {
            true => Layer::Post(PostBlock::init(&block, init)),
            false => Layer::Pre(Block::init(&block, init)),
        };
        Self {
            embedding: Embedding::init(v, p, 0.02, init),
            position: init.normal([config.context + OFFSET, d], 0.02),
            project_in: between(p, d, init),
            layers: (0..config.n_layers).map(|_| layer(init)).collect(),
            norm: config.final_norm.then(|| LayerNorm::init(d, EPS, init)),
            project_out: between(d, p, init),
            head: (!config.tied).then(|| Linear::init(p, v, false, 0.02, init)),
        }
    }

    /// As [`forward`](Forward::forward) of a plain sequence, after so many layers and before the last
    /// norm, `[B, T, P] -> [B, T, D]`: after none, what the first one reads.
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
        Hidden(self.leave(x))
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
        let positions = learned_positions(&self.position, OFFSET, sequence, offset, t);
        let mask = mask(sequence, offset, t);
        let x = self.stack(self.enter(x, positions), &mask, cache.as_deref_mut(), layers, before);
        if let Some(cache) = cache {
            cache.advance(t);
        }
        x
    }

    /// One more token of each of several texts, `ids [S]`, after those in its cache, which grows by it:
    /// `[S, P]`. Each row has the bits that [`forward`](Forward::forward) gives it alone.
    ///
    /// # Panics
    /// When there is not a token for each cache, or one of them holds several texts.
    pub fn step(&self, ids: &[u32], caches: &mut [&mut Cache]) -> Tensor<2> {
        Cache::step(caches, self.embed(ids, [ids.len(), 1]), |x, positions, all| {
            let rows = positions.iter().map(|at| (OFFSET + at) as i32).collect();
            let positions = fused::embedding(self.position.val(), rows).unsqueeze_dim(1);
            self.leave(self.stack(
                self.enter(x, positions),
                &Mask::Full,
                Some(all),
                self.layers.len(),
                &|_, x| x,
            ))
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
            None => layer.forward(before(i, x), mask),
        })
    }

    /// `[B, T, P] -> [B, T, D]`, with `positions [1, T, D]` or `[B, T, D]` added.
    fn enter(&self, x: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
        let x = match &self.project_in {
            Some(project) => project.forward(x),
            None => x,
        };
        x + positions
    }

    /// `[B, T, D] -> [B, T, P]`
    fn leave(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        match &self.project_out {
            Some(project) => project.forward(x),
            None => x,
        }
    }
}

impl Forward for Opt {
    type Cache = Cache;

    /// `[B, T, P]`, to which [`forward`](Self::forward) adds positions.
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

impl Pack for Opt {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        self.project_in.matrices(&pack::join(path, "project_in"), visit);
        self.layers.matrices(&pack::join(path, "layers"), visit);
        self.project_out.matrices(&pack::join(path, "project_out"), visit);
        match &mut self.head {
            Some(head) => head.matrices(&pack::join(path, "head"), visit),
            None => self.embedding.matrices(&pack::join(path, "embedding"), visit),
        }
    }
}
