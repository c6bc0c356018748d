//! What `config.json` says of LLaVA, LLaVA-NeXT, LLaVA-OneVision, Idefics3 and SmolVLM; of others in files
//! beside this.

use std::sync::LazyLock;

use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{FeatureSelect, Pooling, VitConfig};
use sensorium_input_projector::ProjectorConfig;
use sensorium_model::llava::{LlavaConfig, TowerConfig};
use serde_json::{Value, json};

use super::FOREIGN;
use super::gemma::{self, GEMMA3, PALIGEMMA};
use super::internvl::{self, INTERNVL};
use super::janus::{self, JANUS};
use super::parts::spliceable;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::families::{clip, dinov2, language, siglip};
use crate::vision;

/// `model_type` of the encoders that LLaVA is built with.
pub const CLIP: &str = "clip_vision_model";
pub const SIGLIP: &str = "siglip_vision_model";
pub const DINOV2: &str = "dinov2";

/// `model_type` of LLaVAs whose pictures are cut into tiles of several canvases.
pub const NEXT: &str = "llava_next";
pub const ONEVISION: &str = "llava_onevision";

pub fn config(directory: &Directory) -> Result<(&'static str, LlavaConfig)> {
    let top = directory.config();
    top.only_null("quantization_config")?;
    match top.text_or("model_type", "llava")? {
        "llava" => Ok(("llava", llava(&top, &LLAVA)?)),
        NEXT => Ok((NEXT, llava(&top, &LLAVA)?)),
        ONEVISION => Ok((ONEVISION, llava(&top, &LLAVA_ONEVISION)?)),
        GEMMA3 => Ok((GEMMA3, gemma::gemma3(&top)?)),
        PALIGEMMA => Ok((PALIGEMMA, gemma::paligemma(&top)?)),
        INTERNVL => Ok((INTERNVL, internvl::config(directory, &top)?)),
        JANUS => Ok((JANUS, janus::config(directory, &top)?)),
        "smolvlm" => Ok(("smolvlm", idefics3(&top)?)),
        _ => Ok(("idefics3", idefics3(&top)?)),
    }
}

/// What a file of LLaVA's kind may leave out.
struct Defaults {
    /// The encoder, where none is described at all.
    vision: Value,
    text: &'static str,
    strategy: &'static str,
    level: Value,
}

/// Those of `LlavaConfig` and `LlavaNextConfig`.
static LLAVA: LazyLock<Defaults> = LazyLock::new(|| Defaults {
    vision: json!({"model_type": CLIP, "hidden_size": 1024, "intermediate_size": 4096,
        "patch_size": 14, "image_size": 336, "num_hidden_layers": 24,
        "num_attention_heads": 16}),
    text: "llama",
    strategy: "default",
    level: json!(-2),
});

/// Those of `LlavaOnevisionConfig`.
static LLAVA_ONEVISION: LazyLock<Defaults> = LazyLock::new(|| Defaults {
    vision: json!({"model_type": SIGLIP, "hidden_size": 1152, "intermediate_size": 4304,
        "patch_size": 14, "image_size": 384, "num_hidden_layers": 26,
        "num_attention_heads": 16, "vision_use_head": false}),
    text: "qwen2",
    strategy: "full",
    level: json!(-1),
});

fn llava(top: &Config<'_>, defaults: &'static Defaults) -> Result<LlavaConfig> {
    let linear = match top.text_or("projector_hidden_act", "gelu")? {
        "gelu" => false,
        "linear" => true,
        _ => return Err(top.wrong("projector_hidden_act", "gelu or linear", FOREIGN)),
    };
    top.only("multimodal_projector_bias", &json!(true))?;
    let vision = top.find("vision_config")?;
    let given = vision.is_some();
    let vision = vision.map_or_else(|| top.find_or_empty("vision_config"), Ok)?;
    let vision = if given { vision } else { vision.or(&defaults.vision) };
    let image = match vision.text_or("model_type", CLIP)? {
        CLIP => clip::image(&vision)?,
        SIGLIP => siglip::headed(&vision)?,
        DINOV2 => dinov2::config(&vision)?,
        _ => {
            let expected = format!("{CLIP}, {SIGLIP} or {DINOV2}");
            return Err(vision.wrong("model_type", &expected, FOREIGN));
        }
    };
    let class = reads_class(top, defaults.strategy, &image)?;
    let layers = levels(top, &defaults.level, image.n_layers)?;
    // Said again in `text_config`; of a text tower; of SigLIP's head where the tower is CLIP's.
    top.without_effect(&["vocab_size"]);
    vision.without_effect(&["vocab_size", "vision_use_head"]);
    let backbone = backbone(top, defaults.text, top.flag_or("tie_word_embeddings", false)?)?;
    let shuffle = top.size_or(SHUFFLE, 1)?;
    if !image.grid().is_multiple_of(shuffle) {
        let expected = format!("a divisor of {} patches an edge", image.grid());
        return Err(top.wrong(SHUFFLE, &expected, FOREIGN));
    }
    let (features, width) = (image.hidden_size * layers.len(), backbone.width());
    let projector = match linear {
        true => ProjectorConfig::Linear { features, shuffle, bias: true, width },
        false => mlp([features, width], shuffle),
    };
    let features = FeatureSelect { layers, class };
    Ok(one_tower(image, features, projector, backbone))
}

/// Side of the square of positions that become one token: a key of ours, for transformers' LLaVA has no
/// pixel shuffle.
pub const SHUFFLE: &str = "pixel_shuffle_factor";

