//! [`Features`] to [`Embeds`]: from an encoder's width and count of positions to a backbone's.

mod anyres;
mod linear;
mod merger;
mod mlp;
mod perceiver;
mod pooled;
pub mod qformer;
mod shuffle;

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

pub use anyres::{Anyres, AnyresConfig};
pub use linear::LinearProjector;
pub use merger::{Mergers, MergersConfig};
pub use mlp::MlpProjector;
pub use perceiver::{Perceiver, PerceiverConfig};
pub use pooled::PooledProjector;
use qformer::{QFormerConfig, QFormerProjector};
pub use shuffle::pixel_shuffle;

/// Which projector, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Linear, GELU, linear (LLaVA 1.5), after a pixel shuffle that makes `shuffle²` positions one and a
    /// norm.
    Mlp {
        /// Width E of the features.
        features: usize,
        /// Side of the square of positions that become one token; 1 keeps all.
        shuffle: usize,
        /// Width of the parts of a token's features that are normed one by one before the first map: an
        /// encoder's width, so that each of its levels counts as much as the others, or all (InternVL).
        norm: Option<usize>,
        /// Width between the two maps.
        hidden: usize,
        /// Width D of the backbone.
        width: usize,
        /// How many tokens there are, where each gets a learned vector for its place.
        places: Option<usize>,
        /// Neighbours in time that become one token, silence behind the last; 1 keeps all.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stack: usize,
        /// Whether the maps have biases.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        bias: bool,
    },
    /// Squares of positions averaged, an RMSNorm and one map (Gemma 3).
    Pooled {
        /// Width E of the features.
        features: usize,
        /// Tokens along an edge.
        side: usize,
        /// Epsilon of the norm.
        eps: f64,
        /// Width D of the backbone.
        width: usize,
    },
    /// Learned latents that ask the features (Flamingo); D is the features' width E.
    Perceiver(PerceiverConfig),
    /// Learned queries that ask the features, and a linear map (BLIP-2).
    Qformer {
        /// What asks.
        qformer: QFormerConfig,
        /// Width D of the backbone.
        width: usize,
    },
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

impl ProjectorConfig {
    /// The embedded model's: 64 positions of two levels of 192 to 16 tokens of 256.
    pub fn small() -> Self {
        Self::Mlp {
            features: 384,
            shuffle: 2,
            norm: Some(192),
            hidden: 384,
            width: 256,
            places: Some(16),
            stack: 1,
            bias: true,
        }
    }

    /// Tokens that `n` positions become.
    pub fn tokens(&self, n: usize) -> usize {
        match self {
            Self::Linear { shuffle, .. } => n / (shuffle * shuffle),
            Self::Mlp { shuffle, stack, .. } => (n / (shuffle * shuffle)).div_ceil(*stack),
            Self::Pooled { side, .. } => side * side,
            Self::Perceiver(config) => config.latents,
            Self::Qformer { qformer, .. } => qformer.queries,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Projector::init(self, init))
    }
}

/// A projector of any kind.
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Module, Debug)]
pub enum Projector {
    /// One linear map.
    Linear(LinearProjector),
    /// Pixel shuffle and two maps.
    Mlp(MlpProjector),
    /// Averaged squares and one map.
    Pooled(PooledProjector),
    /// Learned latents.
    Perceiver(Perceiver),
    /// Learned queries and one map.
    Qformer(QFormerProjector),
}

