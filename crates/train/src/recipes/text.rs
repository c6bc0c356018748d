//! The language model alone: next token over short documents and dialogues.
//!
//! Radford et al. 2019 (GPT-2); z-loss: Chowdhery et al. 2022, section 5.
//!
//! ```text
//! sensorium train recipes/text/nano.toml
//! ```

use std::path::PathBuf;

use sensorium_backbone::Llama;
use sensorium_data::icons::Icons;
use sensorium_data::scene::Split;
use sensorium_data::text::{self, Document};
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_media::text::Tokenizer;
use sensorium_media::{Special, render};
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::training_device;
use serde::{Deserialize, Serialize};

use crate::batch::gather;
use crate::config;
use crate::error::Result;
use crate::freeze::thaw_only;
use crate::optim::{AdamW, OptimConfig};
use crate::recipes::Recipe;
use crate::run::{Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::size::Size;
use crate::tokenizer;

/// A language-model training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRecipe {
    /// `"text"`.
    pub recipe: Recipe,
    /// Seed of weights and samples.
    pub seed: u64,
    /// Size of the model.
    pub size: Size,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this CPU.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Whether every block makes its activations again in the backward pass: less memory, about a
    /// third more time, the same bits.
    #[serde(default)]
    pub recompute: bool,
    /// The tokenizer's file.
    pub tokenizer: PathBuf,
    /// The icons' directory, for their words; without it there are only scenes.
    pub icons: Option<PathBuf>,
    /// Steps.
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Tokens a row, filled with whole documents one after the other.
    pub tokens: usize,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// Weight of the z-loss.
    #[serde(default)]
    pub z_loss: f32,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
}

/// Trains the backbone.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &TextRecipe, options: &RunOptions) -> Result<()> {
    let device = training_device();
    let tokenizer = tokenizer::load(&recipe.tokenizer)?;
    let icons = recipe.icons.as_deref().map(Icons::open).transpose()?;
    let config = recipe.size.llama(tokenizer.vocabulary());
    let model = Llama::init(
        &config,
        &mut Init::new(recipe.seed, &device).with(recipe.precision).recomputing(recipe.recompute),
    );
    let (model, trained) = thaw_only(model, &["embedding", "layers", "norm"])?;
    eprintln!("{trained}");
    let mut optim = AdamW::new(recipe.optim.clone());
    let plan = [recipe.steps, recipe.save_every];
    let (mut run, mut model) =
        Run::open("text", options, &config::resolved(recipe)?, plan, model, &mut optim)?;

    for step in run.steps() {
        let rows = gather(recipe.batch, |row| pack(recipe, icons.as_ref(), &tokenizer, step, row));
        let (b, t) = (recipe.batch, recipe.tokens);
        let ids: Vec<u32> = rows.iter().flat_map(|row| &row[..t]).copied().collect();
        let labels: Vec<i32> = rows.iter().flat_map(|row| &row[1..]).map(|&id| id as i32).collect();

        let embeds = model.embed(&ids, [b, t]);
        let Hidden(hidden) = model.forward(embeds, &Sequence::default(), None); // [B, T, D]
        let width = hidden.dims()[2];
        let logits = model.logits(hidden.reshape([b * t, width])); // [B*T, V]
        let loss = fused::cross_entropy(logits, labels, recipe.z_loss);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        let flops = 3.0 * config.flops(t, t) * b as f64;
        let extra = std::collections::BTreeMap::new();
        run.log(Step { step, loss: value, rate, samples: b, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, &[("backbone", weights::tensors(&best)?)])
}

/// Documents one after the other until `tokens + 1` ids are there; the last one is cut.
fn pack(
    recipe: &TextRecipe,
    icons: Option<&Icons>,
    tokenizer: &Tokenizer,
    step: u64,
    row: u64,
) -> Vec<u32> {
    let row = step * recipe.batch as u64 + row;
    let mut ids = Vec::with_capacity(recipe.tokens + 256);
    for part in 0.. {
        let document = text::document(icons, Split::Train, recipe.seed, (row << 16) + part);
        ids.extend(encode(tokenizer, &document));
        if ids.len() > recipe.tokens {
            break;
        }
    }
    ids.truncate(recipe.tokens + 1);
    ids
}

/// A document's ids: plain text between its begin and end tokens, or a rendered dialogue.
fn encode(tokenizer: &Tokenizer, document: &Document) -> Vec<u32> {
    match document {
        Document::Plain(text) => {
            let mut ids = vec![tokenizer.special(Special::Bos)];
            ids.extend(tokenizer.encode(text));
            ids.push(tokenizer.special(Special::End));
            ids
        }
        Document::Chat(messages) => render(tokenizer, messages, 0, false).ids,
    }
}
