//! What tells a text from a picture, token by token: BERT's head, as BLIP-2's first stage trains it.

use sensorium_flow::Features;
use sensorium_nn::prelude::*;

use super::{Matching, MatchingConfig, STD};

/// `[.., D] -> [.., V]`, by the token table of a [`Matching`].
#[derive(Module, Debug)]
pub struct WordHead {
    fc: Linear,
    norm: LayerNorm,
    bias: Param<Tensor<1>>,
}

impl WordHead {
    /// Weights of 0.02.
    pub fn init(config: &MatchingConfig, init: &mut Init) -> Self {
        let d = config.qformer.hidden_size;
        Self {
            fc: Linear::init(d, d, true, STD, init),
            norm: LayerNorm::init(d, config.qformer.eps, init),
            bias: init.constant([config.words.vocabulary], 0.0),
        }
    }

    /// Logits of the token after each of a text's, which sees the picture's queries and what is before
    /// it: `[B, N, E]`, ids row-major `[B, T]`, to `[B*T, V]`; of those tokens alone that `at` names.
    pub fn tell(
        &self,
        matching: &Matching,
        features: &Features,
        (ids, shape): (&[u32], [usize; 2]),
        at: Vec<i32>,
    ) -> Tensor<2> {
        let x = matching.qformer.tell(features, matching.words(ids, shape)); // [B, T, D]
        let [b, t, d] = x.dims();
        let x = fused::embedding(x.reshape([b * t, d]), at);
        let x = self.norm.forward(self.fc.activated(x, Activation::Gelu));
        matching.unembed(x) + self.bias.val().unsqueeze()
    }
}
