//! `Blip2ForConditionalGeneration` with a language model that only goes on.
//!
//! ```text
//! picture ──Eye──▶ [Q, D] ─────────────┐
//! </s> text ──embed──▶ [T, D] ─────────┴──▶ OPT ──▶ what follows
//! ```
//! Files of before 2024 name no token for the picture's places: transformers then put the same
//! embeddings in front of the text's.

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_nn::prelude::*;

use super::eye::{self, Eye, Settings};
use crate::directory::Directory;
use crate::error::Result;
use crate::families::language::{self, Place};
use crate::families::llava::parts::{BACKBONES, spliceable};
use crate::families::t5;
use crate::plan::Plan;
use sensorium_model::llava::TowerConfig;

/// Where the language model's tensors are.
pub(super) const LANGUAGE: Place = Place::Whole("language_model.");

/// Its head, which files may have beside the token table that it is.
const COPIES: &[&str] = &["language_model.lm_head.weight"];

/// The model that writes, and what makes its pictures' input.
#[derive(Debug)]
pub struct Writer {
    /// Pictures to embeddings.
    pub eye: Eye,
    /// The language model.
    pub backbone: Backbone,
    /// Its shape.
    pub language: BackboneConfig,
}

impl Writer {
    /// The model in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not supported; the weights are not those of
    /// the settings.
    pub fn open(directory: &Directory, device: &Device) -> Result<Self> {
        let (_, language) = config(directory)?;
        let eye = Settings::read(directory, language.width(), language.vocabulary())?;
        let plan = plan(directory)?;
        let strays = plan.check(directory)?;
        // A head beside the token table is read, to be compared with it.
        let mut tensors = directory
            .tensors_but(|name| plan.layout.is_ignorable(name) || strays.contains(name))?;
        let backbone = language::fill(
            &language,
            LANGUAGE.take(&language, &mut tensors),
            &mut Init::empty(device),
        )?;
        Ok(Self { eye: eye.fill(tensors, device)?, backbone, language })
    }
}

/// What the weights must be.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (tower, language) = config(directory)?;
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let language = LANGUAGE.plan(&language, names.iter().map(String::as_str));

    let mut plan = eye::plan(&tower);
    if !language.copies.is_empty() {
        plan.copies = COPIES;
    }
    plan.tensors.extend(language.tensors);
    Ok(plan)
}

fn config(directory: &Directory) -> Result<(TowerConfig, BackboneConfig)> {
    let text = directory.config().child("text_config")?;
    let kind = text.text_or("model_type", "")?;
    if !BACKBONES.contains(&kind) {
        let expected = format!("one of {}, {}", BACKBONES.join(", "), t5::FAMILY);
        let hint = "BLIP-2 with another language model is not built here";
        return Err(text.wrong("model_type", &expected, hint));
    }
    let language = language::config(&text)?;
    spliceable(&text, &language)?;
    Ok((eye::config(directory, language.width())?, language))
}
