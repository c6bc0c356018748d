//! How output projectors, and what learns beside them, are trained: what a training begins with, and its stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_data::{Config, Example, Examples};
use sensorium_flow::{Condition, Input};
use sensorium_media::{Modality, Tokenizer};
use sensorium_model::gill::{Asked, Gill, SignalConfig};
use sensorium_model::latent_diffusion::Thoughts;
use sensorium_model::llava::Encoded;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_output_projector::OutputProjector;
use sensorium_pretrained::families::generators;
use sensorium_pretrained::families::llava::Spliced;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig, Trainable};
use sensorium_pretrained::{Directory, Words};

use super::outputs::{HINT, MAPPERS, NewOutput, Stage, TABLE, shapes};
use super::requests::{self, Lessons, Requests};
use crate::batch::{images, mean};
use crate::chat::Chat;
use crate::device::DeviceName;
use crate::error::Result;
use crate::feed::Feed;
use crate::freeze::{self, is_of, reached, thaw_only};
use crate::lora::LoraConfig;
use crate::model::{self, Files, ModelConfig};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule;
use crate::talk::{Reader, kinds, reads};
use crate::towers::{self, NewTower};

/// What all stages of a training have in common.
pub(crate) struct Common<'a> {
    /// The recipe's name.
    pub recipe: &'static str,
    /// The recipe as it is kept beside each checkpoint.
    pub resolved: String,
    pub seed: u64,
    pub device: &'a DeviceName,
    pub precision: Precision,
    pub recompute: bool,
    pub optim: &'a OptimConfig,
    pub model: &'a ModelConfig,
    /// Towers that the model is to have.
    pub media: &'a [NewTower],
    pub outputs: &'a [NewOutput],
    /// Whether the mappers are those that the model has; else they are new.
    pub goes_on: bool,
}

/// One stage: what learns, from what.
pub(crate) struct Course<'a> {
    pub name: &'a str,
    pub stage: &'a Stage,
    pub data: &'a Config,
    /// What learns.
    pub parts: Vec<String>,
    /// Whether captions are asked for by requests, to be answered with media; else they answer.
    pub asks: bool,
    /// What of `parts` is learned beside matrices.
    pub lora: Option<&'a LoraConfig>,
}

/// What does not learn, and how the rest does.
pub(crate) struct Training<'a> {
    common: Common<'a>,
    reader: Reader,
    signals: Vec<SignalConfig>,
    /// For each kind, what the generator is told by texts: what is aimed at.
    told: Vec<OutputProjector>,
    words: Words,
    tokenizer: Tokenizer,
    settings: SensoriumConfig,
    others: Vec<(&'static str, Tensors)>,
    device: Device,
}

/// What a step teaches.
type Learned = (f64, Gradients, BTreeMap<String, f64>);

/// The two losses of some lessons.
struct Losses {
    said: Tensor<1>,
    told: Option<Tensor<1>>,
}

impl Losses {
    fn sum(self) -> Tensor<1> {
        self.told.into_iter().fold(self.said, |said, told| said + told)
    }
}

impl<'a> Training<'a> {
    /// The model that a training begins with, and all that stands beside it.
    ///
    /// # Errors
    /// The model is not one that was trained here, answers and makes such media.
    pub(crate) fn begin(common: Common<'a>, options: &RunOptions) -> Result<(Gill, Self)> {
        let Common { device, precision, recompute, .. } = common;
        let directory = &common.model.trained_here(options, HINT)?;
        let [mut init, mut seeded] =
            [None, Some(common.seed)].map(|seed| device.init(seed, precision, recompute));
        let mut found = sensorium::trainable(directory, &mut init)?;
        towers::add(common.media, &mut found, directory, &mut seeded)?;
        let Trainable { settings, text, spliced, words, others } = found;
        let Some(words) = words else {
            let message =
                "expected a model that compares pictures and texts, got one that does not";
            return Err(model::config("model.from", message, HINT));
        };
        let Spliced { llava, config: shape, processor, processors, .. } = spliced;
        let tokenizer = text.tokenizer;
        let settings = SensoriumConfig { llava: Some(shape.clone()), ..settings };
        let signals = shapes(common.outputs, &settings, &tokenizer)?;
        let mappers = mappers(&signals, (directory, &settings), common.goes_on, &mut seeded)?;
        let device = device.open();
        let told = told(&signals, (directory, &settings), &device.clone().without_autodiff())?;
        let (tokens, context) = (shape.towers[0].tokens(), shape.backbone.context());
        let reader = Reader {
            chat: Chat::own(&tokenizer, tokens, context)?.into(),
            processor,
            processors: processors.into(),
            projectors: shape.towers.iter().skip(1).map(|tower| tower.projector.clone()).collect(),
        };
        let training =
            Self { common, reader, signals, told, words, tokenizer, settings, others, device };
        Ok((Gill { llava, mappers }, training))
    }

