//! Whisper: what was said in a sound.
//!
//! Radford et al. 2022, section 2, <https://arxiv.org/abs/2212.04356>: every token after the one that starts a
//! transcript is learned, those of language and task too. A published model goes on with sounds of at most 30 s
//! and their transcripts.
//!
//! ```text
//! sensorium train recipes/whisper/finetune.toml
//! ```

mod transcripts;

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors::Dtype;
use sensorium_data::{Config, Examples};
use sensorium_flow::{Encode, Forward, Hidden, Sequence};
use sensorium_model::whisper::{Task, Whisper, WhisperConfig};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::whisper::{self, WhisperParts};
use sensorium_pretrained::{Directory, names};
use serde::{Deserialize, Serialize};

pub(super) use self::transcripts::lacks;
use self::transcripts::{Transcribed, Transcripts};
use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::memory::{self, Reads};
use crate::model::{self, ModelConfig, Start};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of Whisper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhisperRecipe {
    /// `"whisper"`.
    pub recipe: Recipe,
    /// Seed of the order of samples.
    pub seed: u64,
    /// Where it computes.
    #[serde(default)]
    pub device: DeviceName,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this machine.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Code of the language that is spoken, such as `"en"`.
    #[serde(default = "english")]
    pub language: String,
    /// What is written down: `"transcribe"` or, in English, `"translate"`.
    #[serde(default)]
    pub task: Task,
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Sounds a step.
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
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// The model, always a published one.
    pub model: ModelConfig,
    /// Sounds and what is said in them.
    pub data: Config,
}

fn english() -> String {
    "en".to_owned()
}

fn eval_batches() -> u64 {
    8
}

/// What is trained of the model. The encoder's positions are sines and cosines, and stay so.
const TRAINED: [&str; 5] =
    ["encoder.conv1", "encoder.conv2", "encoder.blocks", "encoder.norm", "decoder"];

/// What the one stage trains.
///
/// # Errors
/// The model is no Whisper.
pub fn stages(recipe: &WhisperRecipe) -> Result<Vec<Planned>> {
    let shapes = whisper::config(&published(recipe, &RunOptions::new("."))?.config())?.parameters();
    let WhisperRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("whisper", shapes, &trained(recipe), steps, batch_size)?])
}

fn trained(recipe: &WhisperRecipe) -> Vec<String> {
    recipe.model.train.clone().unwrap_or_else(|| TRAINED.map(str::to_owned).to_vec())
}

fn published(recipe: &WhisperRecipe, options: &RunOptions) -> Result<Directory> {
    let Start::Published(directory) = recipe.model.start(options)? else {
        let message = "expected from, got a new model";
        return Err(model::config("model.from", message, "a published Whisper goes on"));
    };
    match directory.model_type() {
        Some("whisper") => Ok(directory),
        _ => Err(model::unknown_family(&directory, &["whisper"])),
    }
}

/// Trains both halves.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &WhisperRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &WhisperRecipe { steps, epochs: None, ..recipe.clone() };
    let directory = published(recipe, options)?;
    let beside = model::beside(&directory)?;
    let init = &mut recipe.device.init(None, recipe.precision, false);
    let parts = whisper::trainable(&directory, init)?;
    let WhisperRecipe { language, task, batch_size, .. } = recipe;
    let transcripts = Transcripts::new(language, *task, *batch_size, &parts)?;
    let WhisperParts { config: shape, model, device, .. } = parts;
    let trained = trained(recipe);
    let trained: Vec<&str> = trained.iter().map(String::as_str).collect();
    let (model, counts) = thaw_only(model, &trained)?;
    eprintln!("{counts}");
    let make = move |examples: &Examples, step, _| transcripts.make(examples, step);
    let feed = Feed::open(&recipe.data, [recipe.seed, recipe.steps], 1, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let WhisperRecipe { steps, save_every, eval_every, patience, batch_size, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.from.iter().cloned().collect();
    let provenance = provenance::begin("whisper", &resolved, recipe.seed, &start, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("whisper", options, &resolved, plan, model, &mut optim)?;
    let files = |model: &Whisper| {
        model::published(&beside, &names::save(model, &names::WHISPER)?, Dtype::F32)
    };

    let heard = [("encoder", batch_size * shape.encoder.positions)];
    let reads = Reads { parts: &heard, recompute: false };
    memory::check(memory::need(&model, reads), batch_size, false)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let flops = 3.0 * flops(&shape, batch.shape);
        let loss = loss(&model, batch, &device);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            run.keep_best(step, val(&best, batches, &device)?, || files(&best))?;
        }
        let (samples, extra) = (batch_size, BTreeMap::new());
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best)?)
}

/// Loss over other data, a token's mean.
fn val(
    model: &Whisper,
    batches: impl Iterator<Item = Result<Transcribed>>,
    device: &Device,
) -> Result<f64> {
    let of = |batch: Result<Transcribed>| {
        let batch = batch?;
        let learned = batch.learned() as f64;
        Ok((f64::from(read(loss(model, batch, device))[0]), learned))
    };
    Ok(mean(batches.map(of).collect::<Result<Vec<_>>>()?))
}

/// Loss of every token after the first.
fn loss(model: &Whisper, batch: Transcribed, device: &Device) -> Tensor<1> {
    let Transcribed { mel, bands, ids, labels, shape: [b, t] } = batch;
    let frames = mel.len() / (b * bands);
    let mel = TensorData::new(mel, [b, bands, frames]);
    let mel = Tensor::from_data(mel, &device.clone().without_autodiff());
    let features = Some(model.encoder.encode(mel));
    let embeds = model.decoder.embed(&ids, [b, t]);
    let sequence = Sequence { features, ..Sequence::default() };
    let Hidden(hidden) = model.decoder.forward(embeds, &sequence, None); // [B, T, D]
    let width = hidden.dims()[2];
    let logits = model.decoder.logits(hidden.reshape([b * t, width])); // [B*T, V]
    fused::cross_entropy(logits, labels, 0.0)
}

/// Operations of the forward pass, those of scores left out: two for each number of a matrix and each
/// position that it meets.
fn flops(shape: &WhisperConfig, [b, t]: [usize; 2]) -> f64 {
    let count = |all: Vec<(String, Vec<usize>)>| {
        let matrices = all.into_iter().filter(|(name, of)| of.len() > 1 && name != "position");
        matrices.map(|(_, of)| of.iter().product::<usize>()).sum::<usize>()
    };
    let (encoder, decoder) = (count(shape.encoder.parameters()), count(shape.decoder.parameters()));
    2.0 * (b * (encoder * shape.encoder.positions + decoder * t)) as f64
}
