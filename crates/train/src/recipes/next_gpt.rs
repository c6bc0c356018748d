//! NExT-GPT: what reads all kinds of media learns to answer with all kinds of them, by projectors at both ends.
//!
//! Wu et al. 2023, <https://arxiv.org/abs/2309.05519>, sections 4 and 5. Stage 1, encode: media with captions, only the
//! input projectors learn (LLaVA's alignment, of every tower). Stage 2, decode: captions, only the output projectors
//! and the signal tokens' rows learn (as GILL's). Stage 3, instruct: requests and conversations whose answers are words,
//! signal tokens or both; projectors at both ends learn on, and LoRA in the language model. Encoders and generators
//! never learn.
//!
//! ```text
//! sensorium train recipes/next_gpt/nano.toml
//! ```

use sensorium_data::Config;
use sensorium_model::llava::Llava;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::text;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feed;
use crate::lora::LoraConfig;
use crate::model::{self, ModelConfig};
use crate::optim::OptimConfig;
use crate::recipes::Recipe;
use crate::recipes::gill::{
    self, Common, Course, HINT, MAPPERS, NewOutput, Stage, TABLE, Training,
};
use crate::run::RunOptions;
use crate::towers::{self, NewTower};

/// A NExT-GPT training: its stages, of which any may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextGptRecipe {
    /// `"next_gpt"`.
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
    /// Stage 1.
    pub encode: Option<Stage>,
    /// Stage 2; without it, the model's own output projectors go on.
    pub decode: Option<Stage>,
    /// Stage 3.
    pub instruct: Option<Stage>,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// A model that was trained here, answers, and makes media, in `from`.
    pub model: ModelConfig,
    /// Towers that it is to have beside its own; their encoders must have been trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<NewTower>,
    /// What it learns to answer with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<NewOutput>,
    /// What of the language model learns in stage 3 beside the signal tokens' rows; it ends in the model's weights.
    pub lora: Option<LoraConfig>,
    /// Media with captions and conversations, for stages without data of their own.
    pub data: Option<Config>,
}

impl NextGptRecipe {
    /// The stages, and of each whether it learns at either end, and LoRA.
    fn stages(&self) -> impl Iterator<Item = (&'static str, &Stage, [bool; 2])> {
        let encode = self.encode.as_ref().map(|stage| ("encode", stage, [true, false]));
        let decode = self.decode.as_ref().map(|stage| ("decode", stage, [false, true]));
        let instruct = self.instruct.as_ref().map(|stage| ("instruct", stage, [true, true]));
        [encode, decode, instruct].into_iter().flatten()
    }

    /// What a stage learns from.
    fn data<'a>(&'a self, name: &str, stage: &'a Stage) -> Result<&'a Config> {
        stage.data.as_ref().or(self.data.as_ref()).ok_or_else(|| {
            let message = "expected data sets to learn from, got none";
            let hint = "add [[data.train]], or one for each stage";
            model::config(&format!("{name}.data"), message, hint)
        })
    }

    /// What the last stage learns from.
    ///
    /// # Errors
    /// There is none, or it names no data set.
    pub fn last_data(&self) -> Result<&Config> {
        let (name, stage, _) = self.stages().last().ok_or_else(no_stage)?;
        self.data(name, stage)
    }

    /// The stages as a model of so many towers takes them, with all that learns but for LoRA's matrices.
    fn courses(&self, towers: usize) -> Result<Vec<Course<'_>>> {
        let input = |i| format!("llava.towers.{i}.projector");
        let course = |(name, stage, [reads, makes]): (&'static str, _, [bool; 2])| {
            let inputs = (0..towers).filter(|_| reads).map(input);
            let outputs = [MAPPERS, TABLE].into_iter().filter(|_| makes).map(str::to_owned);
            let parts = inputs.chain(outputs).collect();
            let lora = self.lora.as_ref().filter(|_| reads && makes);
            Ok(Course { name, stage, data: self.data(name, stage)?, parts, asks: makes, lora })
        };
        self.stages().map(course).collect()
    }

    /// Refuses what no stage heeds, and what would learn nothing.
    fn check(&self, settings: &SensoriumConfig) -> Result<()> {
        let refused = |key: &str, message: &str, hint: &str| Err(model::config(key, message, hint));
        self.stages().next().ok_or_else(no_stage)?;
        if self.model.train.is_some() {
            let message = "expected stages, which say what learns, got model.train";
            return refused("model.train", message, "leave it out");
        }
        for (name, stage, _) in self.stages() {
            if !(stage.projector_rate.is_finite() && stage.projector_rate >= 0.0) {
                let got = format!("expected a factor of 0 or more, got {}", stage.projector_rate);
                return refused(&format!("{name}.projector_rate"), &got, "1.0 is the rate itself");
            }
        }
        let makes = self.decode.is_some() || self.instruct.is_some();
        if makes == self.outputs.is_empty() {
            let message =
                "expected [[outputs]] for [decode] and [instruct], and for no other stage";
            return refused("outputs", message, "see recipes/next_gpt/tiny.toml");
        }
        match &self.lora {
            Some(_) if self.instruct.is_none() => refused(
                "lora",
                "expected a stage [instruct] that learns it, got none",
                "leave it out",
            ),
            Some(LoraConfig { quantization: Some(_), .. }) => {
                let message =
                    "expected whole matrices, for what is learned ends in them, got few bits";
                refused("lora.quantization", message, "leave it out")
            }
            Some(LoraConfig { from: Some(_), .. }) => {
                let message =
                    "expected a new adapter, for this ends in the weights, got one to go on with";
                refused("lora.from", message, "sensorium merge puts an adapter into a model")
            }
            _ => self.media.iter().try_for_each(|new| trained(new, settings)),
        }
    }

    /// With the steps of each stage.
    fn counted(&self, options: &RunOptions) -> Result<Self> {
        let count = |name: &str, stage: &Option<Stage>| -> Result<Option<Stage>> {
            let Some(stage) = stage else { return Ok(None) };
            let Stage { steps, epochs, batch_size, .. } = *stage;
            let steps = feed::steps(steps, epochs, batch_size, self.data(name, stage)?, options)?;
            Ok(Some(Stage { steps, epochs: None, ..stage.clone() }))
        };
        Ok(Self {
            encode: count("encode", &self.encode)?,
            decode: count("decode", &self.decode)?,
            instruct: count("instruct", &self.instruct)?,
            ..self.clone()
        })
    }
}

