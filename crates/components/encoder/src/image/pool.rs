//! One learned question asked of all positions (the attention-pooling head of SigLIP, without its
//! MLP; Zhai et al. 2022, "Scaling Vision Transformers").

use sensorium_nn::prelude::*;

/// `[B, N, E] -> [B, E]`
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The question, `[1, 1, E]`.
    pub probe: Param<Tensor<3>>,
    /// Its attention over the positions.
    pub attention: Attention,
}

impl AttentionPool {
    /// Probe of standard deviation `e^-0.5`.
    pub fn init(e: usize, heads: usize, init: &mut Init) -> Self {
        let std = (e as f64).powf(-0.5);
        Self {
            probe: init.normal([1, 1, e], std),
            attention: Attention::init(e, heads, [std, std], init),
        }
    }

    /// `[B, N, E] -> [B, E]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, _, e] = x.dims();
        let probe = self.probe.val().repeat_dim(0, b); // [B, 1, E]
        self.attention.forward(probe, x, Mask::Full, None).reshape([b, e])
    }
}

sensorium_nn::pack!(AttentionPool: attention);
