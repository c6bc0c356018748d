//! CLIP: pictures and texts in one space.
//!
//! Radford et al. 2021, <https://arxiv.org/abs/2103.00020>; with a bias, SigLIP: Zhai et al. 2023,
//! <https://arxiv.org/abs/2303.15343>
//!
//! ```text
//! image [B, c, h, w] ──image encoder──▶ [B, C] ─┐ unit length
//! text  [B, T]       ──text tower─────▶ [B, C] ─┴─▶ logits [B, B] = exp(scale)·I·Tᵀ (+ bias)
//! ```

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Largest value of the learned scale: ln 100 (the paper, section 2.5).
pub const MAX_SCALE: f32 = 4.605_170_2;

/// Shape of a [`Clip`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// The text tower.
    pub text: TextConfig,
    /// Whether logits have a learned bias (SigLIP) and the scale starts at ln 10; without, at
    /// ln(1/0.07).
    pub bias: bool,
}

impl ClipConfig {
    /// The embedded model's pair of encoders.
    pub fn nano() -> Self {
        Self { image: VitConfig::nano(), text: TextConfig::nano(), bias: true }
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Clip {
    /// The image encoder.
    pub image: Vit,
    /// The text tower.
    pub text: TextTower,
    /// Log of the factor on cosines, `[1]`.
    pub scale: Param<Tensor<1>>,
    /// Added to logits, `[1]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Clip {
    /// Seeded weights.
    pub fn init(config: &ClipConfig, init: &mut Init) -> Self {
        let scale = if config.bias { 10f32.ln() } else { (1.0f32 / 0.07).ln() };
        Self {
            image: Vit::init(&config.image, init),
            text: TextTower::init(&config.text, init),
            scale: init.constant([1], scale),
            bias: config.bias.then(|| init.constant([1], -10.0)),
        }
    }

    /// `[B, c, h, w] -> [B, C]`, unit length
    pub fn embed_images(&self, images: Tensor<4>) -> Tensor<2> {
        unit(self.image.embed(images))
    }

    /// `[B, T] -> [B, C]`, unit length
    pub fn embed_texts(&self, texts: &Texts) -> Tensor<2> {
        unit(self.text.embed(texts))
    }
}

/// Rows divided by their lengths; a zero row stays zero.
pub fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt(); // [B, 1]
    x / length.clamp_min(1e-12)
}
