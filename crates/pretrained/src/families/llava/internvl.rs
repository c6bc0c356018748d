//! InternVL in transformers' own files: its own encoder with layer scale, a pixel shuffle, a norm and two maps.
//!
//! Chen et al. 2024, <https://arxiv.org/abs/2404.16821>; Zhu et al. 2025, <https://arxiv.org/abs/2504.10479>

use sensorium_backbone::BackboneConfig;
use sensorium_checkpoint::Tensors;
use sensorium_encoder::image::{Conv, FeatureSelect, Pooling, VitConfig};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_model::llava::LlavaConfig;
use serde_json::{Value, json};

use super::settings::{backbone, levels, one_tower};
use super::{FOREIGN, frames, vit};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::dinov2::{fold, reshape};
use crate::names::Layout;
use crate::plan::Expected;
use crate::vision;

/// `model_type`.
pub const INTERNVL: &str = "internvl";

/// The factors of a block and what they multiply.
const FACTORS: [[&str; 2]; 2] =
    [["lambda_1", "attention.projection_layer"], ["lambda_2", "mlp.fc2"]];

/// Defaults are those of `InternVLConfig`.
pub fn config(directory: &Directory, top: &Config<'_>) -> Result<LlavaConfig> {
    const RATIO: &str = "downsample_ratio";
    const LEVEL: &str = "vision_feature_layer";
    let vision = top.find_or_empty("vision_config")?;
    let image = image(&vision)?;
    top.only("vision_feature_select_strategy", &json!("default"))?;
    top.only("projector_hidden_act", &json!("gelu"))?;
    let layers = levels(top, &json!(-1), image.n_layers)?;
    if layers.len() != 1 {
        return Err(top.wrong(LEVEL, "one level", FOREIGN));
    }
    let ratio = top.positive_or(RATIO, 0.5)?;
    let shuffle = (1.0 / ratio) as usize;
    if shuffle == 0 || !image.grid().is_multiple_of(shuffle) {
        let expected = format!("1 over a divisor of {} patches an edge", image.grid());
        return Err(top.wrong(RATIO, &expected, FOREIGN));
    }
    let mut backbone = backbone(top, "qwen2", false)?;
    if let BackboneConfig::Llama(llama) = &mut backbone {
        llama.tied = tied(directory, top, llama.tied)?;
    }
    let (features, width) = (image.hidden_size, backbone.width());
    let projector = ProjectorConfig::Mlp {
        features,
        shuffle,
        norm: Some(features * shuffle * shuffle),
        hidden: width,
        width,
        places: None,
        stack: 1,
        bias: true,
    };
    let features = FeatureSelect { layers, class: false };
    Ok(one_tower(image, features, projector, backbone))
}

/// Whether the head is the token table. Where the whole model's settings say nothing, files that hold a head
/// mean it.
fn tied(directory: &Directory, top: &Config<'_>, inner: bool) -> Result<bool> {
    const KEY: &str = "tie_word_embeddings";
    if top.get(KEY).is_some() {
        return top.flag_or(KEY, inner);
    }
    let names = directory.shapes().unwrap_or_default();
    Ok(inner && !names.keys().any(|name| name.ends_with("lm_head.weight")))
}

