//! Masked pre-training: an encoder of pictures, of sounds or of both learns from media that nobody has
//! described, by telling what lies behind the patches that it is not shown.
//!
//! He et al. 2021 (MAE), <https://arxiv.org/abs/2111.06377>; of sounds, Huang et al. 2022 (Audio-MAE),
//! <https://arxiv.org/abs/2207.06405>; `target = "features"` tells what a running average of the encoder
//! makes of them, which sees all: Baevski et al. 2022 (data2vec), <https://arxiv.org/abs/2202.03555>.
//! Of both kinds of media, a row holds a picture and a sound that belong together, so that what is hidden
//! of one can be told from the other.
//!
//! ```text
//! sensorium train recipes/masked/tiny.toml
//! ```

mod patches;

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Config, Example, Examples};
use sensorium_encoder::image::{MaskedDecoderConfig, VitConfig};
use sensorium_flow::Modality;
use sensorium_model::masked::{self, MaskedAutoencoder, MaskedConfig, Patches};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::dinov2;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use serde::{Deserialize, Serialize};

use self::patches::{Cutter, NewEncoder};
use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::memory::{self, Reads};
use crate::model::{self, Files, pretty};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A masked pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedRecipe {
    /// `"masked"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and masks.
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
    /// Rows a step.
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
    /// Share (0 to 1) of the patches of each medium that are hidden.
    #[serde(default = "mask_ratio")]
    pub mask_ratio: f64,
    /// What is told of hidden patches.
    #[serde(default)]
    pub target: Target,
    /// Of `target = "features"`.
    #[serde(default)]
    pub teacher: Teacher,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// What is trained.
    pub encoder: NewEncoder,
    /// What is thrown away.
    #[serde(default)]
    pub decoder: MaskedDecoderConfig,
    /// Pictures, sounds, or both in one row; nothing else of them is looked at.
    pub data: Config,
}

/// What is told of hidden patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Their pixels, each patch at mean 0 and variance 1 (MAE).
    #[default]
    Pixels,
    /// What a running average of the encoder makes of them (data2vec).
    Features,
}

impl From<Target> for masked::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Pixels => Self::Pixels,
            Target::Features => Self::Features,
        }
    }
}

/// The running average of the encoder, and what of it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Teacher {
    /// Its last blocks, whose mean is told.
    pub layers: usize,
    /// Weight of the past at the first step.
    pub decay: f32,
    /// And after `decay_steps`; between them it grows linearly.
    pub end_decay: f32,
    /// See `end_decay`.
    pub decay_steps: u64,
    /// From where on errors count by their size instead of its square.
    pub beta: f64,
}

impl Default for Teacher {
    /// data2vec's of pictures, whose average follows as that of sounds.
    fn default() -> Self {
        Self { layers: 6, decay: 0.999, end_decay: 0.9999, decay_steps: 30_000, beta: 2.0 }
    }
}

impl Teacher {
    fn decay(&self, step: u64) -> f32 {
        let done = (step as f32 / self.decay_steps.max(1) as f32).min(1.0);
        self.decay + (self.end_decay - self.decay) * done
    }
}

fn eval_batches() -> u64 {
    8
}

fn mask_ratio() -> f64 {
    0.75
}

/// What is trained.
const TRAINED: [&str; 2] = ["encoder", "decoder"];

/// Trains the encoder; one of pictures and sounds is left as two, in `final/` and in `audio/`.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &MaskedRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &MaskedRecipe { steps, epochs: None, ..recipe.clone() };
    let training = Training::new(recipe)?;
    let init = &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute);
    let model = MaskedAutoencoder::init(&training.cutter.config, init);
    let (model, trained) = thaw_only(model, &TRAINED)?;
    eprintln!("{trained}");
    let cutter = training.cutter.clone();
    let side = training.cutter.picture_size();
    let lacks = |example: &Example| training.cutter.lacks(example);
    let make = move |examples: &Examples, step, progress| cutter.make(examples, step, progress);
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let MaskedRecipe { save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let provenance = provenance::begin("masked", &resolved, recipe.seed, &[], &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("masked", options, &resolved, plan, model, &mut optim)?;

    training.fits(&model)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(media) = batches.next().transpose()? else { break };
        let loss = training.loss(&model, &optim, &media);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, steps);
        if recipe.target == Target::Features {
            optim.average(recipe.teacher.decay(step));
        }
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let still = params::set_trainable(model.clone(), |_| false);
            let loss = |media: Vec<Patches>| read(training.loss(&still, &optim, &media))[0];
            let losses = batches.map(|media| Ok((f64::from(loss(media?)), 1.0)));
            let loss = mean(losses.collect::<Result<Vec<_>>>()?);
            run.keep_best(step, loss, || training.files(&optim.averaged(model.clone())))?;
        }
        let (samples, extra) = (recipe.batch_size, BTreeMap::new());
        let flops = training.flops(&model) * samples as f64;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    if let MaskedConfig { image: Some(_), audio: Some(audio), .. } = &training.cutter.config {
        run.keep("audio", sounds(&best, audio)?)?;
    }
    run.finish(&model, training.files(&best)?)
}

