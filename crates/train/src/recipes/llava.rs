//! LLaVA: a frozen image encoder, a projector, a language model.
//!
//! Liu et al. 2023, <https://arxiv.org/abs/2304.08485>, and LLaVA 1.5,
//! <https://arxiv.org/abs/2310.03744>. Stage 1, align: descriptions, only the projector learns. Stage
//! 2, instruct: conversations, projector and backbone learn. The encoder is frozen, unless a stage gives
//! it a rate (as LLaVA-OneVision does, Li et al. 2024, <https://arxiv.org/abs/2408.03326>, section 3.4).
//!
//! ```text
//! sensorium train recipes/llava/nano.toml
//! ```

mod assistant;
mod start;
mod talks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::Dtype;
use sensorium_data::{Config, Example, Examples};
use sensorium_encoder::EncoderConfig;
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::llava::{Encoded, Llava, LlavaConfig};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::MediaProcessor;
use sensorium_pretrained::families::language;
use sensorium_pretrained::families::llava::parts::{self, BACKBONES};
use sensorium_pretrained::families::llava::{self, Published};
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use serde::{Deserialize, Serialize};

use crate::batch::mean;
use crate::chat::Chat;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feature_cache::{FeatureCache, encode};
use crate::feed::{self, Feed};
use crate::freeze::{self, thaw_only};
use crate::lora::LoraConfig;
use crate::memory::{self, Reads};
use crate::model::{self, Files, ModelConfig, Start};
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::talk::Reader;
use crate::towers::NewTower;
use talks::{Micro, Talks, seen_by};

/// A LLaVA training: both stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaRecipe {
    /// `"llava"`.
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
    /// A directory where what the encoder sees is kept, to be made once for a picture.
    pub feature_cache: Option<PathBuf>,
    /// Whether only what was learned between two published parts is saved, in f16, with their names.
    #[serde(default, skip_serializing_if = "config::is_false")]
    pub trained_only: bool,
    /// A new model's image encoder, which the CLIP recipe made.
    pub image: Option<PathBuf>,
    /// A new model's language model, which the text recipe made.
    pub backbone: Option<PathBuf>,
    /// A trained projector to go on with; stage 1 is then left out.
    pub projector: Option<PathBuf>,
    /// Towers of sounds, videos and tables, beside that of pictures of a model that was trained here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<NewTower>,
    /// Stage 1; without it, there is only stage 2.
    pub align: Option<Stage>,
    /// Stage 2.
    pub instruct: Stage,
    /// Weight of the z-loss.
    #[serde(default)]
    pub z_loss: f32,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// The model: a new one, one of published parts, or a published one that sees, hears or only reads.
    pub model: ModelConfig,
    /// Instead of the model's own weights, what is learned beside them: an adapter.
    pub lora: Option<LoraConfig>,
    /// Conversations about pictures, or pictures with captions, for stages without data of their own.
    pub data: Option<Config>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Samples a step.
    #[serde(alias = "batch")]
    pub batch_size: usize,
    /// Micro-batches a step is made of, each of `batch / accumulate` samples: less memory, the same
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
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Factor on the projector's learning rate (nanoVLM trains its 100 times faster).
    #[serde(default = "one")]
    pub projector_rate: f64,
    /// Factor on the learning rate of the image encoder, as far as the projector reads it; 0
    /// freezes it.
    #[serde(default)]
    pub image_rate: f64,
    /// Whether conversations share rows, each read as if it were alone: less padding, the same loss.
    #[serde(default, skip_serializing_if = "config::is_false")]
    pub packing: bool,
    /// Whether micro-batches are of conversations of about one length: less padding, the same gradient.
    #[serde(default, skip_serializing_if = "config::is_false")]
    pub group_by_length: bool,
    /// What is learned from.
    pub data: Option<Config>,
}

fn eval_batches() -> u64 {
    8
}

fn one() -> f64 {
    1.0
}

fn whole() -> usize {
    1
}

