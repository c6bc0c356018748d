//! `Blip2ForConditionalGeneration` with a language model: a picture becomes a few tokens in front of the text.
//!
//! ```text
//! picture ──Vit──▶ [N+1, E] ──Q-Former, linear──▶ [Q, D] ─┐
//! </s> text ──embed──▶ [T, D] ────────────────────────────┴──▶ OPT ──▶ what follows
//! ```
//! Files of before 2024 name no token for the picture's places: transformers then put the same
//! embeddings in front of the text's.

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::FeatureSelect;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_nn::prelude::*;

use super::{FAMILY, FOREIGN, as_published, flat, image, qformer};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::language::{self, Place};
use crate::families::llava::parts::{BACKBONES, spliceable};
use crate::names::{self, BLIP2_TOWER};
use crate::plan::Plan;
use crate::vision;
use sensorium_model::llava::{Tower, TowerConfig};

/// Where the language model's tensors are.
pub(super) const LANGUAGE: Place = Place::Whole("language_model.");

/// Its head, which files may have beside the token table that it is.
const COPIES: &[&str] = &["language_model.lm_head.weight"];

/// The model that writes, and what makes its pictures' input.
#[derive(Debug)]
pub struct Writer {
    /// Pictures to embeddings.
    pub tower: Tower,
    /// Its shape.
    pub config: TowerConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// The language model.
    pub backbone: Backbone,
    /// Its shape.
    pub language: BackboneConfig,
    /// The token whose places a picture takes, where the settings name one.
    pub marker: Option<u32>,
    /// Where it computes.
    pub device: Device,
}

impl Writer {
    /// The model in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not supported; the weights are not those of
    /// the settings.
    pub fn open(directory: &Directory, device: &Device) -> Result<Self> {
        let (config, language) = config(directory)?;
        let marker = marker(directory, &language)?;
        let processor = vision::square(directory, Style::Blip, image(&directory.config())?.image)?;
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
        let tower = Tower::init(&config, &mut Init::empty(device));
        let tower = names::take(tower, flat(tensors)?, &BLIP2_TOWER)?;
        let device = device.clone();
        Ok(Self { tower, config, processor, backbone, language, marker, device })
    }
}

/// What the weights must be.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (tower, language) = config(directory)?;
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let language = LANGUAGE.plan(&language, names.iter().map(String::as_str));

    let parameters = params::shapes(|init| Tower::init(&tower, init));
    let mut plan = as_published(Plan::new(FAMILY, "projector", BLIP2_TOWER, parameters));
    let encoder = plan.tensors.iter_mut().filter(|tensor| tensor.part == "encoder");
    encoder.for_each(|tensor| tensor.part = "image");
    if !language.copies.is_empty() {
        plan.copies = COPIES;
    }
    plan.tensors.extend(language.tensors);
    Ok(plan)
}

fn config(directory: &Directory) -> Result<(TowerConfig, BackboneConfig)> {
    let top = directory.config();
    let text = top.child("text_config")?;
    let kind = text.text_or("model_type", "")?;
    if !BACKBONES.contains(&kind) {
        let hint = "BLIP-2 with an encoder-decoder is not built here";
        return Err(text.wrong("model_type", &format!("one of {}", BACKBONES.join(", ")), hint));
    }
    let language = language::config(&text)?;
    spliceable(&text, &language)?;
    let vit = image(&top)?;
    let qformer = qformer(&top, vit.hidden_size)?;
    let settings = directory.json(PROCESSOR)?.unwrap_or_default();
    let settings = Config::new(PROCESSOR, &settings);
    if settings.size_or(QUERIES, qformer.queries)? != qformer.queries {
        let expected = format!("{}, as in config.json", qformer.queries);
        return Err(settings.wrong(QUERIES, &expected, "the files may be of different models"));
    }
    let width = language.width();
    // All positions after the last norm, the class token among them.
    let features = FeatureSelect { layers: Vec::new(), class: true };
    let encoder = EncoderConfig::Vit { vit, features };
    Ok((TowerConfig { encoder, projector: ProjectorConfig::Qformer { qformer, width } }, language))
}

const PROCESSOR: &str = "processor_config.json";
const QUERIES: &str = "num_query_tokens";

/// The token whose places a picture takes.
fn marker(directory: &Directory, language: &BackboneConfig) -> Result<Option<u32>> {
    const KEY: &str = "image_token_index";
    let top = directory.config();
    if top.get(KEY).is_none() {
        return Ok(None);
    }
    let id = top.id_or(KEY, 0)?;
    if id as usize >= language.vocabulary() {
        let expected =
            format!("an id below the language model's vocab_size {}", language.vocabulary());
        return Err(top.wrong(KEY, &expected, FOREIGN));
    }
    Ok(Some(id))
}
