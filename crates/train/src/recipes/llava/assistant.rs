//! Published models that see, hear or read, trained as they answer: [`Learner`] makes of each conversation what the
//! backbone reads, whatever the family, and what is left has its names.
//!
//! Conversations are read one by one, so that none is padded: `packing` and `group_by_length` have nothing to save.

use sensorium_data::{Example, Examples};
use sensorium_encoder::EncoderConfig;
use sensorium_inference::{Inputs, Learner, learner};
use sensorium_model::assistant::{Assistant, AssistantConfig};
use sensorium_model::llava::LlavaConfig;
use sensorium_model::prompt::{IGNORED, labels};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::assistant::{Published, families};

use super::{LlavaRecipe, Stage, lacks, read_of};
use crate::batch::{draw, mean};
use crate::chat::conversations;
use crate::config;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::Feed;
use crate::freeze::{self, is_of, reached, thaw_only};
use crate::memory::{self, Reads};
use crate::model::{self, Files};
use crate::optim::{self, AdamW, Gradients};
use crate::provenance;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule;

/// Whether a directory holds such a model.
pub(super) fn is_one(directory: &Directory) -> bool {
    families().any(|family| directory.model_type() == Some(family))
}

/// What learns, but for an adapter: the projector and the backbone, unless the recipe says otherwise.
fn trained(recipe: &LlavaRecipe, config: &AssistantConfig) -> Vec<String> {
    let all: Vec<String> = config.parameters().into_iter().map(|(name, _)| name).collect();
    let usual = ["towers.0.projector", "patches.projector", "anyres", "backbone"];
    let is_usual = |name: &&String| usual.iter().any(|part| is_of(name, part));
    let (towers, backbone) = (config.towers.clone(), config.backbone.clone());
    let shape = LlavaConfig { towers, backbone, prefix: false };
    let mut parts: Vec<String> = match (&recipe.model.train, &recipe.lora) {
        (Some(parts), _) => parts.iter().flat_map(|part| read_of(part, &shape)).collect(),
        (None, Some(_)) => Vec::new(),
        (None, None) => all.iter().filter(is_usual).cloned().collect(),
    };
    if recipe.instruct.image_rate > 0.0 {
        match config.patches {
            Some(_) => parts.push("patches.image".to_owned()),
            None => parts.extend(read_of("towers.0.encoder", &shape)),
        }
    }
    let below = |part: String| {
        // Sines and cosines are no weights, though files have them.
        let learns = |name: &&String| is_of(name, &part) && !name.ends_with(".whisper.position");
        let names: Vec<String> = all.iter().filter(learns).cloned().collect();
        if names.is_empty() { vec![part] } else { names }
    };
    parts.into_iter().flat_map(below).collect()
}

/// Refuses what such a training does not heed.
fn check(recipe: &LlavaRecipe, directory: &Directory) -> Result<()> {
    let family = directory.model_type().unwrap_or_default();
    if recipe.feature_cache.is_some() {
        let message = format!("expected a model whose pictures are of one size, got {family}");
        return Err(model::config("feature_cache", &message, "leave it out"));
    }
    if recipe.media.is_empty() {
        return Ok(());
    }
    let message = format!("expected a model that was trained here, got {family}");
    let hint = "model.from = \"runs/llava/instruct/final\" takes them";
    Err(model::config("media", &message, hint))
}

/// What the stage trains.
pub(super) fn stages(recipe: &LlavaRecipe, directory: &Directory) -> Result<Vec<Planned>> {
    check(recipe, directory)?;
    let config = Published::read(directory)?.config;
    let Stage { steps, batch_size, .. } = recipe.instruct;
    let parts = trained(recipe, &config);
    Ok(vec![Planned::new("instruct", config.parameters(), &parts, steps, batch_size)?])
}