impl LlavaRecipe {
    /// What a stage learns from.
    ///
    /// # Errors
    /// Neither it nor the recipe names a data set.
    pub fn data<'a>(&'a self, stage: &'a Stage) -> Result<&'a Config> {
        stage.data.as_ref().or(self.data.as_ref()).ok_or_else(|| {
            let message = "expected data sets to learn from, got none";
            model::config("data", message, "add [[data.train]], or one for each stage")
        })
    }
}

/// Trains the projector, then projector and backbone, in `align/` and `instruct/` of the run.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &LlavaRecipe, options: &RunOptions) -> Result<()> {
    if recipe.lora.is_some() && recipe.model.from.is_none() {
        let message = "expected a published model to learn an adapter for, got no model.from";
        return Err(model::config("lora", message, "leave [lora] out to train a new model"));
    }
    let counted = |stage: &Stage| -> Result<Stage> {
        let Stage { steps, epochs, batch_size, projector_rate, image_rate, .. } = *stage;
        if ![projector_rate, image_rate].iter().all(|rate| rate.is_finite() && *rate >= 0.0) {
            let got =
                format!("expected factors of 0 or more, got {projector_rate} and {image_rate}");
            return Err(model::config(
                "projector_rate, image_rate",
                &got,
                "1.0 is the rate itself",
            ));
        }
        let steps = feed::steps(steps, epochs, batch_size, recipe.data(stage)?, options)?;
        Ok(Stage { steps, epochs: None, ..stage.clone() })
    };
    let align = recipe.align.as_ref().map(counted).transpose()?;
    let recipe = &LlavaRecipe { align, instruct: counted(&recipe.instruct)?, ..recipe.clone() };
    if recipe.trained_only && (recipe.model.encoder.is_none() || !trains_projector_alone(recipe)) {
        let message = "expected a new model of parts, of which the projector alone learns";
        let hint = "train = [\"towers.0.projector\"] in [model] leaves the language model frozen";
        return Err(model::config("trained_only", message, hint));
    }
    let (mut llava, training) = match recipe.model.start(options)? {
        Start::New(size, tokenizer) => start::new(recipe, size, tokenizer)?,
        Start::Around(..) => return Err(start::around()),
        Start::Published(directory) if assistant::is_one(&directory) => {
            return assistant::train(recipe, &directory, options);
        }
        Start::Published(directory) => start::published(recipe, &directory)?,
        Start::Parts(parts) => start::of_parts(recipe, &parts)?,
    };
    if let (Some(align), None, None) = (&recipe.align, &recipe.projector, &recipe.model.from) {
        llava = training.run("align", align, vec![PROJECTOR.into()], llava, options)?;
    }
    let instruct = &recipe.instruct;
    let mut parts = trained(recipe, &training.shape);
    if let Some(lora) = &recipe.lora {
        let LlavaRecipe { seed, precision, recompute, .. } = *recipe;
        let init = &mut recipe.device.init(Some(seed), precision, recompute);
        parts.extend(lora.add(&mut llava, |name| training.module(name), init)?);
    }
    training.run("instruct", instruct, parts, llava, options)?;
    Ok(())
}

fn trains_projector_alone(recipe: &LlavaRecipe) -> bool {
    let train = recipe.model.train.iter().flatten();
    recipe.model.train.is_some()
        && recipe.instruct.image_rate == 0.0
        && train.into_iter().all(|part| part.starts_with(PROJECTOR))
}

/// What learns in stage 2, but for an adapter.
fn trained(recipe: &LlavaRecipe, shape: &LlavaConfig) -> Vec<String> {
    let mut parts: Vec<String> = match (&recipe.model.train, &recipe.lora) {
        (Some(parts), _) => parts.iter().flat_map(|part| read_of(part, shape)).collect(),
        (None, Some(_)) => Vec::new(),
        (None, None) if shape.towers.is_empty() => vec!["backbone".into()],
        (None, None) => {
            // Of other media all but a video's image encoder, which is that of pictures.
            let others =
                (1..shape.towers.len()).flat_map(|i| read_of(&format!("towers.{i}."), shape));
            let others = others.filter(|name| !name.contains(".encoder.image."));
            others.chain([PROJECTOR.into(), "backbone".into()]).collect()
        }
    };
    if recipe.instruct.image_rate > 0.0 {
        parts.extend(read_by_projector(shape));
    }
    parts
}

