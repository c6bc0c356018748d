//! Idefics: Flamingo as the hub has it. Pictures stay beside the text, and gated blocks ask them.
//!
//! Alayrac et al. 2022, <https://arxiv.org/abs/2204.14198>; Laurençon et al. 2023,
//! <https://arxiv.org/abs/2306.16527>
//!
//! ```text
//! pictures [M, c, h, w] ──encode──▶ [M, N, E] ──resample──▶ [M, Q, E] ──keys, values, once──┐
//! texts, pictures ──processor──▶ ids [T], looks [T] ──embed──▶ [1, T, D] ──gated backbone───┴──▶ next token
//! ```

use sensorium_backbone::{GatedLlama, GatedLlamaConfig};
use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_flow::Features;
use sensorium_input_projector::{Perceiver, PerceiverConfig};
use sensorium_nn::prelude::*;

use crate::weights::under;

/// Shape of an [`Idefics`].
#[derive(Clone, Debug, PartialEq)]
pub struct IdeficsConfig {
    /// The image encoder.
    pub image: VitConfig,
    /// From its positions to a fixed number of latents; none hands on the positions.
    pub projector: Option<PerceiverConfig>,
    /// The language model and its gated blocks.
    pub language: GatedLlamaConfig,
}

impl IdeficsConfig {
    /// Name and shape of every parameter, without making one.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let image = under("image", self.image.parameters());
        let projector = self.projector.iter().flat_map(PerceiverConfig::parameters).collect();
        let language = under("language", self.language.parameters());
        [image, under("projector", projector), language].concat()
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Idefics {
    /// The image encoder, read before its last norm.
    pub image: Vit,
    /// From its positions to latents.
    pub projector: Option<Perceiver>,
    /// The language model and its gated blocks.
    pub language: GatedLlama,
}

sensorium_nn::pack!(Idefics: image, projector, language);

impl Idefics {
    /// Weights by each part's scheme.
    pub fn init(config: &IdeficsConfig, init: &mut Init) -> Self {
        Self {
            image: Vit::init(&config.image, init),
            projector: config.projector.as_ref().map(|config| Perceiver::init(config, init)),
            language: GatedLlama::init(&config.language, init),
        }
    }

    /// Pictures to what the gated blocks ask: `[M, c, h, w] -> [M, N, E]`, or `[M, Q, E]` resampled.
    pub fn encode(&self, images: Tensor<4>) -> Features {
        let positions = Features(self.image.positions_before(images, 0));
        match &self.projector {
            Some(projector) => projector.resample(&positions),
            None => positions,
        }
    }
}