/// Trains it, in `instruct/` of the run.
pub(super) fn train(
    recipe: &LlavaRecipe,
    directory: &Directory,
    options: &RunOptions,
) -> Result<()> {
    check(recipe, directory)?;
    let LlavaRecipe { seed, precision, recompute, .. } = *recipe;
    let init = |seed| recipe.device.init(seed, precision, recompute);
    let published = Published::read(directory)?;
    let mut parts = trained(recipe, &published.config);
    let mut learner = learner(directory, &mut init(None))?;
    // Without weights while they learn, so that these lie in one place.
    let mut model = learner.put(Assistant::init(&published.config, &mut init(None)));
    if let Some(lora) = &recipe.lora {
        parts.extend(lora.add(&mut model, |name| published.module(name), &mut init(Some(seed)))?);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (model, trained) = thaw_only(model, &parts)?;
    let learned = params::list(&model).into_iter().filter(|p| p.trainable).map(|p| p.name);
    published.holds(learned.filter(|name| !name.contains(".lora.")))?;
    eprintln!("instruct: {trained}");
    Training { recipe, learner, published, beside: model::beside(directory)? }.run(model, options)
}

/// What is trained, and how.
struct Training<'a> {
    recipe: &'a LlavaRecipe,
    learner: Box<dyn Learner>,
    published: Published,
    beside: Files,
}

