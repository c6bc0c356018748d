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

mod chunked;
mod pairs;
pub(super) mod recall;
mod training;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Tensors;
use sensorium_data::{Config, Example, Examples, Facts};
use sensorium_encoder::image::{EncoderConfig, VitConfig};
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::clip::{Clip, ClipConfig, MAX_SCALE};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::tower::{self, ImageTower};
use sensorium_pretrained::families::{clip, open_clip, siglip};
use sensorium_pretrained::{Directory, TextInput, Trainable};
use serde::{Deserialize, Serialize};

use self::pairs::{PairBatch, Pairs};
use crate::chat::Chat;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::{Result, TrainError};
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::heads::captioner::{Captioner, CaptionerConfig};
use crate::heads::places::Places;
use crate::heads::regions::Regions;
use crate::memory::{self, Reads};
use crate::model::{self, ModelConfig, Start};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::size::{ImageEncoder, Size};

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
    /// third more time, the same bits. A ResNet keeps them.
    #[serde(default)]
    pub recompute: bool,
    /// A new model's image encoder: `"vit"`, or `"resnet"`, CLIP's, which learns by the contrastive loss,
    /// `gist_weight` and `place_weight`. Norms of what is trained go by the batch, those of what is frozen
    /// by their running statistics, which then stay as they are.
    #[serde(default, skip_serializing_if = "is_vit")]
    pub image_encoder: ImageEncoder,
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
    /// Parts that a step's pairs are run in, for a large batch in little memory (GradCache): the same
    /// gradient, for one more forward pass. Of the contrastive loss alone.
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

fn whole() -> usize {
    1
}

