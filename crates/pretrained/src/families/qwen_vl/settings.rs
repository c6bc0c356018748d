//! What `config.json` says of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and what thinks in Qwen2.5-Omni.

use std::sync::LazyLock;

use sensorium_backbone::BackboneConfig;
use sensorium_encoder::image::{QwenBlockKind, QwenVitConfig, QwenWindow};
use sensorium_input_projector::MergersConfig;
use sensorium_model::qwen_vl::PatchTowerConfig;
use sensorium_nn::prelude::NormKind;
use serde_json::{Value, json};

use super::FOREIGN;
use super::omni::{self, HearingConfig};
use super::speaking::{self, SpeakingConfig};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::language;
use crate::vision;

/// Longest edge of a patch in pixels, most frames of a step, and most patches along the edge of a square.
const MAX_PATCH: usize = 1024;
const MAX_FEW: usize = 16;

/// Places of the largest table of positions: that of a square of 1024.
const MAX_TABLE: usize = 1 << 20;

/// Shape of a model, and which tokens stand for what in its prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenVlConfig {
    /// `model_type`.
    pub family: &'static str,
    /// What sees.
    pub tower: PatchTowerConfig,
    /// The language model.
    pub language: BackboneConfig,
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Frames of a step in time.
    pub temporal: usize,
    /// How prompts tell when a video's frames are shown.
    pub timing: Timing,
    /// Stands for each token of a picture.
    pub image_token_id: u32,
    /// Stands for each token of a video.
    pub video_token_id: u32,
    /// Stands before a medium.
    pub vision_start_token_id: u32,
    /// Stands behind it.
    pub vision_end_token_id: u32,
    /// What hears, if anything does.
    pub hearing: Option<HearingConfig>,
    /// What speaks, if anything does.
    pub speaking: Option<SpeakingConfig>,
}

/// How prompts tell when a video's frames are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timing {
    /// One position from step to step (Qwen2-VL).
    Steps,
    /// So many positions a second (Qwen2.5-VL).
    PerSecond(usize),
    /// Seconds in words before each step (Qwen3-VL).
    Words,
    /// So many positions from step to step, however long a frame stays (Qwen2.5-Omni).
    Paced(f32),
}

pub fn config(directory: &Directory) -> Result<QwenVlConfig> {
    let whole = directory.config();
    let omni = whole.text_or("model_type", "")? == omni::FAMILY;
    let top = if omni { omni::thinker(&whole)? } else { whole.clone() };
    top.only_null("quantization_config")?;
    let vision = top.find_or_empty("vision_config")?;
    // A token that no prompt has.
    top.without_effect(&["vision_token_id"]);
    // Said again by `patch_size`.
    vision.without_effect(&["spatial_patch_size"]);
    let read = match top.text_or("model_type", "")? {
        _ if omni => omni::read,
        "qwen2_5_vl" => qwen2_5,
        "qwen3_vl" => qwen3,
        _ => qwen2,
    };
    let id = |key, default| top.id_or(key, default);
    let (family, language, Seen { tower, timing, patch, temporal }) = read(&top, &vision)?;
    let hearing = if omni { Some(omni::hearing(&top, language.hidden_size())?) } else { None };
    let speaking = match omni {
        true => speaking::config(directory, &whole, &top, &language)?,
        false => None,
    };
    Ok(QwenVlConfig {
        family,
        tower,
        language,
        patch,
        temporal,
        timing,
        // Qwen2.5-Omni's files have other names.
        image_token_id: id("image_token_index", id("image_token_id", 151_655)?)?,
        video_token_id: id("video_token_index", id("video_token_id", 151_656)?)?,
        vision_start_token_id: id("vision_start_token_id", 151_652)?,
        vision_end_token_id: id("vision_end_token_id", 151_653)?,
        hearing,
        speaking,
    })
}

/// What `vision_config` says.
pub(super) struct Seen {
    pub(super) tower: PatchTowerConfig,
    pub(super) timing: Timing,
    pub(super) patch: usize,
    pub(super) temporal: usize,
}

