//! Janus: an encoder of SigLIP's kind for pictures that are asked about, and tokens of its own for pictures that
//! are drawn.
//!
//! Wu et al. 2024, <https://arxiv.org/abs/2410.13848>; Chen et al. 2025, <https://arxiv.org/abs/2501.17811>

use sensorium_checkpoint::Tensors;
use sensorium_encoder::image::{FeatureSelect, Pooling, VitConfig};
use sensorium_generator::{GROUPS, ImageTokens, ImageTokensConfig};
use sensorium_media::{ImageProcessor, Style};
use sensorium_model::llava::LlavaConfig;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::settings::{backbone, mlp, one_tower};
use super::{FOREIGN, vit};
use crate::chat::Chat;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::dinov2::reshape;
use crate::names::{self, JANUS as LAYOUT};
use crate::plan::Plan;
use crate::text::{self, TextProcessor};
use crate::vision;

/// `model_type`.
pub const JANUS: &str = "janus";

/// What makes tokens of pictures, to be learned from.
pub const TRAINING: &[&str] = &["model.vqmodel.encoder.", "model.vqmodel.quant_conv."];

/// Where the part that draws is, of ours.
const PART: &str = "image_tokens";

/// What draws, behind the language model that says what.
#[derive(Debug)]
pub struct Painter {
    /// Tokens to pictures, and to what the language model reads.
    pub model: ImageTokens,
    /// Its shape.
    pub config: ImageTokensConfig,
    /// What makes prompts of what is to be drawn.
    pub chat: Chat,
    /// The token after which a picture is said, by its name.
    pub begin: String,
    /// What stands in the place of a prompt's words where nothing is asked for.
    pub pad: u32,
    /// How much further to go than the prompt says.
    pub guidance: f32,
    /// What values of a picture were made with: they are multiplied by the deviation and added to the mean.
    pub scale: [[f32; 3]; 2],
}

/// Defaults are those of `JanusConfig`.
pub fn config(directory: &Directory, top: &Config<'_>) -> Result<LlavaConfig> {
    let vision = top.find_or_empty("vision_config")?;
    let image = image(&vision)?;
    // Settings say that the head is the token table where they mean nothing by it: files that hold one mean it.
    let names = directory.shapes().unwrap_or_default();
    let has_head = names.contains_key("lm_head.weight");
    let tied = top.flag_or("tie_word_embeddings", true)? && !has_head;
    let backbone = backbone(top, "llama", tied)?;
    let width = backbone.width();
    depth(&vision, "depth")?;
    if vision.size_or("projection_dim", 2048)? != width {
        let hint = "pictures are put among tokens, which must be as wide as the stream";
        return Err(vision.wrong("projection_dim", &width.to_string(), hint));
    }
    let tokens = image.patches();
    if vision.size_or("num_image_tokens", 576)? != tokens {
        let expected = format!("{tokens}, one for each patch");
        return Err(vision.wrong("num_image_tokens", &expected, FOREIGN));
    }
    let projector = mlp([image.hidden_size, width], 1);
    Ok(one_tower(image, FeatureSelect::default(), projector, backbone))
}