fn is_vit(image: &ImageEncoder) -> bool {
    *image == ImageEncoder::Vit
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
        Start::Around(encoder, size, tokenizer) => around(recipe, &encoder, size, tokenizer)?,
        Start::Published(directory) => published(recipe, directory)?,
        Start::Parts(_) => return Err(of_parts()),
    };
    let parts = parts(recipe, training.shape.bias);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (model, trained) = thaw_only(model, &parts)?;
    eprintln!("{trained}");
    let pairs = training.pairs.clone();
    refuse_chunked_norms(recipe, &model)?;
    let side = if recipe.pictures { training.shape.image.side() as u32 } else { 1 };
    let make = move |examples: &Examples, step, progress| pairs.make(examples, step, progress);
    let seeds = [recipe.seed, recipe.steps];
    let lacks = |example: &Example| lacks(recipe, example);
    let feed = Feed::open(&recipe.data, seeds, side, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let ClipRecipe { steps, save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.published().chain(&recipe.start).cloned().collect();
    let provenance = provenance::begin("clip", &resolved, recipe.seed, &start, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("clip", options, &resolved, plan, model, &mut optim)?;

    check_memory(recipe, &model, &training.shape.image)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let training::Learned { value, gradients, mut extra, flops } =
            training.learn(&model, batch)?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = ClipWithHeads { clip: clamp_scale(updated.clip), ..updated };

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let (loss, recall) = training.val(&best, batches)?;
            extra.extend(recall);
            run.keep_best(step, loss, || training.files(&best))?;
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

/// What the one stage trains of the model that is left; heads that only train are not counted.
///
/// # Errors
/// The model is of a kind that is not built in, or its settings are damaged.
pub fn stages(recipe: &ClipRecipe) -> Result<Vec<Planned>> {
    let shape = match recipe.model.start(&RunOptions::new("."))? {
        Start::New(size, tokenizer) => {
            size.clip(recipe.image_encoder, tokenizer.vocabulary(), recipe.loss == Loss::Sigmoid)
        }
        Start::Around(encoder, size, tokenizer) => {
            around_config(recipe, &encoder, size, &tokenizer)?
        }
        Start::Published(directory) => match directory.model_type() {
            Some("clip") => clip::config(&directory.config())?,
            Some("siglip") => siglip::config(&directory.config())?,
            Some("open_clip") => open_clip::config(&directory.config())?,
            _ => return Err(model::unknown_family(&directory, &FAMILIES)),
        },
        Start::Parts(_) => return Err(of_parts()),
    };
    let mut trained = parts(recipe, shape.bias);
    trained.retain(|part| part.starts_with("clip."));
    let shapes = weights::under("clip", shape.parameters());
    let ClipRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("clip", shapes, &trained, steps, batch_size)?])
}

/// `model_type` of published models that are trained.
const FAMILIES: [&str; 3] = ["clip", "siglip", "open_clip"];

fn of_parts() -> TrainError {
    let message = "expected size and tokenizer, or from, got parts of other models";
    model::config("model", message, "recipe = \"llava\" puts parts together")
}

/// Captions alone teach only by losses that a recipe may leave out.
fn validate(recipe: &ClipRecipe) -> Result<()> {
    let ClipRecipe { caption_weight, gist_weight, region_weight, place_weight, .. } = *recipe;
    if recipe.image_encoder == ImageEncoder::Resnet {
        let ModelConfig { from, encoder, .. } = &recipe.model;
        if from.is_some() || encoder.is_some() {
            let message = "expected vit beside from or encoder, got resnet";
            return Err(model::config(
                "image_encoder",
                message,
                "what is published says it itself",
            ));
        }
        if caption_weight + region_weight > 0.0 {
            let message = "expected vit beside caption_weight and region_weight, got resnet";
            return Err(model::config("image_encoder", message, "leave the weights out"));
        }
    }
    let alone =
        recipe.pictures && caption_weight + gist_weight + region_weight + place_weight == 0.0;
    if recipe.accumulate > 1 && !alone {
        let message = "expected the contrastive loss alone, got another beside it";
        let hint = "leave accumulate out, or the weights of the other losses";
        return Err(model::config("accumulate", message, hint));
    }
    if recipe.pictures || recipe.place_weight > 0.0 || recipe.gist_weight > 0.0 {
        return Ok(());
    }
    let message = "expected a loss over captions alone, got a place_weight and a gist_weight of 0";
    Err(model::config("pictures", message, "raise one of the two, or set pictures = true"))
}

/// Refuses a batch in parts where norms are trained: by the statistics of a part, a vector is another one.
fn refuse_chunked_norms(recipe: &ClipRecipe, model: &ClipWithHeads) -> Result<()> {
    let follows = |p: &params::Parameter| p.moves && !p.trainable;
    if recipe.accumulate <= 1 || !params::list(model).iter().any(follows) {
        return Ok(());
    }
    let message = "expected 1 beside batch norms that are trained, got more";
    Err(model::config("accumulate", message, "lower batch_size, or freeze the image encoder"))
}

/// Refuses what cannot fit in memory.
fn check_memory(recipe: &ClipRecipe, model: &ClipWithHeads, image: &EncoderConfig) -> Result<()> {
    // Of captions, which are short, nothing is known yet.
    let at_once = recipe.batch_size.div_ceil(recipe.accumulate.max(1));
    let seen = if recipe.pictures { at_once } else { 0 };
    let parts = [("clip.image", seen * image.positions())];
    let mut need = memory::need(model, Reads { parts: &parts, recompute: recipe.recompute });
    let EncoderConfig::Resnet(resnet) = image else {
        return memory::check(need, at_once, recipe.recompute);
    };
    let of_image = |p: &params::Parameter| p.trainable && p.name.starts_with("clip.image");
    if params::list(model).iter().any(of_image) {
        need.activations += (size_of::<f32>() * seen * resnet.activations()) as f64;
    }
    memory::check(need, at_once, true)
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
) -> Result<(ClipWithHeads, training::Training<'_>)> {
    let vocabulary = tokenizer.vocabulary();
    let shape = size.clip(recipe.image_encoder, vocabulary, recipe.loss == Loss::Sigmoid);
    let captioner_config = size.captioner(vocabulary);
    let mut model = init(recipe, &shape, &captioner_config);
    if let Some(dir) = &recipe.start {
        let known = start(dir, &model)?;
        model = weights::load(model, &known)?;
    }
    let tokens = captioner_config.projector.tokens(shape.image.positions());
    let chat = |tokens| Chat::own(&tokenizer, tokens, captioner_config.decoder.context);
    let texts = TextInput::own(&tokenizer, &shape.text)?;
    let processor = ImageProcessor::padded(shape.image.side() as u32);
    let answers = recipe.pictures && recipe.caption_weight > 0.0;
    let pairs = Pairs {
        answers: answers.then(|| chat(tokens)).transpose()?,
        gists: (recipe.gist_weight > 0.0).then(|| chat(1)).transpose()?,
        ..contrasted(recipe, &shape, texts, processor)
    };
    let (captioner_config, home) = (Some(captioner_config), training::Home::Own(tokenizer));
    Ok((model, training::Training { recipe, pairs: pairs.into(), shape, captioner_config, home }))
}

/// A trained image encoder with a new projection, and a new text tower.
fn around<'a>(
    recipe: &'a ClipRecipe,
    encoder: &Directory,
    size: Size,
    tokenizer: Box<Tokenizer>,
) -> Result<(ClipWithHeads, training::Training<'a>)> {
    contrasts_only(recipe, "model.encoder")?;
    let shape = around_config(recipe, encoder, size, &tokenizer)?;
    let init = |seed| recipe.device.init(seed, recipe.precision, recipe.recompute);
    let ImageTower { vit, processor, .. } = tower::image(encoder, &mut init(None))?;
    let clip = start_bias(Clip::init(&shape, &mut init(Some(recipe.seed))), recipe.batch_size);
    // All but its projection.
    let mut known = weights::tensors(&clip.image)?;
    known.tensors.extend(weights::tensors(&vit)?.tensors);
    let clip = Clip { image: weights::load(clip.image, &known)?, ..clip };
    let model = ClipWithHeads { clip, captioner: None, regions: None, places: None };
    let texts = TextInput::own(&tokenizer, &shape.text)?;
    let pairs = contrasted(recipe, &shape, texts, processor).into();
    let home = training::Home::Own(tokenizer);
    Ok((model, training::Training { recipe, pairs, shape, captioner_config: None, home }))
}

