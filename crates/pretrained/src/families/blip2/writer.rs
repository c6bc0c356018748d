//! `Blip2ForConditionalGeneration` with OPT: a picture becomes a few tokens in front of the text.
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
use crate::families::language;
use crate::names::{self, BLIP2_TOWER};
use crate::plan::{Expected, Plan};
use crate::vision;
use sensorium_checkpoint::Tensors;
use sensorium_model::llava::{Tower, TowerConfig};

/// The language model's tensors begin so.
const LANGUAGE: &str = "language_model.";

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
        let backbone =
            language::fill(&language, language_model(&mut tensors), &mut Init::empty(device))?;
        let tower = Tower::init(&config, &mut Init::empty(device));
        let tower = names::take(tower, flat(tensors)?, &BLIP2_TOWER)?;
        let device = device.clone();
        Ok(Self { tower, config, processor, backbone, language, marker, device })
    }
}

/// Takes the tensors of the language model out, under the names that it has alone.
fn language_model(tensors: &mut Tensors) -> Tensors {
    let mut language = Tensors::default();
    let all = std::mem::take(&mut tensors.tensors);
    for (name, tensor) in all {
        match name.strip_prefix(LANGUAGE) {
            Some(name) => language.tensors.insert(name.to_owned(), tensor),
            None => tensors.tensors.insert(name, tensor),
        };
    }
    language
}

/// What the weights must be.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (tower, _) = config(directory)?;
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let names = names.iter().filter_map(|name| name.strip_prefix(LANGUAGE));
    let language = language::plan_of(&directory.config().child("text_config")?, names)?;

    let parameters = params::shapes(|init| Tower::init(&tower, init));
    let mut plan = as_published(Plan::new(FAMILY, "projector", BLIP2_TOWER, parameters));
    let encoder = plan.tensors.iter_mut().filter(|tensor| tensor.part == "encoder");
    encoder.for_each(|tensor| tensor.part = "image");
    let under =
        |tensor: Expected| Expected { name: format!("{LANGUAGE}{}", tensor.name), ..tensor };
    if !language.copies.is_empty() {
        plan.copies = COPIES;
    }
    plan.tensors.extend(language.tensors.into_iter().map(under));
    Ok(plan)
}

fn config(directory: &Directory) -> Result<(TowerConfig, BackboneConfig)> {
    let top = directory.config();
    let text = top.child("text_config")?;
    let foreign = || text.wrong("model_type", "\"opt\"", "only BLIP-2 with OPT is built here");
    if text.text_or("model_type", "")? != "opt" {
        return Err(foreign());
    }
    let language = language::config(&text)?;
    let BackboneConfig::Opt(opt) = &language else { return Err(foreign()) };
    if opt.embed != opt.hidden_size {
        let hint = "pictures are put among tokens, which must be as wide as the stream";
        return Err(text.wrong("word_embed_proj_dim", &opt.hidden_size.to_string(), hint));
    }
    let vit = image(&top)?;
    let qformer = qformer(&top, vit.hidden_size)?;
    let settings = directory.json(PROCESSOR)?.unwrap_or_default();
    let settings = Config::new(PROCESSOR, &settings);
    if settings.size_or(QUERIES, qformer.queries)? != qformer.queries {
        let expected = format!("{}, as in config.json", qformer.queries);
        return Err(settings.wrong(QUERIES, &expected, "the files may be of different models"));
    }
    let width = opt.hidden_size;
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
