//! CLIP: pictures and their captions in one space.
//!
//! Radford et al. 2021, <https://arxiv.org/abs/2103.00020>; the default loss is SigLIP's, Zhai et
//! al. 2023, <https://arxiv.org/abs/2303.15343>, which is better at small batches. Captions with
//! two attributes swapped are extra negatives (Yuksekgonul et al. 2022,
//! <https://arxiv.org/abs/2210.01936>). With `caption_weight`, a small decoder beside them must tell
//! what is where from the encoder's positions (SigLIP 2, Tschannen et al. 2025,
//! <https://arxiv.org/abs/2502.14786>); with `gist_weight`, what is said from the vectors of the
//! shared space; with `region_weight`, a linear head must name what lies at each of the encoder's
//! positions; with `place_weight`, another must tell from the vectors where things lie. `pictures =
//! false` trains the text tower by itself on what captions alone can teach.
//!
//! ```text
//! sensorium train recipes/clip/nano.toml
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::Dtype;
use sensorium_data::{Config, Example, Examples, Facts};
use sensorium_encoder::text::Texts;
use sensorium_media::{ImageProcessor, Layout, Prompt, Tokenizer};
use sensorium_model::clip::{Clip, ClipConfig, MAX_SCALE, unit};
use sensorium_model::prompt::{Batch, IGNORED};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::families::{clip, siglip};
use sensorium_pretrained::{Directory, TextInput, Trainable, names};
use serde::{Deserialize, Serialize};

use crate::batch::{self, draw, images, mean, pictures};
use crate::chat::{Chat, messages};
use crate::config;
use crate::device::DeviceName;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::heads::captioner::{Captioner, CaptionerConfig};
use crate::heads::places::Places;
use crate::heads::regions::Regions;
use crate::memory::{self, Reads};
use crate::model::{self, Files, ModelConfig, Start};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::size::Size;

/// Which contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// SigLIP's: every pair is a yes/no question.
    Sigmoid,
    /// CLIP's: softmax over the batch, scale clamped to ln 100.
    InfoNce,
}

/// A CLIP training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRecipe {
    /// `"clip"`.
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
    /// Whether pictures are looked at. Without them the text tower learns by itself what captions can
    /// teach: `place_weight` and `gist_weight` say how much of what.
    #[serde(default = "yes")]
    pub pictures: bool,
    /// A directory with the `image`, `text` and `clip` files to train on from, as `.gguf` or
    /// `.safetensors`, and that of a captioner, where a run has left one; without it training
    /// starts from seeded weights.
    pub start: Option<PathBuf>,
    /// Weight of the captioner's loss over what it answers from the image encoder's positions,
    /// beside the contrastive loss; 0 leaves it out.
    #[serde(default)]
    pub caption_weight: f32,
    /// Weight of the captioner's loss over what it tells from vectors of the shared space; 0 leaves
    /// it out.
    #[serde(default)]
    pub gist_weight: f32,
    /// Weight of the loss over what lies at each position; 0 leaves it out.
    #[serde(default)]
    pub region_weight: f32,
    /// Weight of the loss over where a picture's and a caption's vector tell that things lie and how
    /// large they are; 0 leaves it out.
    #[serde(default)]
    pub place_weight: f32,
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Pairs a step.
    #[serde(alias = "batch")]
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
    /// The loss.
    pub loss: Loss,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// The model: a new one, or a published CLIP or SigLIP.
    pub model: ModelConfig,
    /// Pictures and captions. What is drawn comes with what the losses beside the contrastive one ask
    /// for.
    pub data: Config,
}

fn yes() -> bool {
    true
}

fn eval_batches() -> u64 {
    8
}

/// What is trained: the two encoders and, beside them, what makes the image encoder tell.
#[derive(Module, Debug)]
struct ClipWithHeads {
    clip: Clip,
    captioner: Option<Captioner>,
    regions: Option<Regions>,
    places: Option<Places>,
}

