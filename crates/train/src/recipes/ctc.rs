//! A sound encoder that spells: a Conformer learns what is said in recordings, letter by letter.
//!
//! Graves et al. 2006 (CTC), <https://www.cs.toronto.edu/~graves/icml_2006.pdf>; Gulati et al. 2020 (Conformer),
//! <https://arxiv.org/abs/2005.08100>; Park et al. 2019 (SpecAugment), <https://arxiv.org/abs/1904.08779>.
//!
//! ```text
//! sensorium train recipes/ctc/nano.toml
//! ```

mod spectrograms;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Config, Examples};
use sensorium_encoder::audio::{Conformer, ConformerConfig};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::ctc::{self, CtcConfig};
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use serde::{Deserialize, Serialize};

use self::spectrograms::{Micro, SpecAugment, Spectrograms};
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
use crate::recipes::whisper::lacks;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of a Conformer with a CTC head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CtcRecipe {
    /// `"ctc"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and masks.
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
    /// Sounds a step.
    pub batch_size: usize,
    /// Micro-batches a step is made of, each of sounds of about one length: less padding and memory, the same
    /// gradient.
    #[serde(default = "whole")]
    pub accumulate: usize,
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
    /// What is hidden of each spectrogram; without, nothing is.
    pub spec_augment: Option<SpecAugment>,
    /// The characters of a new model, a class of the head for each.
    pub alphabet: Option<String>,
    /// A new model.
    pub encoder: Option<ConformerConfig>,
    /// Instead of a new model, the directory of one that this recipe has left.
    pub from: Option<PathBuf>,
    /// Sounds and what is said in them.
    pub data: Config,
}

fn whole() -> usize {
    1
}

fn eval_batches() -> u64 {
    8
}

/// Letters, digits, and what stands within and between words of English.
const ALPHABET: &str = " 'abcdefghijklmnopqrstuvwxyz0123456789";

/// All of it.
const TRAINED: [&str; 4] = ["conv1", "conv2", "blocks", "head"];