/// What each stage trains; an adapter, whose matrices only the weights' names tell, is not counted.
///
/// # Errors
/// A part is of a kind that is not built in, or its settings are damaged.
pub fn stages(recipe: &LlavaRecipe) -> Result<Vec<Planned>> {
    let shape = match recipe.model.start(&RunOptions::new("."))? {
        Start::New(size, tokenizer) => size.llava(tokenizer.vocabulary()),
        Start::Around(..) => return Err(start::around()),
        Start::Parts(parts) => parts::config(&parts.encoder, parts.projector, &parts.backbone)?,
        Start::Published(directory) => {
            let family = directory.model_type().unwrap_or_default();
            match family {
                sensorium::FAMILY => start::own_shape(recipe, &directory)?,
                _ if start::SEEING.contains(&family) => llava::shape(&directory)?,
                _ if BACKBONES.contains(&family) => {
                    let backbone = language::config(&directory.config())?;
                    LlavaConfig { towers: Vec::new(), backbone, prefix: false }
                }
                _ if assistant::is_one(&directory) => return assistant::stages(recipe, &directory),
                _ => return Err(start::unknown(&directory)),
            }
        }
    };
    let (shapes, mut all) = (shape.parameters(), Vec::new());
    if let (Some(align), None, None) = (&recipe.align, &recipe.projector, &recipe.model.from) {
        let trained = [PROJECTOR];
        all.push(Planned::new("align", shapes.clone(), &trained, align.steps, align.batch_size)?);
    }
    let Stage { steps, batch_size, .. } = recipe.instruct;
    all.push(Planned::new("instruct", shapes, &trained(recipe, &shape), steps, batch_size)?);
    Ok(all)
}

/// Side of the pictures that the encoder reads, in pixels.
fn side(shape: &LlavaConfig) -> usize {
    match shape.towers.first().map(|tower| &tower.encoder) {
        Some(EncoderConfig::Vit { vit, .. }) => vit.image,
        _ => 1,
    }
}

/// Names of the tower's parts, as a module has them.
const ENCODER: &str = "towers.0.encoder";
const PROJECTOR: &str = "towers.0.projector";

/// What is trained, and how.
struct Training<'a> {
    recipe: &'a LlavaRecipe,
    chat: Arc<Chat>,
    processor: ImageProcessor,
    /// What makes the input of each tower behind that of pictures.
    processors: Arc<[MediaProcessor]>,
    shape: LlavaConfig,
    home: Home,
}

/// What stands beside the weights of a model made here.
struct Own {
    tokenizer: Tokenizer,
    settings: SensoriumConfig,
    /// Components that are no part of what answers.
    others: Vec<(&'static str, Tensors)>,
}

/// Where a model's files come from.
enum Home {
    /// Made here.
    Own(Box<Own>),
    /// What stands beside the weights, and how these are published.
    Published(Files, Box<Published>),
    /// A language model's: what stands beside the weights, and the names of these.
    Language(Files, Vec<String>),
}

impl Training<'_> {
    /// The name that transformers has for our parameter `name`.
    fn module(&self, name: &str) -> String {
        match &self.home {
            Home::Own(_) => name.to_owned(),
            Home::Published(_, published) => published.module(name),
            Home::Language(..) => {
                let name = name.strip_prefix("backbone.").unwrap_or(name);
                language::published_name(&self.shape.backbone, name)
            }
        }
    }