    /// Teaches a stage by its `feed`, in the run's directory; gives the model that it ends with.
    ///
    /// # Errors
    /// Whatever goes wrong, before or after the first step.
    pub(crate) fn run(
        &self,
        course: &Course<'_>,
        feed: Feed<Vec<Lessons>>,
        model: Gill,
        options: &RunOptions,
    ) -> Result<Gill> {
        let Course { name, stage, data, .. } = *course;
        let parts: Vec<&str> = course.parts.iter().map(String::as_str).collect();
        let (model, trained) = thaw_only(model, &parts)?;
        let rows = if parts.contains(&TABLE) { self.rows().len() } else { 0 };
        eprintln!("{name}: {trained}; of the language model's table, {rows} rows");
        let mut optim = AdamW::new(never_decayed(self.common.optim));
        let Stage { steps, save_every, eval_every, patience, .. } = *stage;
        let Common { recipe, resolved, seed, .. } = &self.common;
        let start: Vec<_> = self.common.model.published().cloned().collect();
        let told = if *recipe == name { name.to_owned() } else { format!("{recipe}, {name}") };
        let provenance = provenance::begin(&told, resolved, *seed, &start, data);
        let plan = Plan { steps, save_every, eval_every, patience, provenance };
        let (mut run, mut model) = Run::open(name, options, resolved, plan, model, &mut optim)?;

        let mut batches = feed.train(run.steps());
        for step in run.steps() {
            let Some(lessons) = batches.next().transpose()? else { break };
            let (value, gradients, extra) = self.learn(course, &model, lessons, step)?;
            let rate = schedule::rate(&stage.schedule, step, steps);
            let (updated, norm) =
                run.update(model, &mut optim, &gradients, step, value, |name| {
                    if is_projector(name) { rate * stage.projector_rate } else { rate }
                })?;
            model = updated;

            if let Some(batches) =
                feed.val(stage.eval_batches).filter(|_| run.validates_after(step))
            {
                let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
                let loss = self.val(&best, batches)?;
                run.keep_best(step, loss, || self.files(course, &best))?;
            }
            let (samples, flops) = (stage.batch_size, 0.0);
            run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
            run.checkpoint(step, &model, &optim)?;
            if run.ends_after(step) {
                break;
            }
        }
        let best = optim.averaged(model.clone());
        run.finish(&model, self.files(course, &best)?)?;
        Ok(best)
    }

    /// What a stage learns from and is measured on.
    ///
    /// # Errors
    /// A data set that does not open, or lacks something.
    pub(crate) fn feed(
        &self,
        course: &Course<'_>,
        model: &Gill,
        options: &RunOptions,
    ) -> Result<Feed<Vec<Lessons>>> {
        let Common { seed, outputs, .. } = self.common;
        let Stage { batch_size, steps, .. } = *course.stage;
        let asked = self.signals.iter().cloned().zip(outputs.iter().map(|one| &one.requests));
        let asked = asked.filter(|_| course.asks).map(|(signal, all)| (signal, all.clone()));
        let requests = Requests {
            reader: self.reader.clone(),
            words: self.words.clone(),
            outputs: asked.collect(),
            batch_size,
            seed,
        };
        let requests = Arc::new(requests);
        let make =
            move |examples: &Examples, step, progress| requests.make(examples, step, progress);
        let made: Vec<Modality> = self.signals.iter().map(|one| one.modality).collect();
        let towers = model.llava.towers.iter();
        let seen: Vec<Modality> = towers.map(|tower| tower.encoder.modality()).collect();
        let lacks = |example: &Example| match course.asks {
            true => requests::lacks(example, &made),
            false => requests::lacks_media(example, &seen),
        };
        let side = self.reader.processor.size().map_or(1, |[side, _]| side);
        Feed::open(course.data, [seed, steps], side, options, lacks, make)
    }