impl Training<'_> {
    fn run(&mut self, model: Assistant, options: &RunOptions) -> Result<()> {
        let recipe = self.recipe;
        let (stage, name) = (&recipe.instruct, "instruct");
        let Stage { steps, save_every, eval_every, patience, batch_size, .. } = *stage;
        let options = RunOptions { dir: options.dir.join(name), ..options.clone() };
        let data = recipe.data(stage)?;
        let make =
            move |examples: &Examples, step, progress| draw(examples, step, batch_size, progress);
        let feed = Feed::open(data, [recipe.seed, steps], self.side(), &options, lacks, make)?;
        let mut optim = AdamW::new(recipe.optim.clone());
        let resolved = config::resolved(recipe)?;
        let start: Vec<_> = recipe.model.published().cloned().collect();
        let provenance =
            provenance::begin(&format!("llava, {name}"), &resolved, recipe.seed, &start, data);
        let plan = Plan { steps, save_every, eval_every, patience, provenance };
        let (mut run, mut model) = Run::open(name, &options, &resolved, plan, model, &mut optim)?;

        let mut batches = feed.train(run.steps());
        for step in run.steps() {
            let Some(examples) = batches.next().transpose()? else { break };
            let Learned { gradients, loss, tokens, flops } = self.step(&model, &examples, step)?;
            let rate = schedule::rate(&stage.schedule, step, steps);
            let (updated, norm) =
                run.update(model, &mut optim, &gradients, step, loss, |name| match name {
                    _ if name.contains("projector") => rate * stage.projector_rate,
                    _ if is_encoder(name) && stage.image_rate > 0.0 => rate * stage.image_rate,
                    _ => rate,
                })?;
            model = updated;

            if let Some(batches) =
                feed.val(stage.eval_batches).filter(|_| run.validates_after(step))
            {
                let averaged = optim.averaged(model.clone());
                let frozen = params::set_trainable(averaged.clone(), |_| false);
                let loss = self.val_loss(&frozen, batches)?;
                run.keep_best(step, loss, || self.files(&averaged))?;
            }
            let extra = [("tokens".to_string(), tokens)].into();
            let samples = batch_size;
            run.log(Step { step, loss, learning_rate: rate, samples, flops, extra }, norm)?;
            run.checkpoint(step, &model, &optim)?;
            if run.ends_after(step) {
                break;
            }
        }
        let best = optim.averaged(model.clone());
        run.finish(&model, self.files(&best)?)
    }

    /// Gradients of the mean over all answers' tokens of a step, whichever micro-batch they are in.
    fn step(&mut self, model: &Assistant, examples: &[Example], step: u64) -> Result<Learned> {
        let stage = &self.recipe.instruct;
        let at_once = stage.batch_size.div_ceil(stage.accumulate.max(1));
        let mut learned = Learned::default();
        for (part, examples) in (0..).zip(examples.chunks(at_once)) {
            let mut model = seen_by(model, examples);
            if let Some(lora) = &self.recipe.lora {
                lora.drop(&mut model, self.recipe.seed, [step, part]);
            }
            let lessons = self.lessons(&model, examples)?;
            if step == 0 && part == 0 {
                self.fits(&model, &lessons)?;
            }
            let Some((loss, tokens)) = self.loss(&model, lessons, &mut learned.flops) else {
                continue;
            };
            learned.loss += f64::from(read(loss.clone())[0]);
            learned.tokens += tokens;
            optim::accumulate(&mut learned.gradients, freeze::gradients(&model, loss)?, 1.0);
        }
        let all = learned.tokens.max(1.0);
        learned.loss /= all;
        learned.gradients.values_mut().for_each(|gradient| gradient.scale((1.0 / all) as f32));
        Ok(learned)
    }

    /// What a model with these weights reads of the examples' conversations.
    fn lessons(&mut self, model: &Assistant, examples: &[Example]) -> Result<Vec<Inputs>> {
        let idle = self.learner.put(model.clone());
        let lesson = |example: &Example| -> Result<Vec<Inputs>> {
            let talks = conversations(example);
            let talks = talks.iter().map(|talk| self.learner.lesson(talk, &example.media));
            Ok(talks.collect::<sensorium_inference::Result<_>>()?)
        };
        let lessons = examples.iter().map(lesson).collect::<Result<Vec<_>>>();
        drop(self.learner.put(idle));
        Ok(lessons?.into_iter().flatten().collect())
    }

    /// The sum over the answers' tokens, and how many these are; nothing where there are none.
    fn loss(
        &self,
        model: &Assistant,
        lessons: Vec<Inputs>,
        flops: &mut f64,
    ) -> Option<(Tensor<1>, f64)> {
        let backbone = &self.published.config.backbone;
        let passes = if self.recipe.lora.is_some() { 2.0 } else { 3.0 };
        let losses =
            lessons.into_iter().filter_map(|Inputs { ids, answer, embeds, sequence, .. }| {
                let labels = labels(&ids, &answer);
                let learned = labels.iter().filter(|label| **label != IGNORED).count();
                // What the towers do is not counted.
                *flops += passes * (backbone.flops(ids.len(), 0) + backbone.flops(0, learned));
                let loss = || model.loss(embeds, &sequence, &labels, self.recipe.z_loss);
                (learned > 0).then(|| (loss().mul_scalar(learned as f64), learned as f64))
            });
        losses.reduce(|(sum, all), (loss, tokens)| (sum + loss, all + tokens))
    }

    /// Mean over all answers' tokens.
    fn val_loss(
        &mut self,
        model: &Assistant,
        batches: impl Iterator<Item = Result<Vec<Example>>>,
    ) -> Result<f64> {
        let mut losses = Vec::new();
        for examples in batches {
            for example in examples? {
                let lessons = self.lessons(model, &[example])?;
                if let Some((loss, tokens)) = self.loss(model, lessons, &mut 0.0) {
                    losses.push((f64::from(read(loss)[0]) / tokens, tokens));
                }
            }
        }
        Ok(mean(losses))
    }

    /// Refuses a step that takes more memory than there is.
    fn fits(&self, model: &Assistant, lessons: &[Inputs]) -> Result<()> {
        let LlavaRecipe { recompute, .. } = *self.recipe;
        let tokens = lessons.iter().map(|lesson| lesson.ids.len()).sum();
        let reads = Reads { parts: &[("backbone.", tokens)], recompute };
        memory::check(memory::need(model, reads), lessons.len(), recompute)
    }

    /// Side of drawn pictures in pixels.
    fn side(&self) -> u32 {
        match self.published.config.towers.first().map(|tower| &tower.encoder) {
            Some(EncoderConfig::Vit { vit, .. }) => vit.image as u32,
            _ => 224,
        }
    }

    /// The model's files, or the adapter's.
    fn files(&self, model: &Assistant) -> Result<Files> {
        if let (Some(lora), Some(base)) = (&self.recipe.lora, &self.recipe.model.from) {
            let module = |name: &str| self.published.module(name);
            return lora.files(model, module, &base.to_string_lossy());
        }
        let tensors = self.published.tensors(model)?;
        model::published(&self.beside, &tensors, super::Dtype::F32)
    }
}

/// What a step has found.
#[derive(Default)]
struct Learned {
    gradients: Gradients,
    loss: f64,
    tokens: f64,
    flops: f64,
}

fn is_encoder(name: &str) -> bool {
    name.contains(".encoder.") || is_of(name, "patches.image")
}

/// The model with only that trainable which the examples reach: the backbone alone where they have no media.
fn seen_by(model: &Assistant, examples: &[Example]) -> Assistant {
    let seen = examples.iter().any(|example| !example.media.is_empty());
    reached(model, |name| seen || is_of(name, "backbone"))
}