impl Projector {
    /// Seeded weights.
    pub fn init(config: &ProjectorConfig, init: &mut Init) -> Self {
        match *config {
            ProjectorConfig::Linear { features, shuffle, bias, width } => {
                Self::Linear(LinearProjector::init(shuffle, bias, [features, width], init))
            }
            ProjectorConfig::Mlp {
                features,
                shuffle,
                norm,
                hidden,
                width,
                places,
                stack,
                bias,
            } => {
                let sizes = [features * shuffle * shuffle * stack, hidden, width];
                let made = MlpProjector::init([shuffle, stack], norm, sizes, places, init);
                Self::Mlp(if bias { made } else { made.without_bias() })
            }
            ProjectorConfig::Pooled { features, side, eps, width } => {
                Self::Pooled(PooledProjector::init(side, eps, [features, width], init))
            }
            ProjectorConfig::Perceiver(ref config) => {
                Self::Perceiver(Perceiver::init(config, init))
            }
            ProjectorConfig::Qformer { ref qformer, width } => {
                Self::Qformer(QFormerProjector::init(qformer, width, init))
            }
        }
    }
}

impl Project for Projector {
    fn project(&self, features: Features) -> Embeds {
        match self {
            Self::Linear(projector) => projector.project(features),
            Self::Mlp(projector) => projector.project(features),
            Self::Pooled(projector) => projector.project(features),
            Self::Perceiver(projector) => projector.project(features),
            Self::Qformer(projector) => projector.project(features),
        }
    }

    fn tokens(&self, n: usize) -> usize {
        match self {
            Self::Linear(projector) => projector.tokens(n),
            Self::Mlp(projector) => projector.tokens(n),
            Self::Pooled(projector) => projector.tokens(n),
            Self::Perceiver(projector) => projector.tokens(n),
            Self::Qformer(projector) => projector.tokens(n),
        }
    }
}

impl Pack for Projector {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Linear(projector) => projector.matrices(path, visit),
            Self::Mlp(projector) => projector.matrices(path, visit),
            Self::Pooled(projector) => projector.matrices(path, visit),
            Self::Perceiver(projector) => projector.matrices(path, visit),
            Self::Qformer(projector) => projector.matrices(path, visit),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn every_kind() -> [ProjectorConfig; 7] {
        let mlp = |norm, places, stack| ProjectorConfig::Mlp {
            bias: stack == 1,
            features: 6,
            shuffle: 2,
            norm,
            hidden: 3,
            width: 6,
            places,
            stack,
        };
        let (n_layers, n_heads, mlp_width) = (2, 2, 14);
        [
            ProjectorConfig::Linear { features: 6, shuffle: 4, bias: true, width: 6 },
            mlp(None, None, 1),
            mlp(Some(3), Some(4), 1),
            mlp(Some(3), None, 3),
            ProjectorConfig::Pooled { features: 6, side: 2, eps: 1e-6, width: 6 },
            ProjectorConfig::Perceiver(PerceiverConfig {
                latents: 3,
                hidden_size: 6,
                n_layers,
                n_heads,
                head_dim: 4,
                intermediate_size: mlp_width,
                qk_norm: true,
                activation: Activation::Gelu,
                frames: 0,
            }),
            ProjectorConfig::Qformer {
                qformer: QFormerConfig {
                    features: 6,
                    queries: 5,
                    hidden_size: 8,
                    n_layers,
                    n_heads,
                    intermediate_size: mlp_width,
                    activation: Activation::Gelu,
                    every: 2,
                    text: false,
                    eps: 1e-12,
                },
                width: 6,
            },
        ]
    }

    #[test]
    fn tokens_are_as_many_as_the_config_tells() {
        let mut init = Init::new(1, &Device::flex());
        let features = Features(init.normal([2, 16, 6], 1.0).val());
        for (config, tokens) in every_kind().into_iter().zip([1, 4, 4, 2, 4, 3, 5]) {
            let projector = Projector::init(&config, &mut init);
            assert_eq!((config.tokens(16), projector.tokens(16)), (tokens, tokens), "{config:?}");
            assert_eq!(projector.project(features.clone()).0.dims(), [2, tokens, 6], "{config:?}");
        }
    }

    #[test]
    fn a_configuration_is_read_as_it_was_written() {
        for config in every_kind() {
            let json = serde_json::to_string(&config).expect("it has no maps");
            let read: ProjectorConfig = serde_json::from_str(&json).expect("its own text");
            assert_eq!(read, config);
        }
    }
}
