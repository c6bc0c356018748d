//! Latent diffusion: a text becomes conditions, and conditions a medium's latents.
//!
//! Rombach et al. 2022, section 3.3, <https://arxiv.org/abs/2112.10752>.
//!
//! ```text
//! text ──text tower, frozen──▶ [B, T, E] ──mapper──▶ [B, Q, C] ──generator──▶ latents ──VAE, frozen──▶ media
//! ```

use std::sync::Arc;

use sensorium_encoder::text::{TextTower, Texts};
use sensorium_flow::{Condition, Conditions, Hidden, Modality};
use sensorium_generator::{GeneratorConfig, LatentGenerator};
use sensorium_nn::prelude::*;
use sensorium_output_projector::{OutputProjector, OutputProjectorConfig};
use serde::{Deserialize, Serialize};

/// Shape of a [`LatentDiffusion`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentDiffusionConfig {
    /// From what a text tower thought to conditions.
    pub text: OutputProjectorConfig,
    /// From conditions to latents.
    pub generator: GeneratorConfig,
}

impl LatentDiffusionConfig {
    /// What it makes.
    pub fn modality(&self) -> Modality {
        self.generator.modality
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct LatentDiffusion {
    /// From what a text tower thought to conditions.
    pub text: OutputProjector,
    /// From conditions to latents.
    pub generator: LatentGenerator,
}

sensorium_nn::pack!(LatentDiffusion: text, generator);

impl LatentDiffusion {
    /// Seeded weights.
    pub fn init(config: &LatentDiffusionConfig, init: &mut Init) -> Self {
        let text = OutputProjector::init(&config.text, init);
        Self { text, generator: LatentGenerator::init(&config.generator, init) }
    }

    /// What texts ask for, given what a tower thought of them.
    pub fn conditions(&self, thoughts: &Thoughts) -> Conditions {
        self.text.condition(thoughts.hidden.clone(), Some(&thoughts.lengths))
    }
}

/// What a text tower thought of texts.
#[derive(Clone, Debug)]
pub struct Thoughts {
    /// `[B, T, E]`, after the last norm.
    pub hidden: Hidden,
    /// Tokens of each, `[B]`.
    pub lengths: Arc<[usize]>,
}

impl Thoughts {
    /// Of these texts.
    pub fn of(tower: &TextTower, texts: &Texts) -> Self {
        let lengths = texts.ends.iter().map(|end| end + 1).collect();
        Self { hidden: Hidden(tower.positions(texts)), lengths }
    }
}
