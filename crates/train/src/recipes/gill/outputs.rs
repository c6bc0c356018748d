//! What a model learns to answer with, and the stages of learning it.

use sensorium_data::Config;
use sensorium_media::{Modality, Special, Tokenizer};
use sensorium_model::gill::SignalConfig;
use sensorium_output_projector::{MapperConfig, OutputProjectorConfig};
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model;
use crate::schedule::Schedule;

/// A kind of media that a model learns to answer with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOutput {
    /// What is made.
    pub modality: Modality,
    /// Signal tokens of an answer; GILL found more than 8 of no use.
    #[serde(default = "signals")]
    pub signals: u8,
    /// Layers of the mapper's queries.
    #[serde(default = "layers")]
    pub layers: usize,
    /// How it is asked for: `{}` stands for the caption.
    pub requests: Vec<String>,
}

/// One stage of a training with several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Steps.
    #[serde(default)]
    pub steps: u64,
    /// Instead of steps, how often all examples are learned from.
    pub epochs: Option<f64>,
    /// Examples a step.
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
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Factor on the learning rate of input and output projectors.
    #[serde(default = "one")]
    pub projector_rate: f64,
    /// What is learned from.
    pub data: Option<Config>,
}

/// Where such a model may be.
pub(crate) const HINT: &str = "model.from = \"runs/flow/final\"";

fn one() -> f64 {
    1.0
}

pub(super) fn eval_batches() -> u64 {
    8
}

fn signals() -> u8 {
    4
}

fn layers() -> usize {
    2
}

/// What learns: the mappers, and of this table the rows of the signal tokens.
pub(crate) const MAPPERS: &str = "mappers";
pub(crate) const TABLE: &str = "llava.backbone.embedding";

impl NewOutput {
    /// Its signal tokens' ids.
    fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let signal = |n: u8| match self.modality {
            Modality::Image => Some(Special::Img(n)),
            Modality::Audio => Some(Special::Aud(n)),
            Modality::Video => Some(Special::Vid(n)),
            Modality::Text | Modality::Table => None,
        };
        let most = if self.modality == Modality::Video { 4 } else { 8 };
        let known = signal(0).is_some() && (1..=most).contains(&self.signals);
        if !known || !self.requests.iter().any(|request| request.contains("{}")) {
            let message = format!(
                "expected image, audio or video, 1 to {most} signals, and requests with {{}}, got {self:?}"
            );
            return Err(model::config("outputs", &message, "see recipes/gill/tiny.toml"));
        }
        let ids = (0..self.signals).filter_map(signal).map(|token| tokenizer.special(token));
        Ok(ids.collect::<sensorium_media::Result<_>>()?)
    }
}

/// The mappers that a model is to have.
///
/// # Errors
/// The model does not answer or has no such generator, or the outputs make no sense.
pub(crate) fn shapes(
    outputs: &[NewOutput],
    settings: &SensoriumConfig,
    tokenizer: &Tokenizer,
) -> Result<Vec<SignalConfig>> {
    let llava = settings.llava.as_ref().ok_or_else(silent)?;
    let shape = |(i, output): (usize, &NewOutput)| -> Result<SignalConfig> {
        let modality = output.modality;
        if outputs[..i].iter().any(|before| before.modality == modality) {
            let message = format!("expected each kind of media once, got {modality} twice");
            return Err(model::config("outputs", &message, "requests may be a list of many"));
        }
        let Some(made) = settings.generators.iter().find(|one| one.modality() == modality) else {
            let message = format!("expected a model with a generator of kind {modality}, got none");
            return Err(model::config("outputs", &message, "the recipe `flow` trains one"));
        };
        let signals = output.ids(tokenizer)?;
        let generator = &made.generator;
        let mapper = MapperConfig {
            queries: generator.queries,
            n_decoder_layers: output.layers,
            ..MapperConfig::small(llava.backbone.width(), generator.width)
        };
        Ok(SignalConfig { modality, signals, mapper: OutputProjectorConfig::Mapper(mapper) })
    };
    outputs.iter().enumerate().map(shape).collect()
}

/// The error for a model that does not answer.
pub(crate) fn silent() -> crate::TrainError {
    let message = "expected a model that answers, got one that does not";
    model::config("model.from", message, HINT)
}
