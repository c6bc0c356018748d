//! ImageBind: sounds, videos and tables come into the space that a trained CLIP has made of pictures and
//! texts, by what is said of them.
//!
//! Girdhar et al. 2023, <https://arxiv.org/abs/2305.05665>, section 3.2, which binds to pictures; here the
//! anchors are captions, as in LanguageBind (Zhu et al. 2023, <https://arxiv.org/abs/2310.01852>). The loss is
//! SigLIP's, among the media of one kind in a batch. CLIP does not learn.
//!
//! ```text
//! sensorium train recipes/imagebind/nano.toml
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_data::{Config, Example, Examples};
use sensorium_encoder::text::Texts;
use sensorium_encoder::{EncoderConfig, image};
use sensorium_media::{ImageProcessor, Modality, Tokenizer};
use sensorium_model::clip::unit;
use sensorium_model::imagebind::{BoundHead, BoundTower, ImageBind, ImageBindConfig};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use sensorium_pretrained::{Directory, MediaProcessor, Piece, Words};
use serde::{Deserialize, Serialize};

use crate::batch::{draw, mean, texts};
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
use crate::recipes::clip::recall::Gallery;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::towers::{NewTower, no_vit, vit};

/// An ImageBind training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageBindRecipe {
    /// `"imagebind"`.
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
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Media with captions a step.
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
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A model that was trained here and compares pictures and texts, in `from`.
    pub model: ModelConfig,
    /// Encoders of other media; those that the model has already go on from what they are.
    pub media: Vec<NewTower>,
    /// Sounds, videos and tables with captions.
    pub data: Config,
}

/// Where such a model may be.
const HINT: &str = "model.from = \"runs/clip/final\"";

fn eval_batches() -> u64 {
    8
}

/// Trains the encoders of other media and what makes vectors of what they saw.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &ImageBindRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &ImageBindRecipe { steps, epochs: None, ..recipe.clone() };
    let (model, training) = begin(recipe, &recipe.model.trained_here(options, HINT)?)?;
    let parts = trained(recipe, &training.shape);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (model, trained) = thaw_only(model, &parts)?;
    eprintln!("{trained}");
    let pairs = training.pairs.clone();
    let make = move |examples: &Examples, step, progress| pairs.make(examples, step, progress);
    let side = training.processor.size().map_or(1, |[side, _]| side);
    let known: Vec<Modality> =
        training.shape.encoders.iter().map(EncoderConfig::modality).collect();
    let lacks = move |example: &Example| lacks(example, &known);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let ImageBindRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.published().cloned().collect();
    let provenance = provenance::begin("imagebind", &resolved, recipe.seed, &start, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("imagebind", options, &resolved, plan, model, &mut optim)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let (value, gradients, extra) = training.learn(&model, &batch)?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;
        let mut extra = extra;
        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let (loss, recall) = training.val(&best, batches)?;
            extra.extend(recall);
            run.keep_best(step, loss, || training.files(&best))?;
        }
        let (samples, flops) = (recipe.batch_size, 3.0 * training.flops(&batch));
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, or its settings are damaged.
pub fn stages(recipe: &ImageBindRecipe) -> Result<Vec<Planned>> {
    let directory = recipe.model.trained_here(&RunOptions::new("."), HINT)?;
    let settings = SensoriumConfig::read(&directory)?;
    let shape = shape(recipe, &directory, &settings)?;
    let shapes = params::shapes(|init| ImageBind::init(&shape, init));
    let ImageBindRecipe { steps, batch_size, .. } = *recipe;
    let trained = trained(recipe, &shape);
    Ok(vec![Planned::new("imagebind", shapes, &trained, steps, batch_size)?])
}