/// Defaults are those of `JanusVisionConfig`.
fn image(vision: &Config<'_>) -> Result<VitConfig> {
    vision.only("attention_bias", &json!(true))?;
    vision.only("use_qk_norm", &json!(false))?;
    // The aligner's is the encoder's, and exact.
    vision.only("hidden_act", &json!("gelu"))?;
    vision.without_effect(&["hidden_dropout_rate", "projection_dropout"]);
    let width = vision.size_or("hidden_size", 1024)?;
    let (side, patch) = vision::patches(vision, [384, 16], width)?;
    let hidden = width as f64 * vision.positive_or("mlp_ratio", 4.0)?;
    if !(1.0..f64::from(1 << 24)).contains(&hidden) {
        return Err(vision.wrong("mlp_ratio", "a few times the width", FOREIGN));
    }
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![patch],
        stem_bias: true,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(vision, "num_hidden_layers", 24)?,
        n_heads: vision::heads(vision, "num_attention_heads", 16, width)?,
        intermediate_size: hidden as usize,
        activation: Activation::Gelu,
        stem_norm: false,
        pre_norm: false,
        pooling: Pooling::Mean,
        proj: false,
        embed: width,
        eps: vision.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// That an aligner is of two maps, as all published ones are.
fn depth(config: &Config<'_>, key: &str) -> Result<()> {
    match config.size_or(key, 2)? {
        2 => Ok(()),
        _ => Err(config.wrong(key, "2", "aligners of more or fewer maps are not built")),
    }
}

/// The part that draws. Defaults are those of `JanusVQVAEConfig`.
fn image_tokens(top: &Config<'_>, config: &LlavaConfig) -> Result<ImageTokensConfig> {
    let vq = top.find_or_empty("vq_config")?;
    // Of the side that makes tokens of pictures; as many places as the encoder has patches.
    vq.without_effect(&["double_latent", "in_channels", "num_patches"]);
    vq.only("out_channels", &json!(3))?;
    vq.only("hidden_act", &json!("gelu"))?;
    depth(&vq, "num_hidden_layers")?;
    let width = config.backbone.width();
    for key in ["image_token_embed_dim", "projection_dim"] {
        if vq.size_or(key, 2048)? != width {
            let hint = "a picture's tokens are read among others, as wide as the stream";
            return Err(vq.wrong(key, &width.to_string(), hint));
        }
    }
    let num_res_blocks = match vq.get("num_res_blocks").and_then(Value::as_u64) {
        Some(0) => 0,
        _ => vision::layers(&vq, "num_res_blocks", 2)?,
    };
    Ok(ImageTokensConfig {
        num_embeddings: vq.size_or("num_embeddings", 16_384)?,
        embed_dim: vq.size_or("embed_dim", 8)?,
        width,
        head: width,
        activation: Activation::Gelu,
        latent_channels: vq.size_or("latent_channels", 256)?,
        channels: channels(&vq)?,
        num_res_blocks,
        side: vit(config).map_or(1, VitConfig::grid),
    })
}

/// Channels at each size, multiples of the groups of norms.
fn channels(vq: &Config<'_>) -> Result<Vec<usize>> {
    const KEY: &str = "channel_multiplier";
    /// Each size is half of the one before it.
    const SIZES: usize = 8;
    let base = vq.size_or("base_channels", 128)?;
    if !base.is_multiple_of(GROUPS) {
        let expected = format!("a multiple of {GROUPS}");
        return Err(vq.wrong("base_channels", &expected, "norms have so many groups"));
    }
    let usual = json!([1, 1, 2, 2, 4]);
    let value = vq.get(KEY).unwrap_or(&usual);
    let factors: Option<Vec<usize>> = serde_json::from_value(value.clone()).ok();
    let factors = factors.filter(|factors| {
        (1..=SIZES).contains(&factors.len()) && factors.iter().all(|n| (1..=64).contains(n))
    });
    let expected = format!("1 to {SIZES} whole numbers of 1 to 64");
    let factors = factors.ok_or_else(|| vq.wrong(KEY, &expected, FOREIGN))?;
    Ok(factors.into_iter().map(|factor| factor * base).collect())
}

/// Adds what files must hold of the part that draws.
///
/// # Errors
/// A setting is out of range, or asks for what is not supported.
pub fn as_published(plan: &mut Plan, top: &Config<'_>, config: &LlavaConfig) -> Result<()> {
    let painter = image_tokens(top, config)?;
    let parameters = painter.parameters().into_iter();
    let parameters = parameters.map(|(name, shape)| (format!("{PART}.{name}"), shape)).collect();
    let mut tensors = Plan::new(JANUS, "vae", LAYOUT, parameters).tensors;
    for tensor in &mut tensors {
        if is_point(&tensor.name) {
            tensor.shape.extend([1, 1]);
        }
        tensor.packs &= !tensor.name.contains(".quantize.");
    }
    plan.tensors.extend(tensors);
    plan.training = TRAINING;
    Ok(())
}

/// Whether it is a matrix of the decoder's attention, which files have as a convolution.
fn is_point(name: &str) -> bool {
    const ENDS: [&str; 4] = [".q.weight", ".k.weight", ".v.weight", ".proj_out.weight"];
    name.starts_with("model.vqmodel.decoder.") && ENDS.iter().any(|end| name.ends_with(end))
}

/// Takes the part that draws out of the `tensors`.
///
/// # Errors
/// They are not those of the settings; the processor or the tokenizer names no token after which a picture is
/// said.
pub fn take(
    directory: &Directory,
    config: &LlavaConfig,
    processor: &ImageProcessor,
    tensors: &mut Tensors,
    init: &mut Init,
) -> Result<Painter> {
    let config = image_tokens(&directory.config(), config)?;
    let is_own =
        |name: &str| name.starts_with("model.generation_") || name.starts_with("model.vqmodel.");
    let mut own = Tensors::default();
    for name in tensors.tensors.keys().filter(|name| is_own(name)).cloned().collect::<Vec<_>>() {
        if let Some(tensor) = tensors.tensors.remove(&name) {
            own.tensors.insert(name.clone(), tensor);
        }
        if is_point(&name) {
            reshape(&mut own, &name, |shape, values| (shape[..2].to_vec(), values))?;
        }
    }
    let model = names::take_part(ImageTokens::init(&config, init), PART, own, &LAYOUT)?;
    let generation = directory.json(GENERATION)?.unwrap_or_default();
    let generation = Config::new(GENERATION, &generation);
    let pad = generation.id_or("pad_token_id", 0)?;
    let rows = directory.config().find_or_empty("text_config")?.size_or("vocab_size", 32_000)?;
    if pad as usize >= rows {
        return Err(generation.wrong("pad_token_id", &format!("an id below {rows}"), FOREIGN));
    }
    let guidance = generation.positive_or("guidance_scale", 5.0)? as f32;
    let [begin, _] = frame(directory)?;
    let (chat, scale) = (text::chat(directory)?, processor.mean_and_std());
    Ok(Painter { model, config, chat, begin, pad, guidance, scale })
}

const GENERATION: &str = "generation_config.json";

/// What makes pixels of pictures.
pub fn processor(directory: &Directory, side: usize) -> Result<ImageProcessor> {
    vision::square(directory, Style::Janus, side)
}

/// Tokens in front of a picture's and behind them, by their names.
///
/// # Errors
/// `tokenizer_config.json` names none.
pub fn frame(directory: &Directory) -> Result<[String; 2]> {
    const FILE: &str = "tokenizer_config.json";
    let settings = directory.json(FILE)?.unwrap_or_default();
    let named = |key: &str| -> Result<String> {
        let token = settings.get(key).or_else(|| settings.get("extra_special_tokens")?.get(key));
        let name = token.and_then(Value::as_str).map(str::to_owned);
        name.ok_or_else(|| Error::Setting {
            file: FILE.into(),
            key: key.into(),
            expected: "the name of a token".into(),
            got: token.map_or("nothing".into(), Value::to_string),
            hint: "download it again: it names what stands around a picture",
        })
    };
    Ok([named("boi_token")?, named("eoi_token")?])
}

/// What the processor writes in front of every conversation where its settings ask for it.
const SYSTEM: &str = "You are a helpful language and vision assistant. \
    You are able to understand the visual content that the user provides, \
    and assist the user with a variety of tasks using natural language.\n\n";

/// The texts' processor, whose template begins with what the model was trained to read first.
///
/// # Errors
/// A file is damaged.
pub fn opened(directory: &Directory) -> Result<TextProcessor> {
    const OUTER: &str = "processor_config.json";
    let text = TextProcessor::read(directory)?;
    let outer = directory.json(OUTER)?.unwrap_or_default();
    if !Config::new(OUTER, &outer).flag_or("use_default_system_prompt", false)? {
        return Ok(text);
    }
    let Some(template) = text.chat.text()? else { return Ok(text) };
    // As an expression: a template may cut the spaces off that stand in front of it.
    let template = format!("{{{{ {} }}}}{template}", json!(SYSTEM));
    Ok(TextProcessor { chat: text.chat.with_template(template), ..text })
}