/// Trains the two encoders, or the text tower alone.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &ClipRecipe, options: &RunOptions) -> Result<()> {
    validate(recipe)?;
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &ClipRecipe { steps, epochs: None, ..recipe.clone() };
    let (model, training) = match recipe.model.start(options)? {
        Start::New(size, tokenizer) => new(recipe, size, tokenizer)?,
        Start::Published(directory) => published(recipe, directory)?,
    };
    let parts = parts(recipe, training.shape.bias);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (model, trained) = thaw_only(model, &parts)?;
    eprintln!("{trained}");
    let pairs = training.pairs.clone();
    let side = if recipe.pictures { training.shape.image.image as u32 } else { 1 };
    let make = move |examples: &Examples, step, progress| pairs.make(examples, step, progress);
    let seeds = [recipe.seed, recipe.steps];
    let lacks = |example: &Example| lacks(recipe, example);
    let feed = Feed::open(&recipe.data, seeds, side, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let ClipRecipe { steps, save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.from.iter().chain(&recipe.start).cloned().collect();
    let provenance = provenance::begin("clip", &resolved, recipe.seed, &start, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("clip", options, &resolved, plan, model, &mut optim)?;

    // Of captions, which are short, nothing is known yet.
    let seen = if recipe.pictures { recipe.batch_size * training.shape.image.patches() } else { 0 };
    let parts = [("clip.image", seen)];
    let reads = Reads { parts: &parts, recompute: recipe.recompute };
    memory::check(memory::need(&model, reads), recipe.batch_size, recipe.recompute)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let Losses { loss, extra, flops } = training.losses(&model, batch);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = ClipWithHeads { clip: clamp_scale(updated.clip), ..updated };

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let loss = |batch| f64::from(read(training.losses(&best, batch).loss)[0]);
            let losses =
                batches.map(|batch| Ok((loss(batch?), 1.0))).collect::<Result<Vec<_>>>()?;
            run.keep_best(step, mean(losses), || training.files(&best))?;
        }
        let (samples, flops) = (recipe.batch_size, 3.0 * flops);
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// Captions alone teach only by losses that a recipe may leave out.
fn validate(recipe: &ClipRecipe) -> Result<()> {
    if recipe.pictures || recipe.place_weight > 0.0 || recipe.gist_weight > 0.0 {
        return Ok(());
    }
    let message = "expected a loss over captions alone, got a place_weight and a gist_weight of 0";
    Err(model::config("pictures", message, "raise one of the two, or set pictures = true"))
}

/// What an example has not, of what the recipe's losses ask.
fn lacks(recipe: &ClipRecipe, example: &Example) -> Option<&'static str> {
    let ClipRecipe { caption_weight, gist_weight, region_weight, place_weight, .. } = *recipe;
    let asks = [caption_weight, gist_weight, region_weight, place_weight].iter().any(|w| *w > 0.0);
    match example {
        _ if example.text.is_none() => Some("captions"),
        _ if recipe.pictures && example.media.len() != 1 => Some("one picture each"),
        _ if asks && example.facts.is_none() => Some("facts beside their captions"),
        _ => None,
    }
}

/// A new model, or one that goes on from the components of another run.
fn new(
    recipe: &ClipRecipe,
    size: Size,
    tokenizer: Box<Tokenizer>,
) -> Result<(ClipWithHeads, Training<'_>)> {
    let vocabulary = tokenizer.vocabulary();
    let shape = size.clip(vocabulary, recipe.loss == Loss::Sigmoid);
    let captioner_config = size.captioner(vocabulary);
    let mut model = init(recipe, &shape, &captioner_config);
    if let Some(dir) = &recipe.start {
        let known = start(dir, &model)?;
        model = weights::load(model, &known)?;
    }
    let tokens = captioner_config.projector.tokens(shape.image.patches());
    let chat = |tokens| Chat::own(&tokenizer, tokens, captioner_config.decoder.context);
    let texts = TextInput::own(&tokenizer, &shape.text)?;
    let processor = ImageProcessor::padded(shape.image.image as u32);
    let answers = recipe.pictures && recipe.caption_weight > 0.0;
    let pairs = Pairs {
        answers: answers.then(|| chat(tokens)).transpose()?,
        gists: (recipe.gist_weight > 0.0).then(|| chat(1)).transpose()?,
        ..Pairs::new(recipe, &shape, texts, processor)
    };
    let (captioner_config, home) = (Some(captioner_config), Home::Own(tokenizer));
    Ok((model, Training { recipe, pairs: pairs.into(), shape, captioner_config, home }))
}

/// A published model, which has only the contrastive loss.
fn published(recipe: &ClipRecipe, directory: Directory) -> Result<(ClipWithHeads, Training<'_>)> {
    let ClipRecipe { caption_weight, gist_weight, region_weight, place_weight, .. } = *recipe;
    if caption_weight + gist_weight + region_weight + place_weight > 0.0 || recipe.start.is_some() {
        let message = "expected the contrastive loss alone, got the weight of another, or start";
        let hint = "leave them out, or train a new model with size and tokenizer";
        return Err(model::config("model.from", message, hint));
    }
    let init = &mut recipe.device.init(None, recipe.precision, recipe.recompute);
    let Trainable { clip, config: shape, layout, processor, texts } = match directory.model_type() {
        Some("clip") => clip::trainable(&directory, init)?,
        Some("siglip") => siglip::trainable(&directory, init)?,
        _ => return Err(model::unknown_family(&directory, &["clip", "siglip"])),
    };
    if shape.bias != (recipe.loss == Loss::Sigmoid) {
        let hint = "sigmoid is SigLIP's loss, info_nce is CLIP's";
        let message = "expected the loss that the model was trained with, got the other";
        return Err(model::config("loss", message, hint));
    }
    let model = ClipWithHeads { clip, captioner: None, regions: None, places: None };
    let pairs = Pairs::new(recipe, &shape, texts, processor);
    let home = Home::Published(directory.into(), layout);
    Ok((model, Training { recipe, pairs: pairs.into(), shape, captioner_config: None, home }))
}

/// The two encoders with what the recipe's losses need beside them.
fn init(
    recipe: &ClipRecipe,
    config: &ClipConfig,
    captioner_config: &CaptionerConfig,
) -> ClipWithHeads {
    let init = &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute);
    let clip = start_bias(Clip::init(config, init), recipe.batch_size);
    let tells = recipe.caption_weight > 0.0 || recipe.gist_weight > 0.0;
    let captioner = tells.then(|| Captioner::init(captioner_config, init));
    let names = recipe.region_weight > 0.0;
    let regions =
        names.then(|| Regions::init(config.image.hidden_size, &Facts::REGION_CLASSES, init));
    let tells_where = recipe.place_weight > 0.0;
    let places = tells_where.then(|| Places::init(config.text.embed, Facts::PLACES, init));
    ClipWithHeads { clip, captioner, regions, places }
}