    fn run(
        &self,
        name: &str,
        stage: &Stage,
        parts: Vec<String>,
        model: Llava,
        options: &RunOptions,
    ) -> Result<Llava> {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (model, trained) = thaw_only(model, &parts)?;
        eprintln!("{name}: {trained}");
        let options = RunOptions { dir: options.dir.join(name), ..options.clone() };
        let data = self.recipe.data(stage)?;
        let reader = Reader {
            chat: self.chat.clone(),
            processor: self.processor.clone(),
            processors: self.processors.clone(),
            projectors: self.shape.towers.iter().skip(1).map(|t| t.projector.clone()).collect(),
        };
        let talks = Talks { reader, stage: stage.clone(), prefix: self.shape.prefix };
        let make = move |examples: &Examples, step, progress| talks.make(examples, step, progress);
        let (seeds, side) = ([self.recipe.seed, stage.steps], side(&self.shape) as u32);
        let feed = Feed::open(data, seeds, side, &options, lacks, make)?;
        let mut optim = AdamW::new(self.recipe.optim.clone());
        let Stage { steps, save_every, eval_every, patience, .. } = *stage;
        let resolved = config::resolved(self.recipe)?;
        let LlavaRecipe { seed, image, backbone, projector, .. } = self.recipe;
        let files = [image, backbone, projector].into_iter().flatten();
        let start: Vec<_> = self.recipe.model.published().chain(files).cloned().collect();
        let provenance =
            provenance::begin(&format!("llava, {name}"), &resolved, *seed, &start, data);
        let plan = Plan { steps, save_every, eval_every, patience, provenance };
        let (mut run, mut model) = Run::open(name, &options, &resolved, plan, model, &mut optim)?;
        let cache = self.cache(&model, data)?;

        let mut batches = feed.train(run.steps());
        for step in run.steps() {
            let Some(micro) = batches.next().transpose()? else { break };
            let learned: usize = micro.iter().map(|micro| micro.batch.learned()).sum();
            if step == run.steps().start {
                self.fits(stage, &model, &micro)?;
            }
            let (mut gradients, mut value, mut flops) = (Gradients::new(), 0.0, 0.0);
            for (part, micro) in (0..).zip(micro) {
                // A mean over all answers' tokens, whichever micro-batch they are in.
                let weight = micro.batch.learned() as f64 / learned.max(1) as f64;
                flops += self.flops(stage, &micro);
                let mut model = seen_by(&model, &micro);
                if let Some(lora) = &self.recipe.lora {
                    lora.drop(&mut model, self.recipe.seed, [step, part]);
                }
                let loss = self.loss(&model, cache.as_ref(), micro)?;
                value += weight * f64::from(read(loss.clone())[0]);
                optim::accumulate(&mut gradients, freeze::gradients(&model, loss)?, weight as f32);
            }
            let rate = schedule::rate(&stage.schedule, step, stage.steps);
            let image_rate = if stage.image_rate > 0.0 { stage.image_rate } else { 1.0 };
            let (updated, norm) =
                run.update(model, &mut optim, &gradients, step, value, |name| match name {
                    _ if name.starts_with(PROJECTOR) => rate * stage.projector_rate,
                    _ if name.starts_with(ENCODER) => rate * image_rate,
                    _ => rate,
                })?;
            model = updated;

            if let Some(batches) =
                feed.val(stage.eval_batches).filter(|_| run.validates_after(step))
            {
                let averaged = optim.averaged(model.clone());
                let frozen = params::set_trainable(averaged.clone(), |_| false);
                let loss = self.val_loss(&frozen, cache.as_ref(), batches)?;
                run.keep_best(step, loss, || self.files(&averaged))?;
            }
            let extra = BTreeMap::from([("tokens".to_string(), learned as f64)]);
            let samples = stage.batch_size;
            run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
            run.checkpoint(step, &model, &optim)?;
            if run.ends_after(step) {
                break;
            }
        }
        let best = optim.averaged(model.clone());
        run.finish(&model, self.files(&best)?)?;
        Ok(best)
    }

