//! Gemmas that see, whose pictures' tokens see each other both ways: Gemma 3 and PaliGemma, the second
//! with the first Gemma or with Gemma 2.

use std::sync::LazyLock;

use sensorium_backbone::BackboneConfig;
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_encoder::image::FeatureSelect;
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_model::llava::{LlavaConfig, TowerConfig};
use serde_json::{Value, json};

use super::FOREIGN;
use super::settings::{SIGLIP, one_tower};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::{language, siglip};
use crate::names::Layout;
use crate::plan::Expected;
use crate::vision;

/// `model_type`s.
pub const GEMMA3: &str = "gemma3";
pub const PALIGEMMA: &str = "paligemma";

/// Whether a family is one of these.
pub fn is_gemma(family: &str) -> bool {
    matches!(family, GEMMA3 | PALIGEMMA)
}

/// Defaults are those of `Gemma3Config`.
pub fn gemma3(top: &Config<'_>) -> Result<LlavaConfig> {
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "gemma3_text", "vocab_size": 262_208, "hidden_size": 2304,
            "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131_072})
    });
    const TOKENS: &str = "mm_tokens_per_image";
    let text = of_kind(top.find_or_empty("text_config")?, &["gemma3_text"])?.or(&TEXT);
    text.only("use_bidirectional_attention", &json!(false))?;
    let backbone = backbone(top, &text)?;
    let vision = of_kind(top.find_or_empty("vision_config")?, &[SIGLIP])?;
    let image = siglip::headed(&vision)?;
    let tokens = top.size_or(TOKENS, 256)?;
    let side = tokens.isqrt();
    if side * side != tokens || !image.grid().is_multiple_of(side) {
        let expected = format!("the square of a divisor of {} patches an edge", image.grid());
        return Err(top.wrong(TOKENS, &expected, FOREIGN));
    }
    let window = text.size_or("sliding_window", 4096)?;
    if tokens > window {
        let hint = "a picture's tokens see each other, in layers that see only the last ones too";
        return Err(top.wrong(TOKENS, &format!("at most sliding_window {window}"), hint));
    }
    let (features, width) = (image.hidden_size, backbone.width());
    let projector = ProjectorConfig::Pooled { features, side, eps: image.eps, width };
    Ok(one_tower(image, FeatureSelect::default(), projector, backbone))
}

/// Defaults are those of `PaliGemmaConfig`.
pub fn paligemma(top: &Config<'_>) -> Result<LlavaConfig> {
    static TEXT: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "gemma", "vocab_size": 257_152, "hidden_size": 2048,
            "intermediate_size": 16_384, "num_hidden_layers": 18, "num_attention_heads": 8,
            "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 8192})
    });
    static GEMMA2: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "gemma2", "vocab_size": 256_000, "hidden_size": 2304,
            "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192})
    });
    static VISION: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": SIGLIP, "hidden_size": 1152, "intermediate_size": 4096,
            "patch_size": 14, "image_size": 224, "num_hidden_layers": 27,
            "num_attention_heads": 16, "vision_use_head": false})
    });
    let text = of_kind(top.find_or_empty("text_config")?, &["gemma", "gemma2"])?;
    let text = match text.text_or("model_type", "gemma")? {
        "gemma" => text.or(&TEXT),
        _ => text.or(&GEMMA2),
    };
    // How many tokens a picture has follows from the encoder; the prompt is read both ways.
    text.without_effect(&["num_image_tokens", "use_bidirectional_attention"]);
    // Said again in `text_config`, and by the projector's matrix.
    top.without_effect(&["hidden_size", "vocab_size", "_vocab_size", "num_hidden_layers"]);
    let backbone = backbone(top, &text)?;
    let vision = top.find_or_empty("vision_config")?;
    let vision = if vision.keys().next().is_some() { vision } else { vision.or(&VISION) };
    let vision = of_kind(vision, &[SIGLIP])?;
    vision.without_effect(&[
        "vocab_size",
        "num_image_tokens",
        "num_positions",
        "projector_hidden_act",
    ]);
    // Files of before transformers 5 say nothing of a head and have none.
    let image = siglip::tower(&vision, [768, 224, 16, 12])?;
    vision.only("vision_use_head", &json!(false))?;
    let width = backbone.width();
    for (config, default) in [(&vision, width), (top, width)] {
        if config.size_or("projection_dim", default)? != width {
            let hint = "pictures are put among tokens, which must be as wide as the stream";
            return Err(config.wrong("projection_dim", &width.to_string(), hint));
        }
    }
    let features = image.hidden_size;
    let projector = ProjectorConfig::Linear { features, shuffle: 1, bias: true, width };
    Ok(one_tower(image, FeatureSelect::default(), projector, backbone))
}

