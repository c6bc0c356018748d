//! Whether a text belongs to a picture, told in the two ways of BLIP-2's first stage: by vectors made
//! apart (contrast), and by queries that see both (matching).
//!
//! Li et al. 2023, <https://arxiv.org/abs/2301.12597>, section 3.2
//!
//! ```text
//! features ──queries──▶ [B, Q, D] ──proj──▶ [B, Q, C] ─┐ unit length, best query
//! text ────────────────▶ first ─────proj──▶ [B, C] ────┴─▶ cosine
//! features, text ──queries──▶ [B, Q, D] ──head──▶ [B, Q, 2] ──mean──▶ [B, 2]
//! ```

use std::sync::Arc;

use sensorium_flow::Features;
use sensorium_nn::prelude::*;

use super::{QFormer, QFormerConfig, STD};

/// Shape of a [`Matching`].
#[derive(Clone, Debug, PartialEq)]
pub struct MatchingConfig {
    /// The Q-Former; with an MLP for texts.
    pub qformer: QFormerConfig,
    /// The tables that texts are looked up in.
    pub words: Words,
    /// Width C of the space of contrast.
    pub embed: usize,
}

/// Sizes of the tables that texts are looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Entries of the token table.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub context: usize,
}

impl MatchingConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Matching::init(self, init))
    }
}

/// BLIP-2 of the first stage: a Q-Former with the heads of contrast and of matching.
#[derive(Module, Debug)]
pub struct Matching {
    /// What asks and reads.
    pub qformer: QFormer,
    embedding: Embedding,
    position: Param<Tensor<2>>,
    image_proj: Linear,
    text_proj: Linear,
    head: Linear,
}

impl Matching {
    /// Weights of 0.02.
    pub fn init(config: &MatchingConfig, init: &mut Init) -> Self {
        let (d, Words { vocabulary, context }) = (config.qformer.hidden_size, config.words);
        Self {
            qformer: QFormer::init(&config.qformer, init),
            embedding: Embedding::init(vocabulary, d, STD, init),
            position: init.normal([context, d], STD),
            image_proj: Linear::init(d, config.embed, true, STD, init),
            text_proj: Linear::init(d, config.embed, true, STD, init),
            head: Linear::init(d, 2, true, STD, init),
        }
    }

    /// Pictures to the space of contrast, a vector for each query, not yet of unit length:
    /// `[B, N, E] -> [B, Q, C]`.
    pub fn embed_images(&self, features: &Features) -> Tensor<3> {
        self.image_proj.forward(self.qformer.ask(features))
    }

    /// Texts to the space of contrast, read at their first token, not yet of unit length: `ids`,
    /// row-major `[B, T]`, of which `lengths [B]` count, to `[B, C]`.
    pub fn embed_texts(&self, ids: &[u32], shape: [usize; 2], lengths: &Arc<[usize]>) -> Tensor<2> {
        let x = self.qformer.read(self.words(ids, shape), lengths);
        let [b, _, d] = x.dims();
        self.text_proj.forward(x.narrow(1, 0, 1).reshape([b, d]))
    }

    /// Logits of "does not belong" and "belongs" of each picture, or of one for all, with its text,
    /// `[B, 2]`; ids and lengths as in [`embed_texts`](Self::embed_texts).
    pub fn compare(
        &self,
        features: &Features,
        ids: &[u32],
        shape: [usize; 2],
        lengths: &Arc<[usize]>,
    ) -> Tensor<2> {
        let x = self.qformer.ask_about(features, self.words(ids, shape), lengths);
        let logits = self.head.forward(x); // [B, Q, 2]
        logits.mean_dim(1).reshape([shape[0], 2])
    }

    /// `[N, D] -> [N, V]`, by the token table.
    pub(super) fn unembed(&self, x: Tensor<2>) -> Tensor<2> {
        self.embedding.unembed(x)
    }

    /// Token ids, row-major `[B, T]`, as the Q-Former reads them: `[B, T, D]`, before the norm that
    /// queries pass too.
    pub fn words(&self, ids: &[u32], [b, t]: [usize; 2]) -> Tensor<3> {
        self.embedding.forward(ids, [b, t]) + self.position.val().narrow(0, 0, t).unsqueeze()
    }
}

sensorium_nn::pack!(Matching: qformer, image_proj, text_proj, head);
