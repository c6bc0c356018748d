//! Media told by texts: what recipes that train generators begin with, learn from, and leave.
//!
//! ```text
//! media ──VAE, frozen; spectrogram; pixels──▶ latents ──as tokens──▶ [B, N, size] ─┐ a recipe's loss
//! captions ──text tower, frozen──▶ [B, T, E] ──mapper──▶ [B, Q, C] ─────────┘
//! ```

mod media;

use std::path::PathBuf;
use std::sync::Arc;

use sensorium_checkpoint::Tensors;
use sensorium_generator::{GeneratorConfig, Grid, Kind, Prediction, UvitConfig, Vae, VaeConfig};
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

use crate::device::DeviceName;
use crate::error::{Result, TrainError};
use crate::feed::Feed;
use crate::model::{self, Files, ModelConfig};
use crate::run::RunOptions;

pub(crate) use media::{Batch, Maker, lacks};

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
    /// Whether pixels themselves are made, without an autoencoder.
    #[serde(default, skip_serializing_if = "crate::config::is_false")]
    pub pixels: bool,
    /// What a flow tells: `"velocity"`, or `"data"`, which large patches of pixels want.
    #[serde(default)]
    pub prediction: Prediction,
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

/// What a recipe says of its model.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub kind: Kind,
    pub modality: Modality,
    pub model: &'a ModelConfig,
    pub vae: Option<&'a PathBuf>,
    pub generator: Option<&'a NewGenerator>,
    pub device: &'a DeviceName,
    pub precision: Precision,
    pub recompute: bool,
    pub batch_size: usize,
    pub seed: u64,
}

/// Where such a model may be.
const HINT: &str = "model.from = \"runs/clip/final\"";

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

impl NewGenerator {
    /// Of latents of `vae`, without one of pixels or spectrograms, told by a text tower of width `words`.
    fn config(
        &self,
        (kind, modality): (Kind, Modality),
        vae: Option<&VaeConfig>,
        words: usize,
    ) -> LatentDiffusionConfig {
        let side = self.image_size as usize;
        let (c, side) = match vae {
            Some(vae) => (vae.latent_channels, side / vae.factor()),
            None if modality == Modality::Audio => (BANDS, 1),
            None => (3, side),
        };
        let grid = Grid { size: [self.frames, c, side, side], patch: self.patch };
        let Self { queries, text_layers, pixels, prediction, .. } = *self;
        let mapper = MapperConfig {
            queries,
            n_decoder_layers: text_layers,
            ..MapperConfig::small(words, words)
        };
        let (text, uvit) = (OutputProjectorConfig::Mapper(mapper), self.uvit.clone());
        let generator = GeneratorConfig {
            modality,
            kind,
            queries,
            width: words,
            grid,
            pixels,
            prediction,
            uvit,
        };
        LatentDiffusionConfig { text, generator }
    }
}

/// What a run begins with.
pub(crate) struct Start {
    directory: Directory,
    settings: SensoriumConfig,
    pub(crate) shape: LatentDiffusionConfig,
    /// What makes pictures of latents, and where it is; of sounds and pixels, nothing.
    vae: Option<(VaeConfig, Directory)>,
}

