//! One tower of CLIP or SigLIP without the other: `CLIPVisionModel`, `CLIPTextModel`, both with their
//! projection or without, `SiglipVisionModel`, `SiglipTextModel`; and a directory of the whole model that
//! holds the weights of one.
//!
//! ```text
//! pictures ──Vit──▶ [E] ──projection, where it is published──▶ unit length
//! texts ──TextTower─▶ [E] ──┘
//! ```

use sensorium_encoder::image::{Pooling, Vit, VitConfig};
use sensorium_encoder::text::{TextConfig, TextTower};
use sensorium_media::{ImageProcessor, Picture, Style};
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::{clip, dinov2, siglip};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, Layout};
use crate::plan::Plan;
use crate::towers::{CHUNK, Reading, TextInput, planes, tensors};
use crate::{text, vision};
use sensorium_model::clip::{in_chunks, unit};

/// A tower that stands alone.
#[derive(Debug)]
pub struct Tower {
    encoder: Encoder,
    device: Device,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two of them")]
enum Encoder {
    Image(Vit, ImageProcessor),
    Text(TextTower, TextInput),
}

/// Settings of the one tower.
enum Shape {
    Image(VitConfig),
    Text(TextConfig),
}

impl Tower {
    /// One vector of unit length for each picture.
    ///
    /// # Errors
    /// It is a text tower.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        match &self.encoder {
            Encoder::Image(vit, processor) => Ok(in_chunks(CHUNK, pictures, |chunk| {
                unit(vit.embed(planes(processor, chunk, &self.device)))
            })),
            Encoder::Text(..) => {
                Err(Error::NoPictures { family: "a text tower without its vision tower" })
            }
        }
    }

    /// One vector of unit length for each text; longer ones are cut before their end token.
    ///
    /// # Errors
    /// It is a vision tower, or the tokenizer fails at a text.
    pub fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        match &self.encoder {
            Encoder::Image(..) => {
                Err(Error::NoTexts { family: "a vision tower without its text tower" })
            }
            Encoder::Text(tower, input) => {
                let ids = texts.iter().map(|text| input.ids(text)).collect::<Result<Vec<_>>>()?;
                Ok(in_chunks(CHUNK, &ids, |chunk| unit(tower.embed(&input.pad(chunk)))))
            }
        }
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        match &mut self.encoder {
            Encoder::Image(vit, _) => vit.pack_as(format),
            Encoder::Text(tower, _) => tower.pack_as(format),
        }
    }
}

/// Whether a directory of the whole model holds the weights of one tower.
pub fn is_alone(directory: &Directory) -> bool {
    directory.shapes().is_ok_and(|shapes| {
        let found = |prefix: &str| shapes.keys().any(|name| name.starts_with(prefix));
        found("vision_model.") != found("text_model.")
    })
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (shape, layout) = settings(directory)?;
    Ok(plan_of(&shape, layout))
}

fn plan_of(shape: &Shape, layout: Layout) -> Plan {
    match shape {
        Shape::Image(config) => Plan::new("vision tower", "image", layout, config.parameters()),
        Shape::Text(config) => Plan::new("text tower", "text", layout, config.parameters()),
    }
}

/// The tower in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Tower> {
    let (shape, layout) = settings(directory)?;
    let plan = plan_of(&shape, layout);
    let init = &mut Init::empty(device);
    let encoder = match shape {
        Shape::Image(config) => {
            let style = if is_siglip(directory) { Style::Siglip } else { Style::Clip };
            let processor = vision::square(directory, style, config.image)?;
            let tensors = tensors(directory, &plan)?;
            Encoder::Image(names::take(Vit::init(&config, init), tensors, &layout)?, processor)
        }
        Shape::Text(config) => {
            let tokenizer = text::tokenizer(directory)?;
            let section = section(directory, "text_config")?;
            let reading = match is_siglip(directory) {
                true => {
                    Reading::Last(siglip::pad(directory, &section, &tokenizer, config.vocab_size)?)
                }
                false => clip::reading(&section)?,
            };
            let tensors = tensors(directory, &plan)?;
            let tower = names::take(TextTower::init(&config, init), tensors, &layout)?;
            Encoder::Text(tower, TextInput::new(tokenizer, config, reading))
        }
    };
    Ok(Tower { encoder, device: device.clone() })
}

