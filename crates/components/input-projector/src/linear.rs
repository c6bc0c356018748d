//! One linear map: LLaVA 1.0 (Liu et al. 2023, <https://arxiv.org/abs/2304.08485>, section 4.1).

use sensorium_flow::{Embeds, Features};
use sensorium_nn::prelude::*;

/// `[B, N, E] -> [B, N, D]`
#[derive(Module, Debug)]
pub struct LinearProjector {
    fc: Linear,
}

sensorium_nn::pack!(LinearProjector: fc);

impl LinearProjector {
    /// Weights of `features^-0.5`.
    pub fn init(features: usize, width: usize, init: &mut Init) -> Self {
        let std = (features as f64).powf(-0.5);
        Self { fc: Linear::init(features, width, true, std, init) }
    }

    /// `[B, N, E] -> [B, N, D]`
    pub fn project(&self, Features(x): Features) -> Embeds {
        Embeds(self.fc.forward(x))
    }
}