/// The encoders that the model is to have: those that it has, and new ones.
fn shape(
    recipe: &ImageBindRecipe,
    directory: &Directory,
    settings: &SensoriumConfig,
) -> Result<ImageBindConfig> {
    let Some(clip) = &settings.clip else {
        return Err(model::unknown_family(directory, &["a clip recipe"]));
    };
    let image::EncoderConfig::Vit(image) = &clip.image else { return Err(no_vit()) };
    let embed = clip.text.embed;
    let mut shape =
        settings.imagebind.clone().unwrap_or(ImageBindConfig { encoders: Vec::new(), embed });
    for new in &recipe.media {
        let answers = settings.llava.as_ref().and_then(|llava| llava.tower(new.kind));
        let known = answers.map(|tower| tower.encoder.clone());
        if shape.encoder(new.kind).is_none() {
            shape.encoders.push(known.map_or_else(|| new.config(image, embed), Ok)?);
        }
    }
    Ok(shape)
}

/// What learns: all but a video's image encoder, and the head for transcripts.
fn trained(recipe: &ImageBindRecipe, shape: &ImageBindConfig) -> Vec<String> {
    let names = params::shapes(|init| ImageBind::init(shape, init)).into_iter();
    let learns = |name: &String| match &recipe.model.train {
        Some(parts) => parts.iter().any(|part| name.starts_with(part.as_str())),
        None => !name.contains(".encoder.image."),
    };
    names
        .map(|(name, _)| name)
        .filter(|name| learns(name) && !name.contains(".encoder.head."))
        .collect()
}

/// What is trained, and how.
struct Training {
    pairs: Arc<Pairs>,
    shape: ImageBindConfig,
    words: Words,
    processor: ImageProcessor,
    tokenizer: Tokenizer,
    settings: SensoriumConfig,
    /// Components that do not learn.
    others: Vec<(&'static str, Tensors)>,
    device: Device,
}

/// The model in a directory, with the encoders that it is to have.
fn begin(recipe: &ImageBindRecipe, directory: &Directory) -> Result<(ImageBind, Training)> {
    let settings = SensoriumConfig::read(directory)?;
    let shape = shape(recipe, directory, &settings)?;
    let device = recipe.device.open();
    let constants = device.clone().without_autodiff();
    let sensorium::Anchors { towers, tokenizer } = sensorium::anchors(directory, &constants)?;
    let words = Words { tower: towers.text.clone(), input: towers.texts.clone() };
    let image = vit(&towers.image)?;
    let init = &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute);
    let kept = settings.components();
    let mut model = ImageBind { towers: Vec::new() };
    for config in &shape.encoders {
        let [file, _] = sensorium::tower(config.modality());
        let new = recipe.media.iter().find(|new| new.kind == config.modality());
        let mut encoder = match new {
            Some(new) if !kept.contains(&file) => new.encoder(config, image, init)?,
            _ => sensorium_encoder::Encoder::init(config, init),
        };
        if kept.contains(&file) {
            encoder = weights::load(encoder, &directory.component(file)?)?;
        }
        let mut head = BoundHead::init([config.width(), shape.embed], init);
        let file = sensorium::head(config.modality());
        if kept.contains(&file) {
            head = weights::load(head, &directory.component(file)?)?;
        }
        model.towers.push(BoundTower { encoder, head });
    }
    let learned: Vec<&str> = shape
        .encoders
        .iter()
        .flat_map(|one| [sensorium::tower(one.modality())[0], sensorium::head(one.modality())])
        .collect();
    let others = sensorium::components_but(directory, &settings, &learned)?;
    let processor = towers.processor.clone();
    let processors = shape.encoders.iter();
    let processors =
        processors.map(|encoder| MediaProcessor::new(encoder, &processor, Some(&words)));
    let pairs = Pairs {
        processors: processors.collect::<sensorium_pretrained::Result<_>>()?,
        words: words.clone(),
        batch_size: recipe.batch_size,
    };
    let pairs = Arc::new(pairs);
    let training = Training { pairs, shape, words, processor, tokenizer, settings, others, device };
    Ok((model, training))
}