/// What the one stage trains.
///
/// # Errors
/// The sizes make no sense, or the model to go on from is none of this recipe.
pub fn stages(recipe: &CtcRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(recipe, &RunOptions::new("."))?;
    let shapes = params::shapes(|init| Conformer::init(&shape.encoder, init));
    Ok(vec![Planned::new("ctc", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// What a run begins with.
struct Start {
    shape: CtcConfig,
    /// Its weights, where they are no new ones.
    directory: Option<Directory>,
}

impl Start {
    fn of(recipe: &CtcRecipe, options: &RunOptions) -> Result<Self> {
        let CtcRecipe { alphabet, encoder, from, .. } = recipe;
        match (encoder, from) {
            (Some(encoder), None) => Self::new(encoder, alphabet.as_deref().unwrap_or(ALPHABET)),
            (None, Some(from)) if alphabet.is_none() => {
                Self::trained(model::opened(from, options.strict)?)
            }
            _ => {
                let message = "expected encoder, or from without an alphabet, got neither or both";
                Err(model::config("encoder", message, "encoder makes a new model, from goes on"))
            }
        }
    }

    fn new(encoder: &ConformerConfig, alphabet: &str) -> Result<Self> {
        let shape = CtcConfig::new(encoder.clone(), alphabet);
        let wrong = |expected: &str, got: String, hint| {
            Err(model::config("encoder", &format!("expected {expected}, got {got}"), hint))
        };
        if encoder.vocab_size.is_some_and(|size| size != shape.classes.len()) {
            let hint = "leave vocab_size out: it is one more than the alphabet's characters";
            return wrong(
                &format!("{} classes", shape.classes.len()),
                format!("{encoder:?}"),
                hint,
            );
        }
        match shape.wrong() {
            Some((expected, got)) => wrong(expected, got, "see recipes/ctc/tiny.toml"),
            None => Ok(Self { shape, directory: None }),
        }
    }

    fn trained(directory: Directory) -> Result<Self> {
        if directory.model_type() != Some(sensorium::FAMILY) {
            return Err(model::unknown_family(&directory, &[sensorium::FAMILY]));
        }
        let Some(shape) = SensoriumConfig::read(&directory)?.ctc else {
            let message = "expected a model with a head for transcripts, got one without";
            return Err(model::config("from", message, "take what a run of this recipe has left"));
        };
        Ok(Self { shape, directory: Some(directory) })
    }

    fn model(&self, init: &mut Init) -> Result<Conformer> {
        Ok(match &self.directory {
            Some(directory) => ctc::load(directory, &self.shape, init)?,
            None => Conformer::init(&self.shape.encoder, init),
        })
    }
}

/// Trains encoder and head.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &CtcRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &CtcRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(recipe, options)?;
    let seed = start.directory.is_none().then_some(recipe.seed);
    let model = start.model(&mut recipe.device.init(seed, recipe.precision, false))?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let shape = start.shape;
    let spectrograms = Spectrograms::new(&shape, recipe.batch_size, recipe.accumulate);
    let make = move |examples: &Examples, step, _| spectrograms.make(examples, step);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], 1, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let CtcRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.from.iter().cloned().collect();
    let provenance = provenance::begin("ctc", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("ctc", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(mut micro) = batches.next().transpose()? else { break };
        if step == run.steps().start {
            fits(&model, &micro)?;
        }
        if let Some(hide) = &recipe.spec_augment {
            hide.apply(&mut micro, recipe.seed, step);
        }
        let Learned { gradients, value, flops } = learn(&model, micro, &recipe.device)?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            run.keep_best(step, val(&best, batches, &recipe.device)?, || files(&best, &shape))?;
        }
        let (samples, extra) = (recipe.batch_size, BTreeMap::new());
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best, &shape)?)
}

/// What a step's sounds teach.
struct Learned {
    gradients: Gradients,
    value: f64,
    flops: f64,
}

fn learn(model: &Conformer, micro: Vec<Micro>, device: &DeviceName) -> Result<Learned> {
    let all: usize = micro.iter().map(|micro| micro.frames.len()).sum();
    let mut learned = Learned { gradients: Gradients::new(), value: 0.0, flops: 0.0 };
    for micro in micro {
        // A mean over all sounds, whichever micro-batch they are in.
        let weight = micro.frames.len() as f64 / all.max(1) as f64;
        // Forward and backward; attention to other positions is left out.
        learned.flops += 6.0 * (params::count(model) * micro.positions()) as f64;
        let loss = loss(model, micro, device);
        learned.value += weight * f64::from(read(loss.clone())[0]);
        let new = params::gradients(model, loss.backward())?;
        optim::accumulate(&mut learned.gradients, new, weight as f32);
    }
    Ok(learned)
}

/// Loss over other data, a sound's mean.
fn val(
    model: &Conformer,
    batches: impl Iterator<Item = Result<Vec<Micro>>>,
    device: &DeviceName,
) -> Result<f64> {
    let of = |micro: Micro| {
        let sounds = micro.frames.len() as f64;
        (f64::from(read(loss(model, micro, device))[0]), sounds)
    };
    let batches = batches.collect::<Result<Vec<_>>>()?;
    Ok(mean(batches.into_iter().flatten().map(of)))
}

/// CTC's, by label of each sound; their mean.
fn loss(model: &Conformer, micro: Micro, device: &DeviceName) -> Tensor<1> {
    let Micro { mel, shape, frames, transcripts } = micro;
    let device = device.open().without_autodiff();
    let mel = Tensor::from_data(TensorData::new(mel, shape), &device);
    let logits = model.logits(model.encode_padded(mel, &frames));
    logits.map_or_else(|| Tensor::zeros([1], &device), |logits| loss::ctc(logits, &transcripts))
}

/// Refuses a step that takes more memory than there is.
fn fits(model: &Conformer, step: &[Micro]) -> Result<()> {
    let most = |count: fn(&Micro) -> usize| step.iter().map(count).max().unwrap_or(0);
    let reads = Reads { parts: &[("", most(Micro::positions))], recompute: false };
    memory::check(memory::need(model, reads), most(|micro| micro.frames.len()), false)
}

/// A directory of a model that was trained here.
fn files(model: &Conformer, shape: &CtcConfig) -> Result<Files> {
    let settings = SensoriumConfig { ctc: Some(shape.clone()), ..SensoriumConfig::default() };
    let weights = safetensors::write(&weights::tensors(model)?, Dtype::F32)?;
    let config = ("config.json".to_owned(), pretty(&settings)?);
    Ok(vec![config, ("speech.safetensors".to_owned(), weights)])
}
