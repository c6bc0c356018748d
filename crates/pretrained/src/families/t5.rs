//! `T5ForConditionalGeneration` of transformers, T5 1.1 and Flan-T5 too: `model_type` `t5`, alone or behind a
//! picture's tokens.

use sensorium_backbone::{Buckets, T5, T5Config};
use sensorium_checkpoint::Tensors;
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::blip2::Eye;
use super::language::tied;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, Layout};
use crate::plan::Plan;
use crate::text::TextProcessor;
use crate::vision;

/// `model_type`.
pub const FAMILY: &str = "t5";

const TABLE: &str = "shared.weight";
const HEAD: &str = "lm_head.weight";

/// The token table, under the names that it has in files beside its own.
const COPIES: [&str; 3] = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", HEAD];

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// A T5 with all that makes its inputs.
#[derive(Debug)]
pub struct T5Parts {
    /// Texts to ids and back.
    pub text: TextProcessor,
    /// What sees, if anything does.
    pub eye: Option<Eye>,
    /// Shape of the model.
    pub config: T5Config,
    /// Ids to the next token.
    pub model: T5,
    /// What stands before every answer.
    pub decoder_start_token_id: u32,
}

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let names = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let config = config(&directory.config(), &names)?;
    let mut plan = planned(&config);
    plan.copies = match config.tied {
        true => &COPIES,
        false => &[COPIES[0], COPIES[1]],
    };
    Ok(plan)
}