    /// Of lessons of one kind.
    fn losses(&self, model: &Gill, lessons: &Lessons) -> Result<Losses> {
        let media = self.seen(model, lessons)?;
        let kind = lessons.kind.unwrap_or_default();
        let signals = lessons.kind.map_or(&[][..], |kind| &self.signals[kind].signals);
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
            let size = self.reader.processor.size().unwrap_or_default().map(|n| n as usize);
            let images = images(lessons.planes.clone(), size, constants);
            seen.push(model.llava.encode(Input::Image(images)));
        }
        for processor in self.reader.processors.iter() {
            let input = processor.input(&lessons.pieces, constants)?;
            seen.extend(input.map(|input| model.llava.encode(input)));
        }
        Ok(seen)
    }

    /// What all lessons of a step teach, each kind by its share.
    fn learn(
        &self,
        course: &Course<'_>,
        model: &Gill,
        lessons: Vec<Lessons>,
        step: u64,
    ) -> Result<Learned> {
        let all: usize = lessons.iter().map(|lessons| lessons.samples).sum();
        let (mut gradients, mut value, mut extra) = (Gradients::new(), 0.0, BTreeMap::new());
        for (part, lessons) in (0..).zip(lessons) {
            let share = lessons.samples as f64 / all.max(1) as f64;
            let mut taught = taught(model, &lessons);
            if let Some(lora) = course.lora {
                lora.drop(&mut taught.llava, self.common.seed, [step, part]);
            }
            let losses = self.losses(&taught, &lessons)?;
            let name = match lessons.kind {
                Some(kind) => self.signals[kind].modality.to_string(),
                None => "words".to_owned(),
            };
            extra.insert(format!("{name}_said"), f64::from(read(losses.said.clone())[0]));
            if let Some(told) = &losses.told {
                extra.insert(format!("{name}_told"), f64::from(read(told.clone())[0]));
            }
            let loss = losses.sum();
            value += share * f64::from(read(loss.clone())[0]);
            optim::accumulate(&mut gradients, freeze::gradients(&taught, loss)?, share as f32);
        }
        self.rows_alone(&mut gradients, model);
        Ok((value, gradients, extra))
    }

    /// Rows of the table that learn.
    fn rows(&self) -> Vec<u32> {
        self.signals.iter().flat_map(|signal| signal.signals.clone()).collect()
    }

    /// Leaves the gradients of the signal tokens' rows alone in the table's.
    fn rows_alone(&self, gradients: &mut Gradients, model: &Gill) {
        let table = params::list(model).into_iter().find(|one| one.name.starts_with(TABLE));
        let Some(width) = table.and_then(|table| table.shape.last().copied()) else { return };
        for (_, gradient) in gradients.iter_mut().filter(|(name, _)| name.starts_with(TABLE)) {
            gradient.keep_rows(width, &self.rows());
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
                let loss = self.losses(model, &lessons)?.sum();
                losses.push((f64::from(read(loss)[0]), lessons.samples as f64));
            }
        }
        Ok(mean(losses))
    }

    /// The model's files: what was learned beside matrices in them, and without mappers that have learned nothing.
    fn files(&self, course: &Course<'_>, model: &Gill) -> Result<Files> {
        let mut llava = model.llava.clone();
        llava.matrices("", &mut |_, matrix| matrix.merge());
        let mut components = model::answering(&self.others, &llava)?;
        let mut signals = self.settings.signals.clone();
        let learned = self.signals.iter().zip(&model.mappers).filter(|_| course.asks);
        for (signal, mapper) in learned {
            let name = generators::mapper(signal.modality);
            components.retain(|(known, _)| *known != name);
            components.push((name, weights::tensors(mapper)?));
            signals.retain(|old| old.modality != signal.modality);
            signals.push(signal.clone());
        }
        let settings = SensoriumConfig { signals, ..self.settings.clone() };
        model::own(&components, &settings, &self.tokenizer, Some(&self.reader.processor))
    }
}

/// Mappers: the model's own, or new ones.
fn mappers(
    signals: &[SignalConfig],
    (directory, settings): (&Directory, &SensoriumConfig),
    goes_on: bool,
    init: &mut Init,
) -> Result<Vec<OutputProjector>> {
    let mut mapper = |signal: &SignalConfig| -> Result<OutputProjector> {
        let new = OutputProjector::init(&signal.mapper, init);
        if !goes_on {
            return Ok(new);
        }
        if !settings.signals.contains(signal) {
            let message =
                format!("expected a model with such a mapper to {}, got none", signal.modality);
            return Err(model::config("outputs", &message, "a stage [decode] trains one"));
        }
        Ok(weights::load(new, &directory.component(generators::mapper(signal.modality))?)?)
    };
    signals.iter().map(&mut mapper).collect()
}

/// What the generators of these kinds are told by texts.
fn told(
    signals: &[SignalConfig],
    (directory, settings): (&Directory, &SensoriumConfig),
    device: &Device,
) -> Result<Vec<OutputProjector>> {
    let made = signals.iter().flat_map(|signal| {
        settings.generators.iter().find(|one| one.modality() == signal.modality)
    });
    made.map(|one| Ok(generators::generator(directory, one, device)?.text)).collect()
}

/// Rows that have no gradient must not shrink either.
fn never_decayed(config: &OptimConfig) -> OptimConfig {
    let mut config = config.clone();
    config.no_decay.push(TABLE.to_owned());
    config
}

fn is_projector(name: &str) -> bool {
    is_of(name, MAPPERS) || name.contains(".projector.")
}

/// The model with only that trainable which lessons of one kind reach.
fn taught(model: &Gill, lessons: &Lessons) -> Gill {
    let kinds = kinds(&lessons.planes, &lessons.pieces);
    let mapper = lessons.kind.map(|kind| format!("{MAPPERS}.{kind}"));
    reached(model, |name| match name.strip_prefix("llava.") {
        Some(name) => reads(&model.llava, name, &kinds),
        None => mapper.as_ref().is_some_and(|mapper| is_of(name, mapper)),
    })
}
