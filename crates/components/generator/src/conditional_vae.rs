//! A conditional variational autoencoder of latents: what is left open by conditions is normal noise.
//!
//! Sohn et al. 2015, <https://papers.nips.cc/paper/5775>; its weight of the divergence, Higgins et al. 2017.
//!
//! ```text
//! latents [B, N, size], conditions ──posterior──▶ mean, log variance ──sample──▶ z ──decoder, conditions──▶ latents
//! ```

use sensorium_nn::prelude::*;

use crate::uvit::{Tokens, Uvit, UvitConfig};

/// What conditions leave open is normal noise.
#[derive(Module, Debug)]
pub struct ConditionalVae {
    posterior: Uvit,
    decoder: Uvit,
}

sensorium_nn::pack!(ConditionalVae: posterior, decoder);

impl ConditionalVae {
    /// Seeded weights.
    pub fn init(config: &UvitConfig, tokens: Tokens, init: &mut Init) -> Self {
        let posterior = Uvit::init(config, Tokens { out: 2 * tokens.size, ..tokens }, init);
        Self { posterior, decoder: Uvit::init(config, tokens, init) }
    }

    /// Mean square of what comes back wrong of `latents [B, N, size]`, and the divergence of what they become from
    /// normal noise, in nats a number; `noise [B, N, size]` draws from it.
    pub fn losses(
        &self,
        latents: Tensor<3>,
        conditions: Tensor<3>,
        noise: Tensor<3>,
    ) -> [Tensor<1>; 2] {
        let [b, _, size] = latents.dims();
        let x = self.posterior.forward(latents.clone(), conditions.clone(), &vec![0.0; b]);
        let mean = x.clone().narrow(2, 0, size);
        let log_variance = x.narrow(2, size, size).clamp(-30.0, 20.0);
        let z = mean.clone() + (log_variance.clone() * 0.5).exp() * noise;
        let off = (self.decode(z, conditions) - latents).square().mean();
        let divergence = mean.square() + log_variance.clone().exp() - log_variance - 1.0;
        [off, divergence.mean() * 0.5]
    }

    /// Latents of `z [B, N, size]`, told by `conditions [B, Q, C]`.
    pub fn decode(&self, z: Tensor<3>, conditions: Tensor<3>) -> Tensor<3> {
        let times = vec![0.0; z.dims()[0]];
        self.decoder.forward(z, conditions, &times)
    }
}
