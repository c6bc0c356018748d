//! A layer of a Perceiver resampler: latents ask a context and each other.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.1, <https://arxiv.org/abs/2204.14198>

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Activation, LayerNorm, Linear, Mlp};
use crate::fused::{self, Mask, Precision};
use crate::init::Init;

/// Shape of a [`PerceiverLayer`].
#[derive(Clone, Debug)]
pub struct PerceiverLayerConfig {
    /// Width E of latents and context.
    pub d: usize,
    /// Heads.
    pub heads: usize,
    /// Width K of a head; all of them need not be E together.
    pub head_dim: usize,
    /// Width inside the MLP.
    pub hidden: usize,
    /// LayerNorm over each head's queries and keys.
    pub qk_norm: bool,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Epsilon of every norm.
    pub eps: f64,
}

/// `x + attention(x, context and x)`, then `x + mlp(norm(x))`. No biases but those of norms.
#[derive(Module, Debug)]
pub struct PerceiverLayer {
    context_norm: LayerNorm,
    latents_norm: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Option<LayerNorm>,
    k_norm: Option<LayerNorm>,
    o: Linear,
    norm: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

crate::pack!(PerceiverLayer: q, k, v, o, mlp);

impl PerceiverLayer {
    /// Matrices of `fan_in^-0.5`.
    pub fn init(config: &PerceiverLayerConfig, init: &mut Init) -> Self {
        let (e, inner) = (config.d, config.heads * config.head_dim);
        let matrix = |in_: usize, out: usize, init: &mut Init| {
            Linear::init(in_, out, false, (in_ as f64).powf(-0.5), init)
        };
        let norm = |init: &mut Init| LayerNorm::init(e, config.eps, init);
        let head_norm = |init: &mut Init| {
            config.qk_norm.then(|| LayerNorm::init(config.head_dim, config.eps, init))
        };
        let std = [e, config.hidden].map(|in_| (in_ as f64).powf(-0.5));
        let mut mlp = Mlp::init([e, config.hidden, e], config.activation, std, init);
        mlp.fc1.bias = None;
        mlp.fc2.bias = None;
        Self {
            context_norm: norm(init),
            latents_norm: norm(init),
            q: matrix(e, inner, init),
            k: matrix(e, inner, init),
            v: matrix(e, inner, init),
            q_norm: head_norm(init),
            k_norm: head_norm(init),
            o: matrix(inner, e, init),
            norm: norm(init),
            mlp,
            heads: config.heads,
            precision: init.precision(),
        }
    }

    /// `x [B, Q, E], context [B, N, E] -> [B, Q, E]`
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let latents = self.latents_norm.forward(x.clone());
        let both = vec![self.context_norm.forward(context), latents.clone()];
        let [k, v] = Linear::together([&self.k, &self.v], Tensor::cat(both, 1));
        let q = normed(self.split(self.q.forward(latents)), &self.q_norm);
        let k = normed(self.split(k), &self.k_norm);
        let o = fused::attention(self.precision, q, k, self.split(v), Mask::Full, None);
        let [b, t, h, k] = o.dims();
        let x = self.o.add_to(x, o.reshape([b, t, h * k]));

        let y = self.norm.forward(x.clone());
        self.mlp.add_to(x, y)
    }

    /// `[B, T, H·K] -> [B, T, H, K]`
    fn split(&self, y: Tensor<3>) -> Tensor<4> {
        let [b, t, inner] = y.dims();
        y.reshape([b, t, self.heads, inner / self.heads])
    }
}

fn normed(y: Tensor<4>, norm: &Option<LayerNorm>) -> Tensor<4> {
    match norm {
        Some(norm) => norm.forward(y),
        None => y,
    }
}
