//! A generator of media from texts: rectified flow on latents, told by a frozen text tower.
//!
//! Liu et al. 2022, <https://arxiv.org/abs/2209.03003>; Esser et al. 2024, <https://arxiv.org/abs/2403.03206>; Bao et
//! al. 2022 (U-ViT), <https://arxiv.org/abs/2209.12152>. Text tower and autoencoder do not learn.
//!
//! ```text
//! sensorium train recipes/flow/nano.toml
//! ```

mod media;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_data::{Config, Examples};
use sensorium_generator::{GeneratorConfig, Grid, Noised, UvitConfig, Vae, VaeConfig};
use sensorium_media::stft::BANDS;
use sensorium_media::{ImageProcessor, Modality, Tokenizer};
use sensorium_model::latent_diffusion::{LatentDiffusion, LatentDiffusionConfig, Thoughts};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_output_projector::{MapperConfig, OutputProjectorConfig};
use sensorium_pretrained::families::generators;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use sensorium_pretrained::{Directory, Words};
use serde::{Deserialize, Serialize};

use self::media::{Batch, Maker};
use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::{Result, TrainError};
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files, ModelConfig};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::recipes::vae::trained as trained_vae;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of a generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRecipe {
    /// `"flow"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and noise.
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
    /// Share (0 to 1) of the samples that go without their text, so that guidance has something to go away from.
    #[serde(default = "drop_text")]
    pub drop_text: f32,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A model that was trained here and compares pictures and texts, in `from`: its text tower is what texts
    /// are told by.
    pub model: ModelConfig,
    /// The directory of an autoencoder, unless the model has one.
    pub vae: Option<PathBuf>,
    /// What is to be made: `"image"`, `"video"` or `"audio"`.
    pub modality: Modality,
    /// A new generator; without, the model's own of this kind goes on.
    pub generator: Option<NewGenerator>,
    /// Media with captions.
    pub data: Config,
}

/// Shape of a new generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGenerator {
    /// Side of the pictures in pixels; of sounds, of no account.
    #[serde(default = "image_size")]
    pub image_size: u32,
    /// Frames of a video; of a sound, columns of its spectrogram, 62.5 a second.
    #[serde(default = "one")]
    pub frames: usize,
    /// Frames, height and width of the latents that are one token.
    #[serde(default = "each")]
    pub patch: [usize; 3],
    /// Conditions Q that a text becomes.
    #[serde(default = "queries")]
    pub queries: usize,
    /// Layers of what makes conditions of a text.
    #[serde(default = "text_layers")]
    pub text_layers: usize,
    /// What makes latents of conditions.
    #[serde(default = "UvitConfig::small")]
    pub uvit: UvitConfig,
}

/// Where such a model may be.
const HINT: &str = "model.from = \"models/nano\"";

fn eval_batches() -> u64 {
    8
}

fn drop_text() -> f32 {
    0.1
}

fn image_size() -> u32 {
    64
}

fn one() -> usize {
    1
}

fn each() -> [usize; 3] {
    [1; 3]
}

fn queries() -> usize {
    8
}

fn text_layers() -> usize {
    2
}

/// What learns; the channels' mean and deviation stay what the first samples say.
const TRAINED: [&str; 2] = ["text", "generator.flow"];

impl NewGenerator {
    /// Of latents of `vae`, without one of spectrograms, told by a text tower of width `words`.
    fn config(
        &self,
        modality: Modality,
        vae: Option<&VaeConfig>,
        words: usize,
    ) -> LatentDiffusionConfig {
        let (c, side) = vae.map_or((BANDS, 1), |vae| {
            (vae.latent_channels, self.image_size as usize / vae.factor())
        });
        let grid = Grid { size: [self.frames, c, side, side], patch: self.patch };
        let Self { queries, text_layers, .. } = *self;
        let mapper = MapperConfig {
            queries,
            n_decoder_layers: text_layers,
            ..MapperConfig::small(words, words)
        };
        let (text, uvit) = (OutputProjectorConfig::Mapper(mapper), self.uvit.clone());
        let generator = GeneratorConfig { modality, queries, width: words, grid, uvit };
        LatentDiffusionConfig { text, generator }
    }
}

/// What a run begins with.
struct Start {
    directory: Directory,
    settings: SensoriumConfig,
    shape: LatentDiffusionConfig,
    /// What makes pictures of latents, and where it is; of sounds, nothing.
    vae: Option<(VaeConfig, Directory)>,
}

