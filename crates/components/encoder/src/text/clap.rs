//! The text tower of CLAP: RoBERTa, read at its first token.
//!
//! Wu et al. 2023, <https://arxiv.org/abs/2211.06687>; Liu et al. 2019, <https://arxiv.org/abs/1907.11692>
//!
//! ```text
//! ids [B, T] ──Bert──▶ [B, T, E] ──first token, pool, tanh──▶ [B, E] ──proj──▶ [B, C]
//! ```

use sensorium_nn::prelude::*;

use super::Texts;
use super::bert::{Bert, BertConfig, Pooling};

/// Shape of a [`ClapText`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClapTextConfig {
    /// The encoder.
    pub bert: BertConfig,
    /// Width C of the shared space.
    pub embed: usize,
    /// Activation of the projection to it.
    pub proj_activation: Activation,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct ClapText {
    bert: Bert,
    pool: Linear,
    proj: Mlp,
}

sensorium_nn::pack!(ClapText: bert, pool, proj);

impl ClapText {
    /// Weights of `fan_in^-0.5`, the encoder's by its scheme.
    pub fn init(config: &ClapTextConfig, init: &mut Init) -> Self {
        let (e, embed) = (config.bert.hidden_size, config.embed);
        let std = [e, embed].map(|fan_in| (fan_in as f64).powf(-0.5));
        Self {
            bert: Bert::init(&config.bert, init),
            pool: Linear::init(e, e, true, std[0], init),
            proj: Mlp::init([e, embed, embed], config.proj_activation, std, init),
        }
    }

    /// Positions after so many blocks, `[B, T, E]`: after none, what the first one reads.
    pub fn hidden(&self, texts: &Texts, blocks: usize) -> Tensor<3> {
        self.bert.hidden(texts, blocks)
    }

    /// `[B, T] -> [B, C]`, not of unit length.
    pub fn embed(&self, texts: &Texts) -> Tensor<2> {
        let first = self.bert.embed(texts, Pooling::First);
        self.proj.forward(self.pool.forward(first).tanh())
    }
}