/// What an example has not.
fn lacks(example: &Example, known: &[Modality]) -> Option<&'static str> {
    match &example.media[..] {
        _ if example.text.is_none() => Some("captions"),
        [medium] if known.contains(&medium.modality()) => None,
        _ => Some("one sound, video or table each, of a kind in [[media]]"),
    }
}

/// What makes a step's batches.
struct Pairs {
    processors: Vec<MediaProcessor>,
    words: Words,
    batch_size: usize,
}

/// The media of one kind in a step.
struct Kind {
    modality: Modality,
    pieces: Vec<Piece>,
    /// Which medium each piece is of.
    owners: Vec<usize>,
    texts: Texts,
    groups: Vec<u64>,
}

impl Pairs {
    fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<Vec<Kind>> {
        let examples = draw(examples, step, self.batch_size, progress)?;
        let kinds = self.processors.iter().map(|processor| self.kind(processor, &examples));
        let kinds: Vec<Kind> = kinds.collect::<Result<_>>()?;
        Ok(kinds.into_iter().filter(|kind| !kind.groups.is_empty()).collect())
    }

    fn kind(&self, processor: &MediaProcessor, examples: &[Example]) -> Result<Kind> {
        let modality = processor.modality();
        let (mut pieces, mut owners, mut captions) = (Vec::new(), Vec::new(), Vec::new());
        let mut groups = Vec::new();
        let own = |example: &&Example| {
            example.media.first().is_some_and(|medium| medium.modality() == modality)
        };
        for (i, example) in examples.iter().filter(own).enumerate() {
            let new = processor.pieces(&example.media[0])?;
            owners.extend(std::iter::repeat_n(i, new.len()));
            pieces.extend(new);
            captions.push(example.text.as_deref().unwrap_or_default());
            groups.push(example.group);
        }
        let texts = match captions.is_empty() {
            true => Texts { ids: Vec::new(), shape: [0; 2], ends: Vec::new() },
            false => texts(&self.words.input, &captions)?,
        };
        Ok(Kind { modality, pieces, owners, texts, groups })
    }
}

impl Training {
    /// The loss of a kind's media, and their vectors and those of their captions, `[B, C]`.
    fn compared(&self, model: &ImageBind, kind: &Kind) -> Result<Compared> {
        let constants = &self.device.clone().without_autodiff();
        let processor = self.pairs.processors.iter().find(|p| p.modality() == kind.modality);
        let input = processor.map(|p| p.input(&kind.pieces, constants)).transpose()?.flatten();
        let (Some(tower), Some(input)) = (model.tower(kind.modality), input) else {
            return Err(no_vit());
        };
        let media = owned(tower.embed(input), &kind.owners, kind.groups.len());
        let told = unit(self.words.tower.embed(&kind.texts));
        let told = Tensor::from_data(told.into_data(), &media.device());
        let alike = |i: usize, j: usize| i != j && kind.groups[i] == kind.groups[j];
        let n = kind.groups.len();
        let ignored: Vec<bool> = (0..n * n).map(|at| alike(at / n, at % n)).collect();
        let BoundHead { scale, bias, .. } = &tower.head;
        let loss = loss::sigmoid(media.clone(), told.clone(), scale.val(), bias.val(), &ignored);
        Ok(Compared { loss, media, told })
    }

    /// The loss of all kinds, each by its share of the batch; its gradients; the loss of each kind.
    fn learn(
        &self,
        model: &ImageBind,
        batch: &[Kind],
    ) -> Result<(f64, Gradients, BTreeMap<String, f64>)> {
        let all: usize = batch.iter().map(|kind| kind.groups.len()).sum();
        let (mut gradients, mut value, mut extra) = (Gradients::new(), 0.0, BTreeMap::new());
        for kind in batch {
            let share = kind.groups.len() as f64 / all.max(1) as f64;
            let reached = reached(model, kind.modality);
            let Compared { loss, .. } = self.compared(&reached, kind)?;
            let own = f64::from(read(loss.clone())[0]);
            value += share * own;
            extra.insert(format!("{}_loss", kind.modality), own);
            let new = params::gradients(&reached, loss.backward())?;
            optim::accumulate(&mut gradients, new, share as f32);
        }
        Ok((value, gradients, extra))
    }

