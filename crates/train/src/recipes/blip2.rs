//! BLIP-2: a Q-Former between a frozen image encoder and a frozen language model.
//!
//! Li et al. 2023, <https://arxiv.org/abs/2301.12597>, as LAVIS trains it. Stage 1, represent: pictures
//! with captions, by contrast, matching and generation; the Q-Former and the norm behind the encoder
//! learn. Stage 2, generate: the Q-Former's answers, mapped by one matrix, stand before a caption that
//! the language model is to write. Dropout, which the paper's Q-Former has, is left out.
//!
//! ```text
//! sensorium train recipes/blip2/tiny.toml
//! ```

mod generate;
mod represent;

use std::path::PathBuf;

use sensorium_data::{Config, Example};
use sensorium_encoder::image::Vit;
use sensorium_media::Tokenizer;
use sensorium_model::blip2::{Blip2MatcherConfig, Blip2Pretraining};
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::blip2::bert::Bert;
use sensorium_pretrained::families::blip2::new::{self, BEGIN, NewMatcher, NewQFormer};
use serde::{Deserialize, Serialize};

use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::Result;
use crate::feature_cache::FeatureCache;
use crate::model;
use crate::optim::OptimConfig;
use crate::recipes::Recipe;
use crate::run::RunOptions;
use crate::schedule::Schedule;
use crate::tokenizer;

use sensorium_nn::prelude::*;

/// A BLIP-2 training: one of the stages, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blip2Recipe {
    /// `"blip2"`.
    pub recipe: Recipe,
    /// Seed of weights, samples and negatives.
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
    /// A directory where what the encoder sees is kept, to be made once for a picture.
    pub feature_cache: Option<PathBuf>,
    /// Whether stage 2 saves only what was learned, in f16, and the names of the frozen models.
    #[serde(default, skip_serializing_if = "crate::config::is_false")]
    pub trained_only: bool,
    /// Stage 1.
    pub represent: Option<Stage>,
    /// Stage 2, which asks for a `backbone`.
    pub generate: Option<Stage>,
    /// Stands before every caption of stage 2, and is not learned.
    #[serde(default)]
    pub prompt: String,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// What the Q-Former stands between.
    pub model: Blip2Model,
    /// Sizes of a new Q-Former.
    #[serde(default)]
    pub qformer: NewQFormer,
    /// Pictures with captions, for stages without data of their own.
    pub data: Option<Config>,
}

/// What the Q-Former stands between: each a directory, or a name whose files the hub's cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blip2Model {
    /// The image encoder of a new model: CLIP, SigLIP, DINOv2 or BLIP-2's own.
    pub encoder: Option<PathBuf>,
    /// The file of a BERT's tokenizer, which reads the texts of a new model.
    pub tokenizer: Option<PathBuf>,
    /// In its place, a whole BERT: its layers are what the Q-Former of a new model begins with.
    pub bert: Option<PathBuf>,
    /// In the place of all three, a BLIP-2 of the first stage to go on from.
    pub from: Option<PathBuf>,
    /// The language model of stage 2.
    pub backbone: Option<PathBuf>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Steps.
    pub steps: u64,
    /// Pairs a step.
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
    /// Longest caption in tokens.
    #[serde(default = "longest")]
    pub tokens: usize,
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// What is learned from.
    pub data: Option<Config>,
}

fn eval_batches() -> u64 {
    8
}

fn longest() -> usize {
    32
}

impl Blip2Recipe {
    /// What a stage learns from.
    ///
    /// # Errors
    /// Neither it nor the recipe names a data set.
    pub fn data<'a>(&'a self, stage: &'a Stage) -> Result<&'a Config> {
        stage.data.as_ref().or(self.data.as_ref()).ok_or_else(|| {
            let message = "expected data sets to learn from, got none";
            model::config("data", message, "add [[data.train]], or one for each stage")
        })
    }

    /// What the last stage learns from.
    ///
    /// # Errors
    /// There is none, or it names no data set.
    pub fn last_data(&self) -> Result<&Config> {
        let stage = self.generate.as_ref().or(self.represent.as_ref());
        self.data(stage.ok_or_else(no_stage)?)
    }

    /// What makes layers: of published weights, and of seeded ones.
    fn inits(&self) -> [Init; 2] {
        [None, Some(self.seed)].map(|seed| self.device.init(seed, self.precision, self.recompute))
    }

    /// What is kept of the encoder's work, where it is to be.
    fn cache(&self, vit: &Vit, data: &Config, side: usize) -> Result<Option<FeatureCache>> {
        let to = (self.precision, &self.device.open());
        let open = |dir: &PathBuf| FeatureCache::open(dir, vit, data, [side; 2], to);
        self.feature_cache.as_ref().map(open).transpose()
    }

    fn open(&self, from: &std::path::Path, strict: bool) -> Result<Directory> {
        model::opened(from, strict)
    }

    fn backbone(&self, strict: bool) -> Result<Directory> {
        let missing = || {
            let message = "expected a language model to write with, got none";
            model::config("model.backbone", message, "name one, or leave [generate] out")
        };
        self.open(self.model.backbone.as_ref().ok_or_else(missing)?, strict)
    }

