//! Flamingo: a frozen image encoder, a resampler, and gated blocks in a frozen language model.
//!
//! Alayrac et al. 2022, <https://arxiv.org/abs/2204.14198>, as OpenFlamingo trains it (Awadalla et al.
//! 2023, <https://arxiv.org/abs/2308.01390>). Each step takes a batch of pictures with captions, one of
//! conversations in which pictures and texts take turns, and one of videos with captions, and adds the
//! gradients up by the weights of the three. A token sees the latest picture or video before it; all frames
//! of a video are asked at once.
//!
//! ```text
//! sensorium train recipes/flamingo/tiny.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Config, Example, Examples, Media};
use sensorium_media::ImageProcessor;
use sensorium_model::flamingo::{Flamingo, latest};
use sensorium_model::prompt::Batch;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::flamingo::{self, NewFlamingo, Parts, Prompts};
use serde::{Deserialize, Serialize};

use crate::batch::{draw, images, mean};
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::{Result, TrainError};
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A Flamingo training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlamingoRecipe {
    /// `"flamingo"`.
    pub recipe: Recipe,
    /// Seed of weights and samples.
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
    pub steps: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Steps between measurements on the kinds' `data.val`; 0 measures nothing.
    #[serde(default)]
    pub eval_every: u64,
    /// Batches of a measurement.
    #[serde(default = "eval_batches")]
    pub eval_batches: u64,
    /// Measurements without a lower loss after which the run ends; without, it goes on to its last step.
    pub patience: Option<u64>,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// Stands between a picture and its caption. Without it, a caption is the answer to one request, so
    /// that the `caption` command asks what was learned; the paper has nothing there.
    #[serde(default = "request")]
    pub prompt: String,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// What the new parts stand between.
    pub model: FlamingoModel,
    /// Sizes of the new parts.
    #[serde(default)]
    pub flamingo: NewFlamingo,
    /// Pictures with captions.
    pub pairs: Option<Kind>,
    /// Conversations or documents in which pictures and texts take turns.
    pub interleaved: Option<Kind>,
    /// Videos with captions, each in the place of one picture.
    pub videos: Option<Kind>,
}

/// What the new parts stand between: each a directory, or a name whose files the hub's cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlamingoModel {
    /// The image encoder: CLIP, SigLIP or DINOv2.
    pub encoder: PathBuf,
    /// The language model: Llama, Mistral, Qwen, OPT or GPT-2.
    pub backbone: PathBuf,
}

/// One kind of data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Samples of it a step.
    #[serde(alias = "batch")]
    pub batch_size: usize,
    /// Its loss counts so much (the paper: 0.2 of pairs, 1 of interleaved, 0.03 of videos).
    pub weight: f32,
    /// Longest sample in tokens; what is beyond is left out.
    pub tokens: usize,
    /// What is learned from.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

fn request() -> String {
    "Question:describe the picture. Short answer:".into()
}

/// What learns: resampler, gated blocks and the rows of the two new tokens.
const TRAINED: [&str; 3] = ["projector", "language.gated", "language.rows"];

impl FlamingoRecipe {
    fn kinds(&self) -> impl Iterator<Item = (&'static str, &Kind)> {
        let kinds =
            [("pairs", &self.pairs), ("interleaved", &self.interleaved), ("videos", &self.videos)];
        kinds.into_iter().filter_map(|(name, kind)| Some((name, kind.as_ref()?)))
    }

    /// The last kind's data set.
    ///
    /// # Errors
    /// There is none.
    pub fn last_data(&self) -> Result<&Config> {
        Ok(&self.kinds().last().ok_or_else(no_kind)?.1.data)
    }

    fn parts(&self, strict: bool) -> Result<[Directory; 2]> {
        let FlamingoModel { encoder, backbone } = &self.model;
        // Of the encoder's model only that is used.
        Ok([model::opened(encoder, false)?, model::opened(backbone, strict)?])
    }
}

fn no_kind() -> TrainError {
    let message = "expected a kind of data, got neither pairs nor interleaved nor videos";
    model::config("pairs", message, "add [pairs], [interleaved] or [videos], or several of them")
}

/// What the one stage trains.
///
/// # Errors
/// A part is of a kind that is not built in, or its settings are damaged.
pub fn stages(recipe: &FlamingoRecipe) -> Result<Vec<Planned>> {
    let [encoder, backbone] = recipe.parts(false)?;
    let shapes = flamingo::config(&encoder, &recipe.flamingo, &backbone)?.parameters();
    let batch = recipe.kinds().map(|(_, kind)| kind.batch_size).sum();
    Ok(vec![Planned::new("flamingo", shapes, &TRAINED, recipe.steps, batch)?])
}