    /// Refuses a step that takes more memory than there is.
    fn fits(&self, stage: &Stage, model: &Llava, step: &[Micro]) -> Result<()> {
        let tokens = step.iter().map(|micro| micro.batch.ids.len()).max().unwrap_or(0);
        let seen = step.iter().map(|micro| self.pictures(micro)).max().unwrap_or(0);
        let positions = self.shape.towers.first().map_or(0, |tower| tower.encoder.positions());
        let parts = [("backbone.", tokens), (ENCODER, seen * positions)];
        let reads = Reads { parts: &parts, recompute: self.recipe.recompute };
        let at_once = stage.batch_size.div_ceil(stage.accumulate.max(1));
        memory::check(memory::need(model, reads), at_once, self.recipe.recompute)
    }

    /// What is kept of the encoder's work, where it is to be.
    fn cache(&self, model: &Llava, data: &Config) -> Result<Option<FeatureCache>> {
        let Some(dir) = &self.recipe.feature_cache else { return Ok(None) };
        let vit = model.towers.first().and_then(|tower| tower.encoder.vit());
        let Some(vit) = vit else {
            let message = "expected a Vision Transformer, got a model without one";
            return Err(model::config("feature_cache", message, "leave it out"));
        };
        let to = (self.recipe.precision, &self.recipe.device.open());
        Ok(Some(FeatureCache::open(dir, vit, data, self.size(), to)?))
    }

    /// Height and width of what the encoder reads.
    fn size(&self) -> [usize; 2] {
        self.processor.size().unwrap_or_default().map(|n| n as usize)
    }

    fn loss(
        &self,
        model: &Llava,
        cache: Option<&FeatureCache>,
        Micro { batch, planes, pieces }: Micro,
    ) -> Result<Tensor<1>> {
        let device = &self.recipe.device.open();
        let seen = (!planes.is_empty()).then(|| encode(model, cache, planes, self.size(), device));
        let mut seen: Vec<Encoded> = seen.transpose()?.into_iter().collect();
        let constants = &device.clone().without_autodiff();
        for processor in self.processors.iter() {
            let input = processor.input(&pieces, constants)?;
            seen.extend(input.map(|input| model.encode(input)));
        }
        Ok(model.loss(&batch, &seen, self.recipe.z_loss))
    }

    /// Mean over all answers' tokens.
    fn val_loss(
        &self,
        model: &Llava,
        cache: Option<&FeatureCache>,
        batches: impl Iterator<Item = Result<Vec<Micro>>>,
    ) -> Result<f64> {
        let mut losses = Vec::new();
        for batch in batches {
            for micro in batch? {
                let learned = micro.batch.learned() as f64;
                losses.push((f64::from(read(self.loss(model, cache, micro)?)[0]), learned));
            }
        }
        Ok(mean(losses))
    }

    /// Of what is trained, three passes; where only the projector or an adapter is, two of the backbone;
    /// of a frozen encoder, one.
    fn flops(&self, stage: &Stage, micro: &Micro) -> f64 {
        let batch = &micro.batch;
        let [b, t] = batch.shape;
        let backbone = &self.shape.backbone;
        let aligns = self.recipe.align.as_ref().is_some_and(|align| std::ptr::eq(align, stage));
        let passes = if aligns || self.recipe.lora.is_some() { 2.0 } else { 3.0 };
        let image = if stage.image_rate > 0.0 { 3.0 } else { 1.0 };
        let encoder = self.shape.towers.first().map_or(0.0, |tower| tower.encoder.flops());
        let others = self.processors.iter().zip(self.shape.towers.iter().skip(1));
        let others = others.map(|(processor, tower)| {
            let own = micro.pieces.iter().filter(|piece| piece.modality() == processor.modality());
            let positions: usize = own.map(|piece| processor.positions(piece)).sum();
            tower.encoder.flops() * positions as f64 / tower.encoder.positions().max(1) as f64
        });
        let seen = encoder * self.pictures(micro) as f64 + others.sum::<f64>();
        let read = backbone.flops(t, 0) * b as f64 + backbone.flops(0, batch.learned());
        image * seen + passes * read
    }

    /// How many pictures are seen.
    fn pictures(&self, micro: &Micro) -> usize {
        let pixels = self.processor.size().map_or(1, |[h, w]| 3 * h as usize * w as usize);
        micro.planes.len() / pixels
    }

