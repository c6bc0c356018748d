//! One learned question asked of all positions (the attention-pooling head of SigLIP, with or
//! without its MLP; Zhai et al. 2022, "Scaling Vision Transformers").

use sensorium_nn::prelude::*;

/// `[B, N, E] -> [B, E]`
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The question, `[1, 1, E]`.
    pub probe: Param<Tensor<3>>,
    /// Its attention over the positions.
    pub attention: Attention,
    /// Before the MLP.
    pub norm: Option<LayerNorm>,
    /// Added to what the attention found.
    pub mlp: Option<Mlp>,
}

impl AttentionPool {
    /// Probe of standard deviation `e^-0.5`; with an `mlp`, as the blocks have it.
    pub fn init(e: usize, heads: usize, mlp: Option<&BlockConfig>, init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        Self {
            probe: init.normal([1, 1, e], std),
            attention: Attention::init(e, heads, [std, std], init),
            norm: mlp.map(|config| LayerNorm::init(e, config.eps, init)),
            mlp: mlp.map(|config| {
                Mlp::init([e, config.hidden, e], config.activation, [std, std], init)
            }),
        }
    }

    /// `[B, N, E] -> [B, E]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, _, e] = x.dims();
        let probe = self.probe.val().repeat_dim(0, b); // [B, 1, E]
        let x = self.attention.forward(probe, x, Mask::Full, None).reshape([b, e]);
        match (&self.norm, &self.mlp) {
            (Some(norm), Some(mlp)) => mlp.add_to(x.clone(), norm.forward(x)),
            _ => x,
        }
    }
}

sensorium_nn::pack!(AttentionPool: attention, mlp);
