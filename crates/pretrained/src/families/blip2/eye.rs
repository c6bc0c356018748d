//! What sees in a BLIP-2 that writes: a picture becomes a few tokens in front of the text.
//!
//! ```text
//! picture ──Vit──▶ [N+1, E] ──Q-Former, linear──▶ [Q, D]
//! ```

use sensorium_checkpoint::Tensors;
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::FeatureSelect;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_model::llava::{Tower, TowerConfig};
use sensorium_nn::prelude::*;

use super::{FAMILY, FOREIGN, as_published, flat, image, qformer};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, BLIP2_TOWER};
use crate::plan::Plan;
use crate::vision;

/// Pictures to a language model's tokens.
#[derive(Debug)]
pub struct Eye {
    /// Pixels to embeddings.
    pub tower: Tower,
    /// Its shape.
    pub config: TowerConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// The token whose places a picture takes, where the settings name one.
    pub marker: Option<u32>,
    /// Where it computes.
    pub device: Device,
}

/// What is known of it by the settings alone.
pub(super) struct Settings {
    pub config: TowerConfig,
    processor: ImageProcessor,
    marker: Option<u32>,
}

impl Settings {
    /// In front of a language model of this width and vocabulary.
    pub fn read(directory: &Directory, width: usize, vocabulary: usize) -> Result<Self> {
        let config = config(directory, width)?;
        let marker = marker(directory, vocabulary)?;
        let processor = vision::square(directory, Style::Blip, image(&directory.config())?.image)?;
        Ok(Self { config, processor, marker })
    }

    /// With these weights, which have been found to be those of its [`plan`].
    pub fn fill(self, tensors: Tensors, device: &Device) -> Result<Eye> {
        let Self { config, processor, marker } = self;
        let tower = Tower::init(&config, &mut Init::empty(device));
        let tower = names::take(tower, flat(tensors)?, &BLIP2_TOWER)?;
        Ok(Eye { tower, config, processor, marker, device: device.clone() })
    }
}

/// What the weights of one of this shape must be.
pub(super) fn plan(config: &TowerConfig) -> Plan {
    let parameters = params::shapes(|init| Tower::init(config, init));
    let mut plan = as_published(Plan::new(FAMILY, "projector", BLIP2_TOWER, parameters));
    let encoder = plan.tensors.iter_mut().filter(|tensor| tensor.part == "encoder");
    encoder.for_each(|tensor| tensor.part = "image");
    plan
}

/// The shape that the settings describe, in front of a language model of this width.
pub(super) fn config(directory: &Directory, width: usize) -> Result<TowerConfig> {
    let top = directory.config();
    let vit = image(&top)?;
    let qformer = qformer(&top, vit.hidden_size)?;
    let settings = directory.json(PROCESSOR)?.unwrap_or_default();
    let settings = Config::new(PROCESSOR, &settings);
    if settings.size_or(QUERIES, qformer.queries)? != qformer.queries {
        let expected = format!("{}, as in config.json", qformer.queries);
        return Err(settings.wrong(QUERIES, &expected, "the files may be of different models"));
    }
    // All positions after the last norm, the class token among them.
    let features = FeatureSelect { layers: Vec::new(), class: true };
    let encoder = EncoderConfig::Vit { vit, features };
    Ok(TowerConfig { encoder, projector: ProjectorConfig::Qformer { qformer, width } })
}

const PROCESSOR: &str = "processor_config.json";
const QUERIES: &str = "num_query_tokens";

/// The token whose places a picture takes.
fn marker(directory: &Directory, vocabulary: usize) -> Result<Option<u32>> {
    const KEY: &str = "image_token_index";
    let top = directory.config();
    if top.get(KEY).is_none() {
        return Ok(None);
    }
    let id = top.id_or(KEY, 0)?;
    if id as usize >= vocabulary {
        let expected = format!("an id below the language model's vocab_size {vocabulary}");
        return Err(top.wrong(KEY, &expected, FOREIGN));
    }
    Ok(Some(id))
}
