//! An autoencoder of pictures: what generators of pictures and clips work on in their place.
//!
//! Kingma and Welling 2013, <https://arxiv.org/abs/1312.6114>; Rombach et al. 2022, section 3.1,
//! <https://arxiv.org/abs/2112.10752>: what comes back is near in its pixels and in their differences to the
//! next ones, and latents are held to a normal distribution by a little.
//!
//! ```text
//! sensorium train recipes/vae/nano.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Config, Example, Examples};
use sensorium_generator::{Vae, VaeConfig};
use sensorium_media::ImageProcessor;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::generators;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use serde::{Deserialize, Serialize};

use crate::batch::{draw, images, mean, pictures};
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files, pretty};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::told::autoencoder;

/// A training of an autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRecipe {
    /// `"vae"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and noise.
    pub seed: u64,
    /// Where it computes.
    #[serde(default)]
    pub device: DeviceName,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this machine.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Examples a step; each of their pictures is learned from.
    pub batch_size: usize,
    /// Side of the pictures in pixels.
    pub image_size: u32,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Steps between measurements on `data.val`; 0 measures nothing.
    #[serde(default)]
    pub eval_every: u64,
    /// Batches of a measurement.
    #[serde(default = "eval_batches")]
    pub eval_batches: u64,
    /// Measurements without a lower loss after which the run ends; without, it goes on to its last step.
    pub patience: Option<u64>,
    /// Weight of the divergence from a normal distribution, in nats a latent number.
    #[serde(default = "kl_weight")]
    pub kl_weight: f64,
    /// Weight of what is wrong with the differences of neighbouring pixels.
    #[serde(default = "gradient_weight")]
    pub gradient_weight: f64,
    /// Weight of the mean square of what is wrong, beside its mean size of weight 1: what is rare and far off, as
    /// the colour of a small thing, counts for more by it.
    #[serde(default)]
    pub mse_weight: f64,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A new model.
    pub vae: Option<VaeConfig>,
    /// Instead of a new model, the directory of one that this recipe has left.
    pub from: Option<PathBuf>,
    /// Pictures; nothing else of the data is looked at.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

fn kl_weight() -> f64 {
    1e-6
}

fn gradient_weight() -> f64 {
    0.5
}

/// All of it.
const TRAINED: [&str; 2] = ["encoder", "decoder"];

