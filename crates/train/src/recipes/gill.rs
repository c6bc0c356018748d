//! A language model learns when to answer with a picture, a clip or a sound, and what the generator is told.
//!
//! Koh et al. 2023 (GILL), section 3, <https://arxiv.org/abs/2305.17216>; Wu et al. 2023 (NExT-GPT), section 4.2,
//! <https://arxiv.org/abs/2309.05519>. Signal tokens end an answer; what the model thought at them is mapped to what
//! the generator's own text mapper makes of the caption. The model stays as it is, but for the signal tokens' rows.
//!
//! ```text
//! sensorium train recipes/gill/nano.toml
//! ```

mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_data::{Config, Example, Examples};
use sensorium_flow::{Condition, Input};
use sensorium_media::{ImageProcessor, Modality, Special, Tokenizer};
use sensorium_model::gill::{Asked, Gill, SignalConfig};
use sensorium_model::latent_diffusion::Thoughts;
use sensorium_model::llava::Encoded;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_output_projector::{MapperConfig, OutputProjector, OutputProjectorConfig};
use sensorium_pretrained::families::generators;
use sensorium_pretrained::families::llava::Spliced;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig, Trainable};
use sensorium_pretrained::{Directory, Words};
use serde::{Deserialize, Serialize};

use self::requests::{Lessons, Requests};
use crate::batch::mean;
use crate::chat::Chat;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files, ModelConfig};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::talk::Reader;

/// A GILL training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GillRecipe {
    /// `"gill"`.
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
    /// Requests and conversations a step.
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
    /// A model that was trained here, answers, and makes media, in `from`.
    pub model: ModelConfig,
    /// What it learns to answer with.
    pub outputs: Vec<NewOutput>,
    /// Media with captions, which become requests, and conversations, whose answers are words: as they are, so
    /// that the model learns when to make nothing.
    pub data: Config,
}

/// A kind of media that a model learns to answer with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOutput {
    /// What is made.
    pub modality: Modality,
    /// Signal tokens of an answer; GILL found more than 8 of no use.
    #[serde(default = "signals")]
    pub signals: u8,
    /// Layers of the mapper's queries.
    #[serde(default = "layers")]
    pub layers: usize,
    /// How it is asked for: `{}` stands for the caption.
    pub requests: Vec<String>,
}

/// Where such a model may be.
const HINT: &str = "model.from = \"runs/flow/final\"";

fn eval_batches() -> u64 {
    8
}

fn signals() -> u8 {
    4
}

fn layers() -> usize {
    2
}

/// What learns beside the mappers: of this table, the rows of the signal tokens.
const TABLE: &str = "llava.backbone.embedding";

impl NewOutput {
    /// Its signal tokens' ids.
    fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let signal = |n: u8| match self.modality {
            Modality::Image => Some(Special::Img(n)),
            Modality::Audio => Some(Special::Aud(n)),
            Modality::Video => Some(Special::Vid(n)),
            Modality::Text | Modality::Table => None,
        };
        let most = if self.modality == Modality::Video { 4 } else { 8 };
        let known = signal(0).is_some() && (1..=most).contains(&self.signals);
        if !known || !self.requests.iter().any(|request| request.contains("{}")) {
            let message = format!(
                "expected image, audio or video, 1 to {most} signals, and requests with {{}}, got {self:?}"
            );
            return Err(model::config("outputs", &message, "see recipes/gill/tiny.toml"));
        }
        let ids = (0..self.signals).filter_map(signal).map(|token| tokenizer.special(token));
        Ok(ids.collect::<sensorium_media::Result<_>>()?)
    }
}

/// The mappers that a model is to have.
fn shapes(
    recipe: &GillRecipe,
    settings: &SensoriumConfig,
    tokenizer: &Tokenizer,
) -> Result<Vec<SignalConfig>> {
    let Some(llava) = &settings.llava else {
        let message = "expected a model that answers, got one that does not";
        return Err(model::config("model.from", message, HINT));
    };
    let shape = |output: &NewOutput| -> Result<SignalConfig> {
        let modality = output.modality;
        let Some(made) = settings.generators.iter().find(|one| one.modality() == modality) else {
            let message = format!("expected a model with a generator of kind {modality}, got none");
            return Err(model::config("outputs", &message, "the recipe `flow` trains one"));
        };
        let signals = output.ids(tokenizer)?;
        let generator = &made.generator;
        let mapper = MapperConfig {
            queries: generator.queries,
            n_decoder_layers: output.layers,
            ..MapperConfig::small(llava.backbone.width(), generator.width)
        };
        Ok(SignalConfig { modality, signals, mapper: OutputProjectorConfig::Mapper(mapper) })
    };
    recipe.outputs.iter().map(shape).collect()
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, answers and makes media.
pub fn stages(recipe: &GillRecipe) -> Result<Vec<Planned>> {
    let directory = recipe.model.trained_here(&RunOptions::new("."), HINT)?;
    let settings = SensoriumConfig::read(&directory)?;
    let tokenizer = sensorium_pretrained::text::tokenizer(&directory)?;
    let signals = shapes(recipe, &settings, &tokenizer)?;
    let mut all: Vec<(String, Vec<usize>)> = settings
        .llava
        .iter()
        .flat_map(|llava| weights::under("llava", llava.parameters()))
        .collect();
    for (i, signal) in signals.iter().enumerate() {
        all.extend(weights::under(&format!("mappers.{i}"), signal.mapper.parameters()));
    }
    let GillRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("gill", all, &["mappers", TABLE], steps, batch_size)?])
}

