//! A generator of media from texts: a conditional variational autoencoder of latents, told by a frozen text tower.
//!
//! Sohn et al. 2015, <https://papers.nips.cc/paper/5775>.
//!
//! ```text
//! sensorium train recipes/conditional_vae/tiny.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_data::{Config, Example, Examples};
use sensorium_generator::{ConditionalVae, Kind, LatentModel};
use sensorium_media::Modality;
use sensorium_model::latent_diffusion::LatentDiffusion;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::ModelConfig;
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::told::{Batch, NewGenerator, Start, Training, Wanted, lacks};

/// A training of a conditional autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionalVaeRecipe {
    /// `"conditional_vae"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and noise.
    pub seed: u64,
    /// Where it computes.
    #[serde(default)]
    pub device: DeviceName,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this machine.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Whether every block makes its activations again in the backward pass: less memory, about a
    /// third more time, the same bits.
    #[serde(default)]
    pub recompute: bool,
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Media with captions a step.
    pub batch_size: usize,
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
    /// Weight of the divergence from normal noise, in nats a number.
    #[serde(default = "kl_weight")]
    pub kl_weight: f64,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A model that was trained here and compares pictures and texts, in `from`: its text tower is what texts
    /// are told by.
    pub model: ModelConfig,
    /// The directory of an autoencoder, unless the model has one.
    pub vae: Option<PathBuf>,
    /// What is to be made: `"image"`, `"video"` or `"audio"`.
    pub modality: Modality,
    /// A new generator; without, the model's own of this kind goes on.
    pub generator: Option<NewGenerator>,
    /// Media with captions.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

fn kl_weight() -> f64 {
    0.1
}

/// What learns; the channels' mean and deviation stay what the first samples say.
const TRAINED: [&str; 2] = ["text", "generator.model"];

impl ConditionalVaeRecipe {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            kind: Kind::Vae,
            modality: self.modality,
            model: &self.model,
            vae: self.vae.as_ref(),
            generator: self.generator.as_ref(),
            device: &self.device,
            precision: self.precision,
            recompute: self.recompute,
            batch_size: self.batch_size,
            seed: self.seed,
        }
    }
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, or the sizes make no sense.
pub fn stages(recipe: &ConditionalVaeRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(&recipe.wanted(), &RunOptions::new("."))?;
    let shapes = params::shapes(|init| LatentDiffusion::init(&shape, init));
    let ConditionalVaeRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("conditional_vae", shapes, &TRAINED, steps, batch_size)?])
}

/// Trains what makes conditions of texts, and latents of conditions and noise.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &ConditionalVaeRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &ConditionalVaeRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(&recipe.wanted(), options)?;
    let training = Training::begin(&recipe.wanted(), &start)?;
    let maker = training.maker.clone();
    let make = move |examples: &Examples, step, progress| maker.make(examples, step, progress);
    let (side, modality) = (training.maker.image_size, recipe.modality);
    let lacks = move |example: &Example| lacks(example, modality);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let model = training.model(&recipe.wanted(), &start, &feed)?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let ConditionalVaeRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.model.published().chain(&recipe.vae).cloned().collect();
    let provenance =
        provenance::begin("conditional_vae", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) =
        Run::open("conditional_vae", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let [off, divergence] = losses(recipe, &training, &model, &batch, step);
        let extra = BTreeMap::from([("kl".to_owned(), f64::from(read(divergence.clone())[0]))]);
        let loss = off + divergence * recipe.kl_weight;
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let of = |(i, batch): (usize, Result<Batch>)| -> Result<_> {
                let [off, divergence] = losses(recipe, &training, &best, &batch?, i as u64);
                Ok((f64::from(read(off + divergence * recipe.kl_weight)[0]), 1.0))
            };
            let loss = mean(batches.enumerate().map(of).collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || training.files(&best))?;
        }
        let samples = recipe.batch_size;
        let flops = 6.0 * start.shape.generator.flops() * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// The stream of random numbers that are noise.
const NOISE: u64 = 0xC7AE;

/// The losses of a batch, with the noise of a step.
fn losses(
    recipe: &ConditionalVaeRecipe,
    training: &Training,
    model: &LatentDiffusion,
    batch: &Batch,
    step: u64,
) -> [Tensor<1>; 2] {
    let [latents, conditions] = training.told(model, batch);
    let mut rng = Rng::at(recipe.seed, NOISE, step);
    let noise = training.noise(&mut rng, latents.dims());
    conditional_vae(model).losses(latents, conditions, noise)
}

/// What makes latents.
///
/// # Panics
/// When it is of another kind than the recipe's, which no recipe begins with.
fn conditional_vae(model: &LatentDiffusion) -> &ConditionalVae {
    match &model.generator.model {
        LatentModel::Vae(vae) => vae,
        other => panic!("expected a conditional VAE, got {other:?}"),
    }
}
