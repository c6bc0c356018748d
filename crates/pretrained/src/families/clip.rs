//! `CLIPModel` of transformers: `model_type` `clip`.

use sensorium_encoder::image::{EncoderConfig, Pooling, VitConfig};
use sensorium_encoder::text::TextConfig;
use sensorium_media::Style;
use sensorium_nn::prelude::*;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names;
use crate::plan::Plan;
use crate::text;
use crate::towers::{Inputs, Reading, Towers, Trainable};
use crate::vision;
use sensorium_model::clip::ClipConfig;

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(Plan::new("clip", "image", names::CLIP, config(&directory.config())?.parameters()))
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
    let (config, inputs) = inputs(directory)?;
    Trainable::load(directory, &plan(directory)?, config, inputs, init)
}

fn inputs(directory: &Directory) -> Result<(ClipConfig, Inputs)> {
    let config = config(&directory.config())?;
    let processor = vision::square(directory, Style::Clip, config.image.side())?;
    let tokenizer = text::tokenizer(directory)?;
    text::tell_ignored(directory, &tokenizer, config.text.context)?;
    let reading = reading(&section(&directory.config(), "text_config")?)?;
    let inputs = (processor, tokenizer, reading);
    Ok((config, inputs))
}

/// A tower's settings. `text_config_dict`, where old files have it, replaces `text_config` whole.
pub(super) fn section<'a>(top: &Config<'a>, key: &str) -> Result<Config<'a>> {
    top.without_effect(&[key]);
    match top.find(&format!("{key}_dict"))? {
        Some(older) => Ok(older),
        None => top.find_or_empty(key),
    }
}

/// The image encoder without its projection. Defaults are those of `CLIPVisionConfig`.
pub fn image(image: &Config<'_>) -> Result<VitConfig> {
    let width = image.size_or("hidden_size", 768)?;
    let (side, patch) = vision::patches(image, [224, 32], width)?;
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![patch],
        stem_bias: false,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(image, "num_hidden_layers", 12)?,
        n_heads: vision::heads(image, "num_attention_heads", 12, width)?,
        intermediate_size: image.size_or("intermediate_size", 3072)?,
        activation: vision::activation(image, "quick_gelu")?,
        stem_norm: false,
        pre_norm: true,
        pooling: Pooling::Class,
        proj: false,
        embed: width,
        eps: image.positive_or("layer_norm_eps", 1e-5)?,
    })
}

/// Defaults are those of `CLIPConfig`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(top: &Config<'_>) -> Result<ClipConfig> {
    let embed = top.size_or("projection_dim", 512)?;
    let image = image(&section(top, "vision_config")?)?;
    let image = EncoderConfig::Vit(VitConfig { proj: true, embed, ..image });
    let text = text(&section(top, "text_config")?, embed)?;
    Ok(ClipConfig { image, text, bias: false })
}

/// The text tower into a space of `embed` channels. Defaults are those of `CLIPTextConfig`.
pub(super) fn text(text: &Config<'_>, embed: usize) -> Result<TextConfig> {
    let width = text.size_or("hidden_size", 512)?;
    Ok(TextConfig {
        vocab_size: text.size_or("vocab_size", 49_408)?,
        context: text.size_or("max_position_embeddings", 77)?,
        waves: false,
        pairs: 0,
        hidden_size: width,
        n_layers: vision::layers(text, "num_hidden_layers", 12)?,
        n_heads: vision::heads(text, "num_attention_heads", 8, width)?,
        intermediate_size: text.size_or("intermediate_size", 2048)?,
        activation: vision::activation(text, "quick_gelu")?,
        causal: true,
        embed,
        proj: true,
        proj_bias: false,
        eps: text.positive_or("layer_norm_eps", 1e-5)?,
    })
}

/// An `eos_token_id` of 2 was a mistake that many files carry: their texts are read at the largest
/// id, which is the real end token's (transformers' pull request 24773).
pub(super) fn reading(text: &Config<'_>) -> Result<Reading> {
    let end = text.id_or("eos_token_id", 49_407)?;
    Ok(if end == 2 { Reading::Largest } else { Reading::First(end) })
}