    /// The model's files, or the adapter's.
    fn files(&self, llava: &Llava) -> Result<Files> {
        if let (Some(lora), Some(base)) = (&self.recipe.lora, &self.recipe.model.from) {
            return lora.files(llava, |name| self.module(name), &base.to_string_lossy());
        }
        match &self.home {
            Home::Own(own) => {
                let components = model::answering(&own.others, llava)?;
                let llava = Some(self.shape.clone());
                let settings = SensoriumConfig { llava, ..own.settings.clone() };
                model::own(&components, &settings, &own.tokenizer, Some(&self.processor))
            }
            Home::Published(beside, published) => {
                let (tensors, parts) = (published.tensors(llava)?, &self.recipe.model);
                match (self.recipe.trained_only, &parts.encoder, &parts.backbone) {
                    (true, Some(encoder), Some(backbone)) => {
                        model::bridge(beside, tensors, [encoder, backbone])
                    }
                    _ => model::published(beside, &tensors, Dtype::F32),
                }
            }
            Home::Language(beside, names) => {
                let names = names.iter().map(String::as_str);
                let tensors = language::publish(&llava.backbone, &self.shape.backbone, names)?;
                model::published(beside, &tensors, Dtype::F32)
            }
        }
    }
}

/// What an example has not.
fn lacks(example: &Example) -> Option<&'static str> {
    let captioned = example.text.is_some() && !example.media.is_empty();
    (example.messages.is_empty() && !captioned).then_some("conversations or pictures with captions")
}

/// Names of the image encoder's parameters that the projector's input depends on.
fn read_by_projector(shape: &LlavaConfig) -> Vec<String> {
    let encoder = shape.towers.first().map(|tower| &tower.encoder);
    let Some(EncoderConfig::Vit { vit, features }) = encoder else {
        return vec![ENCODER.to_owned()];
    };
    let last = features.layers.iter().min().copied().unwrap_or_default();
    // Where levels are named, none is read after the last norm.
    let norm = (!features.layers.is_empty()).then_some("norm.");
    let unread: Vec<String> = (vit.n_layers - last..vit.n_layers)
        .map(|block| format!("blocks.{block}."))
        .chain(["pool.", "proj."].into_iter().chain(norm).map(str::to_owned))
        .collect();
    let names = vit.parameters().into_iter().map(|(name, _)| name);
    let read = names.filter(|name| !unread.iter().any(|part| name.starts_with(part)));
    read.map(|name| format!("{ENCODER}.{name}")).collect()
}

/// A part that a recipe names; of an encoder, what of it is read.
fn read_of(part: &str, shape: &LlavaConfig) -> Vec<String> {
    let pictures: Vec<String> = read_by_projector(shape);
    let is_read = |name: &str| match name.strip_prefix("towers.") {
        Some(rest) if name.starts_with(ENCODER) => {
            pictures.iter().any(|read| read == name) && !rest.is_empty()
        }
        // Transcripts are read of it, not features.
        Some(rest) => !rest.contains(".encoder.head."),
        None => true,
    };
    if !part.starts_with("towers.") {
        return vec![part.to_owned()];
    }
    let names = shape.parameters().into_iter().map(|(name, _)| name);
    let below: Vec<String> = names.filter(|name| name.starts_with(part) && is_read(name)).collect();
    if below.is_empty() { vec![part.to_owned()] } else { below }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;

    #[test]
    fn the_projector_reads_all_but_the_last_block() {
        let config = Size::Small.llava(4096);
        let read = read_by_projector(&config);
        let has =
            |part: &str| read.iter().any(|name| name.starts_with(&format!("{ENCODER}.{part}")));
        assert!(has("stem.") && has("position") && has("blocks.3."));
        assert!(!has("blocks.4.") && !has("norm.") && !has("pool."));
        let all = config.parameters();
        assert!(read.iter().all(|name| all.iter().any(|(known, _)| known == name)));
    }
}
