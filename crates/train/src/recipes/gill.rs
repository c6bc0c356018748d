//! A language model learns when to answer with a picture, a clip or a sound, and what the generator is told.
//!
//! Koh et al. 2023 (GILL), section 3, <https://arxiv.org/abs/2305.17216>; Wu et al. 2023 (NExT-GPT), section 4.2,
//! <https://arxiv.org/abs/2309.05519>. Signal tokens end an answer; what the model thought at them is mapped to what
//! the generator's own text mapper makes of the caption. The model stays as it is, but for the signal tokens' rows.
//!
//! ```text
//! sensorium train recipes/gill/nano.toml
//! ```

mod outputs;
mod requests;
mod training;

use sensorium_data::Config;
use sensorium_model::gill::{Gill, SignalConfig};
use sensorium_model::llava::{Llava, LlavaConfig};
use sensorium_nn::params;
use sensorium_nn::prelude::*;
use sensorium_output_projector::OutputProjector;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::text;
use serde::{Deserialize, Serialize};

use self::outputs::eval_batches;
pub(crate) use self::outputs::{HINT, MAPPERS, TABLE, shapes, silent};
pub use self::outputs::{NewOutput, Stage};
pub(crate) use self::training::{Common, Course, Training};
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed;
use crate::model::ModelConfig;
use crate::optim::OptimConfig;
use crate::recipes::Recipe;
use crate::run::RunOptions;
use crate::schedule::Schedule;

/// A GILL training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GillRecipe {
    /// `"gill"`.
    pub recipe: Recipe,
    /// Seed of weights and samples.
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
    /// Requests and conversations a step.
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
    /// A model that was trained here, answers, and makes media, in `from`.
    pub model: ModelConfig,
    /// What it learns to answer with.
    pub outputs: Vec<NewOutput>,
    /// Media with captions, which become requests, and conversations, whose answers are words: as they are, so
    /// that the model learns when to make nothing.
    pub data: Config,
}

/// What a stage trains of a model with these mappers, to which `adapt` adds what is learned beside its matrices: of
/// the table no more than the rows of the signal tokens.
///
/// # Errors
/// As `adapt`; a part matches nothing.
pub(crate) fn planned(
    (name, stage): (&str, &Stage),
    (llava, signals): (&LlavaConfig, &[SignalConfig]),
    mut parts: Vec<String>,
    adapt: impl FnOnce(&mut Llava, &mut Init) -> Result<Vec<String>>,
) -> Result<Planned> {
    let mut added = Ok(Vec::new());
    let shapes = params::shapes(|init| {
        let mut llava = Llava::init(llava, init);
        added = adapt(&mut llava, init);
        let mappers = signals.iter().map(|one| OutputProjector::init(&one.mapper, init));
        let mappers = mappers.collect();
        Gill { llava, mappers }
    });
    parts.extend(added?);
    let rows: usize = signals.iter().map(|one| one.signals.len()).sum();
    let split = |(name, shape): (String, Vec<usize>)| match &shape[..] {
        &[all, width] if name.starts_with(TABLE) => {
            vec![(format!("{TABLE}.signals"), vec![rows, width]), (name, vec![all - rows, width])]
        }
        _ => vec![(name, shape)],
    };
    let shapes = shapes.into_iter().flat_map(split).collect();
    let learned = parts.iter().map(|part| part.replace(TABLE, &format!("{TABLE}.signals")));
    let learned: Vec<String> = learned.collect();
    Planned::new(name, shapes, &learned, stage.steps, stage.batch_size)
}

/// What the one stage trains.
///
/// # Errors
/// The model is not one that was trained here, answers and makes media.
pub fn stages(recipe: &GillRecipe) -> Result<Vec<Planned>> {
    let directory = recipe.model.trained_here(&RunOptions::new("."), HINT)?;
    let settings = SensoriumConfig::read(&directory)?;
    let signals = shapes(&recipe.outputs, &settings, &text::tokenizer(&directory)?)?;
    let llava = settings.llava.as_ref().ok_or_else(silent)?;
    let none = |_: &mut Llava, _: &mut Init| Ok(Vec::new());
    let stage = ("gill", &recipe.stage());
    Ok(vec![planned(stage, (llava, &signals), trained(), none)?])
}

fn trained() -> Vec<String> {
    vec![MAPPERS.to_owned(), TABLE.to_owned()]
}

impl GillRecipe {
    /// Its only stage.
    fn stage(&self) -> Stage {
        let Self { steps, epochs, batch_size, save_every, eval_every, eval_batches, .. } = *self;
        let (patience, schedule) = (self.patience, self.schedule.clone());
        Stage {
            steps,
            epochs,
            batch_size,
            save_every,
            eval_every,
            eval_batches,
            patience,
            schedule,
            projector_rate: 1.0,
            data: None,
        }
    }
}

/// Trains the mappers and the signal tokens' rows.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &GillRecipe, options: &RunOptions) -> Result<()> {
    let steps = feed::steps(recipe.steps, recipe.epochs, recipe.batch_size, &recipe.data, options)?;
    let recipe = &GillRecipe { steps, epochs: None, ..recipe.clone() };
    let common = Common {
        recipe: "gill",
        resolved: config::resolved(recipe)?,
        seed: recipe.seed,
        device: &recipe.device,
        precision: recipe.precision,
        recompute: false,
        optim: &recipe.optim,
        model: &recipe.model,
        media: &[],
        outputs: &recipe.outputs,
        goes_on: false,
    };
    let (model, training) = Training::begin(common, options)?;
    let course = Course {
        name: "gill",
        stage: &recipe.stage(),
        data: &recipe.data,
        parts: trained(),
        asks: true,
        lora: None,
    };
    let feed = training.feed(&course, &model, options)?;
    training.run(&course, feed, model, options)?;
    Ok(())
}