/// A part of one of these `model_type`s, where it says one.
fn of_kind<'a>(part: Config<'a>, kinds: &[&'static str]) -> Result<Config<'a>> {
    match part.text_or("model_type", kinds[0])? {
        kind if kinds.contains(&kind) => Ok(part),
        _ => Err(part.wrong("model_type", &kinds.join(" or "), FOREIGN)),
    }
}

/// The language model, whose head is the token table unless both levels say otherwise.
fn backbone(top: &Config<'_>, text: &Config<'_>) -> Result<BackboneConfig> {
    let mut backbone = language::config(text)?;
    if let BackboneConfig::Llama(llama) = &mut backbone {
        llama.tied = top.flag_or("tie_word_embeddings", llama.tied)?;
    }
    Ok(backbone)
}

/// Tokens around a picture's: its beginning, which a template writes for it, and its end.
pub fn frame(top: &Config<'_>) -> Result<[u32; 2]> {
    Ok([
        top.id_or("boi_token_index", top.id_or("boi_token_id", 255_999)?)?,
        top.id_or("eoi_token_index", top.id_or("eoi_token_id", 256_000)?)?,
    ])
}

/// What makes pixels of pictures.
pub fn processor(directory: &Directory, family: &str, side: usize) -> Result<ImageProcessor> {
    let style = if family == GEMMA3 { Style::Gemma3 } else { Style::Siglip };
    vision::square(directory, style, side)
}

/// The name of Gemma 3's matrix and its shape as the files have it.
fn matrix(layout: &Layout, tower: &TowerConfig) -> Option<(String, [usize; 2])> {
    let ProjectorConfig::Pooled { features, width, .. } = tower.projector else {
        return None;
    };
    Some((layout.to_hf("towers.0.projector.projection.weight"), [features, width]))
}

/// What files hold in the place of the projector's matrix.
pub fn as_published(tensors: &mut [Expected], layout: &Layout, tower: &TowerConfig) {
    let Some((name, shape)) = matrix(layout, tower) else { return };
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name == name) {
        tensor.shape = shape.to_vec();
    }
}

/// The projector's tensors as ours: the matrix turned, the norm with the 1 that is added to it.
///
/// # Errors
/// Never in practice: their shapes have been checked.
pub fn prepare(tensors: &mut Tensors, layout: &Layout, tower: &TowerConfig) -> Result<()> {
    turn(tensors, layout, tower, 1.0)
}

/// Ours as files have them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn publish(tensors: &mut Tensors, layout: &Layout, tower: &TowerConfig) -> Result<()> {
    turn(tensors, layout, tower, -1.0)
}

/// The matrix turned, and so much added to the norm.
fn turn(tensors: &mut Tensors, layout: &Layout, tower: &TowerConfig, one: f32) -> Result<()> {
    let Some((name, _)) = matrix(layout, tower) else { return Ok(()) };
    if let Some(tensor) = tensors.tensors.remove(&name) {
        let (shape, values) = tensor.into_parts();
        let &[rows, columns] = &shape[..] else { return Ok(()) };
        let turned = (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied());
        let turned = Tensor::new(vec![columns, rows], turned.collect())?;
        tensors.tensors.insert(name, turned);
    }
    let norm = layout.to_hf("towers.0.projector.norm.weight");
    if let Some(tensor) = tensors.tensors.remove(&norm) {
        let (shape, mut values) = tensor.into_parts();
        values.iter_mut().for_each(|x| *x += one);
        tensors.tensors.insert(norm, Tensor::new(shape, values)?);
    }
    Ok(())
}