/// What makes a step's batch of examples.
struct Pairs {
    texts: TextInput,
    processor: ImageProcessor,
    /// For what the captioner is to answer from the encoder's positions.
    answers: Option<Chat>,
    /// For what it is to tell from a vector.
    gists: Option<Chat>,
    batch: usize,
    pictures: bool,
    /// Whether false captions are read.
    negatives: bool,
    /// The encoder's positions, if it is to name what lies there.
    regions: Option<usize>,
    /// Whether it is to be told where things lie.
    places: bool,
}

/// What a step reads.
struct PairBatch {
    /// Planes of the pictures, `[B, 3, h, w]`; nothing where none is looked at.
    planes: Vec<f32>,
    /// Captions, then false ones.
    texts: Texts,
    /// Equal for captions that may hold for each other's pictures.
    groups: Vec<u64>,
    /// Whose each false caption is.
    owners: Vec<usize>,
    /// The class of each position, for each attribute.
    regions: Vec<Vec<i32>>,
    /// Where things lie in each picture, and where each caption says so.
    places: [Vec<Option<f32>>; 2],
    answers: Option<Batch>,
    gists: Option<Batch>,
}

impl Pairs {
    /// Of a model that does not learn to tell.
    fn new(
        recipe: &ClipRecipe,
        shape: &ClipConfig,
        texts: TextInput,
        processor: ImageProcessor,
    ) -> Self {
        let negatives = recipe.pictures && recipe.loss == Loss::Sigmoid;
        let ClipRecipe { batch_size: batch, pictures, region_weight, place_weight, .. } = *recipe;
        let regions = (pictures && region_weight > 0.0).then(|| shape.image.patches());
        let places = place_weight > 0.0;
        let (answers, gists) = (None, None);
        Self { texts, processor, answers, gists, batch, pictures, negatives, regions, places }
    }

    fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<PairBatch> {
        let pairs = draw(examples, step, self.batch, progress)?;
        let facts = || pairs.iter().map(|pair| pair.facts.as_ref());
        let seen = pairs.iter().filter(|_| self.pictures).flat_map(pictures);
        let planes = seen.flat_map(|picture| self.processor.process(picture)).collect();
        let unknown = || vec![None; Facts::PLACES];
        let places = |of: fn(&Facts) -> Vec<Option<f32>>| -> Vec<Option<f32>> {
            if !self.places {
                return Vec::new();
            }
            facts().flat_map(|facts| facts.map_or_else(unknown, of)).collect()
        };
        let captions = pairs.iter().map(|pair| pair.text.as_deref().unwrap_or_default());
        let false_ones = || {
            let pairs = pairs.iter().enumerate().filter(|_| self.negatives);
            pairs.flat_map(|(i, pair)| pair.negatives.iter().map(move |text| (i, text.as_str())))
        };
        let texts: Vec<&str> = captions.chain(false_ones().map(|(_, text)| text)).collect();
        Ok(PairBatch {
            planes,
            texts: batch::texts(&self.texts, &texts)?,
            groups: pairs.iter().map(|pair| pair.group).collect(),
            owners: false_ones().map(|(i, _)| i).collect(),
            regions: self
                .regions
                .map(|positions| region_targets(facts(), positions))
                .unwrap_or_default(),
            places: [places(Facts::places_shown), places(Facts::places_told)],
            answers: self.answers.as_ref().map(|chat| answers(chat, &pairs)).transpose()?,
            gists: self.gists.as_ref().map(|chat| self.gists(chat, &pairs)).transpose()?,
        })
    }

    /// What the captioner is to write from a vector of each pair: of its picture, where it is looked at,
    /// and of its caption.
    fn gists(&self, chat: &Chat, pairs: &[Example]) -> Result<Batch> {
        let gist = |pair: &Example| {
            let gist = pair.facts.as_ref().map(|facts| facts.gist.clone()).unwrap_or_default();
            chat.conversation(&messages(&[[String::new(), gist]], 1), &[Layout::Whole])
        };
        let mut gists = pairs.iter().map(gist).collect::<Result<Vec<_>>>()?;
        if self.pictures {
            gists.extend_from_within(..);
        }
        Ok(Batch::new(&gists, chat.pad))
    }
}

/// What the captioner is to answer from each picture's positions.
fn answers(chat: &Chat, pairs: &[Example]) -> Result<Batch> {
    let answers = |pair: &Example| {
        let turns = pair.facts.as_ref().map(|facts| facts.turns.as_slice());
        chat.questions(&messages(turns.unwrap_or_default(), 1), &[Layout::Whole])
    };
    let prompts: Vec<Prompt> = pairs.iter().map(answers).collect::<Result<_>>()?;
    Ok(Batch::new(&prompts, chat.pad))
}

/// What is trained, and how.
struct Training<'a> {
    recipe: &'a ClipRecipe,
    pairs: Arc<Pairs>,
    shape: ClipConfig,
    captioner_config: Option<CaptionerConfig>,
    home: Home,
}

/// Where a model's files come from.
enum Home {
    /// Made here, with this tokenizer.
    Own(Box<Tokenizer>),
    /// A directory, and what its tensors are called.
    Published(Box<Directory>, names::Layout),
}

/// What a step learns from: the sum of its losses, what is logged of them, and the operations of the
/// forward pass.
struct Losses {
    loss: Tensor<1>,
    extra: BTreeMap<String, f64>,
    flops: f64,
}

