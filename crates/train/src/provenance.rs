//! `provenance.json`: where a model's weights come from.

use std::path::PathBuf;

use sensorium_data::{Config, DatasetConfig};
use serde::Serialize;
use time::OffsetDateTime;

/// What is known of a training. Without secrets: nothing of the machine or of who ran it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// The recipe, with its stage.
    pub recipe: String,
    /// BLAKE3 of the recipe with every default written out.
    pub recipe_blake3: String,
    /// Seed of weights and samples.
    pub seed: u64,
    /// What the training began with, if not with seeded weights.
    pub start: Vec<PathBuf>,
    /// What was learned from.
    pub data: Vec<Source>,
    /// Steps done.
    pub steps: u64,
    /// Loss of the last step.
    pub train_loss: Option<f64>,
    /// Last loss on what is never learned from, if it was measured.
    pub val_loss: Option<f64>,
    /// The day it ended, in UTC.
    pub date: String,
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// Its kind.
    pub name: &'static str,
    /// Where it was read from, if it is not all drawn.
    pub path: Option<PathBuf>,
    /// Its licence, where that is known.
    pub licence: Option<String>,
    /// Its share of the examples.
    pub share: f32,
}

impl Provenance {
    /// Before the first step.
    pub fn new(
        recipe: &str,
        resolved: &str,
        seed: u64,
        start: Vec<PathBuf>,
        data: &Config,
    ) -> Self {
        let whole: f32 = data.train.iter().map(DatasetConfig::share).sum();
        let source = |set: &DatasetConfig| Source {
            name: set.kind(),
            path: set.path().map(Into::into),
            licence: set.licence().map(Into::into),
            share: set.share() / whole,
        };
        Self {
            recipe: recipe.to_owned(),
            recipe_blake3: blake3::hash(resolved.as_bytes()).to_hex().to_string(),
            seed,
            start,
            data: data.train.iter().map(source).collect(),
            steps: 0,
            train_loss: None,
            val_loss: None,
            date: String::new(),
        }
    }
}

/// Today in UTC, as `2024-02-29`.
pub(crate) fn today() -> String {
    let today = OffsetDateTime::now_utc();
    format!("{}-{:02}-{:02}", today.year(), u8::from(today.month()), today.day())
}
