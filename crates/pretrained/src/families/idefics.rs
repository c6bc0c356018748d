//! `IdeficsForVisionText2Text` of transformers: `model_type` `idefics`.
//!
//! Two things are done when the weights are read: the rows of table and head that stand apart in files
//! (they alone were trained while the rest was frozen) are put behind the others, and gates of a number
//! a channel become vectors.

use sensorium_backbone::{Gate, GatedLlamaConfig, LlamaConfig};
use sensorium_encoder::image::{Pooling, VitConfig};
use sensorium_input_projector::PerceiverConfig;
use sensorium_media::{ImageProcessor, Style};
use sensorium_nn::prelude::*;
use serde_json::json;

use super::language;
use crate::Pretrained;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, IDEFICS};
use crate::plan::{Expected, Plan};
use crate::text::TextProcessor;
use crate::vision;
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_model::idefics::{Idefics, IdeficsConfig};

const FAMILY: &str = "idefics";

/// Table and head, and the rows of each that stand apart.
const TABLES: [[&str; 2]; 2] = [
    ["model.embed_tokens.weight", "model.embed_tokens.additional_embedding.weight"],
    ["lm_head.weight", "lm_head.additional_fc.weight"],
];

const HEADS: [&str; 2] = [TABLES[1][0], TABLES[1][1]];

const GATES: [&str; 2] = [".alpha_cross_attn", ".alpha_dense"];

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// The model and what makes its inputs.
#[derive(Debug)]
pub struct Parts {
    /// Sizes.
    pub config: IdeficsConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub text: TextProcessor,
    /// The model.
    pub model: Idefics,
    /// Where it computes.
    pub device: Device,
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported.
pub fn open(directory: &Directory, device: &Device) -> Result<Pretrained> {
    let config = config(&directory.config())?;
    let processor = vision::square(directory, Style::Idefics, config.image.image)?;
    let text = TextProcessor::read(directory)?;
    let model = load(directory, &config, device)?;
    Ok(Pretrained::Idefics(Parts { config, processor, text, model, device: device.clone() }))
}

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    plan_of(directory, &config(&directory.config())?)
}

fn plan_of(directory: &Directory, config: &IdeficsConfig) -> Result<Plan> {
    let mut plan = Plan::new(FAMILY, "language", IDEFICS, config.parameters());
    let extra = extra(&directory.config())?;
    for [table, apart] in TABLES {
        let Some(at) = plan.tensors.iter().position(|tensor| tensor.name == table) else {
            continue;
        };
        if extra > 0 {
            let all = &mut plan.tensors[at];
            all.shape[0] -= extra;
            let shape = vec![extra, config.language.llama.hidden_size];
            let apart = Expected { name: apart.to_owned(), shape, ..all.clone() };
            plan.tensors.insert(at + 1, apart);
        }
    }
    if config.language.gate == Gate::Vector {
        let is_gate = |name: &str| GATES.iter().any(|gate| name.ends_with(gate));
        let gates = plan.tensors.iter_mut().filter(|tensor| is_gate(&tensor.name));
        gates.for_each(|gate| gate.shape.splice(0..0, [1, 1]).for_each(drop));
    }
    if config.language.llama.tied {
        plan.copies = &HEADS;
    }
    Ok(plan)
}

/// The model of this shape in a directory.
///
/// # Errors
/// As [`plan`]; the weights are missing, damaged, or not those of the configuration. Memory is taken
/// only for what their files hold.
pub fn load(directory: &Directory, config: &IdeficsConfig, device: &Device) -> Result<Idefics> {
    let plan = plan_of(directory, config)?;
    let strays = plan.check(directory)?;
    let tensors =
        directory.tensors_but(|name| plan.layout.is_ignorable(name) || strays.contains(name))?;
    let tensors = prepare(tensors, config.language.llama.tied)?;
    let model = Idefics::init(config, &mut Init::empty(device));
    Ok(names::take(model, tensors, &plan.layout)?)
}

/// The tensors of a file as [`IDEFICS`] has them.
fn prepare(mut tensors: Tensors, tied: bool) -> Result<Tensors> {
    for (head, table) in HEADS.into_iter().zip(TABLES[0]) {
        tensors = language::tied(tensors, tied, head, table)?;
    }
    for [table, apart] in TABLES {
        if let Some(rows) = tensors.tensors.remove(apart)
            && let Some(all) = tensors.tensors.remove(table)
        {
            tensors.tensors.insert(table.to_owned(), joined(all, rows)?);
        }
    }
    for (name, tensor) in &mut tensors.tensors {
        if GATES.iter().any(|gate| name.ends_with(gate)) {
            let values = tensor.data().to_vec();
            *tensor = Tensor::new(vec![values.len()], values)?;
        }
    }
    Ok(tensors)
}

