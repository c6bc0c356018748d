//! A model and a data set become figures, each beside what one gets without looking: chance, and
//! the prior of the question alone. Knows no files but the data sets' and no training.
//!
//! ```text
//! Model + data + seed ──measure──▶ Report { figures: [value, interval, n, chance, prior] }
//!                                    ├──▶ a table for people
//!                                    ├──▶ JSON
//!                                    └──▶ the model card
//! ```

pub mod answer;
pub mod card;
pub mod compare;
pub mod easy_vqa;
pub mod error;
pub mod figure;
pub mod icons;
pub mod judge;
pub mod label;
mod logistic;
pub mod metrics;
pub mod own;
pub mod page;
pub mod perplexity;
pub mod report;
pub mod retrieval;
pub mod scenes;
pub mod statistic;
pub mod zero_shot;

use std::path::Path;

use sensorium_inference::Model;
use sensorium_media::MediaDecoder;
use serde::{Deserialize, Serialize};

pub use error::{EvalError, Result};
pub use figure::Figure;
pub use perplexity::Perplexity;
pub use report::Report;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluation {
    /// Questions of easy-VQA's official test split.
    EasyVqa,
    /// Naming colour and shape of one drawn object among all 90 pairs.
    ZeroShot,
    /// Naming icons of a style that training never sees.
    Icons,
    /// Finding the caption of a picture and the picture of a caption.
    Retrieval,
    /// Questions about drawn scenes by kind.
    Scenes,
}

impl Evaluation {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 5] =
        [Self::ZeroShot, Self::Icons, Self::Retrieval, Self::EasyVqa, Self::Scenes];

    /// As typed on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EasyVqa => "easy-vqa",
            Self::ZeroShot => "zero-shot",
            Self::Icons => "icons",
            Self::Retrieval => "retrieval",
            Self::Scenes => "scenes",
        }
    }
}

/// How to measure.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Items to measure on; `None` takes each evaluation's own number.
    pub samples: Option<usize>,
    /// Seed of what is drawn. Its samples belong to splits that training never draws from.
    pub seed: u64,
    /// Folder that holds `easy-vqa` and `icons`.
    pub data: &'a Path,
    /// Decodes the pictures of data sets.
    pub decoder: &'a MediaDecoder,
    /// Side of drawn pictures in pixels.
    pub size: u32,
    /// Called with the number of items done and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Settings<'_> {
    /// The number of items, at least 1.
    pub(crate) fn samples_or(&self, default: usize) -> usize {
        self.samples.unwrap_or(default).max(1)
    }
}

/// Runs one evaluation.
///
/// # Errors
/// The model cannot do the task, a data set is missing or damaged, or a question does not fit the
/// model's context.
pub fn measure(which: Evaluation, model: &Model, settings: &Settings<'_>) -> Result<Report> {
    match which {
        Evaluation::EasyVqa => easy_vqa::measure(model.chat()?, settings),
        Evaluation::ZeroShot => zero_shot::measure(model.embedding()?, settings),
        Evaluation::Icons => icons::measure(model.embedding()?, settings),
        Evaluation::Retrieval => retrieval::measure(model.embedding()?, settings),
        Evaluation::Scenes => scenes::measure(model.chat()?, settings),
    }
}