/// Defaults are those of `InternVLVisionConfig`.
fn image(vision: &Config<'_>) -> Result<VitConfig> {
    for (key, only) in [
        ("model_type", json!("internvl_vision")),
        ("use_qk_norm", json!(false)),
        ("norm_type", json!("layer_norm")),
        ("use_mean_pooling", json!(true)),
        ("use_absolute_position_embeddings", json!(true)),
        ("num_channels", json!(3)),
    ] {
        vision.only(key, &only)?;
    }
    if !vision.flag_or("attention_bias", false)? {
        return Err(vision.wrong("attention_bias", "true", FOREIGN));
    }
    vision.without_effect(&["layer_scale_init_value", "projection_dropout"]);
    let width = vision.size_or("hidden_size", 1024)?;
    let side = square(vision, "image_size", 448, vision::MAX_IMAGE)?;
    let patch = square(vision, "patch_size", 14, side)?;
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![Conv { channels: width, kernel: patch, stride: patch, padding: 0 }],
        stem_bias: true,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(vision, "num_hidden_layers", 24)?,
        n_heads: vision::heads(vision, "num_attention_heads", 16, width)?,
        intermediate_size: vision.size_or("intermediate_size", 4096)?,
        activation: vision::activation(vision, "gelu")?,
        stem_norm: false,
        pre_norm: false,
        pooling: Pooling::Class,
        proj: false,
        embed: width,
        eps: vision.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// The side of a square of at most `most` pixels: one number, or twice the same.
fn square(config: &Config<'_>, key: &str, default: usize, most: usize) -> Result<usize> {
    let Some(value) = config.get(key) else { return Ok(default.min(most)) };
    let side = match value {
        Value::Array(both) if both.len() == 2 && both[0] == both[1] => both[0].as_u64(),
        one => one.as_u64(),
    };
    let side = side.filter(|side| (1..=most as u64).contains(side)).map(|side| side as usize);
    side.ok_or_else(|| config.wrong(key, &format!("a square of 1 to {most} pixels"), FOREIGN))
}

/// What makes pixels of pictures, and of a video's frames.
pub fn processor(directory: &Directory, side: usize) -> Result<ImageProcessor> {
    let processor = vision::square(directory, Style::GotOcr2, side)?;
    frames::same(directory, &processor)?;
    Ok(processor)
}

/// Tokens in front of a picture's and behind them, and that of a video, by their names.
pub fn frame(directory: &Directory) -> Result<([String; 2], String)> {
    let settings = directory.json("tokenizer_config.json")?.unwrap_or_default();
    let named = |key: &str, default: &str| {
        let token = settings.get(key).or_else(|| settings.get("extra_special_tokens")?.get(key));
        token.and_then(Value::as_str).unwrap_or(default).to_owned()
    };
    let around = [named("start_image_token", "<img>"), named("end_image_token", "</img>")];
    Ok((around, named("video_token", "<video>")))
}

/// What the names of the encoder begin with.
fn prefix(layout: &Layout) -> String {
    layout.to_hf("towers.0.encoder.class").replace(CLASS, "")
}

const CLASS: &str = "embeddings.cls_token";
const POSITIONS: &str = "embeddings.position_embeddings";

/// The encoder's tensors with the sizes of 1 and the factors that files have.
pub fn as_published(tensors: &mut Vec<Expected>, layout: &Layout, config: &LlavaConfig) {
    let (prefix, Some(vit)) = (prefix(layout), vit(config)) else { return };
    for tensor in tensors.iter_mut() {
        match tensor.name.strip_prefix(&prefix) {
            Some(CLASS) => tensor.shape = vec![1, 1, vit.hidden_size],
            Some(POSITIONS) => tensor.shape.insert(0, 1),
            _ => {}
        }
    }
    for (i, [factor, _]) in (0..vit.n_layers).flat_map(|i| FACTORS.map(|pair| (i, pair))) {
        let name = format!("{prefix}encoder.layer.{i}.{factor}");
        tensors.push(Expected { part: "image", name, shape: vec![vit.hidden_size], packs: false });
    }
}

/// The encoder's tensors as ours.
///
/// # Errors
/// Never in practice: their shapes have been checked.
pub fn prepare(tensors: &mut Tensors, layout: &Layout, config: &LlavaConfig) -> Result<()> {
    let (prefix, Some(vit)) = (prefix(layout), vit(config)) else { return Ok(()) };
    for i in 0..vit.n_layers {
        fold(tensors, &format!("{prefix}encoder.layer.{i}"), &FACTORS);
    }
    let (width, positions) = (vit.hidden_size, vit.patches() + 1);
    reshape(tensors, &format!("{prefix}{CLASS}"), |_, values| (vec![width], values))?;
    reshape(tensors, &format!("{prefix}{POSITIONS}"), |_, values| (vec![positions, width], values))
}
