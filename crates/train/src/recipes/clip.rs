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

use crate::heads::captioner::{Captioner, CaptionerConfig};
use crate::heads::places::Places;
use crate::heads::regions::Regions;
use rayon::prelude::*;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Tensors;
use sensorium_data::caption::RELATED;
use sensorium_data::icons::Icons;
use sensorium_data::look::Look;
use sensorium_data::pairs::{self, Mix, Pair};
use sensorium_data::scene::{Object, Scene, Split, UNKNOWN};
use sensorium_media::{ImageProcessor, Prompt, Special, Tokenizer};
use sensorium_model::clip::{Clip, ClipConfig, MAX_SCALE, unit};
use sensorium_model::prompt::{Batch, IGNORED};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::training_device;
use serde::{Deserialize, Serialize};

use crate::batch::{conversation, gather, images, questions, side, texts};
use crate::config;
use crate::error::{Result, TrainError};
use crate::freeze::thaw_only;
use crate::optim::{AdamW, OptimConfig};
use crate::recipes::Recipe;
use crate::run::{Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::size::Size;
use crate::tokenizer;

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
    /// Size of the model.
    pub size: Size,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this CPU.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Whether every block makes its activations again in the backward pass: less memory, about a
    /// third more time, the same bits.
    #[serde(default)]
    pub recompute: bool,
    /// The tokenizer's file.
    pub tokenizer: PathBuf,
    /// The icons' directory; without it there are only scenes.
    pub icons: Option<PathBuf>,
    /// Share of icons among the pairs.
    #[serde(default)]
    pub icon_share: f32,
    /// Whether pictures are looked at. Without them the text tower learns by itself what captions can
    /// teach: `place_weight` and `gist_weight` say how much of what.
    #[serde(default = "yes")]
    pub pictures: bool,
    /// How often (0 to 1) a caption tells how two objects lie, where they can be told apart.
    #[serde(default = "related")]
    pub related: f32,
    /// A directory with the `image`, `text` and `clip` files to train on from, as `.gguf` or
    /// `.safetensors`, and that of a captioner, where a run has left one; without it training
    /// starts from seeded weights.
    pub start: Option<PathBuf>,
    /// Parts to train, by the beginnings of their names (`clip.text`, `clip.image.blocks.4`);
    /// without it, all.
    pub train: Option<Vec<String>>,
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
    pub steps: u64,
    /// Pairs a step.
    pub batch: usize,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// How much of the way from easy to full scenes (0 to 1) lies behind at the first step: 0.4 goes
    /// on with all that scenes can hold.
    #[serde(default)]
    pub begin: f32,
    /// The loss.
    pub loss: Loss,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
}

fn yes() -> bool {
    true
}

fn related() -> f32 {
    RELATED
}