/// Defaults are those of `Qwen2VLConfig`.
fn qwen2(top: &Config<'_>, vision: &Config<'_>) -> Result<(&'static str, BackboneConfig, Seen)> {
    let language = text(top, &QWEN2_TEXT, language::qwen2_vl)?;
    let width = vision.size_or("embed_dim", 1280)?;
    let ratio = vision.size_or("mlp_ratio", 4)?;
    let activation = vision::activation(vision, "quick_gelu")?;
    let kind = Kind {
        width,
        hidden: width.saturating_mul(ratio),
        block: QwenBlockKind::Plain(activation),
        heads: 16,
        depth: 32,
        patch: 14,
        // `hidden_size` is what it gives.
        out: ("hidden_size", 3584),
    };
    Ok(("qwen2_vl", language.clone(), kind.read(vision, &language, Timing::Steps)?))
}

/// Defaults are those of `Qwen2_5_VLConfig`.
fn qwen2_5(top: &Config<'_>, vision: &Config<'_>) -> Result<(&'static str, BackboneConfig, Seen)> {
    let language = text(top, &QWEN2_TEXT, language::qwen2_vl)?;
    let timing = Timing::PerSecond(vision.size_or("tokens_per_second", 4)?);
    let seen = windowed(vision, &language, timing)?;
    Ok(("qwen2_5_vl", language, seen))
}

/// The tower of Qwen2.5-VL. Defaults are those of `Qwen2_5_VLVisionConfig`.
pub(super) fn windowed(
    vision: &Config<'_>,
    language: &BackboneConfig,
    timing: Timing,
) -> Result<Seen> {
    vision.only("hidden_act", &json!("silu"))?;
    let kind = Kind {
        width: vision.size_or("hidden_size", 3584)?,
        hidden: vision.size_or("intermediate_size", 3420)?,
        block: QwenBlockKind::Gated,
        heads: 16,
        depth: 32,
        patch: 14,
        out: ("out_hidden_size", 3584),
    };
    let mut seen = kind.read(vision, language, timing)?;
    let image = &mut seen.tower.image;
    let square = image.merge * seen.patch;
    let squares = vision.size_or("window_size", 112)? / square;
    if squares == 0 {
        let expected = format!("at least the {square} pixels that become one token");
        return Err(vision.wrong("window_size", &expected, FOREIGN));
    }
    let full = blocks(vision, "fullatt_block_indexes", &[7, 15, 23, 31], image.n_layers)?;
    image.window = Some(QwenWindow { squares, full });
    Ok(seen)
}

/// Defaults are those of `Qwen3VLConfig`.
fn qwen3(top: &Config<'_>, vision: &Config<'_>) -> Result<(&'static str, BackboneConfig, Seen)> {
    const TABLE: &str = "num_position_embeddings";
    const LEVELS: &str = "deepstack_visual_indexes";
    let language = text(top, &QWEN3_TEXT, language::qwen3_vl)?;
    let kind = Kind {
        width: vision.size_or("hidden_size", 1152)?,
        hidden: vision.size_or("intermediate_size", 4304)?,
        block: QwenBlockKind::Plain(vision::activation(vision, "gelu_pytorch_tanh")?),
        heads: 16,
        depth: 27,
        patch: 16,
        out: ("out_hidden_size", 3584),
    };
    let mut seen = kind.read(vision, &language, Timing::Words)?;
    let PatchTowerConfig { image, projector } = &mut seen.tower;
    let places = vision.size_or(TABLE, 2304)?;
    let side = places.isqrt();
    if side * side != places || places > MAX_TABLE {
        let expected = format!("a square number of at most {MAX_TABLE}");
        return Err(vision.wrong(TABLE, &expected, FOREIGN));
    }
    let levels = blocks(vision, LEVELS, &[8, 16, 24], image.n_layers)?;
    if levels.len() > language.n_layers() || !levels.is_sorted_by(|a, b| a < b) {
        let expected = format!("rising numbers, at most {}", language.n_layers());
        return Err(vision.wrong(LEVELS, &expected, FOREIGN));
    }
    image.patch_bias = true;
    image.positions = Some(side);
    projector.levels = levels.len();
    image.levels = levels;
    Ok(("qwen3_vl", language, seen))
}

