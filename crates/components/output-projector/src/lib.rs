//! [`Hidden`] to [`Conditions`]: from what a backbone thought to what a generator is told.

mod linear;
mod mapper;

use std::sync::Arc;

use sensorium_flow::{Condition, Conditions, Hidden};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

pub use linear::LinearMap;
pub use mapper::{Mapper, MapperConfig};

/// Which output projector, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputProjectorConfig {
    /// One linear map of each token: as many conditions as tokens.
    Linear {
        /// Width D of what is read.
        input: usize,
        /// Width C of the conditions.
        width: usize,
    },
    /// Learned queries that ask the tokens (GILL, NExT-GPT).
    Mapper(MapperConfig),
}

impl OutputProjectorConfig {
    /// Width D of what it reads.
    pub fn input(&self) -> usize {
        match self {
            Self::Linear { input, .. } | Self::Mapper(MapperConfig { input, .. }) => *input,
        }
    }

    /// Width C of the conditions.
    pub fn width(&self) -> usize {
        match self {
            Self::Linear { width, .. } | Self::Mapper(MapperConfig { width, .. }) => *width,
        }
    }

    /// Conditions Q that `t` tokens become.
    pub fn queries(&self, t: usize) -> usize {
        match self {
            Self::Linear { .. } => t,
            Self::Mapper(mapper) => mapper.queries,
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| OutputProjector::init(self, init))
    }
}

/// An output projector of any kind.
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Module, Debug)]
pub enum OutputProjector {
    /// One linear map.
    Linear(LinearMap),
    /// Learned queries.
    Mapper(Mapper),
}

impl OutputProjector {
    /// Seeded weights.
    pub fn init(config: &OutputProjectorConfig, init: &mut Init) -> Self {
        match config {
            OutputProjectorConfig::Linear { input, width } => {
                Self::Linear(LinearMap::init([*input, *width], init))
            }
            OutputProjectorConfig::Mapper(config) => Self::Mapper(Mapper::init(config, init)),
        }
    }
}

impl Condition for OutputProjector {
    fn condition(&self, hidden: Hidden, lengths: Option<&Arc<[usize]>>) -> Conditions {
        match self {
            Self::Linear(linear) => linear.condition(hidden, lengths),
            Self::Mapper(mapper) => mapper.condition(hidden, lengths),
        }
    }
}

impl Pack for OutputProjector {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Linear(linear) => linear.matrices(path, visit),
            Self::Mapper(mapper) => mapper.matrices(path, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn small() -> MapperConfig {
        MapperConfig {
            input: 10,
            hidden_size: 12,
            queries: 3,
            n_encoder_layers: 1,
            n_decoder_layers: 1,
            n_heads: 2,
            intermediate_size: 20,
            activation: Activation::Relu,
            width: 7,
        }
    }

    #[test]
    fn conditions_have_the_shape_that_the_config_tells() {
        let mut init = Init::new(1, &Device::flex());
        let hidden = Hidden(init.normal([2, 5, 10], 1.0).val());
        let linear = OutputProjectorConfig::Linear { input: 10, width: 7 };
        for config in [linear, OutputProjectorConfig::Mapper(small())] {
            let projector = OutputProjector::init(&config, &mut init);
            let shape = projector.condition(hidden.clone(), None).0.dims();
            assert_eq!(shape, [2, config.queries(5), config.width()], "{config:?}");
            let json = serde_json::to_string(&config).expect("it has no maps");
            let again: OutputProjectorConfig = serde_json::from_str(&json).expect("its own text");
            assert_eq!(again, config);
        }
    }

    #[test]
    fn what_pads_a_text_changes_nothing() {
        let mut init = Init::new(2, &Device::flex());
        let mapper = Mapper::init(&small(), &mut init);
        let [long, other] = [4, 4].map(|t| init.normal([1, t, 10], 1.0).val());
        let short = long.clone().narrow(1, 0, 2);
        let padded = Tensor::cat(vec![short.clone(), other.narrow(1, 2, 2)], 1);
        let told =
            |x, lengths: &[usize]| read(mapper.condition(Hidden(x), Some(&lengths.into())).0);
        let both = told(Tensor::cat(vec![padded, long], 0), &[2, 4]);
        let alone = told(short, &[2]);
        assert!(both.iter().zip(&alone).all(|(x, y)| (x - y).abs() < 1e-5));
    }
}
