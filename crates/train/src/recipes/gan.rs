//! A generator of media from texts: a generative adversarial network on latents, told by a frozen text tower.
//!
//! Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>; Mirza and Osindero 2014,
//! <https://arxiv.org/abs/1411.1784>; hinge loss, Lim and Ye 2017, <https://arxiv.org/abs/1705.02894>. In every step the
//! discriminator learns from what the generator makes, and the generator from the discriminator. What tells true
//! from made is not left.
//!
//! ```text
//! sensorium train recipes/gan/tiny.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_data::{Config, Example, Examples};
use sensorium_generator::{Discriminator, Gan, Kind, LatentModel, R1};
use sensorium_media::Modality;
use sensorium_model::latent_diffusion::LatentDiffusion;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::ModelConfig;
use crate::optim::{AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::told::{Batch, NewGenerator, Start, Training, Wanted, lacks};

/// A training of a generator and a discriminator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanRecipe {
    /// `"gan"`.
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
    /// Weight of how much the discriminator changes near media (R1).
    #[serde(default = "r1_penalty")]
    pub r1_penalty: f64,
    /// Deviation of the noise that is added there.
    #[serde(default = "r1_sigma")]
    pub r1_sigma: f64,
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

fn r1_penalty() -> f64 {
    1.0
}

fn r1_sigma() -> f64 {
    0.1
}

/// What learns: the mapper of texts, the generator, and what judges them.
const TRAINED: [&str; 3] = ["made.text", "made.generator.model", "discriminator"];

impl GanRecipe {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            kind: Kind::Gan,
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

/// What learns against each other.
#[derive(Module, Debug)]
struct Opponents {
    made: LatentDiffusion,
    discriminator: Discriminator,
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, or the sizes make no sense.
pub fn stages(recipe: &GanRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(&recipe.wanted(), &RunOptions::new("."))?;
    let generator = &shape.generator;
    let shapes = params::shapes(|init| Opponents {
        made: LatentDiffusion::init(&shape, init),
        discriminator: Discriminator::init(&generator.uvit, generator.tokens(), init),
    });
    Ok(vec![Planned::new("gan", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// Trains generator and discriminator.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &GanRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &GanRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(&recipe.wanted(), options)?;
    let training = Training::begin(&recipe.wanted(), &start)?;
    let maker = training.maker.clone();
    let make = move |examples: &Examples, step, progress| maker.make(examples, step, progress);
    let (side, modality) = (training.maker.image_size, recipe.modality);
    let lacks = move |example: &Example| lacks(example, modality);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let made = training.model(&recipe.wanted(), &start, &feed)?;
    let seeded = &mut recipe.device.init(Some(!recipe.seed), recipe.precision, recipe.recompute);
    let generator = &start.shape.generator;
    let discriminator = Discriminator::init(&generator.uvit, generator.tokens(), seeded);
    let (model, counts) = thaw_only(Opponents { made, discriminator }, &TRAINED)?;
    eprintln!("{counts}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.model.published().chain(&recipe.vae).cloned().collect();
    let provenance = provenance::begin("gan", &resolved, recipe.seed, &from, &recipe.data);
    let plan =
        Plan { steps, save_every: recipe.save_every, eval_every: 0, patience: None, provenance };
    let (mut run, mut model) = Run::open("gan", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let Learned { value, gradients, extra } = learn(recipe, &training, &model, &batch, step)?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;
        let samples = recipe.batch_size;
        // One look of the generator and four of the discriminator, those with gradients thrice.
        let flops = 15.0 * generator.flops() * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best.made)?)
}

/// What a step teaches.
struct Learned {
    value: f64,
    gradients: Gradients,
    extra: BTreeMap<String, f64>,
}

/// The stream of random numbers that are noise.
const NOISE: u64 = 0x6A4;

fn learn(
    recipe: &GanRecipe,
    training: &Training,
    model: &Opponents,
    batch: &Batch,
    step: u64,
) -> Result<Learned> {
    let only = |judge: bool| {
        params::set_trainable(model.clone(), |name| {
            let trained = TRAINED.iter().any(|part| name.starts_with(part));
            trained && name.starts_with("discriminator") == judge
        })
    };
    let mut rng = Rng::at(recipe.seed, NOISE, step);
    let forger = only(false);
    let [real, conditions] = training.told(&forger.made, batch);
    let shape = real.dims();
    let made = gan(&forger.made).sample(training.noise(&mut rng, shape), conditions.clone());
    let fooled = forger.discriminator.fooled(made.clone(), conditions.clone());
    let forged = f64::from(read(fooled.clone())[0]);
    let mut gradients = params::gradients(&forger, fooled.backward())?;

    let judge = only(true);
    let (penalty, sigma) = (recipe.r1_penalty, recipe.r1_sigma);
    let r1 = R1 { penalty, sigma, noise: training.noise(&mut rng, shape) };
    let loss = judge.discriminator.loss(real, made.detach(), conditions.detach(), r1);
    let value = f64::from(read(loss.clone())[0]);
    gradients.extend(params::gradients(&judge, loss.backward())?);
    let extra = BTreeMap::from([("generator".to_owned(), forged)]);
    Ok(Learned { value, gradients, extra })
}

/// What makes latents.
///
/// # Panics
/// When it is of another kind than the recipe's, which no recipe begins with.
fn gan(model: &LatentDiffusion) -> &Gan {
    match &model.generator.model {
        LatentModel::Gan(gan) => gan,
        other => panic!("expected a GAN, got {other:?}"),
    }
}
