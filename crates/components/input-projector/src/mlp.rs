//! Two maps and a GELU: LLaVA 1.5 (Liu et al. 2023, <https://arxiv.org/abs/2310.03744>, section
//! 3.2), after an optional pixel shuffle.

use sensorium_flow::{Embeds, Features};
use sensorium_nn::prelude::*;

use crate::pixel_shuffle;

/// `[B, N, E] -> [B, N / shuffle², D]`
#[derive(Module, Debug)]
pub struct MlpProjector {
    #[module(skip)]
    shuffle: usize,
    mlp: Mlp,
}

sensorium_nn::pack!(MlpProjector: mlp);

impl MlpProjector {
    /// Weights of `fan_in^-0.5`.
    pub fn init(
        features: usize,
        shuffle: usize,
        hidden: usize,
        width: usize,
        init: &mut Init,
    ) -> Self {
        let in_ = features * shuffle * shuffle;
        let std = [(in_ as f64).powf(-0.5), (hidden as f64).powf(-0.5)];
        Self { shuffle, mlp: Mlp::init([in_, hidden, width], Activation::Gelu, std, init) }
    }

    /// `[B, N, E] -> [B, N / shuffle², D]`
    pub fn project(&self, Features(x): Features) -> Embeds {
        Embeds(self.mlp.forward(pixel_shuffle(x, self.shuffle)))
    }
}