impl Start {
    pub(crate) fn of(recipe: &Wanted<'_>, options: &RunOptions) -> Result<Self> {
        let directory = recipe.model.trained_here(options, HINT)?;
        let settings = SensoriumConfig::read(&directory)?;
        let Some(clip) = &settings.clip else {
            return Err(model::unknown_family(&directory, &["a clip recipe"]));
        };
        let known = settings
            .generators
            .iter()
            .find(|one| (one.modality(), one.generator.kind) == (recipe.modality, recipe.kind));
        let pixels = match recipe.generator {
            Some(new) => new.pixels,
            None => known.is_some_and(|known| known.generator.pixels),
        };
        let vae = match (recipe.modality, recipe.vae) {
            (_, Some(_)) if pixels => {
                let message = "expected no autoencoder beside pixels, got one";
                return Err(model::config("vae", message, "leave out vae, or generator.pixels"));
            }
            (Modality::Audio, _) => None,
            (_, None) if pixels => None,
            (_, Some(path)) => Some(model::opened(path, options.strict)?),
            (_, None) => Some(directory.clone()),
        };
        let vae = vae.map(|directory| Ok::<_, TrainError>((autoencoder(&directory)?, directory)));
        let vae = vae.transpose()?;
        let shape = match (recipe.generator, known) {
            (Some(new), _) => {
                let vae = vae.as_ref().map(|(vae, _)| vae);
                new.config((recipe.kind, recipe.modality), vae, clip.text.hidden_size)
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
        if let (Some((vae, _)), Some(new)) = (&vae, recipe.generator)
            && !new.image_size.is_multiple_of(vae.factor() as u32)
        {
            let expected = format!("a multiple of {} pixels", vae.factor());
            return wrong("generator.image_size", &expected, new.image_size.to_string());
        }
        if let Some((expected, got)) = shape.generator.wrong() {
            return wrong("generator", expected, got);
        }
        Ok(Self { directory, settings, shape, vae })
    }
}

/// The shape of the autoencoder in a directory.
pub(crate) fn autoencoder(directory: &Directory) -> Result<VaeConfig> {
    let shape = (directory.model_type() == Some(sensorium::FAMILY))
        .then(|| SensoriumConfig::read(directory))
        .transpose()?
        .and_then(|settings| settings.vae);
    shape.ok_or_else(|| {
        let message = "expected a model with an autoencoder, got one without";
        model::config("from", message, "take what a run of the recipe `vae` has left")
    })
}

/// What does not learn, and how the rest does.
pub(crate) struct Training {
    pub(crate) maker: Arc<Maker>,
    words: Words,
    vae: Option<Vae>,
    tokenizer: Tokenizer,
    processor: ImageProcessor,
    settings: SensoriumConfig,
    /// Components that do not learn.
    others: Vec<(&'static str, Tensors)>,
    device: Device,
}

/// Batches of the training set whose latents tell the channels' mean and deviation.
const MEASURED: u64 = 4;

impl Training {
    pub(crate) fn begin(recipe: &Wanted<'_>, start: &Start) -> Result<Self> {
        let Start { directory, settings, shape, vae } = start;
        let device = recipe.device.open();
        let constants = device.clone().without_autodiff();
        let sensorium::Anchors { towers, tokenizer } = sensorium::anchors(directory, &constants)?;
        let words = Words { tower: towers.text.clone(), input: towers.texts.clone() };
        let [text, generator] = generators::components(recipe.modality);
        let mut others = sensorium::components_but(directory, settings, &[text, generator])?;
        let (mut loaded, mut settings) = (None, settings.clone());
        let [frames, _, side, _] = shape.generator.grid.size;
        let mut image_size = side as u32;
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
        let (maker, processor, vae) = (Arc::new(maker), towers.processor.clone(), loaded);
        Ok(Self { maker, words, vae, tokenizer, processor, settings, others, device })
    }

    /// What learns: the model's own, or a new one whose channels are as those of the first samples.
    pub(crate) fn model(
        &self,
        recipe: &Wanted<'_>,
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

    /// What the autoencoder makes of a batch's media, or their pixels or spectrograms: `[B, F, c, h, w]`.
    fn latents(&self, batch: &Batch) -> Tensor<5> {
        let (side, f) = (self.maker.image_size as usize, self.maker.frames);
        let constants = &self.device.clone().without_autodiff();
        let Some(vae) = &self.vae else {
            let c = if self.maker.modality == Modality::Audio { BANDS } else { 3 };
            let b = batch.planes.len() / (f * c * side * side);
            let planes = TensorData::new(batch.planes.clone(), [b, f, c, side, side]);
            return Tensor::from_data(planes, constants);
        };
        let x = crate::batch::images(batch.planes.clone(), [side, side], constants);
        let latents = vae.encode(x).mean;
        let [all, c, h, w] = latents.dims();
        latents.reshape([all / f, f, c, h, w])
    }

    /// What an autoencoder made of a batch's media as tokens, `[B, N, size]`, and what its texts ask for,
    /// `[B, Q, C]`.
    pub(crate) fn told(&self, model: &LatentDiffusion, batch: &Batch) -> [Tensor<3>; 2] {
        let latents = Tensor::<5>::from_data(self.latents(batch).into_data(), &self.device);
        let mut thoughts = Thoughts::of(&self.words.tower, &batch.texts);
        let hidden = thoughts.hidden.0.into_data();
        thoughts.hidden.0 = Tensor::from_data(hidden, &self.device);
        [model.generator.tokens(latents), model.conditions(&thoughts).0]
    }

    /// Normal numbers of such a shape.
    pub(crate) fn noise(&self, rng: &mut Rng, shape: [usize; 3]) -> Tensor<3> {
        let noise: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(noise, shape), &self.device)
    }

    /// The model's files.
    pub(crate) fn files(&self, model: &LatentDiffusion) -> Result<Files> {
        let mut components = self.others.clone();
        let modality = self.settings.generators.last().map(LatentDiffusionConfig::modality);
        let [text, generator] = generators::components(modality.unwrap_or(Modality::Image));
        components.push((text, weights::tensors(&model.text)?));
        components.push((generator, weights::tensors(&model.generator)?));
        model::own(&components, &self.settings, &self.tokenizer, Some(&self.processor))
    }
}
