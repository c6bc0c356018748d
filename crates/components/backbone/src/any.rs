//! One of the decoders, for callers to whom it is the same which.

use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Cache, Gpt2, Gpt2Config, Llama, LlamaConfig, Opt, OptConfig};

/// Shape of a [`Backbone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneConfig {
    /// Llama, Mistral, Qwen2, Qwen3.
    Llama(LlamaConfig),
    /// OPT.
    Opt(OptConfig),
    /// GPT-2.
    Gpt2(Gpt2Config),
}

impl BackboneConfig {
    /// Entries V of the token table.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Llama(config) => config.vocab_size,
            Self::Opt(config) => config.vocab_size,
            Self::Gpt2(config) => config.vocab_size,
        }
    }

    /// Entries of the token table, to be changed.
    pub fn vocabulary_mut(&mut self) -> &mut usize {
        match self {
            Self::Llama(config) => &mut config.vocab_size,
            Self::Opt(config) => &mut config.vocab_size,
            Self::Gpt2(config) => &mut config.vocab_size,
        }
    }

    /// Width of the tokens that it reads: of OPT's smallest model less than that of the stream.
    pub fn width(&self) -> usize {
        match self {
            Self::Llama(config) => config.hidden_size,
            Self::Opt(config) => config.embed,
            Self::Gpt2(config) => config.hidden_size,
        }
    }

    /// Width D of the stream that passes its blocks.
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Llama(config) => config.hidden_size,
            Self::Opt(config) => config.hidden_size,
            Self::Gpt2(config) => config.hidden_size,
        }
    }

    /// Longest sequence in tokens.
    pub fn context(&self) -> usize {
        match self {
            Self::Llama(config) => config.context,
            Self::Opt(config) => config.context,
            Self::Gpt2(config) => config.context,
        }
    }

    /// Blocks.
    pub fn n_layers(&self) -> usize {
        match self {
            Self::Llama(config) => config.n_layers,
            Self::Opt(config) => config.n_layers,
            Self::Gpt2(config) => config.n_layers,
        }
    }

    /// Floating-point operations of `t` tokens' forward pass and of `heads` tokens' logits; an estimate
    /// for all but a Llama.
    pub fn flops(&self, t: usize, heads: usize) -> f64 {
        match self {
            Self::Llama(config) => config.flops(t, heads),
            Self::Opt(_) | Self::Gpt2(_) => {
                let count = |(_, shape): &(_, Vec<usize>)| shape.iter().product::<usize>();
                let parameters: usize = self.parameters().iter().map(count).sum();
                2.0 * parameters as f64 * t.max(heads) as f64
            }
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Backbone::init(self, init))
    }
}

/// What is done to what a layer reads.
pub(crate) type Before<'a> = &'a dyn Fn(usize, Tensor<3>) -> Tensor<3>;

/// A decoder: text in, text out.
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Module, Debug)]
pub enum Backbone {
    /// Llama, Mistral, Qwen2, Qwen3.
    Llama(Llama),
    /// OPT.
    Opt(Opt),
    /// GPT-2.
    Gpt2(Gpt2),
}

impl Backbone {
    /// Seeded weights.
    pub fn init(config: &BackboneConfig, init: &mut Init) -> Self {
        match config {
            BackboneConfig::Llama(config) => Self::Llama(Llama::init(config, init)),
            BackboneConfig::Opt(config) => Self::Opt(Opt::init(config, init)),
            BackboneConfig::Gpt2(config) => Self::Gpt2(Gpt2::init(config, init)),
        }
    }

    /// As [`forward`](Forward::forward) of a plain sequence, after so many layers and before the last
    /// norm, `[B, T, D]`: after none, what the first one reads.
    pub fn hidden(&self, embeds: Embeds, layers: usize) -> Tensor<3> {
        match self {
            Self::Llama(llama) => llama.hidden(embeds, layers),
            Self::Opt(opt) => opt.hidden(embeds, layers),
            Self::Gpt2(gpt2) => gpt2.hidden(embeds, layers),
        }
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
        match self {
            Self::Llama(llama) => llama.read(embeds, sequence, cache, before),
            Self::Opt(opt) => opt.read(embeds, sequence, cache, before),
            Self::Gpt2(gpt2) => gpt2.read(embeds, sequence, cache, before),
        }
    }

    /// One more token of each of several texts, `ids [S]`, after those in its cache, which grows by it:
    /// `[S, D]`. Each row has the bits that [`forward`](Forward::forward) gives it alone.
    ///
    /// # Panics
    /// When there is not a token for each cache, or one of them holds several texts.
    pub fn step(&self, ids: &[u32], caches: &mut [&mut Cache]) -> Tensor<2> {
        match self {
            Self::Llama(llama) => llama.step(ids, caches),
            Self::Opt(opt) => opt.step(ids, caches),
            Self::Gpt2(gpt2) => gpt2.step(ids, caches),
        }
    }
}

impl Forward for Backbone {
    type Cache = Cache;

    fn embed(&self, ids: &[u32], shape: [usize; 2]) -> Embeds {
        match self {
            Self::Llama(llama) => llama.embed(ids, shape),
            Self::Opt(opt) => opt.embed(ids, shape),
            Self::Gpt2(gpt2) => gpt2.embed(ids, shape),
        }
    }

    fn forward(&self, embeds: Embeds, sequence: &Sequence, cache: Option<&mut Cache>) -> Hidden {
        match self {
            Self::Llama(llama) => llama.forward(embeds, sequence, cache),
            Self::Opt(opt) => opt.forward(embeds, sequence, cache),
            Self::Gpt2(gpt2) => gpt2.forward(embeds, sequence, cache),
        }
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Llama(llama) => llama.logits(hidden),
            Self::Opt(opt) => opt.logits(hidden),
            Self::Gpt2(gpt2) => gpt2.logits(hidden),
        }
    }
}

impl Pack for Backbone {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Llama(llama) => llama.matrices(path, visit),
            Self::Opt(opt) => opt.matrices(path, visit),
            Self::Gpt2(gpt2) => gpt2.matrices(path, visit),
        }
    }
}