fn is_siglip(directory: &Directory) -> bool {
    directory.model_type().is_some_and(|kind| kind.starts_with("siglip"))
}

/// The tower's settings: the file's own, or its part of the whole model's.
fn section<'a>(directory: &'a Directory, key: &str) -> Result<Config<'a>> {
    let top = directory.config();
    // The other tower's settings are of no use here.
    top.without_effect(&["vision_config", "text_config", "vision_config_dict", "text_config_dict"]);
    if top.find("vision_config")?.is_some() || top.find("text_config")?.is_some() {
        return clip::section(&top, key);
    }
    Ok(top)
}

fn settings(directory: &Directory) -> Result<(Shape, Layout)> {
    let top = directory.config();
    // Without weights, the class says what it would hold.
    let class = top.get("architectures").and_then(|all| all.get(0)?.as_str()).unwrap_or_default();
    let shapes = directory.shapes().ok();
    let has = |name: &str, otherwise: bool| {
        shapes.as_ref().map_or(otherwise, |shapes| shapes.contains_key(name))
    };
    let kind = directory.model_type().unwrap_or_default();
    let sees = match kind {
        "clip" | "siglip" => has("vision_model.embeddings.position_embedding.weight", true),
        kind => kind.ends_with("_vision_model"),
    };
    let bare = has("embeddings.position_embedding.weight", !class.ends_with("WithProjection"));
    let siglip = is_siglip(directory);
    let projects = !siglip && {
        let name = if sees { "visual_projection.weight" } else { "text_projection.weight" };
        has(name, class.ends_with("WithProjection"))
    };
    if sees {
        let section = section(directory, "vision_config")?;
        let image = if siglip {
            section.only("vision_use_head", &Value::Bool(true))?;
            siglip::headed(&section)?
        } else {
            clip::image(&section)?
        };
        let embed = if projects { top.size_or("projection_dim", 512)? } else { image.embed };
        let layout = if bare { names::VISION_TOWER_BARE } else { names::VISION_TOWER };
        return Ok((Shape::Image(VitConfig { proj: projects, embed, ..image }), layout));
    }
    let section = section(directory, "text_config")?;
    if siglip {
        let layout = if bare { names::SIGLIP_TEXT_BARE } else { names::SIGLIP_TEXT };
        return Ok((Shape::Text(siglip::text(&section)?), layout));
    }
    let embed = if projects {
        top.size_or("projection_dim", 512)?
    } else {
        section.size_or("hidden_size", 512)?
    };
    let text = TextConfig { proj: projects, ..clip::text(&section, embed)? };
    let layout = if bare { names::CLIP_TEXT_BARE } else { names::CLIP_TEXT };
    Ok((Shape::Text(text), layout))
}

/// `model_type` of what has an [`ImageTower`].
pub const IMAGE_TOWERS: [&str; 5] =
    ["clip", "clip_vision_model", "siglip", "siglip_vision_model", "dinov2"];

/// An image encoder of a published model, to be part of another: its positions are read.
#[derive(Debug)]
pub struct ImageTower {
    /// The encoder, without what makes one vector of its positions.
    pub vit: Vit,
    /// Its shape.
    pub config: VitConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// What `vision_config` of a whole model says of it.
    pub settings: Value,
}

/// Whether the directory holds DINOv2.
pub fn is_dinov2(directory: &Directory) -> bool {
    directory.model_type() == Some("dinov2")
}

