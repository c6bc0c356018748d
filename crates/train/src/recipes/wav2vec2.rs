//! wav2vec 2.0 and HuBERT: what was said in a sound, letter by letter.
//!
//! Baevski et al. 2020, section 4.2, <https://arxiv.org/abs/2006.11477>; Hsu et al. 2021,
//! <https://arxiv.org/abs/2106.07447>: a published model goes on with sounds and their transcripts, its convolutions
//! frozen. Sounds are heard one by one, as they are when the model runs, so that none is padded.
//!
//! ```text
//! sensorium train recipes/wav2vec2/finetune.toml
//! ```

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors::Dtype;
use sensorium_data::{Config, Example, Examples, Media};
use sensorium_encoder::audio::{Wav2Vec2, Wav2Vec2Config};
use sensorium_flow::Encode;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::wav2vec2::{
    self, SampleExtractor, Trainable, Vocabulary, Wav2Vec2Parts,
};
use serde::{Deserialize, Serialize};

use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::{is_of, thaw_only};
use crate::lora::LoraConfig;
use crate::memory::{self, Reads};
use crate::model::{self, Files, ModelConfig, Start};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::recipes::whisper::lacks;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of wav2vec 2.0 or HuBERT with a head for transcripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wav2Vec2Recipe {
    /// `"wav2vec2"`.
    pub recipe: Recipe,
    /// Seed of the order of samples, and of what is learned beside matrices.
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
    /// Instead of the model, what is learned beside its matrices.
    pub lora: Option<LoraConfig>,
    /// Sounds and what is said in them.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

/// What stays as it is: what transformers' `freeze_feature_encoder` freezes.
const FROZEN: &str = "convs";

/// What the one stage trains.
///
/// # Errors
/// The model is none with a head for transcripts.
pub fn stages(recipe: &Wav2Vec2Recipe) -> Result<Vec<Planned>> {
    let directory = published(recipe, &RunOptions::new("."))?;
    let shape = wav2vec2::config(&directory.config())?;
    let Wav2Vec2Recipe { steps, batch_size, .. } = *recipe;
    let trained = trained(recipe, &shape);
    Ok(vec![Planned::new("wav2vec2", shape.parameters(), &trained, steps, batch_size)?])
}

/// What learns, but for an adapter: all but the convolutions, unless the recipe says otherwise.
fn trained(recipe: &Wav2Vec2Recipe, shape: &Wav2Vec2Config) -> Vec<String> {
    let all = || shape.parameters().into_iter().map(|(name, _)| name);
    match (&recipe.model.train, &recipe.lora) {
        (Some(parts), _) => parts.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) => {
            let of = |name: String| name.split('.').next().unwrap_or_default().to_owned();
            let mut parts: Vec<String> = all().map(of).filter(|part| part != FROZEN).collect();
            parts.dedup();
            parts
        }
    }
}

fn published(recipe: &Wav2Vec2Recipe, options: &RunOptions) -> Result<Directory> {
    const KNOWN: [&str; 2] = ["wav2vec2", "hubert"];
    let Start::Published(directory) = recipe.model.start(options)? else {
        let message = "expected from, got a new model";
        let hint = "a published wav2vec 2.0 or HuBERT goes on; the recipe ctc begins from nothing";
        return Err(model::config("model.from", message, hint));
    };
    match directory.model_type() {
        Some(kind) if KNOWN.contains(&kind) => Ok(directory),
        _ => Err(model::unknown_family(&directory, &KNOWN)),
    }
}

/// Trains encoder and head, or an adapter of them.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &Wav2Vec2Recipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &Wav2Vec2Recipe { steps, epochs: None, ..recipe.clone() };
    let directory = published(recipe, options)?;
    let init = |seed| recipe.device.init(seed, recipe.precision, false);
    let (parts, published) = wav2vec2::trainable(&directory, &mut init(None))?;
    let Wav2Vec2Parts { config: shape, vocabulary, extractor, mut model, .. } = parts;
    let mut trained = trained(recipe, &shape);
    if let Some(lora) = &recipe.lora {
        let name_of = |name: &str| published.module(name);
        trained.extend(lora.add(&mut model, name_of, &mut init(Some(recipe.seed)))?);
    }
    let trained: Vec<&str> = trained.iter().map(String::as_str).collect();
    let (model, counts) = thaw_only(model, &trained)?;
    eprintln!("{counts}");
    let blank = vocabulary.blank;
    let training = Training { recipe, published, beside: model::beside(&directory)?, blank };
    let sounds = Sounds { shape, vocabulary, extractor, batch: recipe.batch_size };
    training.run(model, sounds, options)
}

