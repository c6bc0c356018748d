//! Perceiver resampler: learned latents ask a picture's positions, however many they are, and go on
//! in their place.
//!
//! Alayrac et al. 2022 (Flamingo), section 2.1, <https://arxiv.org/abs/2204.14198>, as Idefics has it
//! (Laurençon et al. 2023, <https://arxiv.org/abs/2306.16527>): ReLU, heads of their own width.
//!
//! ```text
//! features [B, N, E] ─────────┐ keys, values: both
//! latents [Q, E] ──layers─────┴──▶ [B, Q, E] ──norm──▶ features [B, Q, E]
//! ```
//! What comes out keeps the width E: for a backbone that asks it by cross-attention, or is as wide.

use sensorium_flow::{Embeds, Features, Project};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Perceiver`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceiverConfig {
    /// Latents Q.
    pub latents: usize,
    /// Width E.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width K of a head; all of them need not be E together.
    #[serde(alias = "head_width")]
    pub head_dim: usize,
    /// Width inside the MLPs.
    #[serde(alias = "mlp")]
    pub intermediate_size: usize,
    /// LayerNorm over each head's queries and keys.
    pub qk_norm: bool,
    /// Activation of the MLPs: ReLU of Idefics, GELU of OpenFlamingo.
    #[serde(default = "relu")]
    pub activation: Activation,
}

fn relu() -> Activation {
    Activation::Relu
}

/// Epsilon of every norm: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

impl PerceiverConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Perceiver::init(self, init))
    }
}

/// `[B, N, E] -> [B, Q, E]`
#[derive(Module, Debug)]
pub struct Perceiver {
    latents: Param<Tensor<2>>,
    layers: Vec<PerceiverLayer>,
    norm: LayerNorm,
}

sensorium_nn::pack!(Perceiver: layers);

impl Perceiver {
    /// Latents of 1, matrices of `fan_in^-0.5`.
    pub fn init(config: &PerceiverConfig, init: &mut Init) -> Self {
        let layer = PerceiverLayerConfig {
            d: config.hidden_size,
            heads: config.n_heads,
            head_dim: config.head_dim,
            hidden: config.intermediate_size,
            qk_norm: config.qk_norm,
            activation: config.activation,
            eps: EPS,
        };
        Self {
            latents: init.normal([config.latents, config.hidden_size], 1.0),
            layers: (0..config.n_layers).map(|_| PerceiverLayer::init(&layer, init)).collect(),
            norm: LayerNorm::init(config.hidden_size, EPS, init),
        }
    }

    /// `[B, N, E] -> [B, Q, E]`
    pub fn resample(&self, context: &Features) -> Features {
        Features(self.norm.forward(self.hidden(context, self.layers.len())))
    }

    /// The latents after so many layers and before the last norm, `[B, N, E] -> [B, Q, E]`: after none,
    /// as they are learned.
    pub fn hidden(&self, Features(context): &Features, layers: usize) -> Tensor<3> {
        let latents = self.latents.val().unsqueeze::<3>().repeat_dim(0, context.dims()[0]);
        let layers = self.layers.iter().take(layers);
        layers.fold(latents, |x, layer| layer.forward(x, context.clone()))
    }
}

impl Project for Perceiver {
    fn project(&self, features: Features) -> Embeds {
        Embeds(self.resample(&features).0)
    }

    fn tokens(&self, _: usize) -> usize {
        self.latents.dims()[0]
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    fn config(qk_norm: bool) -> PerceiverConfig {
        let (latents, width, n_layers, n_heads, head_width, mlp) = (3, 10, 2, 2, 6, 14);
        PerceiverConfig {
            latents,
            hidden_size: width,
            n_layers,
            n_heads,
            head_dim: head_width,
            intermediate_size: mlp,
            qk_norm,
            activation: Activation::Relu,
        }
    }

    /// However many positions there are, and whatever else is resampled beside them.
    #[test]
    fn as_many_come_out_as_there_are_latents() {
        let init = &mut Init::new(5, &Device::flex());
        let perceiver = Perceiver::init(&config(true), init);
        let long = init.normal([2, 9, 10], 1.0).val();
        let Features(out) = perceiver.resample(&Features(long.clone()));
        assert_eq!(out.dims(), [2, 3, 10]);
        let Features(one) = perceiver.resample(&Features(long.clone().narrow(0, 1, 1)));
        assert_eq!(read(out.narrow(0, 1, 1)), read(one));
        let Features(short) = perceiver.resample(&Features(long.narrow(1, 0, 4)));
        assert_eq!(short.dims(), [2, 3, 10]);
    }
}
