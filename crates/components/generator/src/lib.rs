//! [`Conditions`] to media: generators of pictures, clips and sounds.
//!
//! ```text
//! conditions [B, Q, C] ─┐
//! noise [B, N, size] ───┴─latents' generator──▶ [B, F, c, h, w] ──VAE's decoder──▶ pictures, frames
//!                                                              ──as they are─────▶ spectrograms, pixels
//! ```

pub mod audio;
mod conditional_vae;
pub mod diffusion;
mod flow;
mod gan;
mod image_tokens;
mod latents;
mod uvit;
mod vae;

pub use conditional_vae::ConditionalVae;
pub use flow::{Flow, Noised, Prediction};
pub use gan::{Discriminator, Gan, R1};
pub use image_tokens::{GROUPS, ImageTokens, ImageTokensConfig};
pub use latents::Grid;
pub use uvit::{Tokens, Uvit, UvitConfig};
pub use vae::{Posterior, Vae, VaeConfig, VaeDecoder, VaeEncoder};

use sensorium_flow::{Conditions, Generate, Modality, Output, Sampler};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use serde::{Deserialize, Serialize};

/// What makes latents of noise and conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rectified flow, in steps.
    #[default]
    Flow,
    /// A generative adversarial network, at once.
    Gan,
    /// A variational autoencoder's decoder, at once.
    Vae,
}

/// Shape of a [`LatentGenerator`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// What it makes.
    pub modality: Modality,
    /// How.
    #[serde(default)]
    pub kind: Kind,
    /// Conditions Q.
    pub queries: usize,
    /// Their width C.
    pub width: usize,
    /// The latents of one medium.
    pub grid: Grid,
    /// Whether these are the pixels themselves, and no autoencoder's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pixels: bool,
    /// What a flow tells.
    #[serde(default)]
    pub prediction: Prediction,
    /// What makes them.
    pub uvit: UvitConfig,
}

impl GeneratorConfig {
    /// What goes in and comes out of its trunk.
    pub fn tokens(&self) -> Tokens {
        let size = self.grid.token_size();
        let latents = self.grid.tokens();
        Tokens { latents, size, out: size, conditions: self.queries, width: self.width }
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        if self.prediction == Prediction::Data && self.kind != Kind::Flow {
            return Some(("prediction = \"velocity\" of what is no flow", "\"data\"".to_owned()));
        }
        self.grid.wrong().or_else(|| self.uvit.wrong())
    }

    /// Whether an autoencoder makes the media of its latents.
    pub fn decodes(&self) -> bool {
        self.modality != Modality::Audio && !self.pixels
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

/// What makes latents of noise and conditions, of any kind.
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Module, Debug)]
pub enum LatentModel {
    /// In steps.
    Flow(Flow),
    /// At once.
    Gan(Gan),
    /// At once.
    Vae(ConditionalVae),
}

impl LatentModel {
    fn init(config: &GeneratorConfig, init: &mut Init) -> Self {
        let (uvit, tokens) = (&config.uvit, config.tokens());
        match config.kind {
            Kind::Flow => Self::Flow(Flow::init(uvit, tokens, config.prediction, init)),
            Kind::Gan => Self::Gan(Gan::init(uvit, tokens, init)),
            Kind::Vae => Self::Vae(ConditionalVae::init(uvit, tokens, init)),
        }
    }

    /// Latents of `noise [B, N, size]`, told by `conditions [B, Q, C]`; who makes them at once takes no steps.
    fn sample(&self, noise: Tensor<3>, conditions: Tensor<3>, sampler: Sampler) -> Tensor<3> {
        match self {
            Self::Flow(flow) => flow.sample(noise, conditions, sampler),
            Self::Gan(gan) => gan.sample(noise, conditions),
            Self::Vae(vae) => vae.decode(noise, conditions),
        }
    }
}

impl Pack for LatentModel {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Flow(flow) => flow.matrices(path, visit),
            Self::Gan(gan) => gan.matrices(path, visit),
            Self::Vae(vae) => vae.matrices(path, visit),
        }
    }
}