impl Losses {
    /// Nothing to learn yet, after `flops` operations.
    fn new(flops: f64, device: &Device) -> Self {
        Self { loss: Tensor::zeros([1], device), extra: BTreeMap::new(), flops }
    }

    fn add(&mut self, name: &str, part: Tensor<1>, weight: f32) {
        self.extra.insert(name.into(), f64::from(read(part.clone())[0]));
        self.loss = self.loss.clone() + part.mul_scalar(weight);
    }
}

impl Training<'_> {
    fn losses(&self, model: &ClipWithHeads, batch: PairBatch) -> Losses {
        match self.recipe.pictures {
            true => self.paired(model, batch),
            false => self.text_only(model, &batch),
        }
    }

    /// Pictures and their captions.
    fn paired(&self, model: &ClipWithHeads, mut batch: PairBatch) -> Losses {
        let Self { recipe, shape, captioner_config, .. } = self;
        let device = model.clip.scale.val().device();
        let side = [shape.image.image; 2];
        let images = images(std::mem::take(&mut batch.planes), side, &device);
        let skip = captioner_config.as_ref().map_or(0, |captioner_config| captioner_config.skip);
        let (features, images) = model.clip.image.encode_and_embed(images, skip); // [B, N, E], [B, C]
        let images = unit(images);
        let (texts, flops) = self.embed_texts(&model.clip, &batch.texts); // [M, C]
        let pairs = batch.groups.len();
        let captions = texts.clone().narrow(0, 0, pairs);

        let mut losses = Losses::new(flops + shape.image.flops() * pairs as f64, &device);
        let [accuracy, true_above_false] = accuracies(images.clone(), texts.clone(), &batch.owners);
        losses.extra.insert("accuracy".into(), accuracy);
        losses.extra.insert("true_above_false".into(), true_above_false);
        let contrast = loss(&model.clip, recipe.loss, images.clone(), texts, &batch);
        losses.add("contrast", contrast, 1.0);
        if let Some(regions) = &model.regions {
            let named = regions.loss(features.clone(), &batch.regions);
            losses.add("regions", named, recipe.region_weight);
        }
        if let Some(places) = &model.places {
            let seen = places.loss(images.clone(), &batch.places[0]);
            losses.add("places", seen, recipe.place_weight);
        }
        self.add_sides(&mut losses, model, &batch, captions.clone());
        if let (Some(captioner), Some(captioner_config), Some(answers)) =
            (&model.captioner, captioner_config, &batch.answers)
        {
            losses.flops += decoding(captioner_config, answers);
            losses.add("caption", captioner.loss(answers, features), recipe.caption_weight);
        }
        self.add_gists(&mut losses, model, &batch, Tensor::cat(vec![images, captions], 0));
        losses
    }

    /// Captions alone.
    fn text_only(&self, model: &ClipWithHeads, batch: &PairBatch) -> Losses {
        let (captions, flops) = self.embed_texts(&model.clip, &batch.texts); // [B, C]
        let mut losses = Losses::new(flops, &captions.device());
        self.add_sides(&mut losses, model, batch, captions.clone());
        self.add_gists(&mut losses, model, batch, captions);
        losses
    }

    /// What captions `[B, C]` tell of places and sizes.
    fn add_sides(
        &self,
        losses: &mut Losses,
        model: &ClipWithHeads,
        batch: &PairBatch,
        captions: Tensor<2>,
    ) {
        if let Some(places) = &model.places {
            let sides = places.loss(captions, &batch.places[1]);
            losses.add("sides", sides, self.recipe.place_weight);
        }
    }

    /// What the captioner is to write from `vectors [·, C]`.
    fn add_gists(
        &self,
        losses: &mut Losses,
        model: &ClipWithHeads,
        batch: &PairBatch,
        vectors: Tensor<2>,
    ) {
        if let (Some(captioner), Some(captioner_config), Some(gists)) =
            (&model.captioner, &self.captioner_config, &batch.gists)
        {
            losses.flops += decoding(captioner_config, gists);
            losses.add("gist", captioner.gist_loss(gists, vectors), self.recipe.gist_weight);
        }
    }

    /// Texts as vectors `[M, C]`, and the operations that took.
    fn embed_texts(&self, model: &Clip, texts: &Texts) -> (Tensor<2>, f64) {
        let [m, t] = texts.shape;
        (model.embed_texts(texts), self.shape.text.flops(t) * m as f64)
    }

    /// The model's files.
    fn files(
        &self,
        ClipWithHeads { clip, captioner, places, .. }: &ClipWithHeads,
    ) -> Result<Files> {
        let tokenizer = match &self.home {
            Home::Own(tokenizer) => tokenizer,
            Home::Published(directory, layout) => {
                return model::published(directory, &names::save(clip, layout)?, Dtype::F32);
            }
        };
        let mut scalars = weights::tensors(clip)?;
        scalars.tensors.retain(|name, _| ["scale", "bias"].contains(&name.as_str()));
        let mut components = vec![
            ("image", weights::tensors(&clip.image)?),
            ("text", weights::tensors(&clip.text)?),
            ("clip", scalars),
        ];
        if let Some(captioner) = captioner {
            components.push(("captioner", weights::tensors(captioner)?));
        }
        if let Some(places) = places {
            components.push(("places", weights::tensors(places)?));
        }
        let settings =
            SensoriumConfig { clip: Some(self.shape.clone()), ..SensoriumConfig::default() };
        model::own(&components, &settings, tokenizer, Some(&self.pairs.processor))
    }
}

