//! A vocoder: samples of the spectrograms of recordings.
//!
//! Siuzdak 2023 (Vocos), <https://arxiv.org/abs/2306.00814>, by spectra alone, without discriminators.
//!
//! ```text
//! sensorium train recipes/vocoder/nano.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::rng::Rng;
use sensorium_data::{Config, Example, Examples, Media};
use sensorium_generator::audio::stft::Stft;
use sensorium_generator::audio::vocoder::SpectralLoss;
use sensorium_generator::audio::{Vocoder, VocoderConfig};
use sensorium_media::stft::{self, BANDS, BINS, HOP, N_FFT, RATE};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::families::talker;
use serde::{Deserialize, Serialize};

use crate::batch::{draw, mean};
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files, pretty};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A training of a vocoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocoderRecipe {
    /// `"vocoder"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and places in recordings.
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
    /// Recordings a step.
    pub batch_size: usize,
    /// Frames of 16 ms of each, from a place of its own in each step; an even number.
    pub frames: usize,
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
    /// Weight of what is wrong in mel bands, beside spectra of several resolutions.
    #[serde(default = "mel_weight")]
    pub mel_weight: f64,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A new model.
    pub vocoder: Option<VocoderConfig>,
    /// Instead of a new model, the directory of one that this recipe has left.
    pub from: Option<PathBuf>,
    /// Recordings; nothing else of the data is looked at.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

fn mel_weight() -> f64 {
    1.0
}

/// All of it.
const TRAINED: [&str; 5] = ["embed", "norm", "blocks", "final_norm", "head"];

/// What the one stage trains.
///
/// # Errors
/// The sizes make no sense, or the model to go on from is none of this recipe.
pub fn stages(recipe: &VocoderRecipe) -> Result<Vec<Planned>> {
    let Start { shape, .. } = Start::of(recipe, &RunOptions::new("."))?;
    let shapes = shape.parameters();
    Ok(vec![Planned::new("vocoder", shapes, &TRAINED, recipe.steps, recipe.batch_size)?])
}

/// What a run begins with.
struct Start {
    shape: VocoderConfig,
    /// Its weights, where they are no new ones.
    directory: Option<Directory>,
}

impl Start {
    fn of(recipe: &VocoderRecipe, options: &RunOptions) -> Result<Self> {
        let start = match (&recipe.vocoder, &recipe.from) {
            (Some(shape), None) => Self { shape: shape.clone(), directory: None },
            (None, Some(from)) => {
                let directory = model::opened(from, options.strict)?;
                Self { shape: trained(&directory)?, directory: Some(directory) }
            }
            _ => {
                let message = "expected vocoder or from, got neither or both";
                let hint = "vocoder makes a new model, from goes on";
                return Err(model::config("vocoder", message, hint));
            }
        };
        if let Some((expected, got)) = talker::wrong_vocoder(&start.shape) {
            let message = format!("expected {expected}, got {got}");
            return Err(model::config("vocoder", &message, "see recipes/vocoder/tiny.toml"));
        }
        if recipe.frames == 0 || !recipe.frames.is_multiple_of(2) {
            let message = format!("expected an even number above 0, got {}", recipe.frames);
            return Err(model::config("frames", &message, "64 frames are a second"));
        }
        Ok(start)
    }

    fn model(&self, init: &mut Init) -> Result<Vocoder> {
        Ok(match &self.directory {
            Some(directory) => talker::load_vocoder(directory, &self.shape, init)?,
            None => Vocoder::init(&self.shape, init),
        })
    }
}

/// The shape of the vocoder in a directory.
fn trained(directory: &Directory) -> Result<VocoderConfig> {
    let shape = (directory.model_type() == Some("sensorium"))
        .then(|| SensoriumConfig::read(directory))
        .transpose()?
        .and_then(|settings| settings.vocoder);
    shape.ok_or_else(|| {
        let message = "expected a model with a vocoder, got one without";
        model::config("from", message, "take what a run of this recipe has left")
    })
}

/// Trains all of it.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &VocoderRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &VocoderRecipe { steps, epochs: None, ..recipe.clone() };
    let start = Start::of(recipe, options)?;
    let seed = start.directory.is_none().then_some(recipe.seed);
    let model = start.model(&mut recipe.device.init(seed, recipe.precision, false))?;
    let (model, counts) = thaw_only(model, &TRAINED)?;
    eprintln!("{counts}");
    let (shape, measure) = (start.shape, Measure::new(recipe));
    let [n, frames] = [recipe.batch_size, recipe.frames];
    let seed = recipe.seed;
    let make = move |examples: &Examples, step, progress| -> Result<Batch> {
        let mut rng = Rng::at(seed, PLACES, step);
        let drawn = draw(examples, step, n, progress)?.into_iter();
        Ok(batch(drawn.map(|example| piece(example, frames, &mut rng)).collect(), frames))
    };
    let feed = Feed::open(&recipe.data, [seed, steps], 1, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let VocoderRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let from: Vec<_> = recipe.from.iter().cloned().collect();
    let provenance = provenance::begin("vocoder", &resolved, recipe.seed, &from, &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("vocoder", options, &resolved, plan, model, &mut optim)?;

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let [spectra, mel] = measure.losses(&model, batch);
        let extra = BTreeMap::from([("mel".to_owned(), f64::from(read(mel.clone())[0]))]);
        let whole = spectra + mel * recipe.mel_weight;
        let value = f64::from(read(whole.clone())[0]);
        let gradients = params::gradients(&model, whole.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let of = |batch: Result<Batch>| -> Result<_> {
                let [spectra, mel] = measure.losses(&best, batch?);
                Ok((f64::from(read(spectra + mel * recipe.mel_weight)[0]), 1.0))
            };
            let loss = mean(batches.map(of).collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || files(&best, &shape))?;
        }
        // Forward and backward of the model; spectra are left out.
        let flops = 6.0 * (params::count(&model) * n * frames) as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples: n, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best, &shape)?)
}