/// What a file must hold of a model of this shape.
pub(super) fn planned(config: &T5Config) -> Plan {
    let mut plan = Plan::new(FAMILY, "language", layout(config), config.parameters());
    plan.tensors.iter_mut().for_each(|tensor| tensor.part = "language");
    plan
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or asks for what is not supported; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<T5Parts> {
    let top = directory.config();
    let text = TextProcessor::read(directory)?;
    let decoder_start_token_id = start(directory, &top)?;
    let names: Vec<String> = directory.shapes()?.into_keys().collect();
    let config = config(&top, &names)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    // Copies of the token table are read, to be compared with it.
    let unread = |name: &str| plan.layout.is_ignorable(name) || strays.contains(name);
    let model = fill(&config, directory.tensors_but(unread)?, device)?;
    Ok(T5Parts { text, eye: None, config, model, decoder_start_token_id })
}

/// The model with these weights, which have been found to be those of a [`Plan`].
///
/// # Errors
/// They are not; a copy of the token table differs from it.
pub(super) fn fill(config: &T5Config, mut tensors: Tensors, device: &Device) -> Result<T5> {
    for copy in COPIES.iter().filter(|name| **name != HEAD || config.tied) {
        tensors = tied(tensors, true, copy, TABLE)?;
    }
    unscale(&mut tensors, config.head_dim);
    let model = T5::init(config, &mut Init::empty(device));
    Ok(names::take(model, tensors, &layout(config))?)
}

/// Whether a tensor carries nothing to learn.
pub(super) fn is_ignorable(name: &str) -> bool {
    names::T5.is_ignorable(name)
}

fn layout(config: &T5Config) -> Layout {
    if config.gated { names::T5_GATED } else { names::T5 }
}

/// Multiplies what makes queries, so that scores which are scaled by `K^-0.5` are those of the published
/// model, which scales none.
fn unscale(tensors: &mut Tensors, head_dim: usize) {
    let factor = (head_dim as f32).sqrt();
    for (name, tensor) in &mut tensors.tensors {
        if name.ends_with("Attention.q.weight") {
            let (shape, mut values) = tensor.clone().into_parts();
            values.iter_mut().for_each(|value| *value *= factor);
            // As many values as before.
            if let Ok(scaled) = sensorium_checkpoint::Tensor::new(shape, values) {
                *tensor = scaled;
            }
        }
    }
}

/// What stands before every answer: as `config`, the model's or its part of a whole, has it, or else
/// `generation_config.json`.
///
/// # Errors
/// Neither does, or it is no token of the model's.
pub(super) fn start(directory: &Directory, config: &Config<'_>) -> Result<u32> {
    const KEY: &str = "decoder_start_token_id";
    const FILE: &str = "generation_config.json";
    let generation = directory.json(FILE)?.unwrap_or_default();
    let generation = Config::new(FILE, &generation);
    let found = match (config.get(KEY), generation.get(KEY)) {
        (Some(_), _) => Some(config.id_or(KEY, 0)?),
        (None, Some(_)) => Some(generation.id_or(KEY, 0)?),
        (None, None) => None,
    };
    let rows = config.size_or("vocab_size", VOCABULARY)?;
    found.filter(|id| (*id as usize) < rows).ok_or_else(|| {
        config.wrong(KEY, &format!("a token id below vocab_size {rows}"), "set it: T5's is 0")
    })
}

/// As `T5Config` has it.
const VOCABULARY: usize = 32_128;

/// The shape that settings describe, for a file with these `names`. Defaults are those of `T5Config`.
///
/// # Errors
/// A setting is out of range, or asks for what is not supported.
pub(super) fn config(top: &Config<'_>, names: &[String]) -> Result<T5Config> {
    // Said again by `feed_forward_proj`; of a length that nothing depends on.
    top.without_effect(&["dense_act_fn", "is_gated_act", "n_positions", "pad_token_id"]);
    top.without_effect(&["is_encoder_decoder", "scale_decoder_outputs"]);
    top.only("is_decoder", &Value::Bool(false))?;
    top.only_null("quantization_config")?;
    let layers = vision::layers(top, "num_layers", 6)?;
    let (activation, gated) = activation(top)?;
    // Files of before transformers 5 say so of models whose head is a matrix of its own, and mean this too.
    let says_tied = top.flag_or("tie_word_embeddings", true)?;
    let has_head = names.iter().any(|name| name.ends_with(HEAD));
    Ok(T5Config {
        vocab_size: top.size_or("vocab_size", VOCABULARY)?,
        hidden_size: top.size_or("d_model", 512)?,
        n_heads: top.size_or("num_heads", 8)?,
        head_dim: top.size_or("d_kv", 64)?,
        intermediate_size: top.size_or("d_ff", 2048)?,
        n_layers: [layers, vision::layers(top, "num_decoder_layers", layers)?],
        activation,
        gated,
        buckets: buckets(top)?,
        tied: if names.is_empty() { says_tied } else { says_tied || !has_head },
        scaled: says_tied,
        eps: top.positive_or("layer_norm_epsilon", 1e-6)?,
    })
}

/// `feed_forward_proj`, as `T5Config` reads it.
fn activation(top: &Config<'_>) -> Result<(Activation, bool)> {
    const KEY: &str = "feed_forward_proj";
    let name = top.text_or(KEY, "relu")?;
    let (gated, name) = match name.strip_prefix("gated-") {
        // Since before it could be named.
        Some("gelu") => (true, "gelu_new"),
        Some(name) => (true, name),
        None => (false, name),
    };
    let activation = match name {
        "relu" => Activation::Relu,
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "silu" => Activation::Silu,
        _ => {
            let expected = "relu, gelu, gelu_new or silu, alone or behind gated-";
            return Err(top.wrong(KEY, expected, FOREIGN));
        }
    };
    Ok((activation, gated))
}

fn buckets(top: &Config<'_>) -> Result<Buckets> {
    const ENTRIES: &str = "relative_attention_num_buckets";
    const FURTHEST: &str = "relative_attention_max_distance";
    let (entries, furthest) = (top.size_or(ENTRIES, 32)?, top.size_or(FURTHEST, 128)?);
    if !entries.is_multiple_of(4) {
        let hint = "half of them are for each direction, and half of those for single steps";
        return Err(top.wrong(ENTRIES, "a multiple of 4", hint));
    }
    if furthest <= entries / 2 {
        let hint = "the first half of the buckets takes single steps up to there";
        return Err(top.wrong(FURTHEST, &format!("more than {}", entries / 2), hint));
    }
    Ok(Buckets { entries, furthest })
}