/// What is trained: the two encoders and, beside them, what makes the image encoder tell.
#[derive(Module, Debug)]
struct Pupil {
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
    teaches(recipe)?;
    let tokenizer = tokenizer::load(&recipe.tokenizer)?;
    let config = recipe.size.clip(tokenizer.vocabulary(), recipe.loss == Loss::Sigmoid);
    let told = recipe.size.captioner(tokenizer.vocabulary());
    let icons = recipe.icons.as_deref().map(Icons::open).transpose()?;
    let mut pupil = seeded(recipe, &config, &told);
    if let Some(dir) = &recipe.start {
        let known = start(dir, &pupil)?;
        pupil = weights::load(pupil, &known)?;
    }
    let parts = parts(recipe);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (model, trained) = thaw_only(pupil, &parts)?;
    eprintln!("{trained}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let plan = [recipe.steps, recipe.save_every];
    let (mut run, mut model) =
        Run::open("clip", options, &config::resolved(recipe)?, plan, model, &mut optim)?;

    let training = Training { recipe, icons, tokenizer: &tokenizer, config: &config, told: &told };
    for step in run.steps() {
        let Lesson { loss, extra, flops } = match recipe.pictures {
            true => training.seen(&model, step),
            false => training.told(&model, step),
        }?;
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = Pupil { clip: clamp_scale(updated.clip), ..updated };

        let (samples, flops) = (recipe.batch, 3.0 * flops);
        run.log(Step { step, loss: value, rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
    }
    let Pupil { clip, captioner, places, .. } = optim.averaged(model.clone());
    let mut scalars = weights::tensors(&clip)?;
    scalars.tensors.retain(|name, _| ["scale", "bias"].contains(&name.as_str()));
    let mut components = vec![
        ("image", weights::tensors(&clip.image)?),
        ("text", weights::tensors(&clip.text)?),
        ("clip", scalars),
    ];
    if let Some(captioner) = captioner {
        components.push(("captioner", weights::tensors(&captioner)?));
    }
    if let Some(places) = places {
        components.push(("places", weights::tensors(&places)?));
    }
    run.finish(&model, &components)
}

/// Captions alone teach only by losses that a recipe may leave out.
fn teaches(recipe: &ClipRecipe) -> Result<()> {
    if recipe.pictures || recipe.place_weight > 0.0 || recipe.gist_weight > 0.0 {
        return Ok(());
    }
    Err(TrainError::Config {
        place: "recipe".into(),
        key: "pictures".into(),
        message: "expected a loss over captions alone, got a place_weight and a gist_weight of 0"
            .into(),
        hint: "raise one of the two, or set pictures = true".into(),
    })
}

/// The two encoders with what the recipe's losses need beside them.
fn seeded(recipe: &ClipRecipe, config: &ClipConfig, told: &CaptionerConfig) -> Pupil {
    let device = training_device();
    let init =
        &mut Init::new(recipe.seed, &device).with(recipe.precision).recomputing(recipe.recompute);
    let clip = start_bias(Clip::init(config, init), recipe.batch);
    let tells = recipe.caption_weight > 0.0 || recipe.gist_weight > 0.0;
    let captioner = tells.then(|| Captioner::init(told, init));
    let names = recipe.region_weight > 0.0;
    let regions = names.then(|| Regions::init(config.image.width, &Look::CLASSES, init));
    let tells_where = recipe.place_weight > 0.0;
    let places =
        tells_where.then(|| Places::init(config.text.embed, UNKNOWN.as_flattened().len(), init));
    Pupil { clip, captioner, regions, places }
}

/// What a step reads.
struct Training<'a> {
    recipe: &'a ClipRecipe,
    icons: Option<Icons>,
    tokenizer: &'a Tokenizer,
    config: &'a ClipConfig,
    told: &'a CaptionerConfig,
}

/// What a step learns from: the sum of its losses, what is logged of them, and the operations of the
/// forward pass.
struct Lesson {
    loss: Tensor<1>,
    extra: BTreeMap<String, f64>,
    flops: f64,
}

impl Lesson {
    /// Nothing to learn yet, after `flops` operations.
    fn new(flops: f64) -> Self {
        Self { loss: Tensor::zeros([1], &training_device()), extra: BTreeMap::new(), flops }
    }

    fn add(&mut self, name: &str, part: Tensor<1>, weight: f32) {
        self.extra.insert(name.into(), f64::from(read(part.clone())[0]));
        self.loss = self.loss.clone() + part.mul_scalar(weight);
    }
}

impl Training<'_> {
    /// Pictures and their captions.
    fn seen(&self, model: &Pupil, step: u64) -> Result<Lesson> {
        let Self { recipe, config, told, .. } = *self;
        let batch = batch(recipe, self.icons.as_ref(), step);
        let pictures: Vec<_> = batch.iter().map(|pair| &pair.picture).collect();
        let images = images(&pictures, &ImageProcessor::nano(), &training_device());
        let (features, images) = model.clip.image.encode_and_embed(images, told.skip); // [B, N, E], [B, C]
        let images = unit(images);
        let captions = batch.iter().map(|pair| pair.caption.as_str());
        let false_ones = batch.iter().flat_map(|pair| pair.negatives.iter().map(String::as_str));
        let (texts, flops) = match recipe.loss {
            Loss::Sigmoid => self.embed_texts(&model.clip, captions.chain(false_ones)),
            Loss::InfoNce => self.embed_texts(&model.clip, captions),
        }?; // [M, C]
        let captions = texts.clone().narrow(0, 0, batch.len());

        let mut lesson = Lesson::new(flops + config.image.flops() * batch.len() as f64);
        let [accuracy, true_above_false] = accuracies(images.clone(), texts.clone(), &batch);
        lesson.extra.insert("accuracy".into(), accuracy);
        lesson.extra.insert("true_above_false".into(), true_above_false);
        lesson.add("contrast", loss(&model.clip, recipe.loss, images.clone(), texts, &batch), 1.0);
        if let Some(regions) = &model.regions {
            let named = named(&batch, config.image.patches());
            lesson.add("regions", regions.loss(features.clone(), &named), recipe.region_weight);
        }
        if let Some(places) = &model.places {
            let seen = places.loss(images.clone(), &seen_places(&batch));
            lesson.add("places", seen, recipe.place_weight);
        }
        self.add_sides(&mut lesson, model, &batch, captions.clone());
        if let (Some(captioner), true) = (&model.captioner, recipe.caption_weight > 0.0) {
            let answers = self.answers(&batch)?;
            lesson.flops += decoding(told, &answers);
            lesson.add("caption", captioner.loss(&answers, features), recipe.caption_weight);
        }
        let vectors = Tensor::cat(vec![images, captions], 0);
        self.add_gists(&mut lesson, model, batch.iter().chain(&batch), vectors)?;
        Ok(lesson)
    }

    /// Captions alone.
    fn told(&self, model: &Pupil, step: u64) -> Result<Lesson> {
        let batch = batch(self.recipe, self.icons.as_ref(), step);
        let captions = batch.iter().map(|pair| pair.caption.as_str());
        let (captions, flops) = self.embed_texts(&model.clip, captions)?; // [B, C]
        let mut lesson = Lesson::new(flops);
        self.add_sides(&mut lesson, model, &batch, captions.clone());
        self.add_gists(&mut lesson, model, batch.iter(), captions)?;
        Ok(lesson)
    }

    /// What captions `[B, C]` tell of places and sizes.
    fn add_sides(&self, lesson: &mut Lesson, model: &Pupil, batch: &[Pair], captions: Tensor<2>) {
        if let Some(places) = &model.places {
            let told = places.loss(captions, &told_places(batch));
            lesson.add("sides", told, self.recipe.place_weight);
        }
    }

    /// What the captioner is to write from a vector `[·, C]` of each pair.
    fn add_gists<'p>(
        &self,
        lesson: &mut Lesson,
        model: &Pupil,
        pairs: impl Iterator<Item = &'p Pair>,
        vectors: Tensor<2>,
    ) -> Result<()> {
        if let (Some(captioner), true) = (&model.captioner, self.recipe.gist_weight > 0.0) {
            let turn = |pair: &Pair| [[String::new(), pair.gist.clone()]];
            let prompt = |pair| conversation(&turn(pair), self.tokenizer, 1);
            let gists = self.padded(pairs.map(prompt).collect())?;
            lesson.flops += decoding(self.told, &gists);
            lesson.add("gist", captioner.gist_loss(&gists, vectors), self.recipe.gist_weight);
        }
        Ok(())
    }