/// What the one stage trains; its decoder is not left.
///
/// # Errors
/// The sizes make no sense.
pub fn stages(recipe: &MaskedRecipe) -> Result<Vec<Planned>> {
    let training = Training::new(recipe)?;
    let shapes = params::shapes(|init| MaskedAutoencoder::init(&training.cutter.config, init));
    let MaskedRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("masked", shapes, &TRAINED, steps, batch_size)?])
}

/// What is trained, and how.
struct Training<'a> {
    recipe: &'a MaskedRecipe,
    cutter: Cutter,
}

impl<'a> Training<'a> {
    fn new(recipe: &'a MaskedRecipe) -> Result<Self> {
        let MaskedRecipe { encoder, decoder, mask_ratio, batch_size, seed, .. } = recipe;
        let target = recipe.target.into();
        let cutter = Cutter::new(encoder, decoder, target, *mask_ratio, *batch_size, *seed)?;
        Ok(Self { recipe, cutter })
    }

    /// How far off the decoder is.
    fn loss(&self, model: &MaskedAutoencoder, optim: &AdamW, media: &[Patches]) -> Tensor<1> {
        let MaskedRecipe { target, teacher, device, .. } = self.recipe;
        let device = &device.open();
        let told = model.tell(media, device);
        let losses = match target {
            Target::Pixels => {
                let wanted = masked::pixels(media, device);
                let off =
                    told.into_iter().zip(wanted).map(|(told, wanted)| loss::mse(told, wanted));
                off.collect::<Vec<_>>()
            }
            Target::Features => {
                let slow = optim.averaged(model.clone()).encoder;
                let slow = params::set_trainable(slow, |_| false);
                let wanted = masked::features(&slow, media, teacher.layers, device);
                let beta = teacher.beta;
                let off = told.into_iter().zip(wanted);
                off.map(|(told, wanted)| loss::smooth_l1(told, wanted, beta)).collect()
            }
        };
        masked::mean(losses.into_iter())
    }

    /// Operations of a row's step: two for each weight of a block and each token that it reads, and twice
    /// as many backward. Attention to other tokens is left out.
    fn flops(&self, model: &MaskedAutoencoder) -> f64 {
        let [shown, all] = self.cutter.patches().map(|patches| patches as f64);
        let MaskedAutoencoder { encoder, decoder } = model;
        let weights = [params::count(encoder), params::count(decoder)].map(|count| count as f64);
        let teaches =
            if self.recipe.target == Target::Features { 2.0 * all * weights[0] } else { 0.0 };
        6.0 * (shown * weights[0] + all * weights[1]) + teaches
    }

    /// Refuses a step that takes more memory than there is.
    fn fits(&self, model: &MaskedAutoencoder) -> Result<()> {
        let rows = self.recipe.batch_size;
        let [shown, all] = self.cutter.patches().map(|patches| rows * patches);
        let parts = [("encoder", shown), ("decoder", all)];
        let recompute = self.recipe.recompute;
        let reads = Reads { parts: &parts, recompute };
        memory::check(memory::need(model, reads), rows, recompute)
    }

    /// The encoder's files: of pictures, if it reads these.
    fn files(&self, model: &MaskedAutoencoder) -> Result<Files> {
        let MaskedConfig { image, audio, .. } = &self.cutter.config;
        match (image, audio) {
            (None, Some(audio)) => sounds(model, audio),
            (Some(image), _) => pictures(model, image),
            (None, None) => Ok(Files::new()),
        }
    }
}

/// An encoder of pictures, as transformers reads it (`Dinov2Model`).
fn pictures(model: &MaskedAutoencoder, config: &VitConfig) -> Result<Files> {
    let vit = model.encoder.vit(Modality::Image, config);
    let beside = vec![
        ("config.json".to_owned(), pretty(&dinov2::settings(config))?),
        ("preprocessor_config.json".to_owned(), pretty(&dinov2::processor(config))?),
    ];
    model::published(&beside, &dinov2::tensors(&vit, config)?, Dtype::F32)
}

/// An encoder of sounds.
fn sounds(model: &MaskedAutoencoder, config: &VitConfig) -> Result<Files> {
    let vit = model.encoder.vit(Modality::Audio, config);
    let settings = SensoriumConfig { audio: Some(config.clone()), ..SensoriumConfig::default() };
    Ok(vec![
        ("config.json".to_owned(), pretty(&settings)?),
        ("audio.safetensors".to_owned(), safetensors::write(&weights::tensors(&vit)?, Dtype::F32)?),
    ])
}
