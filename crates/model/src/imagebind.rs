//! ImageBind: sounds, videos and tables in the space that pictures and texts share.
//!
//! Girdhar et al. 2023, <https://arxiv.org/abs/2305.05665>. The space is that of a CLIP that does not learn;
//! each further encoder learns to be near to what is said of its media.
//!
//! ```text
//! media ──encoder──▶ [B, N, E] ──head──▶ [B, C] ─┐ unit length
//! texts ──CLIP's text tower, frozen────▶ [B, C] ─┴─▶ logits [B, B] = exp(scale)·M·Tᵀ + bias
//! ```

use sensorium_encoder::head::{EmbeddingHead, lengths};
use sensorium_encoder::{Encoder, EncoderConfig};
use sensorium_flow::{Encode, Input, Modality};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::clip::{Comparison, unit};

/// Shape of an [`ImageBind`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageBindConfig {
    /// The encoders, one for each kind of media beside pictures and texts.
    pub encoders: Vec<EncoderConfig>,
    /// Width C of the space.
    pub embed: usize,
}

impl ImageBindConfig {
    /// The encoder of a kind of media, if there is one.
    pub fn encoder(&self, modality: Modality) -> Option<&EncoderConfig> {
        self.encoders.iter().find(|encoder| encoder.modality() == modality)
    }
}

/// An encoder, what makes one vector of its features, and how loud cosines with texts are.
#[derive(Module, Debug)]
pub struct BoundTower {
    /// Media to features.
    pub encoder: Encoder,
    /// Features to a vector.
    pub head: BoundHead,
}

/// What a tower has behind its encoder.
#[derive(Module, Debug)]
pub struct BoundHead {
    /// Features to a vector.
    pub embed: EmbeddingHead,
    /// Log of the factor on cosines, `[1]`.
    pub scale: Param<Tensor<1>>,
    /// Added to logits, `[1]`.
    pub bias: Param<Tensor<1>>,
}

sensorium_nn::pack!(BoundTower: encoder, head);
sensorium_nn::pack!(BoundHead: embed);

impl BoundHead {
    /// Seeded weights; the scale starts at ln 10 and the bias at -10, as SigLIP's.
    pub fn init(sizes: [usize; 2], init: &mut Init) -> Self {
        Self {
            embed: EmbeddingHead::init(sizes, init),
            scale: init.constant([1], 10f32.ln()),
            bias: init.constant([1], -10.0),
        }
    }
}

impl BoundTower {
    /// Seeded weights.
    pub fn init(encoder: &EncoderConfig, embed: usize, init: &mut Init) -> Self {
        let head = BoundHead::init([encoder.width(), embed], init);
        Self { encoder: Encoder::init(encoder, init), head }
    }

    /// Media to vectors of unit length, `[B, C]`.
    pub fn embed(&self, input: Input) -> Tensor<2> {
        let lengths = lengths(&input);
        unit(self.head.embed.embed(self.encoder.encode(input), lengths.as_deref()))
    }

    /// What makes logits of the cosines.
    pub fn comparison(&self) -> Comparison {
        Comparison {
            scale: params::read(self.head.scale.val().exp())[0],
            bias: Some(params::read(self.head.bias.val())[0]),
        }
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct ImageBind {
    /// One for each kind of media.
    pub towers: Vec<BoundTower>,
}

sensorium_nn::pack!(ImageBind: towers);

impl ImageBind {
    /// Seeded weights.
    pub fn init(config: &ImageBindConfig, init: &mut Init) -> Self {
        let tower = |encoder| BoundTower::init(encoder, config.embed, init);
        Self { towers: config.encoders.iter().map(tower).collect() }
    }

    /// The tower of a kind of media, if there is one.
    pub fn tower(&self, modality: Modality) -> Option<&BoundTower> {
        self.towers.iter().find(|tower| tower.encoder.modality() == modality)
    }
}
