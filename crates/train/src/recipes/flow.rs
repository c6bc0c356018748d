//! A generator of media from texts: rectified flow on latents, told by a frozen text tower.
//!
//! Liu et al. 2022, <https://arxiv.org/abs/2209.03003>; Esser et al. 2024, <https://arxiv.org/abs/2403.03206>; Bao et
//! al. 2022 (U-ViT), <https://arxiv.org/abs/2209.12152>. Text tower and autoencoder do not learn.
//!
//! ```text
//! sensorium train recipes/flow/nano.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_data::{Config, Example, Examples};
use sensorium_generator::{Flow, Kind, LatentModel, Noised};
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
use crate::model::{self, ModelConfig};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::told::{Batch, NewGenerator, Start, Training, Wanted, lacks};

/// A training of a generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRecipe {
    /// `"flow"`.
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
    /// Share (0 to 1) of the samples that go without their text, so that guidance has something to go away from.
    #[serde(default = "drop_text")]
    pub drop_text: f32,
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

fn drop_text() -> f32 {
    0.1
}

/// What learns; the channels' mean and deviation stay what the first samples say.
const TRAINED: [&str; 2] = ["text", "generator.model"];

impl FlowRecipe {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            kind: Kind::Flow,
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
pub fn stages(recipe: &FlowRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(&recipe.wanted(), &RunOptions::new("."))?;
    let shapes = params::shapes(|init| LatentDiffusion::init(&shape, init));
    Ok(vec![Planned::new("flow", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// Trains what makes conditions of texts and latents of conditions.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &FlowRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &FlowRecipe { steps, epochs: None, ..recipe.clone() };
    if !(0.0..=1.0).contains(&recipe.drop_text) {
        let message = format!("expected a share from 0 to 1, got {}", recipe.drop_text);
        return Err(model::config("drop_text", &message, "a tenth is usual"));
    }
    let start = Start::of(&recipe.wanted(), options)?;
    let training = Training::begin(&recipe.wanted(), &start)?;
    let maker = training.maker.clone();
    let make = move |examples: &Examples, step, progress| maker.make(examples, step, progress);
    let side = training.maker.image_size;
    let modality = recipe.modality;
    let lacks = move |example: &Example| lacks(example, modality);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let model = training.model(&recipe.wanted(), &start, &feed)?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let FlowRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.model.published().chain(&recipe.vae).cloned().collect();
    let provenance = provenance::begin("flow", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("flow", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let loss = velocity_loss(recipe, &training, &model, &batch, step);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let of = |(i, batch): (usize, Result<Batch>)| -> Result<_> {
                Ok((
                    f64::from(read(velocity_loss(recipe, &training, &best, &batch?, i as u64))[0]),
                    1.0,
                ))
            };
            let loss = mean(batches.enumerate().map(of).collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || training.files(&best))?;
        }
        let (samples, extra) = (recipe.batch_size, BTreeMap::new());
        let flops = 3.0 * start.shape.generator.flops() * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// The stream of random numbers that are noise, times and dropped texts.
const NOISE: u64 = 0xF10E;

/// The loss of a batch, with the noise of a step.
fn velocity_loss(
    recipe: &FlowRecipe,
    training: &Training,
    model: &LatentDiffusion,
    batch: &Batch,
    step: u64,
) -> Tensor<1> {
    let [latents, conditions] = training.told(model, batch);
    let [b, n, size] = latents.dims();
    let mut rng = Rng::at(recipe.seed, NOISE, step);
    let noise = training.noise(&mut rng, [b, n, size]);
    let flow = flow(model);
    let times: Vec<f32> = (0..b).map(|_| flow.time(rng.normal())).collect();
    let dropped = (0..b).map(|_| rng.chance(recipe.drop_text)).collect();
    flow.loss(latents, conditions, Noised { noise, times, dropped })
}

/// What makes latents.
///
/// # Panics
/// When it is of another kind than the recipe's, which no recipe begins with.
fn flow(model: &LatentDiffusion) -> &Flow {
    match &model.generator.model {
        LatentModel::Flow(flow) => flow,
        other => panic!("expected a flow, got {other:?}"),
    }
}
