//! A pre-norm transformer block with LayerNorm and biases: ViT's, CLIP's and GPT-2's.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Activation, Attention, LayerNorm, Mlp};
use crate::fused::{self, KeyValues, Mask, RotaryTable};
use crate::init::Init;

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attention: Attention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// The MLP.
    pub mlp: Mlp,
    #[module(skip)]
    recompute: bool,
}

/// Shape of a [`Block`].
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// Width.
    pub d: usize,
    /// Heads.
    pub heads: usize,
    /// Width inside the MLP.
    pub hidden: usize,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Epsilon of both norms.
    pub eps: f64,
    /// Blocks in the stack, for the scale of the residual writes.
    pub n_layers: usize,
}

impl Block {
    /// CLIP's scheme: in `d^-0.5`, residual writes `d^-0.5 (2 n_layers)^-0.5`, fc1 `(2d)^-0.5`
    /// (Radford et al. 2021, released code).
    pub fn init(config: &BlockConfig, init: &mut Init) -> Self {
        let d = config.d as f64;
        let write = d.powf(-0.5) * (2.0 * config.n_layers as f64).powf(-0.5);
        let (width, hidden) = (config.d, config.hidden);
        Self {
            norm1: LayerNorm::init(width, config.eps, init),
            attention: Attention::init(width, config.heads, [d.powf(-0.5), write], init),
            norm2: LayerNorm::init(width, config.eps, init),
            mlp: Mlp::init(
                [width, hidden, width],
                config.activation,
                [(2.0 * d).powf(-0.5), write],
                init,
            ),
            recompute: init.recomputes(),
        }
    }

    /// `[B, T, D] -> [B, T, D]`
    pub fn forward(&self, x: Tensor<3>, mask: &Mask, lengths: Option<&Arc<[usize]>>) -> Tensor<3> {
        if !self.recompute {
            return self.run(x, mask, lengths);
        }
        let (mask, lengths) = (mask.clone(), lengths.cloned());
        fused::recompute(self, x, move |block, x| block.run(x, &mask, lengths.as_ref()))
    }

    /// As [`forward`](Self::forward), after the positions in `kept`, which grows by these.
    pub fn extend(&self, x: Tensor<3>, mask: &Mask, kept: &mut KeyValues) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.extend_self(x, y, mask.clone(), kept);
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }

    /// As [`forward`](Self::forward), every token seeing all, queries and keys turned by `table`.
    pub fn forward_rotary(&self, x: Tensor<3>, table: &RotaryTable) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_self_rotary(x, y, table, None);
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }

    fn run(&self, x: Tensor<3>, mask: &Mask, lengths: Option<&Arc<[usize]>>) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_self(x, y, mask.clone(), lengths.cloned());
        let y = self.norm2.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}

crate::pack!(Block: attention, mlp);