/// Its shape.
fn around_config(
    recipe: &ClipRecipe,
    encoder: &Directory,
    size: Size,
    tokenizer: &Tokenizer,
) -> Result<ClipConfig> {
    let sigmoid = recipe.loss == Loss::Sigmoid;
    let shape = size.clip(recipe.image_encoder, tokenizer.vocabulary(), sigmoid);
    let image = tower::image_config(encoder)?;
    let image = VitConfig { proj: true, embed: shape.text.embed, ..image };
    let image = EncoderConfig::Vit(image);
    Ok(ClipConfig { image, ..shape })
}

/// Refuses losses that ask for more than two towers.
fn contrasts_only(recipe: &ClipRecipe, key: &str) -> Result<()> {
    let ClipRecipe { caption_weight, gist_weight, region_weight, place_weight, .. } = *recipe;
    if caption_weight + gist_weight + region_weight + place_weight > 0.0 || recipe.start.is_some() {
        let message = "expected the contrastive loss alone, got the weight of another, or start";
        let hint = "leave them out, or train a new model with size and tokenizer";
        return Err(model::config(key, message, hint));
    }
    Ok(())
}

/// A published model, which has only the contrastive loss.
fn published(
    recipe: &ClipRecipe,
    directory: Directory,
) -> Result<(ClipWithHeads, training::Training<'_>)> {
    contrasts_only(recipe, "model.from")?;
    let init = &mut recipe.device.init(None, recipe.precision, recipe.recompute);
    let Trainable { clip, config: shape, layout, processor, texts } = match directory.model_type() {
        Some("clip") => clip::trainable(&directory, init)?,
        Some("siglip") => siglip::trainable(&directory, init)?,
        Some("open_clip") => open_clip::trainable(&directory, init)?,
        _ => return Err(model::unknown_family(&directory, &FAMILIES)),
    };
    if shape.bias != (recipe.loss == Loss::Sigmoid) {
        let hint = "sigmoid is SigLIP's loss, info_nce is CLIP's";
        let message = "expected the loss that the model was trained with, got the other";
        return Err(model::config("loss", message, hint));
    }
    let model = ClipWithHeads { clip, captioner: None, regions: None, places: None };
    let pairs = contrasted(recipe, &shape, texts, processor);
    let (beside, file) = (model::beside(&directory)?, directory.weights_file());
    let home = training::Home::Published { beside, layout, file };
    Ok((
        model,
        training::Training { recipe, pairs: pairs.into(), shape, captioner_config: None, home },
    ))
}

/// What makes the batches of a model that does not learn to tell.
fn contrasted(
    recipe: &ClipRecipe,
    shape: &ClipConfig,
    texts: TextInput,
    processor: ImageProcessor,
) -> Pairs {
    let negatives = recipe.pictures && recipe.loss == Loss::Sigmoid;
    let ClipRecipe { batch_size: batch, pictures, region_weight, place_weight, .. } = *recipe;
    let regions = (pictures && region_weight > 0.0).then(|| shape.image.positions());
    let places = place_weight > 0.0;
    let (answers, gists) = (None, None);
    Pairs { texts, processor, answers, gists, batch, pictures, negatives, regions, places }
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
    let regions = names.then(|| Regions::init(config.image.width(), &Facts::REGION_CLASSES, init));
    let tells_where = recipe.place_weight > 0.0;
    let places = tells_where.then(|| Places::init(config.text.embed, Facts::PLACES, init));
    ClipWithHeads { clip, captioner, regions, places }
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
