//! Stable Diffusion's parts as diffusers publishes them: what denoises latents, what makes pictures of them, and by
//! which steps.
//!
//! Rombach et al. 2022, <https://arxiv.org/abs/2112.10752>. Fields are called as diffusers calls them.
//!
//! ```text
//! latents [B, c, h, w], time, texts [B, T, C] ──UNet2DConditionModel──▶ what is wrong with them [B, c, h, w]
//!                                            ──Scheduler, step by step─▶ latents
//! noise, time, label [B, c, h, w] ──UNet2DModel──▶ pictures [B, c, h, w], of consistency models
//! latents ──AutoencoderKl or AutoencoderTiny──▶ pictures [B, 3, f·h, f·w]
//! ```

pub(crate) mod autoencoder_kl;
mod autoencoder_tiny;
mod betas;
mod consistency;
pub(crate) mod resnet;
mod scheduler;
mod time;
mod transformer;
mod unet;
mod unet2d;

pub use autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig};
pub use autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig, TinySide};
pub use betas::{BetaSchedule, NoiseSchedule};
pub use consistency::ConsistencyConfig;
pub use scheduler::{Denoising, Prediction, SchedulerConfig, Sigmas, Spacing};
pub use unet::{UNet2DConditionConfig, UNet2DConditionModel};
pub use unet2d::{Labels, UNet2DConfig, UNet2DModel};

use sensorium_nn::prelude::*;

/// What makes pictures of latents, and latents of pictures.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one of them")]
pub enum Autoencoder {
    /// With norms and attention, as it was trained with the model.
    Kl(AutoencoderKl),
    /// Of plain convolutions, distilled from the other.
    Tiny(AutoencoderTiny),
}

/// Shape of an [`Autoencoder`].
#[derive(Clone, Debug, PartialEq)]
pub enum AutoencoderConfig {
    /// With norms and attention.
    Kl(AutoencoderKlConfig),
    /// Of plain convolutions.
    Tiny(AutoencoderTinyConfig),
}

impl AutoencoderConfig {
    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// How many pixels a side one latent stands for.
    pub fn factor(&self) -> usize {
        match self {
            Self::Kl(config) => config.factor(),
            Self::Tiny(config) => config.factor(),
        }
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Autoencoder::init(self, init))
    }
}

impl Autoencoder {
    /// Seeded weights.
    pub fn init(config: &AutoencoderConfig, init: &mut Init) -> Self {
        match config {
            AutoencoderConfig::Kl(config) => Self::Kl(AutoencoderKl::init(config, init)),
            AutoencoderConfig::Tiny(config) => Self::Tiny(AutoencoderTiny::init(config, init)),
        }
    }

    /// Latents as a denoiser has them to pictures from about -1 to 1: `[B, c, h, w] -> [B, 3, f·h, f·w]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(vae) => vae.decode(latents),
            Self::Tiny(vae) => vae.decode(latents),
        }
    }

    /// The likeliest latents of pictures from -1 to 1, as a denoiser has them.
    pub fn encode(&self, pictures: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(vae) => vae.encode(pictures),
            Self::Tiny(vae) => vae.encode(pictures),
        }
    }

    /// Latents of pictures as a denoiser has them: of a Gaussian, those that normal numbers of their shape choose.
    pub fn sample(&self, pictures: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(vae) => vae.sample(pictures, noise),
            Self::Tiny(vae) => vae.encode(pictures),
        }
    }
}

impl Pack for Autoencoder {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Kl(vae) => vae.matrices(path, visit),
            // Convolutions alone.
            Self::Tiny(_) => {}
        }
    }
}
