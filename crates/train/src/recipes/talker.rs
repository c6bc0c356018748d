//! A talker: phonemes with known durations, to the spectrograms of their recordings.
//!
//! Ren et al. 2020 (FastSpeech 2), <https://arxiv.org/abs/2006.04558>: the distance of log-mel spectrograms, and the
//! square of what is wrong with the logarithms of durations.
//!
//! ```text
//! sensorium train recipes/talker/nano.toml
//! ```

mod recordings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Config, Examples};
use sensorium_generator::audio::{Talker, TalkerConfig};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::families::talker::{self, VoicesConfig};
use serde::{Deserialize, Serialize};

use self::recordings::{Micro, Recordings, lacks};
use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::memory::{self, Reads};
use crate::model::{self, Files, pretty};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of a talker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TalkerRecipe {
    /// `"talker"`.
    pub recipe: Recipe,
    /// Seed of weights and samples.
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
    /// Recordings a step.
    pub batch_size: usize,
    /// Micro-batches a step is made of, each of recordings of about one length: less padding and memory.
    #[serde(default = "whole")]
    pub accumulate: usize,
    /// Seconds of the longest recording that is learned from.
    #[serde(default = "longest")]
    pub longest: f32,
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
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Names of a new model's voices, as the data have them; the first speaks where none is asked for.
    #[serde(default)]
    pub voices: Vec<String>,
    /// A new model.
    pub talker: Option<TalkerConfig>,
    /// Instead of a new model, the directory of one that this recipe has left.
    pub from: Option<PathBuf>,
    /// Recordings, and the phonemes in them.
    pub data: Config,
}

fn whole() -> usize {
    1
}

fn longest() -> f32 {
    10.0
}

fn eval_batches() -> u64 {
    8
}

/// All of it.
const TRAINED: [&str; 10] = [
    "phonemes",
    "voices",
    "encoder",
    "duration_block",
    "duration_norm",
    "duration",
    "places",
    "decoder",
    "norm",
    "mel",
];