/// LLaVA 1.5's two maps.
pub fn mlp([features, width]: [usize; 2], shuffle: usize) -> ProjectorConfig {
    ProjectorConfig::Mlp {
        features,
        shuffle,
        norm: None,
        hidden: width,
        width,
        places: None,
        stack: 1,
        bias: true,
    }
}

/// `vision_feature_select_strategy`: whether the encoder's first position is read.
fn reads_class(top: &Config<'_>, default: &'static str, image: &VitConfig) -> Result<bool> {
    const KEY: &str = "vision_feature_select_strategy";
    const DROPS: &str = "of an encoder without a class token the other one drops a patch";
    match (top.text_or(KEY, default)?, image.pooling) {
        ("default", Pooling::Class) => Ok(false),
        ("full", pooling) => Ok(pooling == Pooling::Class),
        (_, Pooling::Class) => Err(top.wrong(KEY, "\"default\" or \"full\"", FOREIGN)),
        _ => Err(top.wrong(KEY, "\"full\"", DROPS)),
    }
}

/// `vision_feature_layer`, one level or several, counted from the end where it is negative; each as
/// the number of blocks after it.
pub fn levels(top: &Config<'_>, default: &Value, n_layers: usize) -> Result<Vec<usize>> {
    const KEY: &str = "vision_feature_layer";
    let value = top.get(KEY).unwrap_or(default);
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let skip = |value: &Value| {
        let at = value.as_i64()?;
        let n = i64::try_from(n_layers).ok()?;
        let skip = if at < 0 { -1 - at } else { n - at };
        (0..=n).contains(&skip).then_some(skip as usize)
    };
    let skips: Option<Vec<usize>> = list.iter().map(skip).collect();
    let skips = skips.filter(|skips| (1..=vision::MAX_LAYERS).contains(&skips.len()));
    skips.ok_or_else(|| {
        let expected = format!("a level of {n_layers} blocks, or a list of levels");
        top.wrong(KEY, &expected, FOREIGN)
    })
}

/// Defaults are those of `Idefics3Config` and `SmolVLMConfig`.
fn idefics3(top: &Config<'_>) -> Result<LlavaConfig> {
    let vision = top.find_or_empty("vision_config")?;
    let image = siglip::tower(&vision, [1152, 224, 32, 16])?;
    // Said again in `text_config` and by the image processor.
    top.without_effect(&["vocab_size"]);
    vision.without_effect(&["size", "max_image_size"]);
    let BackboneConfig::Llama(backbone) = backbone(top, "llama", false)? else {
        let expected = "llama, mistral, qwen2 or qwen3";
        return Err(top.wrong("text_config.model_type", expected, FOREIGN));
    };
    let tied = top.flag_or("tie_word_embeddings", false)?;
    let width = backbone.hidden_size;
    let backbone = BackboneConfig::Llama(LlamaConfig { tied, ..backbone });
    let shuffle = top.size_or("scale_factor", 2)?;
    if shuffle > image.grid() {
        return Err(top.wrong("scale_factor", "at most the patches of an edge", FOREIGN));
    }
    let features = image.hidden_size;
    let projector = ProjectorConfig::Linear { features, shuffle, bias: false, width };
    Ok(one_tower(image, FeatureSelect::default(), projector, backbone))
}

/// The language model, of the kind `default` where none is said. What `text_config` leaves out is as
/// `LlamaConfig`, `MistralConfig` and `Qwen2Config` have it.
pub fn backbone(top: &Config<'_>, default: &'static str, tied: bool) -> Result<BackboneConfig> {
    static LLAMA: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096,
            "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
            "max_position_embeddings": 2048})
    });
    static MISTRAL: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
            "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "max_position_embeddings": 131_072})
    });
    static QWEN2: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 4096,
            "intermediate_size": 22_016, "num_hidden_layers": 32, "num_attention_heads": 32,
            "max_position_embeddings": 32_768})
    });
    let text = top.find_or_empty("text_config")?;
    let text = match text.text_or("model_type", default)? {
        "llama" => text.or(&LLAMA),
        "mistral" => text.or(&MISTRAL),
        "qwen2" => text.or(&QWEN2),
        _ => text,
    };
    // Their files are prepared in ways that LLaVA's are not.
    if matches!(text.text_or("model_type", "")?, "gemma" | "gemma2" | "gemma3_text" | "phi3") {
        return Err(text.wrong("model_type", KINDS, FOREIGN));
    }
    let mut config = language::config(&text)?;
    if config.n_layers() > vision::MAX_LAYERS {
        let expected = format!("at most {} layers", vision::MAX_LAYERS);
        return Err(text.wrong("num_hidden_layers", &expected, FOREIGN));
    }
    if let BackboneConfig::Llama(llama) = &mut config {
        llama.tied |= tied;
    }
    spliceable(&text, &config)?;
    Ok(config)
}

/// The language models that pictures are spliced into.
const KINDS: &str = "llama, mistral, qwen2, qwen3, opt or gpt2";

/// A language model that reads one kind of medium: pictures, by a Vision Transformer.
pub fn one_tower(
    vit: VitConfig,
    features: FeatureSelect,
    projector: ProjectorConfig,
    backbone: BackboneConfig,
) -> LlavaConfig {
    let towers = vec![TowerConfig { encoder: EncoderConfig::Vit { vit, features }, projector }];
    LlavaConfig { towers, backbone, prefix: false }
}
