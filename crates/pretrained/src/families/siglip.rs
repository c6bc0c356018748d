//! `SiglipModel` of transformers: SigLIP, and SigLIP 2 of one resolution; `model_type` `siglip`.

use sensorium_encoder::image::{Conv, EncoderConfig, Pooling, VitConfig};
use sensorium_encoder::text::TextConfig;
use sensorium_media::{Style, Tokenizer};
use sensorium_nn::prelude::*;
use serde_json::Value;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names;
use crate::plan::Plan;
use crate::text::tell_ignored;
use crate::towers::{Inputs, Reading, Towers, Trainable};
use crate::vision;
use sensorium_model::clip::ClipConfig;

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(Plan::new("siglip", "image", names::SIGLIP, config(&directory.config())?.parameters()))
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
    let processor = vision::square(directory, Style::Siglip, config.image.side())?;
    let tokenizer = crate::text::tokenizer(directory)?;
    let settings = directory.json("tokenizer_config.json")?.unwrap_or_default();
    // SigLIP 2's reads every text in lower case, whatever its tokenizer.json says.
    let lowers = settings.get("tokenizer_class").is_some_and(|class| class == "Siglip2Tokenizer");
    let tokenizer = if lowers { tokenizer.lowercased()? } else { tokenizer };
    tell_ignored(directory, &tokenizer, config.text.context)?;
    let section = directory.config().find_or_empty("text_config")?;
    let reading = Reading::Last(pad(directory, &section, &tokenizer, config.text.vocab_size)?);
    Ok((config, (processor, tokenizer, reading)))
}

/// The image encoder without its head, by SigLIP's shape. What a file may leave out: width, side of
/// the picture, side of a patch, heads.
pub fn tower(image: &Config<'_>, defaults: [usize; 4]) -> Result<VitConfig> {
    let [width, side, patch, heads] = defaults;
    let width = image.size_or("hidden_size", width)?;
    shape(image, vision::patches(image, [side, patch], width)?, heads)
}

/// As [`tower`], from the side of the picture and the one convolution that cuts it.
pub fn shape(image: &Config<'_>, (side, patch): (usize, Conv), heads: usize) -> Result<VitConfig> {
    let width = patch.channels;
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![patch],
        stem_bias: true,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(image, "num_hidden_layers", 12)?,
        n_heads: vision::heads(image, "num_attention_heads", heads, width)?,
        intermediate_size: image.size_or("intermediate_size", 3072)?,
        activation: vision::activation(image, "gelu_pytorch_tanh")?,
        stem_norm: false,
        pre_norm: false,
        pooling: Pooling::Mean,
        proj: false,
        embed: width,
        eps: image.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// The image encoder, with its head unless the settings say that there is none. Defaults are those of
/// `SiglipVisionConfig`.
pub fn headed(image: &Config<'_>) -> Result<VitConfig> {
    let tower = tower(image, [768, 224, 16, 12])?;
    let head = image.flag_or("vision_use_head", true)?;
    Ok(VitConfig { pooling: if head { Pooling::AttentionMlp } else { Pooling::Mean }, ..tower })
}

/// Defaults are those of `SiglipConfig`.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(top: &Config<'_>) -> Result<ClipConfig> {
    let image = top.find_or_empty("vision_config")?;
    image.only("vision_use_head", &Value::Bool(true))?;
    let image = headed(&image)?;
    let text = text_into(top, image.embed)?;
    Ok(ClipConfig { image: EncoderConfig::Vit(image), text, bias: true })
}

/// The text tower of SigLIP and SigLIP 2, into the space of the image encoder.
pub fn text_into(top: &Config<'_>, space: usize) -> Result<TextConfig> {
    let section = top.find_or_empty("text_config")?;
    let text = text(&section)?;
    if text.embed != space {
        let expected = format!("the image encoder's width {space}");
        return Err(section.wrong("projection_size", &expected, "the two towers share one space"));
    }
    Ok(text)
}

/// The text tower. Defaults are those of `SiglipTextConfig`.
pub(super) fn text(text: &Config<'_>) -> Result<TextConfig> {
    let width = text.size_or("hidden_size", 768)?;
    let embed = text.size_or("projection_size", width)?;
    Ok(TextConfig {
        vocab_size: text.size_or("vocab_size", 32_000)?,
        context: text.size_or("max_position_embeddings", 64)?,
        waves: false,
        pairs: 0,
        hidden_size: width,
        n_layers: vision::layers(text, "num_hidden_layers", 12)?,
        n_heads: vision::heads(text, "num_attention_heads", 12, width)?,
        intermediate_size: text.size_or("intermediate_size", 3072)?,
        activation: vision::activation(text, "gelu_pytorch_tanh")?,
        causal: false,
        embed,
        proj: true,
        proj_bias: true,
        eps: text.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// The id that fills texts up to the context: the towers were trained to read through it. What the
/// tokenizer's settings call the padding token; else the config's, 1 unless it says another.
pub fn pad(
    directory: &Directory,
    text: &Config<'_>,
    tokenizer: &Tokenizer,
    rows: usize,
) -> Result<u32> {
    let settings = directory.json("tokenizer_config.json")?;
    let token = settings.as_ref().and_then(|settings| settings.get("pad_token"));
    // A token, or an object that describes one.
    let name = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    let id = match name.and_then(|name| tokenizer.id(name)) {
        Some(id) => id,
        None => text.id_or("pad_token_id", 1)?,
    };
    if id as usize >= rows {
        return Err(text.wrong(
            "pad_token_id",
            &format!("an id below vocab_size {rows}"),
            "the tokenizer may be of another model",
        ));
    }
    Ok(id)
}