/// Operations of the captioner's forward pass.
fn decoding(config: &CaptionerConfig, batch: &Batch) -> f64 {
    let [b, t] = batch.shape;
    config.decoder.flops(t, 0) * b as f64 + config.decoder.flops(0, batch.learned())
}

/// What is trained: what the recipe names, or all that one of its losses reaches.
fn parts(recipe: &ClipRecipe, bias: bool) -> Vec<String> {
    if let Some(parts) = &recipe.model.train {
        // The encoders' parts may be named as in the model itself.
        let of_clip = |part: &str| {
            let first = part.split('.').next().unwrap_or_default();
            ["image", "text", "scale", "bias"].contains(&first)
        };
        let whole =
            |part: &String| if of_clip(part) { format!("clip.{part}") } else { part.clone() };
        return parts.iter().map(whole).collect();
    }
    let (pictures, gists) = (recipe.pictures, recipe.gist_weight > 0.0);
    let answers = pictures && recipe.caption_weight > 0.0;
    let mut parts = vec!["clip.text"];
    parts.extend(pictures.then_some("clip.image"));
    parts.extend(pictures.then_some("clip.scale"));
    parts.extend((pictures && bias).then_some("clip.bias"));
    parts.extend(answers.then_some("captioner.projector"));
    parts.extend(gists.then_some("captioner.vector"));
    parts.extend((answers || gists).then_some("captioner.decoder"));
    parts.extend((pictures && recipe.region_weight > 0.0).then_some("regions"));
    parts.extend((recipe.place_weight > 0.0).then_some("places"));
    parts.into_iter().map(str::to_owned).collect()
}

/// The weights of a trained [`ClipWithHeads`], one file for each part; those of what is thrown away after
/// training are read where there are any. What the files do not hold, because the model has grown
/// since, stays as it is in `seeded`.
fn start(dir: &Path, seeded: &ClipWithHeads) -> Result<Tensors> {
    let mut all = weights::tensors(seeded)?;
    let mut kept: BTreeSet<String> = all.tensors.keys().cloned().collect();
    let helpers = [
        ("captioner", "captioner.", seeded.captioner.is_some()),
        ("places", "places.", seeded.places.is_some()),
    ];
    let there = |(part, _, used): &(&str, &str, bool)| {
        *used && dir.join(part).with_extension("safetensors").is_file()
    };
    let helpers = helpers.into_iter().filter(there).map(|(part, prefix, _)| (part, prefix));
    let parts = [("image", "clip.image."), ("text", "clip.text."), ("clip", "clip.")];
    for (part, prefix) in parts.into_iter().chain(helpers) {
        let quantised = dir.join(part).with_extension("gguf");
        let path = match quantised.is_file() {
            true => quantised,
            false => dir.join(part).with_extension("safetensors"),
        };
        for (name, tensor) in checkpoint::load(&path)?.tensors {
            let name = format!("{prefix}{name}");
            kept.remove(&name);
            all.tensors.insert(name, tensor);
        }
    }
    if !kept.is_empty() {
        let names = Vec::from_iter(kept).join(", ");
        eprintln!("not in {}, so from the seed: {names}", dir.display());
    }
    Ok(all)
}

