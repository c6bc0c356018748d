//! One linear map: LLaVA 1.0 (Liu et al. 2023, <https://arxiv.org/abs/2304.08485>, section 4.1); after
//! a pixel shuffle, Idefics3 (Laurençon et al. 2024, <https://arxiv.org/abs/2408.12637>, section 3.1).

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;

use crate::pixel_shuffle;

/// `[B, N, E] -> [B, N / shuffle², D]`
#[derive(Module, Debug)]
pub struct LinearProjector {
    #[module(skip)]
    shuffle: usize,
    fc: Linear,
}

sensorium_nn::pack!(LinearProjector: fc);

impl LinearProjector {
    /// Weights of `fan_in^-0.5`.
    pub fn init(
        shuffle: usize,
        bias: bool,
        [features, width]: [usize; 2],
        init: &mut Init,
    ) -> Self {
        let in_ = features * shuffle * shuffle;
        Self { shuffle, fc: Linear::init(in_, width, bias, (in_ as f64).powf(-0.5), init) }
    }
}

impl Project for LinearProjector {
    fn project(&self, Features(x): Features) -> Embeds {
        Embeds(self.fc.forward(pixel_shuffle(x, self.shuffle)))
    }

    fn tokens(&self, n: usize) -> usize {
        n / (self.shuffle * self.shuffle)
    }
}
