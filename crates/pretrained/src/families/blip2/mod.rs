//! BLIP-2 of transformers: `model_type` `blip-2`, a class that compares and one that writes.
//!
//! ```text
//! config.json ──architectures──▶ Blip2ForImageTextRetrieval: Matcher
//!                            └─▶ Blip2ForConditionalGeneration: Writer, or T5 behind an Eye
//! ```

mod asked;
pub mod bert;
mod eye;
mod matcher;
pub mod new;
mod writer;

use sensorium_encoder::image::{Pooling, VitConfig};
use sensorium_input_projector::qformer::QFormerConfig;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::Pretrained;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::plan::Plan;
use crate::text::TextProcessor;
use crate::vision;
use sensorium_checkpoint::{Tensor as Stored, Tensors};

pub use eye::Eye;
pub use matcher::{Match, Matcher};
pub use writer::Writer;

/// `model_type`.
pub const FAMILY: &str = "blip-2";

/// `model_type` of a BLIP-2 whose vision tower transformers' class has none like.
pub const OWN_FAMILY: &str = "sensorium_blip2";

/// More queries than any published model has.
const MAX_QUERIES: usize = 4096;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// Files have these with so many leading sizes of 1.
const LED: [(&str, usize); 3] = [
    ("vision_model.embeddings.class_embedding", 2),
    ("vision_model.embeddings.position_embedding", 1),
    ("query_tokens", 1),
];

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let top = directory.config();
    match compares(&top) {
        true => matcher::plan(directory),
        false if asked::is_asked(&top) => asked::plan(directory),
        false => writer::plan(directory),
    }
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or asks for what is not supported; the weights are not those of the
/// settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Pretrained> {
    if compares(&directory.config()) {
        return Ok(Pretrained::Matcher(Matcher::open(directory, device)?));
    }
    if asked::is_asked(&directory.config()) {
        return Ok(Pretrained::T5(asked::open(directory, device)?));
    }
    let text = TextProcessor::read(directory)?;
    let text = text.ending_as(&directory.config().child("text_config")?)?;
    Ok(Pretrained::Blip2(text, Writer::open(directory, device)?))
}

/// Whether the directory holds the model that compares, not the one that writes. Where no class is
/// named: only the former has a Q-Former that reads texts.
pub fn compares(config: &Config<'_>) -> bool {
    let named = config.get("architectures").and_then(|all| all.get(0)).and_then(Value::as_str);
    match named {
        Some(name) => name == "Blip2ForImageTextRetrieval",
        None => config.find("qformer_config").ok().flatten().is_some_and(|qformer| {
            qformer.get("use_qformer_text_input") == Some(&Value::Bool(true))
        }),
    }
}

/// With the sizes of 1 that files have.
fn as_published(mut plan: Plan) -> Plan {
    for tensor in &mut plan.tensors {
        if let Some((_, ones)) = LED.iter().find(|(name, _)| *name == tensor.name) {
            tensor.shape.splice(0..0, std::iter::repeat_n(1, *ones));
        }
    }
    plan
}

/// Without them.
fn flat(mut tensors: Tensors) -> Result<Tensors> {
    for (name, ones) in LED {
        if let Some(tensor) = tensors.tensors.remove(name) {
            let (shape, values) = tensor.into_parts();
            let shape = shape.into_iter().skip(ones).collect();
            tensors.tensors.insert(name.to_owned(), Stored::new(shape, values)?);
        }
    }
    Ok(tensors)
}

/// Defaults are those of `Blip2VisionConfig`.
fn image(top: &Config<'_>) -> Result<VitConfig> {
    let image = top.find_or_empty("vision_config")?;
    image.only("qkv_bias", &json!(true))?;
    let width = image.size_or("hidden_size", 1408)?;
    let (side, patch) = vision::patches(&image, [224, 14], width)?;
    Ok(VitConfig {
        image: side,
        frames: None,
        stem: vec![patch],
        stem_bias: image.flag_or("patch_bias", true)?,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(&image, "num_hidden_layers", 39)?,
        n_heads: vision::heads(&image, "num_attention_heads", 16, width)?,
        intermediate_size: image.size_or("intermediate_size", 6144)?,
        activation: vision::activation(&image, "gelu")?,
        stem_norm: false,
        pre_norm: image.flag_or("pre_norm", false)?,
        pooling: match image.flag_or("class_token", true)? {
            true => Pooling::Class,
            false => Pooling::Mean,
        },
        proj: false,
        embed: width,
        eps: image.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// Defaults are those of `Blip2QFormerConfig`; as there, the features' width is the encoder's,
/// whatever `encoder_hidden_size` says.
fn qformer(top: &Config<'_>, features: usize) -> Result<QFormerConfig> {
    let queries = top.size_or("num_query_tokens", 32)?;
    if queries > MAX_QUERIES {
        return Err(top.wrong("num_query_tokens", &format!("at most {MAX_QUERIES}"), FOREIGN));
    }
    let config = top.find_or_empty("qformer_config")?;
    // Each class reads what the other one has no use for.
    top.without_effect(&["image_text_hidden_size", "text_config"]);
    config.without_effect(&["vocab_size", "max_position_embeddings"]);
    config.only("position_embedding_type", &json!("absolute"))?;
    let width = config.size_or("hidden_size", 768)?;
    Ok(QFormerConfig {
        features,
        queries,
        hidden_size: width,
        n_layers: vision::layers(&config, "num_hidden_layers", 12)?,
        n_heads: vision::heads(&config, "num_attention_heads", 12, width)?,
        intermediate_size: config.size_or("intermediate_size", 3072)?,
        activation: vision::activation(&config, "gelu")?,
        every: config.size_or("cross_attention_frequency", 2)?,
        text: config.flag_or("use_qformer_text_input", false)?,
        eps: config.positive_or("layer_norm_eps", 1e-12)?,
    })
}