/// Rows behind rows.
fn joined(all: Tensor, rows: Tensor) -> Result<Tensor> {
    let (mut shape, mut values) = all.into_parts();
    let (more, others) = rows.into_parts();
    shape[0] += more[0];
    values.extend(others);
    Ok(Tensor::new(shape, values)?)
}

/// Rows of table and head that stand apart.
fn extra(top: &Config<'_>) -> Result<usize> {
    match top.get("additional_vocab_size") {
        Some(value) if *value == json!(0) => Ok(0),
        None => Ok(0),
        Some(_) => top.size("additional_vocab_size"),
    }
}

/// The shape from `config.json`; what would change the computation is refused. Defaults are those of
/// `IdeficsConfig`.
///
/// # Errors
/// A setting is missing, out of range or not supported.
pub fn config(top: &Config<'_>) -> Result<IdeficsConfig> {
    top.only("model_type", &json!(FAMILY))?;
    top.only("hidden_act", &json!("silu"))?;
    top.only_null("quantization_config")?;
    let image = image(&top.find_or_empty("vision_config")?)?;
    let resampler = top.find_or_empty("perceiver_config")?;
    // Of an earlier version of the class.
    top.without_effect(&["cross_layer_activation_function"]);
    let projector = match top.flag_or("use_resampler", false)? {
        true => Some(perceiver(&resampler, image.hidden_size)?),
        false => None,
    };
    let llama = llama(top)?;
    let interval = top.size_or("cross_layer_interval", 1)?;
    if !llama.n_layers.is_multiple_of(interval) {
        let expected = format!("a divisor of the {} layers", llama.n_layers);
        return Err(top.wrong("cross_layer_interval", &expected, FOREIGN));
    }
    let gate = match top.text_or("alpha_type", "float")? {
        "float" => Gate::Scalar,
        "vector" => Gate::Vector,
        _ => return Err(top.wrong("alpha_type", "\"float\" or \"vector\"", FOREIGN)),
    };
    let (features, qk_norm) = (image.hidden_size, top.flag_or("qk_layer_norms", false)?);
    let language = GatedLlamaConfig { llama, features, interval, qk_norm, gate };
    Ok(IdeficsConfig { image, projector, language })
}

fn llama(top: &Config<'_>) -> Result<LlamaConfig> {
    let width = top.size_or("hidden_size", 4096)?;
    let n_heads = vision::heads(top, "num_attention_heads", 32, width)?;
    let head_width = width / n_heads;
    if !head_width.is_multiple_of(2) {
        let expected = format!("heads of an even width, got {head_width} of {width}");
        return Err(top.wrong("num_attention_heads", &expected, FOREIGN));
    }
    let (theta, rope_scaling) = language::rope(top, head_width)?;
    // Older files say it otherwise.
    let context = top.size_or("max_sequence_length", 2048)?;
    Ok(LlamaConfig {
        vocab_size: top.size_or("vocab_size", 32_000)? + extra(top)?,
        context: top.size_or("max_position_embeddings", context)?,
        hidden_size: width,
        n_layers: vision::layers(top, "num_hidden_layers", 32)?,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: head_width,
        intermediate_size: top.size_or("intermediate_size", 11_008)?,
        theta,
        eps: top.positive_or("rms_norm_eps", 1e-6)?,
        qk_norm: false,
        tied: top.flag_or("tie_word_embeddings", false)?,
        biases: Default::default(),
        rope_scaling,
        mrope: None,
        gate: Default::default(),
        embedding_scale: 1.0,
        gemma: None,
    })
}

fn image(config: &Config<'_>) -> Result<VitConfig> {
    let width = config.size_or("embed_dim", config.size_or("hidden_size", 768)?)?;
    let (image, patch) = vision::patches(config, [224, 14], width)?;
    Ok(VitConfig {
        image,
        frames: None,
        stem: vec![patch],
        stem_bias: false,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(config, "num_hidden_layers", 32)?,
        n_heads: vision::heads(config, "num_attention_heads", 16, width)?,
        intermediate_size: config.size_or("intermediate_size", 5120)?,
        activation: vision::activation(config, "gelu")?,
        stem_norm: false,
        pre_norm: true,
        pooling: Pooling::Class,
        proj: false,
        embed: width,
        eps: config.positive_or("layer_norm_eps", 1e-5)?,
    })
}

fn perceiver(config: &Config<'_>, width: usize) -> Result<PerceiverConfig> {
    config.without_effect(&["use_resampler"]);
    Ok(PerceiverConfig {
        latents: config.size_or("resampler_n_latents", 64)?,
        hidden_size: width,
        n_layers: vision::layers(config, "resampler_depth", 6)?,
        n_heads: config.size_or("resampler_n_heads", 16)?,
        head_dim: config.size_or("resampler_head_dim", 96)?,
        intermediate_size: 4 * width,
        qk_norm: config.flag_or("qk_layer_norms_perceiver", false)?,
        activation: Activation::Relu,
        frames: 0,
    })
}
