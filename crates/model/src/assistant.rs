//! An assistant: a language model and whatever sees or hears for it, as all that learns of the published ones.
//!
//! ```text
//! embeds [1, T, D], media's among them ──backbone──▶ hidden ──answers' tokens──▶ loss
//! ```
//! What makes embeds of prompts and media differs from family to family, and is what answers too
//! (`sensorium-inference`).

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_flow::{Embeds, Forward, Sequence};
use sensorium_input_projector::{Anyres, AnyresConfig};
use sensorium_nn::prelude::*;

use crate::llava::{Tower, TowerConfig, answers_loss};
use crate::qwen_vl::{PatchTower, PatchTowerConfig};

/// Shape of an [`Assistant`].
#[derive(Clone, Debug, PartialEq)]
pub struct AssistantConfig {
    /// What sees or hears media of one size.
    pub towers: Vec<TowerConfig>,
    /// What sees pictures and videos of any shape.
    pub patches: Option<PatchTowerConfig>,
    /// What makes a picture's tokens of its tiles'.
    pub anyres: Option<AnyresConfig>,
    /// The language model.
    pub backbone: BackboneConfig,
}

impl AssistantConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Assistant::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Assistant {
    /// What sees or hears media of one size.
    pub towers: Vec<Tower>,
    /// What sees pictures and videos of any shape.
    pub patches: Option<PatchTower>,
    /// What makes a picture's tokens of its tiles'.
    pub anyres: Option<Anyres>,
    /// The language model.
    pub backbone: Backbone,
}

// Of tiles, a vector alone is learned.
sensorium_nn::pack!(Assistant: towers, patches, backbone);

impl Assistant {
    /// Seeded weights.
    pub fn init(config: &AssistantConfig, init: &mut Init) -> Self {
        let AssistantConfig { towers, patches, anyres, backbone } = config;
        Self {
            towers: towers.iter().map(|tower| Tower::init(tower, init)).collect(),
            patches: patches.as_ref().map(|patches| PatchTower::init(patches, init)),
            anyres: anyres.as_ref().map(|anyres| Anyres::init(anyres, init)),
            backbone: Backbone::init(backbone, init),
        }
    }

    /// Loss of the answers' tokens of one conversation `[1, T, D]`, mean over those whose `labels [T]` are not
    /// [`IGNORED`](crate::prompt::IGNORED).
    pub fn loss(
        &self,
        embeds: Embeds,
        sequence: &Sequence,
        labels: &[i32],
        z_loss: f32,
    ) -> Tensor<1> {
        let hidden = self.backbone.forward(embeds, sequence, None);
        answers_loss(|hidden| self.backbone.logits(hidden), hidden, labels, z_loss)
    }
}
