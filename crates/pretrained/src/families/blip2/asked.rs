//! `Blip2ForConditionalGeneration` with T5: its encoder reads the picture's tokens and the text's.
//!
//! ```text
//! picture ──Eye──▶ [Q, D] ─────────────┐
//! text </s> ──embed──▶ [T, D] ─────────┴──▶ T5's encoder ──▶ T5's decoder ──▶ what is answered
//! ```

use sensorium_backbone::T5Config;
use sensorium_checkpoint::Tensors;
use sensorium_nn::prelude::*;

use super::eye::{self, Settings};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::t5::{self, T5Parts};
use crate::plan::Plan;
use crate::text::TextProcessor;

/// What the language model's tensors begin with.
const PREFIX: &str = "language_model.";

/// Its token table, under the names that it has beside its own.
const COPIES: [&str; 3] = [
    "language_model.encoder.embed_tokens.weight",
    "language_model.decoder.embed_tokens.weight",
    "language_model.lm_head.weight",
];

/// Whether the language model is one of these.
pub(super) fn is_asked(config: &Config<'_>) -> bool {
    let text = config.find("text_config").ok().flatten();
    text.is_some_and(|text| text.text_or("model_type", "").is_ok_and(|kind| kind == t5::FAMILY))
}

/// What the weights must be.
pub(super) fn plan(directory: &Directory) -> Result<Plan> {
    let language = language(directory)?;
    let mut plan = eye::plan(&eye::config(directory, language.hidden_size)?);
    plan.copies = if language.tied { &COPIES } else { &[COPIES[0], COPIES[1]] };
    let mut tensors = t5::planned(&language).tensors;
    tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, PREFIX));
    plan.tensors.extend(tensors);
    Ok(plan)
}

/// The model in a directory.
pub(super) fn open(directory: &Directory, device: &Device) -> Result<T5Parts> {
    let settings = directory.config().child("text_config")?;
    let text = TextProcessor::read(directory)?.ending_as(&settings)?;
    let decoder_start_token_id = t5::start(directory, &settings)?;
    let config = language(directory)?;
    let eye = Settings::read(directory, config.hidden_size, config.vocab_size)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let unread = |name: &str| {
        plan.layout.is_ignorable(name) || t5::is_ignorable(name) || strays.contains(name)
    };
    let (mut language, mut others) = (Tensors::default(), Tensors::default());
    for (name, tensor) in directory.tensors_but(unread)?.tensors {
        match name.strip_prefix(PREFIX) {
            Some(name) => language.tensors.insert(name.to_owned(), tensor),
            None => others.tensors.insert(name, tensor),
        };
    }
    let model = t5::fill(&config, language, device)?;
    let eye = Some(eye.fill(others, device)?);
    Ok(T5Parts { text, eye, config, model, decoder_start_token_id })
}

fn language(directory: &Directory) -> Result<T5Config> {
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    t5::config(&directory.config().child("text_config")?, &names)
}
