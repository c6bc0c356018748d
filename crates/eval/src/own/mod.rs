//! Any model on a user's own data, in whatever form training reads it.
//!
//! ```text
//! DatasetConfig ──Set: items, one a picture or one an entry──▶ read, ask, score ──▶ Scored
//! Scored, Metric ──▶ Figure { value, interval, n, chance, prior }          ──▶ OwnReport
//! ```

mod animate;
mod caption;
mod domain;
mod draw;
mod grounding;
mod perplexity;
mod probe;
mod questions;
mod report;
mod retrieval;
mod set;
mod shots;
pub mod templates;
#[cfg(test)]
mod tests;
mod transcribe;
mod vqa;
mod zero_shot;

use sensorium_data::DatasetConfig;
use sensorium_data::scene::Split;
use sensorium_inference::whisper::TranscribeOptions;
use sensorium_inference::{Model, Sampler, SamplerOptions, TextToMedia};
use sensorium_media::MediaDecoder;

pub use report::{Bad, Metric, OwnReport, Scored};
pub use shots::{Choose, Shots};

use crate::error::{EvalError, Result};
use set::Set;

/// What can be measured on a user's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Naming the class of a picture, as its folder or caption says it.
    ZeroShot,
    /// Learning to name it from frozen features and some labels.
    Probe,
    /// Finding the captions of a picture and the picture of a caption.
    Retrieval,
    /// Describing pictures as people do.
    Caption,
    /// Answering questions.
    Vqa,
    /// Telling where in the picture something is.
    Grounding,
    /// Writing down what was said.
    Transcribe,
    /// Expecting texts.
    Perplexity,
    /// Telling pictures that are unlike the training set's.
    Domain,
    /// Drawing what is said, judged by code.
    Draw,
    /// Making clips of what is said, judged by code.
    Animate,
}

impl Task {
    /// As typed on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Probe => "probe",
            Self::Retrieval => "retrieval",
            Self::Caption => "caption",
            Self::Vqa => "vqa",
            Self::Grounding => "grounding",
            Self::Transcribe => "transcribe",
            Self::Perplexity => "perplexity",
            Self::Domain => "domain",
            Self::Draw => "draw",
            Self::Animate => "animate",
        }
    }
}

/// How to measure.
pub struct Own<'a> {
    /// The data.
    pub config: &'a DatasetConfig,
    /// Which part, of data that is split.
    pub split: Split,
    /// Decodes the media.
    pub decoder: &'a MediaDecoder,
    /// What the report calls the model.
    pub model: &'a str,
    /// Items to measure on, spread evenly; all without it.
    pub limit: Option<usize>,
    /// Share (0 to 1) of them that may be broken.
    pub max_bad: f64,
    /// What is asked: of `zero-shot`, templates with `{}` for the class, of `vqa` and `grounding` one with
    /// `{}` for the question, of `caption` a request. Without one, what suits the model.
    pub prompts: &'a [String],
    /// Most tokens of an answer; each task's own number without it.
    pub max_tokens: Option<usize>,
    /// The only answers of `vqa`, of which the likeliest is the model's; without any, it says what it will.
    pub choices: &'a [String],
    /// What `caption` and `vqa` show before they ask; nothing without it.
    pub shots: Option<Shots<'a>>,
    /// How many labels `probe` learns from; all that there are without one.
    pub labels: &'a [usize],
    /// How many of the best are looked at again, where a model has a closer look.
    pub rerank: usize,
    /// Tokens of a window of `perplexity`, at most the model's context.
    pub context: usize,
    /// How `draw` goes from noise to pictures; the seed of each is its own.
    pub sampler: SamplerOptions,
    /// How many it makes of each, to keep the one that the model holds to fit best.
    pub best_of: usize,
    /// How sounds are heard.
    pub speech: TranscribeOptions,
    /// Seed of the examples drawn anew for intervals.
    pub seed: u64,
    /// Called with the number of items done and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Own<'_> {
    /// How a model makes a medium for an item: of noise of its own.
    fn sampler(&self, item: &set::Item, maker: &dyn TextToMedia) -> Sampler {
        let seed = self.seed.wrapping_add(item.index.wrapping_mul(1 << 8));
        SamplerOptions { seed, ..self.sampler }.or(maker.usual())
    }
}

/// What a task found.
struct Measured {
    examples: Vec<Scored>,
    metrics: Vec<Metric>,
    notes: Vec<String>,
}

/// Measures a model on data.
///
/// # Errors
/// The model cannot do the task, the data do not open or lack what the task needs, or more of them are
/// broken than may be.
pub fn measure(task: Task, model: &Model, own: &Own<'_>) -> Result<OwnReport> {
    let one_a_picture = matches!(task, Task::Retrieval | Task::Caption);
    let mut set = Set::open(own, one_a_picture)?;
    let measured = match &own.shots {
        Some(shots) => shots::measure(task, model.few_shot()?, &mut set, own, shots),
        None => alone(task, model, &mut set, own),
    }?;
    if measured.examples.is_empty() {
        let reason = set.bad.first().map_or("nothing", |bad| bad.reason.as_str());
        return Err(EvalError::Nothing { task: task.name(), reason: reason.to_owned() });
    }
    Ok(report::report(task, set, measured, own))
}

/// Without exemplars.
fn alone(task: Task, model: &Model, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    match task {
        Task::ZeroShot => zero_shot::measure(model.embedding()?, set, own),
        Task::Probe => probe::measure(model.embedding()?, set, own),
        Task::Retrieval => retrieval::measure(model.embedding()?, model.score().ok(), set, own),
        Task::Caption => caption::measure(model.chat()?, set, own),
        Task::Vqa => vqa::measure(model.chat()?, None, set, own),
        Task::Grounding => grounding::measure(model.chat()?, set, own),
        Task::Transcribe => transcribe::measure(model.speech()?, set, own),
        Task::Domain => domain::measure(model.chat()?, set),
        Task::Draw => draw::measure(model, set, own),
        Task::Animate => animate::measure(model, set, own),
        Task::Perplexity => perplexity::measure(model.language()?, set, own),
    }
}
