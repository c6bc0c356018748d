//! CLIP as open_clip publishes it: `open_clip_config.json` and `open_clip_model.safetensors`, with
//! OpenAI's names.
//!
//! <https://github.com/mlfoundations/open_clip>, `model_configs/` and `model.py`

use sensorium_encoder::image::{ActivationName, EncoderConfig, Pooling, VitConfig};
use sensorium_encoder::text::TextConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::clip_resnet;
use crate::config::Config;
use crate::directory::{Directory, OPEN_CLIP_CONFIG as CONFIG};
use crate::error::{Error, Result};
use crate::names::{self, OPEN_CLIP_PROJECTIONS as PROJECTIONS};
use crate::plan::Plan;
use crate::towers::{Reading, Towers, Trainable};
use crate::{text, vision};
use sensorium_model::clip::ClipConfig;

/// Keys that are read, or say nothing about the computation of a trained model.
const KNOWN: [&[&str]; 3] = [
    &["embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"],
    &["image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "patch_dropout"],
    &["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"],
];

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let top = directory.config();
    let config = config(&top)?;
    let is_vit = matches!(config.image, EncoderConfig::Vit(_));
    let layout = if is_vit { names::OPEN_CLIP } else { names::OPEN_CLIP_RESNET };
    let mut plan = Plan::new("clip", "image", layout, config.parameters());
    // A ResNet's convolutions are multiplied in f32 whatever was chosen.
    plan.tensors.iter_mut().for_each(|tensor| tensor.packs &= is_vit || tensor.shape.len() == 2);
    for tensor in plan.tensors.iter_mut().filter(|tensor| PROJECTIONS.contains(&&*tensor.name)) {
        tensor.shape.reverse();
        tensor.packs = true;
    }
    Ok(plan)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Towers> {
    Ok(trainable(directory, &mut Init::empty(device))?.towers(device))
}

/// The model in a directory, to be trained, with layers as `init` makes them.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<Trainable> {
    let config = config(&directory.config())?;
    let processor = processor(directory, config.image.side())?;
    let tokenizer = text::tokenizer(directory)?;
    text::tell_ignored(directory, &tokenizer, config.text.context)?;
    let inputs = (processor, tokenizer, Reading::Largest);
    let mut trainable = Trainable::load(directory, &plan(directory)?, config, inputs, init)?;
    trainable.texts.cleans = true;
    Ok(trainable)
}

/// The shape that `open_clip_config.json` describes.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(top: &Config<'_>) -> Result<ClipConfig> {
    let model = top.child("model_cfg")?;
    let (image, text) = (model.child("vision_cfg")?, model.child("text_cfg")?);
    for (part, known) in [&model, &image, &text].into_iter().zip(KNOWN) {
        if let Some(key) = part.keys().find(|key| !known.contains(key)) {
            return Err(part.wrong(
                key,
                "no such key",
                "only plain ViT and ResNet towers with plain text towers of open_clip are built here",
            ));
        }
    }
    let embed = model.size("embed_dim")?;
    let activation = match model.flag_or("quick_gelu", false)? {
        true => ActivationName::QuickGelu,
        false => ActivationName::Gelu,
    };
    let image = match image.get("layers").is_some_and(Value::is_array) {
        true => EncoderConfig::Resnet(clip_resnet::config(&image, embed)?),
        false => EncoderConfig::Vit(vit(&image, activation, embed)?),
    };
    Ok(ClipConfig { image, text: self::text(&text, activation, embed)?, bias: false })
}

fn vit(image: &Config<'_>, activation: ActivationName, embed: usize) -> Result<VitConfig> {
    let width = image.size_or("width", 768)?;
    let (side, patch) = vision::patches(image, [224, 16], width)?;
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![patch],
        stem_bias: false,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(image, "layers", 12)?,
        n_heads: heads(image, width)?,
        intermediate_size: mlp(image, width)?,
        activation,
        stem_norm: false,
        pre_norm: true,
        pooling: Pooling::Class,
        proj: true,
        embed,
        eps: 1e-5,
    })
}

/// Heads of so many channels.
pub fn heads(image: &Config<'_>, width: usize) -> Result<usize> {
    let head = image.size_or("head_width", 64)?;
    if width.is_multiple_of(head) {
        return Ok(width / head);
    }
    Err(image.wrong("head_width", &format!("a divisor of {width}"), "64 is usual"))
}

fn text(text: &Config<'_>, activation: ActivationName, embed: usize) -> Result<TextConfig> {
    let width = text.size_or("width", 512)?;
    Ok(TextConfig {
        vocab_size: text.size_or("vocab_size", 49_408)?,
        context: text.size_or("context_length", 77)?,
        waves: false,
        pairs: 0,
        hidden_size: width,
        n_layers: vision::layers(text, "layers", 12)?,
        n_heads: vision::heads(text, "heads", 8, width)?,
        intermediate_size: mlp(text, width)?,
        activation,
        causal: true,
        embed,
        proj: true,
        proj_bias: false,
        eps: 1e-5,
    })
}

fn mlp(part: &Config<'_>, width: usize) -> Result<usize> {
    let mlp = (width as f64 * part.positive_or("mlp_ratio", 4.0)?) as usize;
    if (1..=1 << 24).contains(&mlp) {
        return Ok(mlp);
    }
    Err(part.wrong("mlp_ratio", "a factor to at most 2^24 channels", "4.0 is usual"))
}

/// What its `preprocess_cfg` says, in transformers' words.
fn processor(directory: &Directory, image: usize) -> Result<ImageProcessor> {
    let top = directory.config();
    let settings = top.find_or_empty("preprocess_cfg")?;
    let resample = match settings.text_or("interpolation", "bicubic")? {
        "bicubic" => 3,
        "bilinear" => 2,
        _ => return Err(settings.wrong("interpolation", "bicubic or bilinear", CONFIG)),
    };
    let squash = match settings.text_or("resize_mode", "shortest")? {
        "shortest" => false,
        "squash" => true,
        _ => return Err(settings.wrong("resize_mode", "shortest or squash", CONFIG)),
    };
    let size = if squash { json!({"height": image, "width": image}) } else { json!(image) };
    settings.only("mode", &json!("RGB"))?;
    // The model's `image_size` again; of what is padded, which nothing is.
    settings.without_effect(&["size", "fill_color"]);
    let own = |key: &str| settings.get(key).cloned().unwrap_or(Value::Null);
    let settings = json!({
        "size": size, "crop_size": image, "resample": resample,
        "image_mean": own("mean"), "image_std": own("std"),
    });
    let processor = ImageProcessor::from_json(&settings, Style::OpenClip);
    processor.map_err(|source| Error::Media { path: directory.path().join(CONFIG), source })
}