/// Trains resampler and gated blocks.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &FlamingoRecipe, options: &RunOptions) -> Result<()> {
    let [encoder, backbone] = recipe.parts(options.strict)?;
    let [mut init, mut seeded] = [None, Some(recipe.seed)]
        .map(|seed| recipe.device.init(seed, recipe.precision, recipe.recompute));
    let (parts, beside) =
        flamingo::assemble(&encoder, &recipe.flamingo, &backbone, &mut init, &mut seeded)?;
    let (model, trained) = thaw_only(parts.model.clone(), &TRAINED)?;
    eprintln!("{trained}");
    let feeds = feeds(recipe, &parts, options)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let FlamingoRecipe { steps, save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start = [recipe.model.encoder.clone(), recipe.model.backbone.clone()];
    let provenance =
        provenance::begin("flamingo", &resolved, recipe.seed, &start, recipe.last_data()?);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("flamingo", options, &resolved, plan, model, &mut optim)?;
    let training = Training { parts: &parts, device: recipe.device.open() };
    let files = |model: &Flamingo| files(&beside, model);

    let mut batches: Vec<_> = feeds.iter().map(|feed| feed.feed.train(run.steps())).collect();
    for step in run.steps() {
        let (mut gradients, mut value, mut flops) = (Gradients::new(), 0.0, 0.0);
        let (mut extra, mut samples) = (BTreeMap::new(), 0);
        for (kind, batches) in feeds.iter().zip(&mut batches) {
            let Some(batch) = batches.next().transpose()? else { break };
            flops += training.flops(&batch);
            samples += batch.batch.shape[0];
            let seen = training.reached(&model, &batch);
            let loss = training.loss(&seen, batch);
            let of_kind = f64::from(read(loss.clone())[0]);
            extra.insert(kind.name.to_owned(), of_kind);
            value += f64::from(kind.weight) * of_kind;
            let new = params::gradients(&seen, loss.backward())?;
            optim::accumulate(&mut gradients, new, kind.weight);
        }
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if run.validates_after(step) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            if let Some(loss) = training.val_loss(&best, &feeds, recipe.eval_batches)? {
                run.keep_best(step, loss, || files(&best))?;
            }
        }
        extra.extend(gates(&model));
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best)?)
}

/// The mean size of the gates: how much of what is seen is let in.
fn gates(model: &Flamingo) -> [(String, f64); 2] {
    let gates = model.language.gates();
    let size = |at: usize| {
        gates.iter().map(|gates| f64::from(gates[at].abs())).sum::<f64>()
            / gates.len().max(1) as f64
    };
    [("cross_gate".to_owned(), size(0)), ("mlp_gate".to_owned(), size(1))]
}

fn files(beside: &Files, model: &Flamingo) -> Result<Files> {
    let tensors = flamingo::tensors(model)?;
    let weights = ("model.safetensors".to_owned(), safetensors::write(&tensors, Dtype::F32)?);
    Ok(std::iter::once(weights).chain(beside.iter().cloned()).collect())
}

/// What a kind's steps learn from.
struct KindFeed {
    name: &'static str,
    weight: f32,
    feed: Feed<SeenBatch>,
}

fn feeds(recipe: &FlamingoRecipe, parts: &Parts, options: &RunOptions) -> Result<Vec<KindFeed>> {
    let side = parts.config.image.image as u32;
    let open = |(name, kind): (&'static str, &Kind)| {
        feed::steps(recipe.steps, None, kind.batch_size, &kind.data, options)?;
        let written = Written {
            kind: name,
            prompts: Prompts::new(&parts.text, &parts.config.language),
            processor: parts.processor.clone(),
            prompt: recipe.prompt.clone(),
            picture: parts.config.language.picture(),
            end: parts.config.language.end(),
            batch: kind.batch_size,
            tokens: kind.tokens.min(parts.config.language.backbone.context()),
        };
        let make =
            move |examples: &Examples, step, progress| written.make(examples, step, progress);
        let seeds = [recipe.seed, recipe.steps];
        let lacks = match name {
            "pairs" => lacks_pair,
            "videos" => lacks_video,
            _ => lacks_talk,
        };
        let feed = Feed::open(&kind.data, seeds, side, options, lacks, make)?;
        Ok(KindFeed { name, weight: kind.weight, feed })
    };
    let feeds = recipe.kinds().map(open).collect::<Result<Vec<_>>>()?;
    if feeds.is_empty() { Err(no_kind()) } else { Ok(feeds) }
}

fn lacks_pair(example: &Example) -> Option<&'static str> {
    let paired = example.text.is_some() && example.media.len() == 1;
    (!paired).then_some("one picture each, and captions")
}

fn lacks_video(example: &Example) -> Option<&'static str> {
    let told = example.text.is_some() && matches!(example.media[..], [Media::Video(_)]);
    (!told).then_some("one video each (of a folder with frames = 8), and captions")
}

