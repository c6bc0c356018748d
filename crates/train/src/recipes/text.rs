//! The language model alone: next token over short documents and dialogues.
//!
//! Radford et al. 2019 (GPT-2); z-loss: Chowdhery et al. 2022, section 5.
//!
//! ```text
//! sensorium train recipes/text/nano.toml
//! ```

use std::collections::BTreeMap;

use sensorium_backbone::{BackboneConfig, Llama};
use sensorium_data::{Config, Example, Examples};
use sensorium_flow::{Forward, Hidden, Sequence, Span};
use sensorium_media::{Special, Tokenizer, render};
use sensorium_model::{prompt, weights};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use serde::{Deserialize, Serialize};

use crate::batch::mean;
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::{Result, TrainError};
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::memory::{self, Reads};
use crate::model::{self, ModelConfig, Start, own};
use crate::optim::{AdamW, OptimConfig};
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule::{self, Schedule};

/// A language-model training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRecipe {
    /// `"text"`.
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
    /// Steps.
    pub steps: u64,
    /// Rows a step.
    #[serde(alias = "batch")]
    pub batch_size: usize,
    /// Tokens a row, filled with whole documents one after the other.
    pub tokens: usize,
    /// Whether each document of a row is read as if it were alone.
    #[serde(default, skip_serializing_if = "config::is_false")]
    pub document_mask: bool,
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
    /// Weight of the z-loss.
    #[serde(default)]
    pub z_loss: f32,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// The model, always a new one.
    pub model: ModelConfig,
    /// Texts and conversations to learn from.
    pub data: Config,
}

fn eval_batches() -> u64 {
    8
}

/// What is trained of the model.
const TRAINED: [&str; 3] = ["embedding", "layers", "norm"];

/// What the one stage trains.
///
/// # Errors
/// The model is not a new one.
pub fn stages(recipe: &TextRecipe) -> Result<Vec<Planned>> {
    let Start::New(size, tokenizer) = recipe.model.start(&RunOptions::new("."))? else {
        return Err(not_new());
    };
    let shapes = size.llama(tokenizer.vocabulary()).parameters();
    let trained = recipe.model.train.clone();
    let trained = trained.unwrap_or_else(|| TRAINED.map(str::to_owned).to_vec());
    let TextRecipe { steps, batch_size, .. } = *recipe;
    Ok(vec![Planned::new("text", shapes, &trained, steps, batch_size)?])
}

fn not_new() -> TrainError {
    let message = "expected a size and a tokenizer, got a published model";
    model::config("model.from", message, "the text recipe makes new models only")
}

/// Trains the backbone.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &TextRecipe, options: &RunOptions) -> Result<()> {
    feed::steps(recipe.steps, None, recipe.batch_size, &recipe.data, options)?;
    let Start::New(size, tokenizer) = recipe.model.start(options)? else {
        return Err(not_new());
    };
    let shape = size.llama(tokenizer.vocabulary());
    let model = Llama::init(
        &shape,
        &mut recipe.device.init(Some(recipe.seed), recipe.precision, recipe.recompute),
    );
    let parts: Vec<&str> = match &recipe.model.train {
        Some(parts) => parts.iter().map(String::as_str).collect(),
        None => TRAINED.to_vec(),
    };
    let (model, trained) = thaw_only(model, &parts)?;
    eprintln!("{trained}");
    let (seeds, rows) = ([recipe.seed, recipe.steps], Rows::new(recipe, &tokenizer));
    let make = move |examples: &Examples, step, _| rows.make(examples, step);
    let feed = Feed::open(&recipe.data, seeds, 1, options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let TextRecipe { steps, save_every, eval_every, patience, .. } = *recipe;
    let resolved = config::resolved(recipe)?;
    let provenance = provenance::begin("text", &resolved, recipe.seed, &[], &recipe.data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("text", options, &resolved, plan, model, &mut optim)?;
    let settings = SensoriumConfig {
        language: Some(BackboneConfig::Llama(shape.clone())),
        ..SensoriumConfig::default()
    };
    let files =
        |model: &Llama| own(&[("backbone", weights::tensors(model)?)], &settings, &tokenizer, None);

    fits(recipe, &model)?;
    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(rows) = batches.next().transpose()? else { break };
        let loss = next_token(&model, recipe, &rows);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&recipe.schedule, step, recipe.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(rows) = feed.val(recipe.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let loss = |rows: &[_]| f64::from(read(next_token(&best, recipe, rows))[0]);
            let losses = rows.map(|rows| Ok((loss(&rows?), 1.0))).collect::<Result<Vec<_>>>()?;
            run.keep_best(step, mean(losses), || files(&best))?;
        }
        let flops = 3.0 * shape.flops(recipe.tokens, recipe.tokens) * recipe.batch_size as f64;
        let (samples, extra) = (recipe.batch_size, BTreeMap::new());
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(&best)?)
}