fn no_stage() -> crate::TrainError {
    let message = "expected a stage, got none of encode, decode and instruct";
    model::config("encode", message, "add [encode], [decode], [instruct] or all of them")
}

/// Refuses a tower whose encoder has learned nothing, for it never will.
fn trained(new: &NewTower, settings: &SensoriumConfig) -> Result<()> {
    let known = settings.llava.as_ref().is_some_and(|llava| llava.tower(new.kind).is_some())
        || settings.imagebind.as_ref().is_some_and(|bound| bound.encoder(new.kind).is_some());
    if known || new.encoder.is_some() {
        return Ok(());
    }
    let message = format!("expected a trained encoder of kind {}, got none", new.kind);
    Err(model::config("media", &message, "the recipe `imagebind` trains one"))
}

/// Puts LoRA into the language model; gives the names of what learns.
fn adapt(lora: &LoraConfig, llava: &mut Llava, init: &mut Init) -> Result<Vec<String>> {
    // Encoders have layers of the same names.
    let own = |name: &str| if name.starts_with("backbone.") { name } else { "" }.to_owned();
    let added = lora.add(llava, own, init)?;
    Ok(added.into_iter().map(|name| format!("llava.{name}")).collect())
}

/// What each stage trains.
///
/// # Errors
/// The model is not one that was trained here, answers and makes media, or the recipe makes no sense.
pub fn stages(recipe: &NextGptRecipe) -> Result<Vec<Planned>> {
    let directory = recipe.model.trained_here(&RunOptions::new("."), HINT)?;
    let settings = SensoriumConfig::read(&directory)?;
    recipe.check(&settings)?;
    let shape = towers::shape(&recipe.media, &settings, gill::silent)?;
    let signals = gill::shapes(&recipe.outputs, &settings, &text::tokenizer(&directory)?)?;
    let planned = |Course { name, stage, parts, lora, .. }: Course<'_>| {
        gill::planned((name, stage), (&shape, &signals), parts, |llava, init| {
            lora.map_or(Ok(Vec::new()), |lora| adapt(lora, llava, init))
        })
    };
    recipe.courses(shape.towers.len())?.into_iter().map(planned).collect()
}

/// Trains the projectors of both ends, in `encode/`, `decode/` and `instruct/` of the run.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &NextGptRecipe, options: &RunOptions) -> Result<()> {
    // What makes no sense in a later stage is told before the first.
    stages(recipe)?;
    let recipe = &recipe.counted(options)?;
    let NextGptRecipe { seed, precision, recompute, .. } = *recipe;
    let common = Common {
        recipe: "next_gpt",
        resolved: config::resolved(recipe)?,
        seed,
        device: &recipe.device,
        precision,
        recompute,
        optim: &recipe.optim,
        model: &recipe.model,
        media: &recipe.media,
        outputs: &recipe.outputs,
        goes_on: recipe.decode.is_none(),
    };
    let (mut model, training) = Training::begin(common, options)?;
    let within =
        |course: &Course<'_>| RunOptions { dir: options.dir.join(course.name), ..options.clone() };
    let courses = recipe.courses(model.llava.towers.len())?;
    let feeds = courses.iter().map(|course| training.feed(course, &model, &within(course)));
    let feeds = feeds.collect::<Result<Vec<_>>>()?;
    for (mut course, feed) in courses.into_iter().zip(feeds) {
        if let Some(lora) = course.lora {
            let init = &mut recipe.device.init(Some(seed), precision, recompute);
            course.parts.extend(adapt(lora, &mut model.llava, init)?);
        }
        model = training.run(&course, feed, model, &within(&course))?;
    }
    Ok(())
}