/// The stream of random numbers that say which part of a recording is learned from.
const PLACES: u64 = 0x0C0D;

/// Pieces of recordings.
struct Batch {
    /// `[B, frames·HOP]`.
    samples: Vec<f32>,
    /// Their log-mel spectrograms, `[B, frames, BANDS]`.
    mel: Vec<f32>,
    frames: usize,
}

/// So many frames of a recording, its samples and its spectrogram, silence behind its end.
fn piece(example: Example, frames: usize, rng: &mut Rng) -> [Vec<f32>; 2] {
    let sound = example.media.into_iter().find_map(|medium| match medium {
        Media::Audio(sound) => Some(sound.at_rate(RATE).samples),
        _ => None,
    });
    let mut samples = sound.unwrap_or_default();
    let all = samples.len().div_ceil(HOP).max(frames);
    samples.resize(all * HOP, 0.0);
    let first = rng.range(0, all - frames);
    let mel = stft::Stft::default().log_mel(&samples);
    let part = |x: &[f32], each: usize| x[first * each..(first + frames) * each].to_vec();
    [part(&samples, HOP), part(&mel, BANDS)]
}

fn batch(pieces: Vec<[Vec<f32>; 2]>, frames: usize) -> Batch {
    let mut batch = Batch { samples: Vec::new(), mel: Vec::new(), frames };
    for [samples, mel] in pieces {
        batch.samples.extend(samples);
        batch.mel.extend(mel);
    }
    batch
}

/// What samples are made and measured with.
struct Measure {
    stft: Stft,
    spectral: SpectralLoss,
    device: Device,
}

impl Measure {
    fn new(recipe: &VocoderRecipe) -> Self {
        let device = recipe.device.open().without_autodiff();
        let bands = TensorData::new(stft::bands(), [BINS, BANDS]);
        let spectral = SpectralLoss::new(N_FFT, Tensor::from_data(bands, &device));
        Self { stft: Stft::new(N_FFT, &device), spectral, device }
    }

    /// Of spectra and of mel bands.
    fn losses(&self, model: &Vocoder, Batch { samples, mel, frames }: Batch) -> [Tensor<1>; 2] {
        let n = mel.len() / (frames * BANDS);
        let mel = TensorData::new(mel, [n, frames, BANDS]);
        let samples = TensorData::new(samples, [n, frames * HOP]);
        let made = model.forward(Tensor::from_data(mel, &self.device), &self.stft);
        self.spectral.losses(made, Tensor::from_data(samples, &self.device))
    }
}

/// What an example has not.
fn lacks(example: &Example) -> Option<&'static str> {
    let has_sound = example.media.iter().any(|medium| medium.sound().is_some());
    (!has_sound).then_some("recordings")
}

/// A directory of a model that was trained here.
fn files(model: &Vocoder, shape: &VocoderConfig) -> Result<Files> {
    let settings = SensoriumConfig { vocoder: Some(shape.clone()), ..SensoriumConfig::default() };
    let weights = safetensors::write(&weights::tensors(model)?, Dtype::F32)?;
    let config = ("config.json".to_owned(), pretty(&settings)?);
    Ok(vec![config, ("vocoder.safetensors".to_owned(), weights)])
}
