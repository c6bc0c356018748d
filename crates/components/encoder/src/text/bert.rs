//! BERT: a transformer that reads a text both ways.
//!
//! Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>; as a sentence encoder: Reimers & Gurevych
//! 2019, <https://arxiv.org/abs/1908.10084>
//!
//! ```text
//! ids [B, T] ──token + position + type, norm──▶ [B, T, E] ──blocks──▶ [B, T, E] ──pool──▶ [B, E]
//! ```

use std::sync::Arc;

use sensorium_nn::prelude::*;

use super::Texts;

/// Shape of a [`Bert`].
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Entries of the token table.
    pub vocab_size: usize,
    /// Rows of the table of positions.
    pub context: usize,
    /// The row of a text's first token: RoBERTa's are those behind the padding's.
    pub first: usize,
    /// Types of tokens: in pairs of texts, which text; here all are of the first.
    pub types: usize,
    /// Width E.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Epsilon of every norm.
    pub eps: f64,
}

impl BertConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Bert::init(self, init))
    }

    fn block(&self) -> BlockConfig {
        BlockConfig {
            d: self.hidden_size,
            heads: self.n_heads,
            hidden: self.intermediate_size,
            activation: self.activation,
            eps: self.eps,
            n_layers: self.n_layers,
        }
    }
}

/// How a text's positions become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over its tokens, special ones included.
    Mean,
    /// Its first token.
    First,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Bert {
    embedding: Embedding,
    position: Param<Tensor<2>>,
    types: Embedding,
    norm: LayerNorm,
    blocks: Vec<PostBlock>,
    #[module(skip)]
    first: usize,
}

impl Bert {
    /// Weights of 0.02.
    pub fn init(config: &BertConfig, init: &mut Init) -> Self {
        let (e, block) = (config.hidden_size, config.block());
        Self {
            embedding: Embedding::init(config.vocab_size, e, 0.02, init),
            position: init.normal([config.context, e], 0.02),
            types: Embedding::init(config.types, e, 0.02, init),
            norm: LayerNorm::init(e, config.eps, init),
            blocks: (0..config.n_layers).map(|_| PostBlock::init(&block, init)).collect(),
            first: config.first,
        }
    }

    /// `[B, T] -> [B, T, E]`; what pads a text is not seen by its tokens.
    pub fn encode(&self, texts: &Texts) -> Tensor<3> {
        self.hidden(texts, self.blocks.len())
    }

    /// Positions after so many blocks, `[B, T, E]`: after none, what the first one reads.
    pub fn hidden(&self, texts: &Texts, blocks: usize) -> Tensor<3> {
        let [b, t] = texts.shape;
        let x = self.embedding.forward(&texts.ids, [b, t]) // [B, T, E]
            + self.position.val().narrow(0, self.first, t).unsqueeze()
            + self.types.forward(&vec![0; b * t], [b, t]);
        let lengths: Arc<[usize]> = lengths(texts).collect();
        let x = self.norm.forward(x);
        let blocks = self.blocks.iter().take(blocks);
        blocks.fold(x, |x, block| block.forward(x, &Mask::Full, Some(&lengths)))
    }

    /// `[B, T] -> [B, E]`, not of unit length.
    pub fn embed(&self, texts: &Texts, pooling: Pooling) -> Tensor<2> {
        let x = self.encode(texts);
        let [b, t, e] = x.dims();
        match pooling {
            Pooling::First => x.narrow(1, 0, 1).reshape([b, e]),
            Pooling::Mean => {
                let share =
                    |n: usize| (0..t).map(move |i| if i < n { 1.0 / n as f32 } else { 0.0 });
                let shares: Vec<f32> = lengths(texts).flat_map(share).collect();
                let shares: Tensor<3> =
                    Tensor::from_data(TensorData::new(shares, [b, t, 1]), &x.device());
                (x * shares).sum_dim(1).reshape([b, e])
            }
        }
    }
}

/// Tokens of each text, its end token included.
fn lengths(texts: &Texts) -> impl Iterator<Item = usize> {
    texts.ends.iter().map(|end| end + 1)
}

sensorium_nn::pack!(Bert: blocks);