    /// Texts as vectors `[M, C]`, and the operations that took.
    fn embed_texts<'t>(
        &self,
        model: &Clip,
        all: impl IntoIterator<Item = &'t str>,
    ) -> Result<(Tensor<2>, f64)> {
        let texts = texts(all, self.tokenizer, self.config.text.context)?;
        let [m, t] = texts.shape;
        Ok((model.embed_texts(&texts), self.config.text.flops(t) * m as f64))
    }

    /// What the captioner is to answer from each picture's positions.
    fn answers(&self, batch: &[Pair]) -> Result<Batch> {
        let tokens = self.told.projector.tokens(self.config.image.patches());
        let prompt = |pair: &Pair| questions(&pair.turns, self.tokenizer, tokens);
        self.padded(batch.par_iter().map(prompt).collect())
    }

    fn padded(&self, prompts: Result<Vec<Prompt>>) -> Result<Batch> {
        Ok(Batch::new(&prompts?, self.tokenizer.special(Special::Pad)?))
    }
}

/// Operations of the captioner's forward pass.
fn decoding(config: &CaptionerConfig, batch: &Batch) -> f64 {
    let [b, t] = batch.shape;
    config.decoder.flops(t, 0) * b as f64 + config.decoder.flops(0, batch.learned())
}

/// What is trained: what the recipe names, or all that one of its losses reaches.
fn parts(recipe: &ClipRecipe) -> Vec<String> {
    if let Some(parts) = &recipe.train {
        return parts.clone();
    }
    let (pictures, gists) = (recipe.pictures, recipe.gist_weight > 0.0);
    let answers = pictures && recipe.caption_weight > 0.0;
    let mut parts = vec!["clip.text"];
    parts.extend(pictures.then_some("clip.image"));
    parts.extend(pictures.then_some("clip.scale"));
    parts.extend((pictures && recipe.loss == Loss::Sigmoid).then_some("clip.bias"));
    parts.extend(answers.then_some("captioner.projector"));
    parts.extend(gists.then_some("captioner.vector"));
    parts.extend((answers || gists).then_some("captioner.decoder"));
    parts.extend((pictures && recipe.region_weight > 0.0).then_some("regions"));
    parts.extend((recipe.place_weight > 0.0).then_some("places"));
    parts.into_iter().map(str::to_owned).collect()
}