/// The shape of a directory's image encoder, by the settings alone.
///
/// # Errors
/// It has none that is known, or a setting is damaged.
pub fn image_config(directory: &Directory) -> Result<VitConfig> {
    if !directory.model_type().is_some_and(|kind| IMAGE_TOWERS.contains(&kind)) {
        let expected = format!("one of {}", IMAGE_TOWERS.join(", "));
        let hint = "an encoder of another kind cannot be part of a new model yet";
        return Err(directory.config().wrong("model_type", &expected, hint));
    }
    if is_dinov2(directory) {
        return dinov2::config_as_read(directory);
    }
    let section = section(directory, "vision_config")?;
    let image = if is_siglip(directory) {
        VitConfig { pooling: Pooling::Mean, ..siglip::headed(&section)? }
    } else {
        clip::image(&section)?
    };
    Ok(image)
}

/// The image encoder of a directory; a text tower beside it is not read.
///
/// # Errors
/// As [`image_config`]; a file is missing or damaged, or the weights are not those of the settings.
pub fn image(directory: &Directory, init: &mut Init) -> Result<ImageTower> {
    let config = image_config(directory)?;
    let settings = vision_settings(directory, &config);
    if is_dinov2(directory) {
        let (vit, config, processor) = dinov2::trainable(directory, init)?;
        return Ok(ImageTower { vit, config, processor, settings });
    }
    let style = if is_siglip(directory) { Style::Siglip } else { Style::Clip };
    let processor = vision::square(directory, style, config.image)?;
    let shapes = directory.shapes()?;
    let bare = shapes.contains_key("embeddings.position_embedding.weight");
    let layout = if bare { names::VISION_TOWER_BARE } else { names::VISION_TOWER };
    let wanted = layout.shapes(config.parameters());
    let is_wanted = |name: &str| wanted.iter().any(|(known, _)| known == name);
    let mut tensors = directory.tensors_but(|name| !is_wanted(name))?;
    tensors.tensors.retain(|name, _| is_wanted(name));
    let vit = names::take(Vit::init(&config, init), tensors, &layout)?;
    Ok(ImageTower { vit, config, processor, settings })
}

/// The encoder's own settings, as those of a part.
fn vision_settings(directory: &Directory, config: &VitConfig) -> Value {
    let top = directory.settings();
    let section = top.get("vision_config_dict").filter(|dict| dict.is_object());
    let section = section.or_else(|| top.get("vision_config")).unwrap_or(top);
    let mut settings = section.clone();
    let kind = match (is_dinov2(directory), is_siglip(directory)) {
        (true, _) => "dinov2",
        (_, true) => "siglip_vision_model",
        _ => "clip_vision_model",
    };
    settings["model_type"] = kind.into();
    settings["image_size"] = config.image.into();
    if is_siglip(directory) {
        settings["vision_use_head"] = false.into();
    }
    settings
}

/// The settings of the directory's image processor, as they stand.
///
/// # Errors
/// There are none, or they are damaged.
pub fn processor_settings(directory: &Directory) -> Result<Value> {
    const FILE: &str = "preprocessor_config.json";
    let nested = directory.json("processor_config.json")?;
    let nested = nested.and_then(|mut outer| outer.get_mut("image_processor").map(Value::take));
    let mut settings = match nested {
        Some(nested) => nested,
        None => directory.json(FILE)?.ok_or_else(|| {
            let hint = "download it too: it says how pictures are scaled and normalised";
            directory.missing(FILE, hint)
        })?,
    };
    let names = ["image_processor_type", "feature_extractor_type"];
    if names.iter().all(|name| settings.get(name).is_none()) {
        // Behind another model, nobody knows what was meant.
        let kind = match (is_dinov2(directory), is_siglip(directory), directory.model_type()) {
            (true, _, _) => "BitImageProcessor",
            (_, true, _) => "SiglipImageProcessor",
            (_, _, Some("clip" | "clip_vision_model")) => "CLIPImageProcessor",
            _ => "BlipImageProcessor",
        };
        settings["image_processor_type"] = kind.into();
    }
    Ok(settings)
}
