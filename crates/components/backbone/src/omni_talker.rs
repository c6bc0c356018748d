//! The talker of Qwen2.5-Omni: what a language model thought and said, to codes of speech.
//!
//! Xu et al. 2025, <https://arxiv.org/abs/2503.20215>, section 2.3
//!
//! ```text
//! thoughts [1, T, E] ─┐
//! codes ──embed───────┴──sum──▶ [1, T, E] ──proj──▶ [1, T, D] ──decoder──▶ logits [V] of the next code
//! ```

use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::{Cache, Llama, LlamaConfig};

/// Shape of an [`OmniTalker`].
#[derive(Clone, Debug, PartialEq)]
pub struct OmniTalkerConfig {
    /// Width E of what is thought, and of the table of codes.
    pub embedding_size: usize,
    /// The decoder, with a tied head.
    pub decoder: LlamaConfig,
}

impl OmniTalkerConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| OmniTalker::init(self, init))
    }
}

/// What a thinker thought and the codes so far to logits of the next code (Xu et al. 2025, section 2.3).
#[derive(Module, Debug)]
pub struct OmniTalker {
    embedding: Embedding,
    proj: Linear,
    /// Its token table is a head alone: codes are read from the wider one.
    decoder: Llama,
}

sensorium_nn::pack!(OmniTalker: proj, decoder);

impl OmniTalker {
    /// Seeded weights.
    pub fn init(config: &OmniTalkerConfig, init: &mut Init) -> Self {
        let OmniTalkerConfig { embedding_size: e, decoder } = config;
        Self {
            embedding: Embedding::init(decoder.vocab_size, *e, 0.02, init),
            proj: Linear::init(*e, decoder.hidden_size, true, 0.02, init),
            decoder: Llama::init(decoder, init),
        }
    }

    /// Codes, to be added to what is thought, `[1, T, E]`.
    pub fn embed(&self, codes: &[u32]) -> Tensor<3> {
        self.embedding.forward(codes, [1, codes.len()])
    }

    /// `[1, T, E] -> [1, T, D]`, after the last norm; after what is in `cache`, which grows by it.
    pub fn forward(&self, x: Tensor<3>, sequence: &Sequence, cache: &mut Cache) -> Tensor<3> {
        let Hidden(x) = self.decoder.forward(Embeds(self.proj.forward(x)), sequence, Some(cache));
        x
    }

    /// Logits `[V]` of the code after the last of `hidden [1, T, D]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Vec<f32> {
        let [_, t, d] = hidden.dims();
        read(self.decoder.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
    }
}