/// What is trained, and how.
struct Training<'a> {
    recipe: &'a Wav2Vec2Recipe,
    published: Trainable,
    beside: Files,
    blank: u32,
}

impl Training<'_> {
    fn run(&self, model: Wav2Vec2, sounds: Sounds, options: &RunOptions) -> Result<()> {
        let recipe = self.recipe;
        let Wav2Vec2Recipe { steps, save_every, eval_every, patience, batch_size, .. } = *recipe;
        let make = move |examples: &Examples, step, _| sounds.make(examples, step);
        let feed = Feed::open(&recipe.data, [recipe.seed, steps], 1, options, lacks, make)?;
        let mut optim = AdamW::new(recipe.optim.clone());
        let resolved = config::resolved(recipe)?;
        let start: Vec<_> = recipe.model.from.iter().cloned().collect();
        let provenance =
            provenance::begin("wav2vec2", &resolved, recipe.seed, &start, &recipe.data);
        let plan = Plan { steps, save_every, eval_every, patience, provenance };
        let (mut run, mut model) =
            Run::open("wav2vec2", options, &resolved, plan, model, &mut optim)?;

        let mut batches = feed.train(run.steps());
        for step in run.steps() {
            let Some(batch) = batches.next().transpose()? else { break };
            if step == run.steps().start {
                fits(&model, &batch)?;
            }
            let Learned { gradients, loss, flops } = self.learn(&model, batch, step)?;
            let rate = schedule::rate(&recipe.schedule, step, steps);
            let (updated, norm) =
                run.update(model, &mut optim, &gradients, step, loss, |_| rate)?;
            model = updated;

            if let Some(batches) =
                feed.val(recipe.eval_batches).filter(|_| run.validates_after(step))
            {
                let averaged = optim.averaged(model.clone());
                let frozen = params::set_trainable(averaged.clone(), |_| false);
                run.keep_best(step, self.val(&frozen, batches)?, || self.files(&averaged))?;
            }
            let (samples, extra) = (batch_size, BTreeMap::new());
            run.log(Step { step, loss, learning_rate: rate, samples, flops, extra }, norm)?;
            run.checkpoint(step, &model, &optim)?;
            if run.ends_after(step) {
                break;
            }
        }
        let best = optim.averaged(model.clone());
        run.finish(&model, self.files(&best)?)
    }

    /// What a step's sounds teach: a mean over them.
    fn learn(&self, model: &Wav2Vec2, sounds: Vec<Heard>, step: u64) -> Result<Learned> {
        let weight = 1.0 / sounds.len().max(1) as f64;
        let mut learned = Learned::default();
        for (part, sound) in (0..).zip(sounds) {
            let mut model = model.clone();
            if let Some(lora) = &self.recipe.lora {
                lora.drop(&mut model, self.recipe.seed, [step, part]);
            }
            // Forward and backward; convolutions and attention to other positions are left out.
            learned.flops += 6.0 * (params::count(&model) * sound.transcript.frames) as f64;
            let loss = self.loss(&model, sound);
            learned.loss += weight * f64::from(read(loss.clone())[0]);
            let new = params::gradients(&model, loss.backward())?;
            optim::accumulate(&mut learned.gradients, new, weight as f32);
        }
        Ok(learned)
    }

    /// Loss over other data, a sound's mean.
    fn val(
        &self,
        model: &Wav2Vec2,
        batches: impl Iterator<Item = Result<Vec<Heard>>>,
    ) -> Result<f64> {
        let batches = batches.collect::<Result<Vec<_>>>()?;
        let of = |sound| (f64::from(read(self.loss(model, sound))[0]), 1.0);
        Ok(mean(batches.into_iter().flatten().map(of)))
    }

    /// CTC's of one sound, by label.
    fn loss(&self, model: &Wav2Vec2, Heard { values, transcript }: Heard) -> Tensor<1> {
        let device = self.recipe.device.open().without_autodiff();
        let shape = [1, values.len()];
        let values = Tensor::from_data(TensorData::new(values, shape), &device);
        let logits = blank_first(model.logits(model.encode(values)), self.blank as usize);
        loss::ctc(logits, &[transcript])
    }

    /// The model's files, or the adapter's.
    fn files(&self, model: &Wav2Vec2) -> Result<Files> {
        if let (Some(lora), Some(base)) = (&self.recipe.lora, &self.recipe.model.from) {
            let module = |name: &str| self.published.module(name);
            return lora.files(model, module, &base.to_string_lossy());
        }
        model::published(&self.beside, &self.published.tensors(model)?, Dtype::F32)
    }
}