/// What makes latents of conditions.
#[derive(Module, Debug)]
pub struct LatentGenerator {
    /// From noise to latents.
    pub model: LatentModel,
    /// Mean of each channel over the training set, `[c]`.
    pub mean: Param<Tensor<1>>,
    /// Standard deviation of each channel over the training set, `[c]`.
    pub std: Param<Tensor<1>>,
    #[module(skip)]
    grid: Grid,
}

sensorium_nn::pack!(LatentGenerator: model);

impl LatentGenerator {
    /// Seeded weights, for channels of mean 0 and deviation 1.
    pub fn init(config: &GeneratorConfig, init: &mut Init) -> Self {
        let c = config.grid.size[1];
        Self {
            model: LatentModel::init(config, init),
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
        self.latents(self.model.sample(noise, conditions, sampler))
    }
}

/// `[c] -> [1, 1, c, 1, 1]`
fn channels(x: &Param<Tensor<1>>) -> Tensor<5> {
    let c = x.dims()[0];
    x.val().reshape([1, 1, c, 1, 1])
}

/// So many normal numbers of one seed.
pub fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// A generator, and what makes pictures of its latents.
#[derive(Module, Debug)]
pub struct Generator {
    /// Conditions to latents.
    pub latents: LatentGenerator,
    /// Latents to pictures; a sound's are its spectrogram, and of some pictures they are the pixels.
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
        if self.modality == Modality::Audio {
            return Output::Audio(latents.reshape([b, f, c]).swap_dims(1, 2));
        }
        let frames = latents.reshape([b * f, c, h, w]);
        let pictures = match &self.vae {
            Some(vae) => vae.decode(frames),
            None => frames,
        };
        let pictures = pictures.clamp(-1.0, 1.0);
        match self.modality {
            Modality::Video => {
                let [_, c, h, w] = pictures.dims();
                Output::Video(pictures.reshape([b, f, c, h, w]))
            }
            _ => Output::Image(pictures),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensorium_flow::Solver;
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn a_seed_makes_its_own_whatever_stands_beside_it() {
        let config = GeneratorConfig {
            modality: Modality::Image,
            kind: Kind::Flow,
            queries: 2,
            width: 6,
            grid: Grid { size: [1, 3, 4, 4], patch: [1, 2, 2] },
            pixels: false,
            prediction: Prediction::Velocity,
            uvit: UvitConfig { hidden_size: 8, n_layers: 3, n_heads: 2, intermediate_size: 12 },
        };
        let mut init = Init::new(1, &Device::flex());
        let mut generator = LatentGenerator::init(&config, &mut init);
        // What comes out starts at zero, which tells nothing apart.
        generator = params::update(generator, |_, _, values| {
            values.iter_mut().enumerate().for_each(|(i, value)| *value += 0.1 * (i as f32).sin());
            true
        });
        let conditions = init.normal([2, 2, 6], 1.0).val();
        let make = |conditions: Tensor<3>, seed| {
            let solver = Solver::Heun;
            let sampler = Sampler { seed, steps: 3, solver, ..Sampler::default() };
            read(generator.generate(Conditions(conditions), sampler))
        };
        let both = make(conditions.clone(), 4);
        let one = |i, seed| make(conditions.clone().narrow(0, i, 1), seed);
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near(&one(0, 4), &both[..48]) && near(&one(1, 5), &both[48..]));
        assert!(!near(&one(0, 5), &both[..48]) && !near(&one(1, 4), &both[48..]));
    }

    #[test]
    fn tokens_come_back_as_latents() {
        let config = GeneratorConfig {
            modality: Modality::Video,
            kind: Kind::Flow,
            queries: 1,
            width: 4,
            grid: Grid { size: [4, 2, 2, 2], patch: [2, 1, 1] },
            pixels: false,
            prediction: Prediction::Velocity,
            uvit: UvitConfig { hidden_size: 8, n_layers: 1, n_heads: 1, intermediate_size: 8 },
        };
        let mut init = Init::new(1, &Device::flex());
        let mut generator = LatentGenerator::init(&config, &mut init);
        generator = params::fill(generator, |name, _| match name {
            "mean" => Some(vec![1.0, -2.0]),
            "std" => Some(vec![0.5, 3.0]),
            _ => None,
        });
        let latents = init.normal([3, 4, 2, 2, 2], 1.0).val();
        let again = read(generator.latents(generator.tokens(latents.clone())));
        assert!(again.iter().zip(read(latents)).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
