//! CLAP: sounds and texts in one space.
//!
//! Wu et al. 2023, <https://arxiv.org/abs/2211.06687>
//!
//! ```text
//! [B, crops, F, bands] ──Htsat────▶ [B, C] ─┐ unit length
//! text  [B, T]         ──ClapText─▶ [B, C] ─┴─▶ logits of sounds = exp(scale)·A·Tᵀ
//! ```

use sensorium_encoder::audio::{Htsat, HtsatConfig};
use sensorium_encoder::text::Texts;
use sensorium_encoder::text::clap::{ClapText, ClapTextConfig};
use sensorium_nn::prelude::*;

use crate::clip::{Comparison, unit};

/// Shape of a [`Clap`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClapConfig {
    /// The sound tower.
    pub audio: HtsatConfig,
    /// The text tower.
    pub text: ClapTextConfig,
}

impl ClapConfig {
    /// Name and shape of every parameter and statistic, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Clap::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Clap {
    /// The sound tower.
    pub audio: Htsat,
    /// The text tower.
    pub text: ClapText,
    /// Log of the factor on cosines of sounds with texts, `[1]`.
    scale: Param<Tensor<1>>,
    /// Of texts with sounds, which nobody asks for, `[1]`.
    text_scale: Param<Tensor<1>>,
}

sensorium_nn::pack!(Clap: audio, text);

impl Clap {
    /// Seeded weights.
    pub fn init(config: &ClapConfig, init: &mut Init) -> Self {
        let scale = (1.0f32 / 0.07).ln();
        Self {
            audio: Htsat::init(&config.audio, init),
            text: ClapText::init(&config.text, init),
            scale: init.constant([1], scale),
            text_scale: init.constant([1], scale),
        }
    }

    /// `[B, crops, F, bands] -> [B, C]`, unit length
    pub fn embed_sounds(&self, mel: Tensor<4>) -> Tensor<2> {
        unit(self.audio.embed(mel))
    }

    /// `[B, T] -> [B, C]`, unit length
    pub fn embed_texts(&self, texts: &Texts) -> Tensor<2> {
        unit(self.text.embed(texts))
    }

    /// What makes logits of the cosines.
    pub fn comparison(&self) -> Comparison {
        Comparison { scale: params::read(self.scale.val().exp())[0], bias: None }
    }
}