/// What the one stage trains.
///
/// # Errors
/// The sizes make no sense, or the model to go on from is none of this recipe.
pub fn stages(recipe: &VaeRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(recipe, &RunOptions::new("."))?;
    let shapes = params::shapes(|init| Vae::init(&shape, init));
    Ok(vec![Planned::new("vae", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// What a run begins with.
struct Start {
    shape: VaeConfig,
    /// Its weights, where they are no new ones.
    directory: Option<Directory>,
}

impl Start {
    fn of(recipe: &VaeRecipe, options: &RunOptions) -> Result<Self> {
        let start = match (&recipe.vae, &recipe.from) {
            (Some(shape), None) => Self { shape: shape.clone(), directory: None },
            (None, Some(from)) => {
                let directory = model::opened(from, options.strict)?;
                Self { shape: autoencoder(&directory)?, directory: Some(directory) }
            }
            _ => {
                let message = "expected vae or from, got neither or both";
                return Err(model::config("vae", message, "vae makes a new model, from goes on"));
            }
        };
        if let Some((expected, got)) = start.shape.wrong() {
            let message = format!("expected {expected}, got {got}");
            return Err(model::config("vae", &message, "see recipes/vae/tiny.toml"));
        }
        let factor = start.shape.factor() as u32;
        if recipe.image_size == 0 || !recipe.image_size.is_multiple_of(factor) {
            let message =
                format!("expected a multiple of {factor} pixels, got {}", recipe.image_size);
            let hint = "a latent stands for a square of patch · 2^(sizes - 1) pixels a side";
            return Err(model::config("image_size", &message, hint));
        }
        Ok(start)
    }

    fn model(&self, init: &mut Init) -> Result<Vae> {
        let device = init.device().clone();
        Ok(match &self.directory {
            Some(directory) => {
                let settings = SensoriumConfig::read(directory)?;
                match generators::vae(directory, &settings, &device)? {
                    Some(vae) => {
                        weights::load(Vae::init(&self.shape, init), &weights::tensors(&vae)?)?
                    }
                    None => Vae::init(&self.shape, init),
                }
            }
            None => Vae::init(&self.shape, init),
        })
    }
}

/// Trains encoder and decoder.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &VaeRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &VaeRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(recipe, options)?;
    let seed = start.directory.is_none().then_some(recipe.seed);
    let model = start.model(&mut recipe.device.init(seed, recipe.precision, false))?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let shape = start.shape;
    let (processor, n) = (ImageProcessor::padded(recipe.image_size), recipe.batch_size);
    let make = move |examples: &Examples, step, progress| -> Result<Vec<f32>> {
        let drawn = draw(examples, step, n, progress)?;
        let all = drawn.iter().flat_map(pictures);
        Ok(all.flat_map(|picture| processor.process(picture)).collect())
    };
    let side = recipe.image_size;
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let VaeRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.from.iter().cloned().collect();
    let provenance = provenance::begin("vae", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("vae", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(planes) = batches.next().transpose()? else { break };
        let samples = planes.len() / (3 * side as usize * side as usize);
        let Loss { whole, divergence } = loss(recipe, &model, planes, step);
        let value = f64::from(read(whole.clone())[0]);
        let extra = BTreeMap::from([("kl".to_owned(), f64::from(read(divergence)[0]))]);
        let gradients = params::gradients(&model, whole.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let of = |planes| -> Result<_> {
                Ok((f64::from(read(loss(recipe, &best, planes?, 0).whole)[0]), 1.0))
            };
            let loss = mean(batches.map(of).collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || files(&best, &shape))?;
        }
        let flops = 3.0 * shape.flops(side as usize) * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best, &shape)?)
}

/// What an example has not.
fn lacks(example: &Example) -> Option<&'static str> {
    pictures(example).next().is_none().then_some("pictures")
}

/// How far what comes back is off.
struct Loss {
    whole: Tensor<1>,
    divergence: Tensor<1>,
}

/// The loss of pictures, with the noise of a step.
fn loss(recipe: &VaeRecipe, model: &Vae, planes: Vec<f32>, step: u64) -> Loss {
    let side = recipe.image_size as usize;
    let device = recipe.device.open();
    let x = images(planes, [side, side], &device);
    let posterior = model.encode(x.clone());
    let shape = posterior.mean.dims();
    let mut rng = Rng::at(recipe.seed, NOISE, step);
    let noise: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    let noise = Tensor::from_data(TensorData::new(noise, shape), &x.device());
    let y = model.decode(posterior.sample(noise));
    let [dx, dy] = [2, 3].map(|axis| differences(y.clone(), axis) - differences(x.clone(), axis));
    let off = y - x;
    let off = off.clone().abs().mean() + off.square().mean() * recipe.mse_weight;
    let edges = (dx.abs().mean() + dy.abs().mean()) * (0.5 * recipe.gradient_weight);
    let divergence = posterior.divergence();
    Loss { whole: off + edges + divergence.clone() * recipe.kl_weight, divergence }
}

/// The stream of random numbers that are noise.
const NOISE: u64 = 0x0A7E;

/// Each pixel from the one before it.
fn differences(x: Tensor<4>, axis: usize) -> Tensor<4> {
    let n = x.dims()[axis] - 1;
    x.clone().narrow(axis, 1, n) - x.narrow(axis, 0, n)
}

/// A directory of a model that was trained here.
fn files(model: &Vae, shape: &VaeConfig) -> Result<Files> {
    let settings = SensoriumConfig { vae: Some(shape.clone()), ..SensoriumConfig::default() };
    let weights = safetensors::write(&weights::tensors(model)?, Dtype::F32)?;
    let config = ("config.json".to_owned(), pretty(&settings)?);
    Ok(vec![config, ("vae.safetensors".to_owned(), weights)])
}