fn lacks_talk(example: &Example) -> Option<&'static str> {
    example.messages.is_empty().then_some("conversations")
}

/// What makes a step's batch of one kind.
struct Written {
    kind: &'static str,
    prompts: Prompts,
    processor: ImageProcessor,
    prompt: String,
    picture: u32,
    end: u32,
    batch: usize,
    tokens: usize,
}

/// What a step reads of one kind.
struct SeenBatch {
    batch: Batch,
    /// The medium that each token sees, of all of the batch.
    seen: Vec<Option<usize>>,
    /// Frames of each medium: 1 of a picture.
    frames: Vec<usize>,
    /// Of all frames, `[sum of frames, 3, h, w]`.
    planes: Vec<f32>,
}

impl Written {
    fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<SeenBatch> {
        let (mut prompts, mut frames, mut planes) = (Vec::new(), Vec::new(), Vec::new());
        for example in draw(examples, step, self.batch, progress)? {
            let mut prompt = match (&example.text, example.messages.is_empty()) {
                (Some(text), true) => self.prompts.caption(&self.prompt, text)?,
                _ => self.prompts.conversation(&example.messages, false)?,
            };
            prompt.ids.truncate(self.tokens);
            prompt.answer.truncate(self.tokens);
            prompt.spans.truncate(self.tokens);
            // What is beyond the end is not looked at.
            let shown = prompt.ids.iter().filter(|id| **id == self.picture).count();
            let is_seen = |medium: &&Media| medium.pictures().next().is_some();
            let media: Vec<&Media> = example.media.iter().filter(is_seen).take(shown).collect();
            if media.len() < shown {
                let lacks = "a picture or a video at each place for one";
                let dataset = format!("{} at step {step}", self.kind);
                return Err(sensorium_data::Error::Lacks { dataset, lacks }.into());
            }
            for medium in media {
                frames.push(medium.pictures().count());
                planes.extend(medium.pictures().flat_map(|frame| self.processor.process(frame)));
            }
            prompts.push(prompt);
        }
        let batch = Batch::new(&prompts, self.end);
        let seen = latest(&batch.ids, batch.shape, self.picture);
        Ok(SeenBatch { batch, seen, frames, planes })
    }
}

struct Training<'a> {
    parts: &'a Parts,
    device: Device,
}

impl Training<'_> {
    fn loss(&self, model: &Flamingo, batch: SeenBatch) -> Tensor<1> {
        let SeenBatch { batch, seen, frames, planes } = batch;
        let side = [self.parts.config.image.image; 2];
        let features =
            (!planes.is_empty()).then(|| model.encode(images(planes, side, &self.device), &frames));
        model.loss(&batch, features, &seen)
    }

    /// The model with only that trainable which a batch reaches: without a picture, no resampler and no
    /// attention to what it makes.
    fn reached(&self, model: &Flamingo, batch: &SeenBatch) -> Flamingo {
        if !batch.planes.is_empty() {
            return model.clone();
        }
        let parameters = params::list(model);
        let unread = |name: &str| {
            ["projector.", ".cross.", ".cross_gate", ".norm1."]
                .iter()
                .any(|part| name.starts_with(part) || name.contains("gated") && name.contains(part))
        };
        let reached =
            |name: &str| !unread(name) && parameters.iter().any(|p| p.name == name && p.trainable);
        params::set_trainable(model.clone(), reached)
    }

    /// Mean over all labels, of all kinds by their weights; nothing without a data set for it.
    fn val_loss(&self, model: &Flamingo, feeds: &[KindFeed], batches: u64) -> Result<Option<f64>> {
        let (mut sum, mut measured) = (0.0, false);
        for KindFeed { feed, weight, .. } in feeds {
            let Some(batches) = feed.val(batches) else { continue };
            let one = |batch: SeenBatch| {
                let learned = batch.batch.learned() as f64;
                (f64::from(read(self.loss(model, batch))[0]), learned)
            };
            let losses = batches.map(|batch| Ok(one(batch?))).collect::<Result<Vec<_>>>()?;
            sum += f64::from(*weight) * mean(losses);
            measured = true;
        }
        Ok(measured.then_some(sum))
    }

    /// Of the frozen language model two passes, of the encoder one; the new parts, which are small beside
    /// them, are not counted.
    fn flops(&self, SeenBatch { batch, planes, .. }: &SeenBatch) -> f64 {
        let config = &self.parts.config;
        let ([b, t], backbone) = (batch.shape, &config.language.backbone);
        let pictures = planes.len() / (3 * config.image.image * config.image.image);
        let read = backbone.flops(t, 0) * b as f64 + backbone.flops(0, batch.learned());
        2.0 * read + config.image.flops() * pictures as f64
    }
}