/// Refuses a step that takes more memory than there is.
fn fits(recipe: &TextRecipe, model: &Llama) -> Result<()> {
    let parts = [("", recipe.batch_size * recipe.tokens)];
    let reads = Reads { parts: &parts, recompute: recipe.recompute };
    memory::check(memory::need(model, reads), recipe.batch_size, recipe.recompute)
}

/// Tokens of a row, one more than is read, and which document each is of.
struct Row {
    ids: Vec<u32>,
    documents: Vec<u32>,
}

/// Loss of every next token.
fn next_token(model: &Llama, recipe: &TextRecipe, rows: &[Row]) -> Tensor<1> {
    let (b, t) = (recipe.batch_size, recipe.tokens);
    let ids: Vec<u32> = rows.iter().flat_map(|row| &row.ids[..t]).copied().collect();
    let label = |(id, pair): (&u32, &[u32])| match recipe.document_mask && pair[0] != pair[1] {
        true => prompt::IGNORED,
        false => *id as i32,
    };
    let labels = |row: &Row| -> Vec<i32> {
        row.ids[1..].iter().zip(row.documents.windows(2)).map(label).collect()
    };
    let labels: Vec<i32> = rows.iter().flat_map(labels).collect();
    let embeds = model.embed(&ids, [b, t]);
    let sequence = if recipe.document_mask { apart(rows, t) } else { Sequence::default() };
    let Hidden(hidden) = model.forward(embeds, &sequence, None); // [B, T, D]
    let width = hidden.dims()[2];
    let logits = model.logits(hidden.reshape([b * t, width])); // [B*T, V]
    fused::cross_entropy(logits, labels, recipe.z_loss)
}

/// Documents that do not see each other.
fn apart(rows: &[Row], t: usize) -> Sequence {
    let (mut spans, mut positions) = (Vec::new(), Vec::new());
    for row in rows {
        let documents = &row.documents[..t];
        spans.extend(documents.iter().map(|&document| Span::Apart(document)));
        for document in documents.chunk_by(|a, b| a == b) {
            positions.extend(0..document.len() as u32);
        }
    }
    Sequence { spans: Some(spans.into()), positions: Some(positions.into()), ..Sequence::default() }
}

fn lacks(example: &Example) -> Option<&'static str> {
    let alone =
        example.media.is_empty() && (example.text.is_some() || !example.messages.is_empty());
    (!alone).then_some("text alone")
}

/// What makes a step's rows.
struct Rows {
    tokenizer: Tokenizer,
    batch: usize,
    tokens: usize,
}

impl Rows {
    fn new(recipe: &TextRecipe, tokenizer: &Tokenizer) -> Self {
        Self { tokenizer: tokenizer.clone(), batch: recipe.batch_size, tokens: recipe.tokens }
    }

    fn make(&self, examples: &Examples, step: u64) -> Result<Vec<Row>> {
        let first = step * self.batch as u64;
        (first..first + self.batch as u64).map(|row| self.pack(examples, row)).collect()
    }

    /// Documents one after the other until `tokens + 1` ids are there; the last one is cut.
    fn pack(&self, examples: &Examples, row: u64) -> Result<Row> {
        let mut ids = Vec::with_capacity(self.tokens + 256);
        let mut documents = Vec::with_capacity(self.tokens + 256);
        for part in 0.. {
            ids.extend(self.encode(&examples.draw((row << 16) + part, 1.0)?)?);
            documents.resize(ids.len(), part as u32);
            if ids.len() > self.tokens {
                break;
            }
        }
        ids.truncate(self.tokens + 1);
        documents.truncate(self.tokens + 1);
        Ok(Row { ids, documents })
    }

    /// An example's ids: plain text between its begin and end tokens, or a rendered dialogue.
    fn encode(&self, Example { text, messages, .. }: &Example) -> Result<Vec<u32>> {
        let Some(text) = text.as_ref().filter(|_| messages.is_empty()) else {
            return Ok(render(&self.tokenizer, messages, 0, false)?.ids);
        };
        let mut ids = vec![self.tokenizer.special(Special::Bos)?];
        ids.extend(self.tokenizer.encode(text)?);
        ids.push(self.tokenizer.special(Special::End)?);
        Ok(ids)
    }
}
