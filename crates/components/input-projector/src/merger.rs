//! Qwen2-VL's merger: a square of patches becomes one token by two maps (Wang et al. 2024,
//! <https://arxiv.org/abs/2409.12191>, section 2.1). With levels, Qwen3-VL's: one more merger for each
//! (DeepStack, Meng et al. 2024, <https://arxiv.org/abs/2406.04334>).

use sensorium_flow::{Embeds, Features};
use sensorium_nn::prelude::*;

use crate::shuffle::stack;

/// Shape of [`Mergers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergersConfig {
    /// Width E of a level.
    pub features: usize,
    /// Patches of a square, which stand side by side.
    pub patches: usize,
    /// The norm before the maps.
    pub norm: NormKind,
    /// Levels beside the last.
    pub levels: usize,
    /// Width D of the backbone.
    pub width: usize,
}

/// Epsilon of every norm.
const EPS: f64 = 1e-6;

/// A merger for each level of an encoder.
#[derive(Module, Debug)]
pub struct Mergers {
    merger: Merger,
    deepstack: Vec<Merger>,
}

sensorium_nn::pack!(Mergers: merger, deepstack);

impl Mergers {
    /// Weights of `fan_in^-0.5`.
    pub fn init(config: &MergersConfig, init: &mut Init) -> Self {
        let (patch, square) = (config.features, config.features * config.patches);
        Self {
            merger: Merger::init(config, patch, init),
            // Of a square as a whole: so transformers has it.
            deepstack: (0..config.levels).map(|_| Merger::init(config, square, init)).collect(),
        }
    }

    /// `[B, N, E · (1 + levels)]`, the last level first, to `[B, N / patches, D]` of each.
    pub fn project(&self, Features(x): Features) -> Vec<Embeds> {
        let mergers: Vec<&Merger> = std::iter::once(&self.merger).chain(&self.deepstack).collect();
        let e = x.dims()[2] / mergers.len();
        let level =
            |(i, merger): (usize, &&Merger)| Embeds(merger.forward(x.clone().narrow(2, i * e, e)));
        mergers.iter().enumerate().map(level).collect()
    }
}

/// `[B, N, E] -> [B, N / patches, D]`
#[derive(Module, Debug)]
struct Merger {
    norm: Norm,
    mlp: Mlp,
    #[module(skip)]
    patches: usize,
    /// Width of what is normed.
    #[module(skip)]
    part: usize,
}

sensorium_nn::pack!(Merger: mlp);

impl Merger {
    fn init(config: &MergersConfig, part: usize, init: &mut Init) -> Self {
        let square = config.features * config.patches;
        let std = [(square as f64).powf(-0.5); 2];
        Self {
            norm: Norm::init(config.norm, part, EPS, init),
            mlp: Mlp::init([square, square, config.width], Activation::Gelu, std, init),
            patches: config.patches,
            part,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, n, e] = x.dims();
        let x = self.norm.forward(x.reshape([b, n * e / self.part, self.part]));
        self.mlp.forward(stack(x.reshape([b, n, e]), self.patches))
    }
}