/// Trains the mappers and the signal tokens' rows.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &GillRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &GillRecipe { steps, epochs: None, ..recipe.clone() };
    let (model, training) = begin(recipe, &recipe.model.trained_here(options, HINT)?)?;
    let (model, trained) = thaw_only(model, &["mappers", TABLE])?;
    eprintln!("{trained}; of the language model, {} rows of its table", training.rows.len());
    let requests = training.requests.clone();
    let make = move |examples: &Examples, step, progress| requests.make(examples, step, progress);
    let side = training.processor.size().map_or(1, |[side, _]| side);
    let kinds: Vec<Modality> = training.signals.iter().map(|one| one.modality).collect();
    let lacks = move |example: &Example| requests::lacks(example, &kinds);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let mut optim = AdamW::new(never_decayed(&recipe.optim));
    let GillRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.published().cloned().collect();
    let provenance = provenance::begin("gill", &resolved, recipe.seed, &start, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("gill", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(lessons) = batches.next().transpose()? else { break };
        let (value, gradients, extra) = training.learn(&model, lessons)?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let loss = training.val(&best, batches)?;
            run.keep_best(step, loss, || training.files(&best))?;
        }
        let (samples, flops) = (recipe.batch_size, 0.0);
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// Rows that have no gradient must not shrink either.
fn never_decayed(config: &OptimConfig) -> OptimConfig {
    let mut config = config.clone();
    config.no_decay.push(TABLE.to_owned());
    config
}

/// What does not learn, and how the rest does.
struct Training {
    requests: Arc<Requests>,
    signals: Vec<SignalConfig>,
    /// For each kind, what the generator is told by texts: what is aimed at.
    told: Vec<OutputProjector>,
    words: Words,
    /// Rows of the table that learn.
    rows: Vec<u32>,
    processor: ImageProcessor,
    tokenizer: Tokenizer,
    settings: SensoriumConfig,
    others: Vec<(&'static str, Tensors)>,
    device: Device,
}

fn begin(recipe: &GillRecipe, directory: &Directory) -> Result<(Gill, Training)> {
    let device = recipe.device.open();
    let constants = device.clone().without_autodiff();
    let init = &mut recipe.device.init(None, recipe.precision, false);
    let Trainable { settings, text, spliced, words, others } =
        sensorium::trainable(directory, init)?;
    let Some(words) = words else {
        let message = "expected a model that compares pictures and texts, got one that does not";
        return Err(model::config("model.from", message, HINT));
    };
    let Spliced { llava, config: shape, processor, processors, .. } = spliced;
    let tokenizer = text.tokenizer;
    let signals = shapes(recipe, &settings, &tokenizer)?;
    let seeded = &mut recipe.device.init(Some(recipe.seed), recipe.precision, false);
    let mappers = signals.iter().map(|one| OutputProjector::init(&one.mapper, seeded)).collect();
    let mut told = Vec::new();
    for signal in &signals {
        let made = settings.generators.iter().find(|one| one.modality() == signal.modality);
        if let Some(made) = made {
            told.push(generators::generator(directory, made, &constants)?.text);
        }
    }
    let (tokens, context) = (shape.towers[0].tokens(), shape.backbone.context());
    let reader = Reader {
        chat: Chat::own(&tokenizer, tokens, context)?.into(),
        processor: processor.clone(),
        processors: processors.into(),
        projectors: shape.towers.iter().skip(1).map(|tower| tower.projector.clone()).collect(),
    };
    let rows = signals.iter().flat_map(|signal| signal.signals.clone()).collect();
    let outputs = recipe.outputs.iter().zip(&signals);
    let outputs = outputs.map(|(output, signal)| (signal.clone(), output.requests.clone()));
    let requests = Requests {
        reader,
        words: words.clone(),
        outputs: outputs.collect(),
        batch_size: recipe.batch_size,
        seed: recipe.seed,
    };
    let known: Vec<&str> =
        signals.iter().map(|signal| generators::mapper(signal.modality)).collect();
    let others = others.into_iter().filter(|(name, _)| !known.contains(name)).collect();
    let older = settings
        .signals
        .iter()
        .filter(|old| !signals.iter().any(|signal| signal.modality == old.modality));
    let all = older.chain(&signals).cloned().collect();
    let settings = SensoriumConfig { signals: all, ..settings.clone() };
    let requests = Arc::new(requests);
    let training = Training {
        requests,
        signals,
        told,
        words,
        rows,
        processor,
        tokenizer,
        settings,
        others,
        device,
    };
    Ok((Gill { llava, mappers }, training))
}

/// What a step teaches.
type Learned = (f64, Gradients, BTreeMap<String, f64>);

/// The two losses of some lessons.
struct Losses {
    said: Tensor<1>,
    told: Option<Tensor<1>>,
}

impl Training {
    /// Of lessons of one kind.
    fn losses(&self, model: &Gill, lessons: &Lessons) -> Result<Losses> {
        let media = self.seen(model, lessons)?;
        let kind = lessons.kind.unwrap_or_default();
        let signals = &self.signals[kind].signals;
        let asked = Asked { batch: lessons.batch.clone(), signals: lessons.signals.clone() };
        let (said, conditions) = model.forward(&asked, &media, kind, signals);
        let Some(conditions) = conditions else { return Ok(Losses { said, told: None }) };
        let Thoughts { hidden, lengths } = Thoughts::of(&self.words.tower, &lessons.captions);
        let wanted = self.told[kind].condition(hidden, Some(&lengths)).0;
        let wanted = Tensor::<3>::from_data(wanted.into_data(), &conditions.0.device());
        Ok(Losses { said, told: Some((conditions.0 - wanted).square().mean()) })
    }

    fn seen(&self, model: &Gill, lessons: &Lessons) -> Result<Vec<Encoded>> {
        let constants = &self.device.clone().without_autodiff();
        let mut seen = Vec::new();
        if !lessons.planes.is_empty() {
            let size = self.processor.size().unwrap_or_default().map(|n| n as usize);
            let images = crate::batch::images(lessons.planes.clone(), size, constants);
            seen.push(model.llava.encode(Input::Image(images)));
        }
        for processor in self.requests.reader.processors.iter() {
            let input = processor.input(&lessons.pieces, constants)?;
            seen.extend(input.map(|input| model.llava.encode(input)));
        }
        Ok(seen)
    }

    /// What all lessons of a step teach, each kind by its share.
    fn learn(&self, model: &Gill, lessons: Vec<Lessons>) -> Result<Learned> {
        let all: usize = lessons.iter().map(|lessons| lessons.samples).sum();
        let (mut gradients, mut value, mut extra) = (Gradients::new(), 0.0, BTreeMap::new());
        for lessons in lessons {
            let share = lessons.samples as f64 / all.max(1) as f64;
            let reached = reached(model, lessons.kind);
            let Losses { said, told } = self.losses(&reached, &lessons)?;
            let name = match lessons.kind {
                Some(kind) => self.signals[kind].modality.to_string(),
                None => "words".to_owned(),
            };
            extra.insert(format!("{name}_said"), f64::from(read(said.clone())[0]));
            let loss = match told {
                Some(told) => {
                    extra.insert(format!("{name}_told"), f64::from(read(told.clone())[0]));
                    said + told
                }
                None => said,
            };
            value += share * f64::from(read(loss.clone())[0]);
            let new = params::gradients(&reached, loss.backward())?;
            optim::accumulate(&mut gradients, new, share as f32);
        }
        self.rows_alone(&mut gradients, model);
        Ok((value, gradients, extra))
    }

    /// Leaves the gradients of the signal tokens' rows alone in the table's.
    fn rows_alone(&self, gradients: &mut Gradients, model: &Gill) {
        let table = params::list(model).into_iter().find(|one| one.name.starts_with(TABLE));
        let Some(width) = table.and_then(|table| table.shape.last().copied()) else { return };
        for (_, gradient) in gradients.iter_mut().filter(|(name, _)| name.starts_with(TABLE)) {
            gradient.keep_rows(width, &self.rows);
        }
    }

    fn val(
        &self,
        model: &Gill,
        batches: impl Iterator<Item = Result<Vec<Lessons>>>,
    ) -> Result<f64> {
        let mut losses = Vec::new();
        for batch in batches {
            for lessons in batch? {
                let Losses { said, told } = self.losses(model, &lessons)?;
                let loss = told.map_or(said.clone(), |told| said + told);
                losses.push((f64::from(read(loss)[0]), lessons.samples as f64));
            }
        }
        Ok(mean(losses))
    }

    /// The model's files.
    fn files(&self, model: &Gill) -> Result<Files> {
        let mut components = self.others.clone();
        for tower in &model.llava.towers {
            let [encoder, projector] = sensorium::tower(tower.encoder.modality());
            components.retain(|(name, _)| *name != encoder);
            components.push((encoder, weights::tensors(&tower.encoder)?));
            components.push((projector, weights::tensors(&tower.projector)?));
        }
        components.push(("backbone", weights::tensors(&model.llava.backbone)?));
        for (signal, mapper) in self.signals.iter().zip(&model.mappers) {
            components.push((generators::mapper(signal.modality), weights::tensors(mapper)?));
        }
        model::own(&components, &self.settings, &self.tokenizer, Some(&self.processor))
    }
}

/// The model with only that trainable which lessons of one kind reach.
fn reached(model: &Gill, kind: Option<usize>) -> Gill {
    let mapper = kind.map(|kind| format!("mappers.{kind}."));
    params::set_trainable(model.clone(), |name| {
        name.starts_with(TABLE) || mapper.as_ref().is_some_and(|mapper| name.starts_with(mapper))
    })
}