/// The weights of a trained [`Pupil`], one file for each part; those of what is thrown away after
/// training are read where there are any. What the files do not hold, because the model has grown
/// since, stays as it is in `seeded`.
fn start(dir: &Path, seeded: &Pupil) -> Result<Tensors> {
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

/// The classes of what lies at each of `positions`, for each attribute; unknown for icons.
fn named(batch: &[Pair], positions: usize) -> Vec<Vec<i32>> {
    let grid = positions.isqrt();
    let of = |pair: &Pair| -> Vec<[i32; 4]> {
        let Some(scene) = &pair.scene else { return vec![[IGNORED; 4]; positions] };
        let classes = |o: Option<&Object>| o.map_or([0; 4], |o| o.look().classes());
        scene.regions(grid).into_iter().map(classes).collect()
    };
    let all: Vec<[i32; 4]> = batch.iter().flat_map(of).collect();
    (0..4).map(|attribute| all.iter().map(|classes| classes[attribute]).collect()).collect()
}

/// Where things lie in each picture and how large they are; unknown for icons.
fn seen_places(batch: &[Pair]) -> Vec<Option<f32>> {
    let places = |pair: &Pair| pair.scene.as_ref().map_or(UNKNOWN, Scene::places);
    batch.iter().flat_map(places).flatten().collect()
}

/// What each caption says of that.
fn told_places(batch: &[Pair]) -> Vec<Option<f32>> {
    batch.iter().flat_map(|pair| pair.places).flatten().collect()
}

/// What a recipe learns from.
pub(crate) fn mix<'a>(recipe: &ClipRecipe, icons: Option<&'a Icons>) -> Mix<'a> {
    let size = side(&ImageProcessor::nano());
    let icons = icons.map(|icons| (icons, recipe.icon_share));
    Mix { split: Split::Train, seed: recipe.seed, size, icons, related: recipe.related }
}

fn batch(recipe: &ClipRecipe, icons: Option<&Icons>, step: u64) -> Vec<Pair> {
    let (mix, progress) = (mix(recipe, icons), progress(recipe, step));
    // Where nobody looks at a picture, one pixel is soonest drawn.
    let mix = Mix { size: if recipe.pictures { mix.size } else { 1 }, ..mix };
    gather(recipe.batch, |i| pairs::pair(&mix, step * recipe.batch as u64 + i, progress))
}

fn progress(recipe: &ClipRecipe, step: u64) -> f32 {
    schedule::progress([recipe.begin, 1.0], step, recipe.steps)
}

fn loss(
    model: &Clip,
    kind: Loss,
    images: Tensor<2>,
    texts: Tensor<2>,
    batch: &[Pair],
) -> Tensor<1> {
    match (kind, &model.bias) {
        (Loss::Sigmoid, Some(bias)) => {
            let ignored = ignored(batch);
            loss::sigmoid(images, texts, model.scale.val(), bias.val(), &ignored)
        }
        _ => loss::info_nce(images, texts, model.scale.val()),
    }
}

/// Pairs that are neither a match nor a miss: captions of scenes with the same objects, and false
/// captions of other pictures, which may by chance be true here.
fn ignored(batch: &[Pair]) -> Vec<bool> {
    let owned = |i: usize| std::iter::repeat_n(i, batch[i].negatives.len());
    let owners: Vec<usize> = (0..batch.len()).flat_map(owned).collect();
    let mut ignored = Vec::with_capacity(batch.len() * (batch.len() + owners.len()));
    for (i, pair) in batch.iter().enumerate() {
        ignored.extend(
            batch.iter().enumerate().map(|(j, other)| i != j && pair.concept == other.concept),
        );
        ignored.extend(owners.iter().map(|&owner| owner != i));
    }
    ignored
}

/// Share of pictures whose own caption is the nearest of all true ones in the batch, and share of
/// false captions that are further from their picture than its own (0 without any).
fn accuracies(images: Tensor<2>, texts: Tensor<2>, batch: &[Pair]) -> [f64; 2] {
    let ([n, _], [m, _]) = (images.dims(), texts.dims());
    let cosines = read(images.detach().matmul(texts.detach().transpose())); // [N, M]
    let row_best =
        |row: &[f32]| (0..n).fold(0, |best, j| if row[j] > row[best] { j } else { best });
    let nearest = cosines.chunks(m).enumerate().filter(|(i, row)| row_best(row) == *i).count();
    let owners = batch.iter().enumerate().flat_map(|(i, p)| p.negatives.iter().map(move |_| i));
    let further: Vec<bool> =
        owners.zip(n..m).map(|(i, j)| cosines[i * m + i] > cosines[i * m + j]).collect();
    let share = |right: usize, of: usize| right as f64 / of.max(1) as f64;
    let told = further.iter().filter(|further| **further).count();
    [share(nearest, n), share(told, further.len())]
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