/// What a step has found.
#[derive(Default)]
struct Learned {
    gradients: Gradients,
    loss: f64,
    flops: f64,
}

/// Classes in the order of the loss, whose first is the blank: `[B, N, V] -> [B, N, V]`.
fn blank_first(logits: Tensor<3>, blank: usize) -> Tensor<3> {
    if blank == 0 {
        return logits;
    }
    let behind = logits.dims()[2] - blank - 1;
    let part = |from, n| logits.clone().narrow(2, from, n);
    let mut parts = vec![part(blank, 1), part(0, blank)];
    parts.extend((behind > 0).then(|| part(blank + 1, behind)));
    Tensor::cat(parts, 2)
}

/// A sound as the model hears it, and what its positions are to spell.
struct Heard {
    values: Vec<f32>,
    transcript: Transcript,
}

/// What makes a step's batch.
struct Sounds {
    shape: Wav2Vec2Config,
    vocabulary: Vocabulary,
    extractor: SampleExtractor,
    batch: usize,
}

impl Sounds {
    /// The batch of a step.
    ///
    /// # Errors
    /// Nearly nothing of a data set can be learned from.
    fn make(&self, examples: &Examples, step: u64) -> Result<Vec<Heard>> {
        let first = step * self.batch as u64;
        let mut heard = Vec::new();
        for index in first..first + self.batch as u64 {
            let fits = |example: &Example| self.spelt(example).map(|_| ());
            let example = examples.draw_fitting(index, 1.0, fits)?;
            // What is drawn fits.
            let Ok(transcript) = self.spelt(&example) else { continue };
            let sound = example.media.into_iter().find_map(|medium| match medium {
                Media::Audio(sound) => Some(sound.at_rate(self.extractor.sampling_rate).samples),
                _ => None,
            });
            let values = self.extractor.input_values(&sound.unwrap_or_default());
            let frames = self.shape.positions(values.len());
            heard.push(Heard { values, transcript: Transcript { frames, ..transcript } });
        }
        Ok(heard)
    }

    /// What the positions of an example's sound are to spell, or why it cannot be learned from whole.
    fn spelt(&self, example: &Example) -> std::result::Result<Transcript, String> {
        if let Some(lacks) = lacks(example) {
            return Err(format!("it has not {lacks}"));
        }
        let Some(sound) = example.media.iter().find_map(Media::sound) else {
            return Err("it has no sound".to_owned());
        };
        let (rate, n) = (self.extractor.sampling_rate, sound.samples.len() as u64);
        let samples = (n * u64::from(rate)).div_ceil(u64::from(sound.rate));
        let frames = self.shape.positions(samples as usize);
        let text = example.text.as_deref().unwrap_or_default();
        let labels = self.vocabulary.labels(text).map_err(|c| {
            format!("expected a transcript in the letters of vocab.json, got {c:?}")
        })?;
        let blank = self.vocabulary.blank;
        let shifted = |label| if label < blank { label + 1 } else { label };
        let transcript = Transcript { frames, labels: labels.into_iter().map(shifted).collect() };
        if frames == 0 || !transcript.fits() {
            let count = transcript.labels.len();
            return Err(format!(
                "expected a transcript that {frames} positions can spell, got {count} characters"
            ));
        }
        Ok(transcript)
    }
}

/// Refuses a step that takes more memory than there is.
fn fits(model: &Wav2Vec2, step: &[Heard]) -> Result<()> {
    let longest = step.iter().map(|sound| sound.transcript.frames).max().unwrap_or(0);
    let learns = |p: &params::Parameter| p.trainable && is_of(&p.name, "blocks");
    // A head alone keeps nothing of the blocks.
    let reads = if params::list(model).iter().any(learns) { longest } else { 0 };
    memory::check(memory::need(model, Reads { parts: &[("", reads)], recompute: false }), 1, false)
}