    /// Mean loss of batches that are not learned from, and recall among all pairs of each kind.
    fn val(
        &self,
        model: &ImageBind,
        batches: impl Iterator<Item = Result<Vec<Kind>>>,
    ) -> Result<(f64, BTreeMap<String, f64>)> {
        let (mut losses, mut galleries) = (Vec::new(), BTreeMap::<Modality, Gallery>::new());
        for batch in batches {
            for kind in batch? {
                let Compared { loss, media, told } = self.compared(model, &kind)?;
                losses.push((f64::from(read(loss)[0]), kind.groups.len() as f64));
                let t = kind.texts.shape[1].max(1);
                let captions = kind.texts.ids.chunks(t).map(<[u32]>::to_vec).collect();
                galleries.entry(kind.modality).or_default().add(
                    &read(media),
                    &read(told),
                    captions,
                );
            }
        }
        let recall = galleries.iter().flat_map(|(modality, gallery)| {
            let named = move |(name, value)| (format!("{modality}_{name}"), value);
            gallery.recall().into_iter().map(named)
        });
        Ok((mean(losses), recall.collect()))
    }

    /// Of the forward pass, by what of each medium there is.
    fn flops(&self, batch: &[Kind]) -> f64 {
        let kind = |kind: &Kind| {
            let Some(encoder) = self.shape.encoder(kind.modality) else { return 0.0 };
            let processor = self.pairs.processors.iter().find(|p| p.modality() == kind.modality);
            let positions = |piece| processor.map_or(0, |p| p.positions(piece));
            let seen: usize = kind.pieces.iter().map(positions).sum();
            encoder.flops() * seen as f64 / encoder.positions().max(1) as f64
        };
        batch.iter().map(kind).sum()
    }

    /// The model's files.
    fn files(&self, model: &ImageBind) -> Result<Files> {
        let mut components = self.others.clone();
        for tower in &model.towers {
            let modality = tower.encoder.modality();
            components.push((sensorium::tower(modality)[0], weights::tensors(&tower.encoder)?));
            components.push((sensorium::head(modality), weights::tensors(&tower.head)?));
        }
        let imagebind = Some(self.shape.clone());
        let settings = SensoriumConfig { imagebind, ..self.settings.clone() };
        model::own(&components, &settings, &self.tokenizer, Some(&self.processor))
    }
}

/// Media beside what is said of them.
struct Compared {
    loss: Tensor<1>,
    media: Tensor<2>,
    told: Tensor<2>,
}

/// Vectors of pieces, `[P, C]`, to those of the media that they are of, `[B, C]`: their mean, of unit length.
fn owned(pieces: Tensor<2>, owners: &[usize], media: usize) -> Tensor<2> {
    if owners.len() == media {
        return pieces;
    }
    let mut shares = vec![0.0f32; media * owners.len()];
    for (piece, &owner) in owners.iter().enumerate() {
        shares[owner * owners.len() + piece] = 1.0;
    }
    let data = TensorData::new(shares, [media, owners.len()]);
    unit(Tensor::<2>::from_data(data, &pieces.device()).matmul(pieces))
}

/// The model with only that trainable which media of one kind reach.
fn reached(model: &ImageBind, modality: Modality) -> ImageBind {
    let towers =
        model.towers.iter().cloned().map(|tower| match tower.encoder.modality() == modality {
            true => tower,
            false => params::set_trainable(tower, |_| false),
        });
    ImageBind { towers: towers.collect() }
}
