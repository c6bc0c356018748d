//! [`Conditions`] to media: generators of pictures, clips and sounds.
//!
//! ```text
//! conditions [B, Q, C] ─┐
//! noise [B, N, size] ───┴─latents' generator──▶ [B, F, c, h, w] ──VAE's decoder──▶ pictures, frames
//!                                                              ──as they are─────▶ spectrograms
//! ```

pub mod audio;
mod flow;
mod latents;
mod uvit;
mod vae;

pub use flow::{Flow, Noised};
pub use latents::Grid;
pub use uvit::{Tokens, Uvit, UvitConfig};
pub use vae::{Posterior, Vae, VaeConfig, VaeDecoder, VaeEncoder};

use sensorium_flow::{Conditions, Generate, Modality, Output, Sampler};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use serde::{Deserialize, Serialize};

/// Shape of a [`Latents`] generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// What it makes.
    pub modality: Modality,
    /// Conditions Q.
    pub queries: usize,
    /// Their width C.
    pub width: usize,
    /// The latents of one medium.
    pub grid: Grid,
    /// What makes them.
    pub uvit: UvitConfig,
}

impl GeneratorConfig {
    fn tokens(&self) -> Tokens {
        let size = self.grid.token_size();
        let latents = self.grid.tokens();
        Tokens { latents, size, out: size, conditions: self.queries, width: self.width }
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        self.grid.wrong().or_else(|| self.uvit.wrong())
    }

    /// Floating-point operations of one look at a medium's latents.
    pub fn flops(&self) -> f64 {
        self.uvit.flops(1 + self.queries + self.grid.tokens())
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| LatentGenerator::init(self, init))
    }
}

/// What makes latents of conditions.
#[derive(Module, Debug)]
pub struct LatentGenerator {
    /// The way from noise to latents.
    pub flow: Flow,
    /// Mean of each channel over the training set, `[c]`.
    pub mean: Param<Tensor<1>>,
    /// Standard deviation of each channel over the training set, `[c]`.
    pub std: Param<Tensor<1>>,
    #[module(skip)]
    grid: Grid,
}

sensorium_nn::pack!(LatentGenerator: flow);

impl LatentGenerator {
    /// Seeded weights, for channels of mean 0 and deviation 1.
    pub fn init(config: &GeneratorConfig, init: &mut Init) -> Self {
        let c = config.grid.size[1];
        Self {
            flow: Flow::init(&config.uvit, config.tokens(), init),
            mean: init.constant([c], 0.0),
            std: init.constant([c], 1.0),
            grid: config.grid,
        }
    }

    /// The grid of a medium.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Latents as tokens whose channels have mean 0 and deviation 1: `[B, F, c, h, w] -> [B, N, size]`.
    pub fn tokens(&self, latents: Tensor<5>) -> Tensor<3> {
        let [mean, std] = [&self.mean, &self.std].map(channels);
        self.grid.cut((latents - mean) / std)
    }

    /// `[B, N, size] -> [B, F, c, h, w]`
    pub fn latents(&self, tokens: Tensor<3>) -> Tensor<5> {
        let [mean, std] = [&self.mean, &self.std].map(channels);
        self.grid.join(tokens) * std + mean
    }

    /// Latents of media, `[B, F, c, h, w]`.
    pub fn generate(&self, Conditions(conditions): Conditions, sampler: Sampler) -> Tensor<5> {
        let b = conditions.dims()[0];
        let [n, size] = [self.grid.tokens(), self.grid.token_size()];
        let seed = |i: usize| sampler.seed.wrapping_add(i as u64);
        let noise = (0..b).flat_map(|i| noise(seed(i), n * size)).collect::<Vec<_>>();
        let noise = TensorData::new(noise, [b, n, size]);
        let noise = Tensor::from_data(noise, &conditions.device());
        self.latents(self.flow.sample(noise, conditions, sampler))
    }
}

/// `[c] -> [1, 1, c, 1, 1]`
fn channels(x: &Param<Tensor<1>>) -> Tensor<5> {
    let c = x.dims()[0];
    x.val().reshape([1, 1, c, 1, 1])
}

/// So many normal numbers of one seed.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// A generator, and what makes pictures of its latents.
#[derive(Module, Debug)]
pub struct Generator {
    /// Conditions to latents.
    pub latents: LatentGenerator,
    /// Latents to pictures; a sound's are its spectrogram.
    pub vae: Option<Vae>,
    #[module(skip)]
    modality: Modality,
}

sensorium_nn::pack!(Generator: latents);

impl Generator {
    /// Of what makes latents, and what makes pictures of them.
    pub fn new(modality: Modality, latents: LatentGenerator, vae: Option<Vae>) -> Self {
        Self { latents, vae, modality }
    }

    /// What it makes.
    pub fn modality(&self) -> Modality {
        self.modality
    }
}

impl Generate for Generator {
    fn generate(&self, conditions: Conditions, sampler: Sampler) -> Output {
        let latents = self.latents.generate(conditions, sampler);
        let [b, f, c, h, w] = latents.dims();
        let Some(vae) = &self.vae else {
            return Output::Audio(latents.reshape([b, f, c]).swap_dims(1, 2));
        };
        let pictures = vae.decode(latents.reshape([b * f, c, h, w])).clamp(-1.0, 1.0);
        match self.modality {
            Modality::Video => {
                let [_, c, h, w] = pictures.dims();
                Output::Video(pictures.reshape([b, f, c, h, w]))
            }
            _ => Output::Image(pictures),
        }
    }
}