/// The classes of what lies at each of `positions`, for each attribute; unknown where no facts say.
fn region_targets<'f>(
    facts: impl Iterator<Item = Option<&'f Facts>>,
    positions: usize,
) -> Vec<Vec<i32>> {
    let unknown = || vec![[IGNORED; 4]; positions];
    let of = |facts: Option<&Facts>| {
        facts.and_then(|facts| facts.regions(positions.isqrt())).unwrap_or_else(unknown)
    };
    let all: Vec<[i32; 4]> = facts.flat_map(of).collect();
    (0..4).map(|attribute| all.iter().map(|classes| classes[attribute]).collect()).collect()
}

fn loss(
    model: &Clip,
    kind: Loss,
    images: Tensor<2>,
    texts: Tensor<2>,
    batch: &PairBatch,
) -> Tensor<1> {
    match (kind, &model.bias) {
        (Loss::Sigmoid, Some(bias)) => {
            let ignored = ignored(batch);
            loss::sigmoid(images, texts, model.scale.val(), bias.val(), &ignored)
        }
        _ => loss::info_nce(images, texts, model.scale.val()),
    }
}

/// Pairs that are neither a match nor a miss: captions of the same group, and false captions of other
/// pictures, which may by chance be true here.
fn ignored(PairBatch { groups, owners, .. }: &PairBatch) -> Vec<bool> {
    let mut ignored = Vec::with_capacity(groups.len() * (groups.len() + owners.len()));
    for (i, group) in groups.iter().enumerate() {
        ignored.extend(groups.iter().enumerate().map(|(j, other)| i != j && group == other));
        ignored.extend(owners.iter().map(|&owner| owner != i));
    }
    ignored
}

/// Share of pictures whose own caption is the nearest of all true ones in the batch, and share of
/// false captions that are further from their picture than its own (0 without any).
fn accuracies(images: Tensor<2>, texts: Tensor<2>, owners: &[usize]) -> [f64; 2] {
    let ([n, _], [m, _]) = (images.dims(), texts.dims());
    let cosines = read(images.detach().matmul(texts.detach().transpose())); // [N, M]
    let row_best =
        |row: &[f32]| (0..n).fold(0, |best, j| if row[j] > row[best] { j } else { best });
    let nearest = cosines.chunks(m).enumerate().filter(|(i, row)| row_best(row) == *i).count();
    let owned = owners.iter().zip(n..m);
    let further: Vec<bool> = owned.map(|(&i, j)| cosines[i * m + i] > cosines[i * m + j]).collect();
    let share = |right: usize, of: usize| right as f64 / of.max(1) as f64;
    let right = further.iter().filter(|further| **further).count();
    [share(nearest, n), share(right, further.len())]
}

/// SigLIP starts its bias at -10, which is about `-ln` of its batch of 32 768: the logit of a match
/// among that many. The bias moves slowly, so a start for another batch makes the encoders first
/// collapse to one point to make up for it; at small batches it has to start at their own `-ln`.
fn start_bias(model: Clip, batch: usize) -> Clip {
    let start = |_: &str, _: &[usize], values: &mut Vec<f32>| {
        values[0] = -(batch as f32).ln();
        true
    };
    Clip { bias: params::update(model.bias, start), ..model }
}

/// The paper clamps the scale after every step, so that logits stay below 100.
fn clamp_scale(model: Clip) -> Clip {
    let clamp = |_: &str, _: &[usize], values: &mut Vec<f32>| {
        values[0] = values[0].clamp(0.0, MAX_SCALE);
        true
    };
    Clip { scale: params::update(model.scale, clamp), ..model }
}
