//! Stable Diffusion: a text becomes a picture, by noise that is taken off latents step by step.
//!
//! Rombach et al. 2022, <https://arxiv.org/abs/2112.10752>; classifier-free guidance, Ho and Salimans 2022,
//! <https://arxiv.org/abs/2207.12598>.
//!
//! ```text
//! text, empty text ──text tower──▶ [B, T, C] ─┐
//! noise [B, c, h, w] ──step by step──UNet────┴──▶ latents [B, c, h, w] ──autoencoder──▶ pictures [B, 3, f·h, f·w]
//! ```

use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_generator::diffusion::{
    Autoencoder, AutoencoderConfig, Denoising, UNet2DConditionConfig, UNet2DConditionModel,
};
use sensorium_nn::prelude::*;

/// Shape of a [`StableDiffusion`].
#[derive(Clone, Debug, PartialEq)]
pub struct StableDiffusionConfig {
    /// Texts to their positions.
    pub text: TextConfig,
    /// Latents to what is wrong with them.
    pub unet: UNet2DConditionConfig,
    /// Latents to pictures.
    pub vae: AutoencoderConfig,
}

impl StableDiffusionConfig {
    /// What both sides of a picture are multiples of.
    pub fn factor(&self) -> usize {
        self.vae.factor() * self.unet.factor()
    }

    /// Height and width of the pictures that it was trained with.
    pub fn size(&self) -> [usize; 2] {
        self.unet.sample_size.map(|side| side * self.vae.factor())
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| StableDiffusion::init(self, init))
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct StableDiffusion {
    /// Texts to their positions.
    pub text: TextTower,
    /// Latents to what is wrong with them.
    pub unet: UNet2DConditionModel,
    /// Latents to pictures.
    pub vae: Autoencoder,
}

sensorium_nn::pack!(StableDiffusion: text, unet, vae);

/// What latents are told: texts, and what stands for none where they are to be followed further than that.
#[derive(Clone, Debug)]
pub struct Told {
    /// `[B, T, C]`
    texts: Tensor<3>,
    /// Empty texts `[B, T, C]`, and how much further than these to go.
    untold: Option<(Tensor<3>, f32)>,
}

impl StableDiffusion {
    /// Seeded weights.
    pub fn init(config: &StableDiffusionConfig, init: &mut Init) -> Self {
        Self {
            text: TextTower::init(&config.text, init),
            unet: UNet2DConditionModel::init(&config.unet, init),
            vae: Autoencoder::init(&config.vae, init),
        }
    }

    /// What texts ask for; a `guidance` of 1 or less follows them and no empty ones.
    pub fn told(&self, texts: &Texts, empty: &Texts, guidance: f32) -> Told {
        let untold = (guidance > 1.0).then(|| (self.text.positions(empty), guidance));
        Told { texts: self.text.positions(texts), untold }
    }

    /// Latents `[B, c, h, w]` of noise as a run begins with it; `on_step` sees how many steps are done, and the latents.
    pub fn denoise(
        &self,
        told: &Told,
        noise: Tensor<4>,
        mut run: Denoising,
        on_step: &mut dyn FnMut(usize, &Tensor<4>),
    ) -> Tensor<4> {
        let mut x = noise;
        for (step, time) in run.times().into_iter().enumerate() {
            let seen = run.model_input(step, x.clone());
            x = run.step(step, self.tells(told, seen, time), x);
            on_step(step + 1, &x);
        }
        x
    }

    /// What the UNet says of latents at a time.
    fn tells(&self, told: &Told, x: Tensor<4>, time: f32) -> Tensor<4> {
        let Some((untold, guidance)) = &told.untold else {
            return self.unet.forward(x, time, &told.texts);
        };
        let b = x.dims()[0];
        let texts = Tensor::cat(vec![untold.clone(), told.texts.clone()], 0);
        let both = self.unet.forward(Tensor::cat(vec![x.clone(), x], 0), time, &texts);
        let [untold, told] = [both.clone().narrow(0, 0, b), both.narrow(0, b, b)];
        untold.clone() + (told - untold) * *guidance
    }
}