    /// The model that stage 1 begins with.
    fn matcher(&self, strict: bool) -> Result<NewMatcher> {
        let [mut init, mut seeded] = self.inits();
        let Blip2Model { encoder, tokenizer, bert, from, .. } = &self.model;
        match (encoder, tokenizer, bert, from) {
            (Some(encoder), Some(file), None, None) => {
                // Only the image encoder of it is used.
                let encoder = self.open(encoder, false)?;
                let tokenizer = tokenizer::load(file)?;
                let new =
                    NewMatcher::new(&encoder, &self.qformer, tokenizer, &mut init, &mut seeded)?;
                Ok(new)
            }
            (Some(encoder), None, Some(bert), None) => {
                let (encoder, bert) = (self.open(encoder, false)?, self.open(bert, false)?);
                let bert = Bert::open(&bert, &self.qformer)?;
                let (sizes, tokenizer) = (bert.sizes(&self.qformer), bert.tokenizer()?);
                let new = NewMatcher::new(&encoder, &sizes, tokenizer, &mut init, &mut seeded)?;
                Ok(new.begin_with(&bert)?)
            }
            (None, None, None, Some(from)) => {
                Ok(NewMatcher::from(&self.open(from, strict)?, &mut init, &mut seeded)?)
            }
            _ => Err(parts_missing()),
        }
    }

    /// Its shape, by settings alone.
    fn matcher_config(&self) -> Result<Blip2MatcherConfig> {
        let Blip2Model { encoder: Some(encoder), tokenizer, bert, .. } = &self.model else {
            return Err(parts_missing());
        };
        let words = |tokenizer: &Tokenizer| {
            tokenizer.vocabulary() + usize::from(tokenizer.id(BEGIN).is_none())
        };
        let (sizes, vocabulary) = match (tokenizer, bert) {
            // A plan needs no file of a table that the recipe gives the size of.
            (Some(file), None) if self.qformer.vocab_size > 0 && !file.exists() => {
                (self.qformer.clone(), self.qformer.vocab_size)
            }
            (Some(file), None) => (self.qformer.clone(), words(&tokenizer::load(file)?)),
            (None, Some(bert)) => {
                let bert = self.open(bert, false)?;
                let bert = Bert::open(&bert, &self.qformer)?;
                (bert.sizes(&self.qformer), words(&bert.tokenizer()?))
            }
            _ => return Err(parts_missing()),
        };
        Ok(new::config(&self.open(encoder, false)?, &sizes, vocabulary)?)
    }
}

fn no_stage() -> crate::error::TrainError {
    let message = "expected a stage, got neither represent nor generate";
    model::config("represent", message, "add [represent], [generate] or both")
}

fn parts_missing() -> crate::error::TrainError {
    let message = "expected encoder and tokenizer, encoder and bert, or from";
    let hint = "the first two make a new model; from goes on with one of the first stage";
    model::config("model", message, hint)
}

/// Trains the Q-Former, in `represent/` and `generate/` of the run.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &Blip2Recipe, options: &RunOptions) -> Result<()> {
    if recipe.represent.is_none() && recipe.generate.is_none() {
        return Err(no_stage());
    }
    if recipe.trained_only && recipe.model.encoder.is_none() {
        let message = "expected model.encoder, a frozen part to name, got none";
        return Err(model::config("trained_only", message, "leave it out to go on with from"));
    }
    let matcher = recipe.matcher(options.strict)?;
    let trained = match &recipe.represent {
        Some(stage) => represent::train(recipe, stage, &matcher, options)?,
        None => matcher.model.clone(),
    };
    match &recipe.generate {
        Some(stage) => generate::train(recipe, stage, &matcher, trained.matcher, options),
        None => Ok(()),
    }
}

/// What each stage trains.
///
/// # Errors
/// A part is of a kind that is not built in, or its settings are damaged.
pub fn stages(recipe: &Blip2Recipe) -> Result<Vec<Planned>> {
    let matcher = recipe.matcher_config()?;
    let mut all = Vec::new();
    if let Some(Stage { steps, batch_size, .. }) = recipe.represent {
        let shapes = params::shapes(|init| Blip2Pretraining::init(&matcher, init));
        all.push(Planned::new("represent", shapes, &represent::TRAINED, steps, batch_size)?);
    }
    if let Some(Stage { steps, batch_size, .. }) = recipe.generate {
        let shapes = new::writer_config(&matcher, &recipe.backbone(false)?)?.parameters();
        all.push(Planned::new("generate", shapes, &generate::TRAINED, steps, batch_size)?);
    }
    Ok(all)
}

/// What an example has not.
fn lacks(example: &Example) -> Option<&'static str> {
    let paired = example.text.is_some() && example.media.len() == 1;
    (!paired).then_some("one picture each, and captions")
}

/// A caption as LAVIS has it: in lower case, without most punctuation, of at most 50 words.
fn caption(example: &Example) -> String {
    let text = example.text.as_deref().unwrap_or_default().to_lowercase();
    let text = text.replace(|c| ".!\"()*#:;~".contains(c), " ");
    text.split_whitespace().take(50).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_plain_words() {
        let example =
            Example { text: Some("A  Cat, (sitting): \"here\"!".into()), ..Example::default() };
        assert_eq!(caption(&example), "a cat, sitting here");
        let long = Example { text: Some("word ".repeat(60)), ..Example::default() };
        assert_eq!(caption(&long).split(' ').count(), 50);
    }
}
