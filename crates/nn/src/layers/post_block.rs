//! A post-norm transformer block with LayerNorm and biases: the first transformer's, BERT's.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Attention, BlockConfig, LayerNorm, Mlp};
use crate::fused::{KeyValues, Mask};
use crate::init::Init;

/// `norm1(x + attention(x))`, then `norm2(x + mlp(x))` (Vaswani et al. 2017).
#[derive(Module, Debug)]
pub struct PostBlock {
    /// Self-attention.
    pub attention: Attention,
    /// After attention.
    pub norm1: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
    /// After the MLP.
    pub norm2: LayerNorm,
}

impl PostBlock {
    /// Weights of 0.02 (BERT).
    pub fn init(config: &BlockConfig, init: &mut Init) -> Self {
        const STD: [f64; 2] = [0.02; 2];
        let (d, hidden) = (config.d, config.hidden);
        Self {
            attention: Attention::init(d, config.heads, STD, init),
            norm1: LayerNorm::init(d, config.eps, init),
            mlp: Mlp::init([d, hidden, d], config.activation, STD, init),
            norm2: LayerNorm::init(d, config.eps, init),
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    pub fn forward(&self, x: Tensor<3>, mask: &Mask, lengths: Option<&Arc<[usize]>>) -> Tensor<3> {
        self.finish(self.attention.add_self(x.clone(), x, mask.clone(), lengths.cloned()))
    }

    /// As [`forward`](Self::forward), after the positions in `kept`, which grows by these.
    pub fn extend(&self, x: Tensor<3>, mask: &Mask, kept: &mut KeyValues) -> Tensor<3> {
        self.finish(self.attention.extend_self(x.clone(), x, mask.clone(), kept))
    }

    fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.norm1.forward(x);
        self.norm2.forward(self.mlp.add_to(x.clone(), x))
    }
}

crate::pack!(PostBlock: attention, mlp);