/// What the one stage trains.
///
/// # Errors
/// The sizes make no sense, or the model to go on from is none of this recipe.
pub fn stages(recipe: &TalkerRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(recipe, &RunOptions::new("."))?;
    let shapes = shape.parameters();
    Ok(vec![Planned::new("talker", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// What a run begins with.
struct Start {
    shape: VoicesConfig,
    /// Its weights, where they are no new ones.
    directory: Option<Directory>,
}

impl Start {
    fn of(recipe: &TalkerRecipe, options: &RunOptions) -> Result<Self> {
        if recipe.data.augment.is_some() {
            let message = "expected recordings as they are, got data.augment";
            return Err(model::config(
                "data.augment",
                message,
                "durations would not fit; leave it out",
            ));
        }
        let start = match (&recipe.talker, &recipe.from) {
            (Some(talker), None) => {
                let shape = VoicesConfig::new(talker.clone(), recipe.voices.clone());
                Self { shape, directory: None }
            }
            (None, Some(from)) if recipe.voices.is_empty() => {
                Self::trained(model::opened(from, options.strict)?)?
            }
            _ => {
                let message = "expected talker with voices, or from without, got neither or both";
                let hint = "talker makes a new model, from goes on";
                return Err(model::config("talker", message, hint));
            }
        };
        match start.shape.wrong() {
            Some((expected, got)) => {
                let message = format!("expected {expected}, got {got}");
                Err(model::config("talker", &message, "see recipes/talker/tiny.toml"))
            }
            None => Ok(start),
        }
    }

    fn trained(directory: Directory) -> Result<Self> {
        let shape = (directory.model_type() == Some("sensorium"))
            .then(|| SensoriumConfig::read(&directory))
            .transpose()?
            .and_then(|settings| settings.talker);
        let Some(shape) = shape else {
            let message = "expected a model that speaks, got one that does not";
            return Err(model::config("from", message, "take what a run of this recipe has left"));
        };
        Ok(Self { shape, directory: Some(directory) })
    }

    fn model(&self, init: &mut Init) -> Result<Talker> {
        Ok(match &self.directory {
            Some(directory) => talker::load(directory, &self.shape, init)?,
            None => self.shape.talker(init),
        })
    }
}

/// Trains all of it.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &TalkerRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &TalkerRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(recipe, options)?;
    let seed = start.directory.is_none().then_some(recipe.seed);
    let model = start.model(&mut recipe.device.init(seed, recipe.precision, false))?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let shape = start.shape;
    let recordings =
        Recordings::new(&shape, [recipe.batch_size, recipe.accumulate], recipe.longest);
    let make = move |examples: &Examples, step, _| recordings.make(examples, step);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], 1, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let TalkerRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.from.iter().cloned().collect();
    let provenance = provenance::begin("talker", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("talker", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(micro) = batches.next().transpose()? else { break };
        if step == run.steps().start {
            fits(&model, &micro)?;
        }
        let Learned { gradients, value, extra, flops } = learn(&model, micro, &recipe.device)?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            run.keep_best(step, val(&best, batches, &recipe.device)?, || files(&best, &shape))?;
        }
        let samples = recipe.batch_size;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best, &shape)?)
}

/// What a step's recordings teach.
struct Learned {
    gradients: Gradients,
    value: f64,
    extra: BTreeMap<String, f64>,
    flops: f64,
}

fn learn(model: &Talker, micro: Vec<Micro>, device: &DeviceName) -> Result<Learned> {
    let all: usize = micro.iter().map(Micro::frames).sum();
    let (mut gradients, mut flops) = (Gradients::new(), 0.0);
    let mut sums = [0.0; 2];
    for micro in micro {
        // A mean over all frames, whichever micro-batch they are in.
        let weight = micro.frames() as f64 / all.max(1) as f64;
        // Forward and backward; attention to other positions is left out.
        flops += 6.0 * (params::count(model) * micro.frames()) as f64;
        let losses = losses(model, micro, device);
        for (sum, loss) in sums.iter_mut().zip(&losses) {
            *sum += weight * f64::from(read(loss.clone())[0]);
        }
        let [mel, duration] = losses;
        let new = params::gradients(model, (mel + duration).backward())?;
        optim::accumulate(&mut gradients, new, weight as f32);
    }
    let extra = ["mel", "duration"].map(str::to_owned).into_iter().zip(sums).collect();
    Ok(Learned { gradients, value: sums.iter().sum(), extra, flops })
}

/// Loss over other data, a frame's mean.
fn val(
    model: &Talker,
    batches: impl Iterator<Item = Result<Vec<Micro>>>,
    device: &DeviceName,
) -> Result<f64> {
    let of = |micro: Micro| {
        let frames = micro.frames() as f64;
        let [mel, duration] = losses(model, micro, device);
        (f64::from(read(mel + duration)[0]), frames)
    };
    let batches = batches.collect::<Result<Vec<_>>>()?;
    Ok(mean(batches.into_iter().flatten().map(of)))
}

/// Of spectrograms and of durations.
fn losses(model: &Talker, micro: Micro, device: &DeviceName) -> [Tensor<1>; 2] {
    let Micro { speech, frames, mel, shape } = micro;
    let mel = Tensor::from_data(TensorData::new(mel, shape), &device.open().without_autodiff());
    model.losses(&speech, &frames, mel)
}

/// Refuses a step that takes more memory than there is.
fn fits(model: &Talker, step: &[Micro]) -> Result<()> {
    let most = |count: fn(&Micro) -> usize| step.iter().map(count).max().unwrap_or(0);
    let read = most(|micro| micro.shape[0] * micro.shape[1]);
    let reads = Reads { parts: &[("", read)], recompute: false };
    memory::check(memory::need(model, reads), most(|micro| micro.shape[0]), false)
}

/// A directory of a model that was trained here.
fn files(model: &Talker, shape: &VoicesConfig) -> Result<Files> {
    let settings = SensoriumConfig { talker: Some(shape.clone()), ..SensoriumConfig::default() };
    let weights = safetensors::write(&weights::tensors(model)?, Dtype::F32)?;
    let config = ("config.json".to_owned(), pretty(&settings)?);
    Ok(vec![config, ("talker.safetensors".to_owned(), weights)])
}