impl Start {
    fn of(recipe: &FlowRecipe, options: &RunOptions) -> Result<Self> {
        let directory = recipe.model.trained_here(options, HINT)?;
        let settings = SensoriumConfig::read(&directory)?;
        let Some(clip) = &settings.clip else {
            return Err(model::unknown_family(&directory, &["a clip recipe"]));
        };
        let vae = match (recipe.modality, &recipe.vae) {
            (Modality::Audio, _) => None,
            (_, Some(path)) => Some(model::opened(path, options.strict)?),
            (_, None) => Some(directory.clone()),
        };
        let vae = vae.map(|directory| Ok::<_, TrainError>((trained_vae(&directory)?, directory)));
        let vae = vae.transpose()?;
        let known = settings.generators.iter().find(|one| one.modality() == recipe.modality);
        let shape = match (&recipe.generator, known) {
            (Some(new), _) => {
                let vae = vae.as_ref().map(|(vae, _)| vae);
                new.config(recipe.modality, vae, clip.text.hidden_size)
            }
            (None, Some(known)) => known.clone(),
            (None, None) => {
                let message = format!(
                    "expected a model that makes media of kind {}, or generator, got neither",
                    recipe.modality
                );
                return Err(model::config("generator", &message, "see recipes/flow/tiny.toml"));
            }
        };
        let wrong = |key: &str, expected: &str, got: String| {
            let message = format!("expected {expected}, got {got}");
            Err(model::config(key, &message, "see recipes/flow/tiny.toml"))
        };
        if matches!(recipe.modality, Modality::Text | Modality::Table) {
            return wrong("modality", "image, video or audio", recipe.modality.to_string());
        }
        if !(0.0..=1.0).contains(&recipe.drop_text) {
            return wrong("drop_text", "a share from 0 to 1", recipe.drop_text.to_string());
        }
        if let Some((expected, got)) = shape.generator.wrong() {
            return wrong("generator", expected, got);
        }
        Ok(Self { directory, settings, shape, vae })
    }
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, or the sizes make no sense.
pub fn stages(recipe: &FlowRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(recipe, &RunOptions::new("."))?;
    let shapes = params::shapes(|init| LatentDiffusion::init(&shape, init));
    Ok(vec![Planned::new("flow", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// Trains what makes conditions of texts and latents of conditions.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &FlowRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &FlowRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(recipe, options)?;
    let training = Training::begin(recipe, &start)?;
    let maker = training.maker.clone();
    let make = move |examples: &Examples, step, progress| maker.make(examples, step, progress);
    let side = training.maker.image_size;
    let modality = recipe.modality;
    let lacks = move |example: &sensorium_data::Example| media::lacks(example, modality);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let model = training.model(recipe, &start, &feed)?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let FlowRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.model.published().chain(&recipe.vae).cloned().collect();
    let provenance = provenance::begin("flow", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("flow", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let loss = training.loss(&model, &batch, step);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let of = |(i, batch): (usize, Result<Batch>)| -> Result<_> {
                Ok((f64::from(read(training.loss(&best, &batch?, i as u64))[0]), 1.0))
            };
            let loss = mean(batches.enumerate().map(of).collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || training.files(&best))?;
        }
        let (samples, extra) = (recipe.batch_size, BTreeMap::new());
        let flops = 3.0 * start.shape.generator.flops() * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, training.files(&best)?)
}

/// What does not learn, and how the rest does.
struct Training {
    maker: Arc<Maker>,
    words: Words,
    vae: Option<Vae>,
    tokenizer: Tokenizer,
    processor: ImageProcessor,
    settings: SensoriumConfig,
    /// Components that do not learn.
    others: Vec<(&'static str, Tensors)>,
    device: Device,
    drop_text: f32,
    seed: u64,
}

/// Batches of the training set whose latents tell the channels' mean and deviation.
const MEASURED: u64 = 4;

/// The stream of random numbers that are noise, times and dropped texts.
const NOISE: u64 = 0xF10E;

impl Training {
    fn begin(recipe: &FlowRecipe, start: &Start) -> Result<Self> {
        let Start { directory, settings, shape, vae } = start;
        let device = recipe.device.open();
        let constants = device.clone().without_autodiff();
        let sensorium::Anchors { towers, tokenizer } = sensorium::anchors(directory, &constants)?;
        let words = Words { tower: towers.text.clone(), input: towers.texts.clone() };
        let [text, generator] = generators::components(recipe.modality);
        let mut others = sensorium::components_but(directory, settings, &[text, generator])?;
        let (mut loaded, mut settings) = (None, settings.clone());
        let mut image_size = 1;
        let [frames, _, side, _] = shape.generator.grid.size;
        if let Some((vae, from)) = vae {
            loaded = generators::vae(from, &SensoriumConfig::read(from)?, &constants)?;
            others.retain(|(name, _)| *name != "vae");
            let tensors = loaded.as_ref().map(weights::tensors).transpose()?;
            others.extend(tensors.map(|tensors| ("vae", tensors)));
            settings.vae = Some(vae.clone());
            image_size = (side * vae.factor()) as u32;
        }
        settings.generators.retain(|one| one.modality() != recipe.modality);
        settings.generators.push(shape.clone());
        let maker = Maker {
            modality: recipe.modality,
            frames,
            image_size,
            words: words.clone(),
            batch_size: recipe.batch_size,
        };
        let FlowRecipe { drop_text, seed, .. } = *recipe;
        let (maker, processor, vae) = (Arc::new(maker), towers.processor.clone(), loaded);
        Ok(Self {
            maker,
            words,
            vae,
            tokenizer,
            processor,
            settings,
            others,
            device,
            drop_text,
            seed,
        })
    }

    /// What learns: the model's own, or a new one whose channels are as those of the first samples.
    fn model(
        &self,
        recipe: &FlowRecipe,
        start: &Start,
        feed: &Feed<Batch>,
    ) -> Result<LatentDiffusion> {
        let init = &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute);
        let model = LatentDiffusion::init(&start.shape, init);
        if recipe.generator.is_none() {
            let constants = self.device.clone().without_autodiff();
            let known = generators::generator(&start.directory, &start.shape, &constants)?;
            return Ok(weights::load(model, &weights::tensors(&known)?)?);
        }
        let c = start.shape.generator.grid.size[1];
        let (mut sums, mut squares, mut n) = (vec![0.0; c], vec![0.0; c], 0.0);
        for batch in feed.train(0..MEASURED) {
            let latents = self.latents(&batch?);
            let plane = latents.dims()[3] * latents.dims()[4];
            for (i, plane) in read(latents).chunks_exact(plane).enumerate() {
                sums[i % c] += plane.iter().map(|&x| f64::from(x)).sum::<f64>();
                squares[i % c] += plane.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                n += plane.len() as f64 / c as f64;
            }
        }
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / n) as f32).collect();
        let std = squares
            .iter()
            .zip(&sums)
            .map(|(square, sum)| (square / n - (sum / n).powi(2)).max(1e-8).sqrt() as f32);
        let std: Vec<f32> = std.collect();
        Ok(params::fill(model, |name, _| match name {
            "generator.mean" => Some(mean.clone()),
            "generator.std" => Some(std.clone()),
            _ => None,
        }))
    }

    /// What the autoencoder makes of a batch's media, or their spectrograms: `[B, F, c, h, w]`.
    fn latents(&self, batch: &Batch) -> Tensor<5> {
        let (side, f) = (self.maker.image_size as usize, self.maker.frames);
        let constants = &self.device.clone().without_autodiff();
        let Some(vae) = &self.vae else {
            let b = batch.planes.len() / (f * BANDS);
            let mel = TensorData::new(batch.planes.clone(), [b, f, BANDS, 1, 1]);
            return Tensor::from_data(mel, constants);
        };
        let x = crate::batch::images(batch.planes.clone(), [side, side], constants);
        let latents = vae.encode(x).mean;
        let [all, c, h, w] = latents.dims();
        latents.reshape([all / f, f, c, h, w])
    }

    /// The loss of a batch, with the noise of a step.
    fn loss(&self, model: &LatentDiffusion, batch: &Batch, step: u64) -> Tensor<1> {
        let lift = |x: TensorData| Tensor::<3>::from_data(x, &self.device);
        let mean = &model.generator;
        let latents = Tensor::<5>::from_data(self.latents(batch).into_data(), &self.device);
        let tokens = mean.tokens(latents);
        let [b, n, size] = tokens.dims();
        let mut rng = Rng::at(self.seed, NOISE, step);
        let noise: Vec<f32> = (0..b * n * size).map(|_| rng.normal() as f32).collect();
        let time = |rng: &mut Rng| 1.0 / (1.0 + (-rng.normal()).exp()) as f32;
        let times: Vec<f32> = (0..b).map(|_| time(&mut rng)).collect();
        let dropped = (0..b).map(|_| rng.chance(self.drop_text)).collect();
        let noise = lift(TensorData::new(noise, [b, n, size]));
        let mut thoughts = Thoughts::of(&self.words.tower, &batch.texts);
        thoughts.hidden.0 = lift(thoughts.hidden.0.into_data());
        let conditions = model.conditions(&thoughts).0;
        model.generator.flow.loss(tokens, conditions, Noised { noise, times, dropped })
    }

    /// The model's files.
    fn files(&self, model: &LatentDiffusion) -> Result<Files> {
        let mut components = self.others.clone();
        let modality = self.settings.generators.last().map(LatentDiffusionConfig::modality);
        let [text, generator] = generators::components(modality.unwrap_or(Modality::Image));
        components.push((text, weights::tensors(&model.text)?));
        components.push((generator, weights::tensors(&model.generator)?));
        model::own(&components, &self.settings, &self.tokenizer, Some(&self.processor))
    }
}
