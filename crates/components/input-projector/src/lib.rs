//! [`Features`] to [`Embeds`]: from an encoder's
//! width and count of positions to a backbone's.

mod linear;
mod mlp;
mod perceiver;
pub mod qformer;
mod shuffle;

use sensorium_flow::{Embeds, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

pub use linear::LinearProjector;
pub use mlp::MlpProjector;
pub use perceiver::{Perceiver, PerceiverConfig};
pub use shuffle::pixel_shuffle;

/// Which projector, and its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProjectorConfig {
    /// One linear map (LLaVA 1.0), after a pixel shuffle that makes `shuffle²` positions one
    /// (Idefics3, SmolVLM).
    Linear {
        /// Width E of the features.
        features: usize,
        /// Side of the square of positions that become one token; 1 keeps all.
        shuffle: usize,
        /// Whether the map has a bias.
        bias: bool,
        /// Width D of the backbone.
        width: usize,
    },
    /// Linear, GELU, linear (LLaVA 1.5), after a norm and a pixel shuffle that makes `shuffle²`
    /// positions one.
    Mlp {
        /// Width E of the features.
        features: usize,
        /// Side of the square of positions that become one token; 1 keeps all.
        shuffle: usize,
        /// Width of the parts of the features that are normed one by one before the first map: an
        /// encoder's width, so that each of its levels counts as much as the others.
        norm: Option<usize>,
        /// Width between the two maps.
        hidden: usize,
        /// Width D of the backbone.
        width: usize,
        /// How many tokens there are, where each gets a learned vector for its place.
        places: Option<usize>,
    },
}

impl ProjectorConfig {
    /// The embedded model's: 64 positions of two levels of 192 to 16 tokens of 256.
    pub fn nano() -> Self {
        Self::Mlp {
            features: 384,
            shuffle: 2,
            norm: Some(192),
            hidden: 384,
            width: 256,
            places: Some(16),
        }
    }

    /// Tokens that `n` positions become.
    pub fn tokens(&self, n: usize) -> usize {
        match self {
            Self::Linear { shuffle, .. } | Self::Mlp { shuffle, .. } => n / (shuffle * shuffle),
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Projector::init(self, init))
    }
}

/// A projector of either kind.
#[expect(clippy::large_enum_variant, reason = "a model has one or two of them")]
#[derive(Module, Debug)]
pub enum Projector {
    /// One linear map.
    Linear(LinearProjector),
    /// Pixel shuffle and two maps.
    Mlp(MlpProjector),
}

impl Projector {
    /// Seeded weights.
    pub fn init(config: &ProjectorConfig, init: &mut Init) -> Self {
        match *config {
            ProjectorConfig::Linear { features, shuffle, bias, width } => {
                Self::Linear(LinearProjector::init(shuffle, bias, [features, width], init))
            }
            ProjectorConfig::Mlp { features, shuffle, norm, hidden, width, places } => {
                let in_ = features * shuffle * shuffle;
                Self::Mlp(MlpProjector::init(shuffle, norm, [in_, hidden, width], places, init))
            }
        }
    }

    /// `[B, N, E] -> [B, Q, D]`
    pub fn project(&self, features: Features) -> Embeds {
        match self {
            Self::Linear(projector) => projector.project(features),
            Self::Mlp(projector) => projector.project(features),
        }
    }
}

impl Pack for Projector {
    fn pack(&mut self, path: &str, packer: &mut pack::Packer<'_>) {
        match self {
            Self::Linear(projector) => projector.pack(path, packer),
            Self::Mlp(projector) => projector.pack(path, packer),
        }
    }
}
