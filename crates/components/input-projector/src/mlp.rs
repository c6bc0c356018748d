//! Two maps and a GELU: LLaVA 1.5 (Liu et al. 2023, <https://arxiv.org/abs/2310.03744>, section
//! 3.2), after an optional norm (InternVL, Chen et al. 2024, <https://arxiv.org/abs/2404.16821>,
//! section 3.1) and an optional pixel shuffle; then, optionally, a learned vector for the place of
//! each token (Qwen-VL, Bai et al. 2023, <https://arxiv.org/abs/2308.12966>, section 2.1, whose
//! adapter adds positions too).

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;

use crate::shuffle::{pixel_shuffle, stack};

/// `[B, N, E] -> [B, N / shuffle² / stack, D]`
#[derive(Module, Debug)]
pub struct MlpProjector {
    #[module(skip)]
    shuffle: usize,
    #[module(skip)]
    stack: usize,
    #[module(skip)]
    part: usize,
    norm: Option<LayerNorm>,
    mlp: Mlp,
    position: Option<Param<Tensor<2>>>,
}

/// PyTorch's.
const EPS: f64 = 1e-5;

sensorium_nn::pack!(MlpProjector: mlp);

impl MlpProjector {
    /// Weights of `fan_in^-0.5`; vectors of 0 for the places of `places` tokens.
    pub fn init(
        [shuffle, stack]: [usize; 2],
        norm: Option<usize>,
        [in_, hidden, width]: [usize; 3],
        places: Option<usize>,
        init: &mut Init,
    ) -> Self {
        let std = [(in_ as f64).powf(-0.5), (hidden as f64).powf(-0.5)];
        Self {
            shuffle,
            stack,
            part: norm.unwrap_or_default(),
            norm: norm.map(|part| LayerNorm::init(part, EPS, init)),
            mlp: Mlp::init([in_, hidden, width], Activation::Gelu, std, init),
            position: places.map(|places| init.constant([places, width], 0.0)),
        }
    }

    /// The same, whose maps add nothing (Voxtral, Liu et al. 2025, <https://arxiv.org/abs/2507.13264>).
    pub fn without_bias(mut self) -> Self {
        (self.mlp.fc1.bias, self.mlp.fc2.bias) = (None, None);
        self
    }
}

impl Project for MlpProjector {
    fn project(&self, Features(x): Features) -> Embeds {
        let x = pixel_shuffle(x, self.shuffle);
        let shape = x.dims();
        let x = match &self.norm {
            Some(norm) => norm.forward(x.reshape([0, -1, self.part as i32])).reshape(shape),
            None => x,
        };
        let tokens = self.mlp.forward(stack(x, self.stack));
        Embeds(match &self.position {
            Some(position) => tokens + position.val().unsqueeze(),
            None => tokens,
        })
    }

    fn tokens(&self, n: usize) -> usize {
        (n / (self.shuffle * self.shuffle)).div_ceil(self.stack)
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{self, read};

    use super::*;

    #[test]
    fn places_are_added_to_tokens() {
        let init = &mut Init::new(3, &Device::flex());
        let bare = MlpProjector::init([2, 1], None, [8, 3, 2], Some(4), init);
        let placed = params::update(bare.clone(), |name, _, values| {
            let place = name == "position";
            if place {
                (0..8).for_each(|i| values[i] = i as f32);
            }
            place
        });
        let features = Features(Tensor::ones([1, 16, 2], &Device::flex()));
        let [bare, placed] = [bare, placed].map(|p| read(p.project(features.clone()).0));
        let added: Vec<f32> = placed.iter().zip(&bare).map(|(a, b)| a - b).collect();
        assert!((0..8).all(|i| (added[i] - i as f32).abs() < 1e-5), "{added:?}");
    }
}
