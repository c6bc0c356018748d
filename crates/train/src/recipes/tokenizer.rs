//! The vocabulary: byte-pair encoding learned from what the other recipes will say.
//!
//! Sennrich et al. 2016, <https://arxiv.org/abs/1508.07909>, on bytes (GPT-2).
//!
//! ```text
//! sensorium train recipes/tokenizer/nano.toml
//! ```

use std::path::PathBuf;

use rayon::prelude::*;
use sensorium_checkpoint::file::{Disk, write_atomic};
use sensorium_data::icons::Icons;
use sensorium_data::pairs;
use sensorium_data::question;
use sensorium_data::scene::Split;
use sensorium_data::text::{self, Document};
use sensorium_media::{Part, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::recipes::Recipe;
use crate::run::RunOptions;

/// What is learned from how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    /// `"tokenizer"`.
    pub recipe: Recipe,
    /// Seed of the samples.
    pub seed: u64,
    /// Entries in all: bytes, merges and special tokens.
    pub vocabulary: usize,
    /// Captions, questions and documents to learn from, each.
    pub samples: usize,
    /// The icons' directory, for their words; without it there are only scenes.
    pub icons: Option<PathBuf>,
    /// Where the tokenizer is written.
    pub tokenizer: PathBuf,
}

/// Learns the vocabulary and writes it.
///
/// # Errors
/// The vocabulary is too small, or the file cannot be written.
pub fn train(recipe: &TokenizerRecipe, _options: &RunOptions) -> Result<()> {
    let tokenizer = Tokenizer::train(corpus(recipe)?.into_iter(), recipe.vocabulary)?;
    let path = &recipe.tokenizer;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(TrainError::io("create", parent))?;
    }
    write_atomic(&Disk, path, &tokenizer.to_bytes()?)?;
    eprintln!("{} entries, wrote {}", tokenizer.vocabulary(), path.display());
    Ok(())
}

fn corpus(recipe: &TokenizerRecipe) -> Result<Vec<String>> {
    let (seed, n) = (recipe.seed, recipe.samples);
    let icons = recipe.icons.as_deref().map(Icons::open).transpose()?;
    let captions = gather(n, |i| pairs::scene_pair(Split::Train, seed, i, 1.0, 8).caption);
    let questions = gather(n, |i| {
        let sample = question::sample(Split::Train, seed, i, 1.0);
        format!("{} {}", sample.question, sample.answer)
    });
    let documents = gather(n, |i| plain(text::document(icons.as_ref(), Split::Train, seed, i)));
    Ok([captions, questions, documents].concat())
}

fn plain(document: Document) -> String {
    let messages = match document {
        Document::Plain(text) => return text,
        Document::Chat(messages) => messages,
    };
    let text = |part: Part| match part {
        Part::Text(text) => text,
        Part::Media(_) => String::new(),
    };
    let parts = messages.into_iter().flat_map(|message| message.parts);
    parts.map(text).collect::<Vec<_>>().join(" ")
}

/// `make(0), make(1), ...` on all threads, in order.
fn gather<T: Send>(n: usize, make: impl Fn(u64) -> T + Sync + Send) -> Vec<T> {
    (0..n as u64).into_par_iter().map(make).collect()
}