/// What the three towers have in common, and what each has for what a file leaves out.
struct Kind {
    width: usize,
    hidden: usize,
    block: QwenBlockKind,
    heads: usize,
    depth: usize,
    patch: usize,
    out: (&'static str, usize),
}

impl Kind {
    fn read(self, vision: &Config<'_>, language: &BackboneConfig, timing: Timing) -> Result<Seen> {
        for key in ["in_channels", "in_chans"] {
            vision.only(key, &json!(3))?;
        }
        let n_layers = vision::layers(vision, "depth", self.depth)?;
        let n_heads = vision::heads(vision, "num_heads", self.heads, self.width)?;
        if !(self.width / n_heads).is_multiple_of(4) {
            let expected = format!("heads of {} whose width is a multiple of 4", self.width);
            return Err(vision.wrong("num_heads", &expected, FOREIGN));
        }
        let few = |key, default, most: usize| match vision.size_or(key, default)? {
            n if n <= most => Ok(n),
            _ => Err(vision.wrong(key, &format!("a whole number of 1 to {most}"), FOREIGN)),
        };
        let patch = few("patch_size", self.patch, MAX_PATCH)?;
        let temporal = few("temporal_patch_size", 2, MAX_FEW)?;
        let merge = few("spatial_merge_size", 2, MAX_FEW)?;
        let (out, default) = self.out;
        let width = language.hidden_size();
        if vision.size_or(out, default)? != width {
            let expected = format!("{width}, the width of the language model");
            return Err(vision.wrong(out, &expected, FOREIGN));
        }
        let rope = vision.find_or_empty("rope_parameters")?;
        rope.only("rope_type", &json!("axial"))?;
        let norm = match self.block {
            QwenBlockKind::Plain(_) => NormKind::Layer,
            QwenBlockKind::Gated => NormKind::Rms,
        };
        let image = QwenVitConfig {
            patch: 3 * temporal * patch * patch,
            patch_bias: false,
            merge,
            hidden_size: self.width,
            n_layers,
            n_heads,
            intermediate_size: self.hidden,
            block: self.block,
            theta: rope.positive_or("rope_theta", 1e4)? as f32,
            positions: None,
            window: None,
            levels: Vec::new(),
        };
        let (features, patches) = (self.width, merge * merge);
        let projector = MergersConfig { features, patches, norm, levels: 0, width };
        Ok(Seen { tower: PatchTowerConfig { image, projector }, timing, patch, temporal })
    }
}

/// Numbers of blocks of a stack.
pub(super) fn blocks(
    config: &Config<'_>,
    key: &str,
    default: &[usize],
    n_layers: usize,
) -> Result<Vec<usize>> {
    let Some(value) = config.get(key) else { return Ok(default.to_vec()) };
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let numbers = value.as_array().and_then(|all| all.iter().map(number).collect());
    let within = |numbers: &Vec<usize>| numbers.iter().all(|block| *block < n_layers);
    numbers.filter(within).ok_or_else(|| {
        let expected = format!("a list of blocks, of 0 to {}", n_layers - 1);
        config.wrong(key, &expected, FOREIGN)
    })
}

static QWEN2_TEXT: LazyLock<Value> = LazyLock::new(|| {
    json!({"vocab_size": 152_064, "hidden_size": 8192, "intermediate_size": 29568,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
        "max_window_layers": 80, "sliding_window": 4096})
});

static QWEN3_TEXT: LazyLock<Value> = LazyLock::new(|| {
    json!({"vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22016,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "max_position_embeddings": 128_000, "rope_theta": 5e5})
});

/// The language model: in `text_config`, or, in files from before transformers 5, at the top.
pub(super) fn text(
    top: &Config<'_>,
    defaults: &'static Value,
    read: fn(&Config<'_>) -> Result<BackboneConfig>,
) -> Result<BackboneConfig> {
    let tied = top.flag_or("tie_word_embeddings", false)?;
    let settings = top.find("text_config")?.unwrap_or_else(|| top.clone());
    let mut config = read(&settings.clone().or(defaults))?;
    if config.n_layers() > vision::MAX_LAYERS {
        let expected = format!("at most {} layers", vision::MAX_LAYERS);
        return Err(settings.wrong("num_hidden_layers", &expected, FOREIGN));
    }
    if let BackboneConfig::Llama(llama) = &mut config {
        llama.tied |= tied;
    }
    Ok(config)
}
