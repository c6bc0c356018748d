//! Language models from a directory: Llama, Mistral, Qwen2, Qwen3, Phi-3, Gemma to Gemma 3, OPT, GPT-2.
//!
//! ```text
//! config.json ──model_type──▶ BackboneConfig ──parameters──▶ compared with the tensors
//!                                                            ──names::load──▶ Backbone
//! ```

mod gemma;
mod gpt2;
mod llama;
mod opt;

use sensorium_backbone::{Backbone, BackboneConfig, Gpt2, Llama, Opt};
use sensorium_nn::prelude::*;
use serde_json::Value;

pub(crate) use llama::fused;
pub(super) use llama::{qwen2_vl, qwen3_vl, rope};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, GEMMA, LLAMA, Layout};
use crate::plan::Plan;
use crate::vision;
use sensorium_checkpoint::Tensors;

/// What reads the settings of one `model_type`.
type Read = fn(&Config<'_>) -> Result<BackboneConfig>;

const KINDS: [(&str, Read); 10] = [
    ("llama", llama::llama),
    ("mistral", llama::mistral),
    ("qwen2", llama::qwen2),
    ("qwen3", llama::qwen3),
    ("phi3", llama::phi3),
    ("gemma", llama::gemma1),
    ("gemma2", gemma::gemma2),
    ("gemma3_text", gemma::gemma3),
    ("opt", opt::opt),
    ("gpt2", gpt2::gpt2),
];

/// The head, which files may have beside the token table that it is.
const HEAD: &str = "lm_head.weight";

const FOREIGN: &str =
    "the directory is of another kind of model, or of a language model that is not supported";

fn find(kind: &str) -> Option<Read> {
    KINDS.iter().find(|(name, _)| *name == kind).map(|(_, read)| *read)
}

/// The shape that `config.json` describes.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<BackboneConfig> {
    let read = find(config.text_or("model_type", "")?).ok_or_else(|| {
        let known = KINDS.map(|(name, _)| name).join(", ");
        config.wrong("model_type", &format!("one of {known}"), FOREIGN)
    })?;
    config.only_null("quantization_config")?;
    let language = read(config)?;
    // Before a list is made that is as long as a file says.
    if language.n_layers() > vision::MAX_LAYERS {
        let expected = format!("at most {}", vision::MAX_LAYERS);
        return Err(config.wrong("num_hidden_layers", &expected, FOREIGN));
    }
    Ok(language)
}

/// What the weights in a directory must be.
///
/// # Errors
/// As [`config`].
pub fn plan(directory: &Directory) -> Result<Plan> {
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    plan_of(&directory.config(), names.iter().map(String::as_str))
}

/// As [`plan`], for a language model with these settings in a file with these names.
pub fn plan_of<'a>(settings: &Config<'_>, names: impl Iterator<Item = &'a str>) -> Result<Plan> {
    let kind = settings.text_or("model_type", "")?;
    // An encoder of texts, where it stands alone.
    settings.only("use_bidirectional_attention", &Value::Bool(false))?;
    let config = config(settings)?;
    let family = KINDS.iter().find(|(name, _)| *name == kind).map_or("", |(name, _)| name);
    let mut plan = planned(&config, family, names);
    if kind == "phi3" {
        plan.tensors = llama::fused(plan.tensors, &llama::FUSED);
    }
    Ok(plan)
}

/// The plan of a language model of this shape in a file with these `names`.
fn planned<'a>(
    config: &BackboneConfig,
    family: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Plan {
    let layout = layout(config, names);
    let mut plan = Plan::new(family, "language", layout, config.parameters());
    if let BackboneConfig::Gpt2(_) = config {
        plan.tensors = gpt2::as_published(plan.tensors);
    }
    if plan.tensors.iter().all(|tensor| tensor.name != HEAD) {
        plan.copies = &[HEAD];
    }
    plan
}

/// The model in a directory.
///
/// # Errors
/// As [`config`]; the weights are missing, damaged, or not those of the configuration.
pub fn load(directory: &Directory, device: &Device) -> Result<(BackboneConfig, Backbone)> {
    trainable(directory, &mut Init::empty(device))
}

/// As [`load`], made as `init` says.
///
/// # Errors
/// As [`load`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<(BackboneConfig, Backbone)> {
    let config = config(&directory.config())?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let unread = |name: &str| plan.layout.is_ignorable(name) || strays.contains(name);
    let tensors = directory.tensors_but(unread)?;
    let backbone = fill(&config, tensors, init)?;
    Ok((config, backbone))
}

/// The model with these weights, which have been found to be those of a [`Plan`]: only then may memory
/// be taken for it.
///
/// # Errors
/// They are not those of the configuration.
pub fn fill(config: &BackboneConfig, tensors: Tensors, init: &mut Init) -> Result<Backbone> {
    let layout_of = |tensors: &Tensors| layout(config, tensors.tensors.keys().map(String::as_str));
    Ok(match config {
        BackboneConfig::Llama(shape) => {
            let tensors = llama::prepare(shape, tensors)?;
            let layout = layout_of(&tensors);
            Backbone::Llama(names::take(Llama::init(shape, init), tensors, &layout)?)
        }
        BackboneConfig::Opt(shape) => {
            let tensors = tied(tensors, shape.tied, "lm_head.weight", "embed_tokens.weight")?;
            let layout = layout_of(&tensors);
            Backbone::Opt(names::take(Opt::init(shape, init), tensors, &layout)?)
        }
        BackboneConfig::Gpt2(shape) => {
            let tensors = gpt2::prepare(shape, tensors)?;
            let layout = layout_of(&tensors);
            Backbone::Gpt2(names::take(Gpt2::init(shape, init), tensors, &layout)?)
        }
    })
}

/// The tensors of a model as a file with these `names` spells them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn publish<'a>(
    backbone: &Backbone,
    config: &BackboneConfig,
    names: impl Iterator<Item = &'a str>,
) -> Result<Tensors> {
    let tensors = names::save(backbone, &layout(config, names))?;
    match config {
        BackboneConfig::Gpt2(_) => gpt2::publish(tensors),
        BackboneConfig::Llama(shape) => llama::publish(shape, tensors),
        BackboneConfig::Opt(_) => Ok(tensors),
    }
}

/// The name that a language model's files have for our parameter `name`.
pub fn published_name(config: &BackboneConfig, name: &str) -> String {
    layout(config, std::iter::empty()).to_hf(name)
}

/// Where a model of several parts keeps the tensors of its language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of them behind a prefix.
    Whole(&'static str),
    /// The decoder behind a prefix, the head by itself.
    Body(&'static str),
    /// Decoder and head behind a prefix that other parts have too.
    Among(&'static str),
}

impl Place {
    /// The name that the language model alone has for the tensor `name`, if it is one of its.
    pub fn inner(self, config: &BackboneConfig, name: &str) -> Option<String> {
        match self {
            Self::Whole(prefix) => name.strip_prefix(prefix).map(str::to_owned),
            Self::Among(prefix) => {
                let name = name.strip_prefix(prefix)?;
                (name == HEAD || name.starts_with(body(config))).then(|| name.to_owned())
            }
            Self::Body(_) if name == HEAD => Some(name.to_owned()),
            Self::Body(prefix) => Some(format!("{}{}", body(config), name.strip_prefix(prefix)?)),
        }
    }

    /// The other way.
    pub fn outer(self, config: &BackboneConfig, name: &str) -> String {
        match (self, name.strip_prefix(body(config))) {
            (Self::Whole(prefix) | Self::Among(prefix), _) => format!("{prefix}{name}"),
            (Self::Body(prefix), Some(name)) => format!("{prefix}{name}"),
            (Self::Body(_), None) => name.to_owned(),
        }
    }

    /// Takes the language model's tensors out, under the names that it has alone.
    pub fn take(self, config: &BackboneConfig, tensors: &mut Tensors) -> Tensors {
        let mut language = Tensors::default();
        for (name, tensor) in std::mem::take(&mut tensors.tensors) {
            match self.inner(config, &name) {
                Some(inner) => language.tensors.insert(inner, tensor),
                None => tensors.tensors.insert(name, tensor),
            };
        }
        language
    }

    /// Its tensors as the whole model publishes them.
    ///
    /// # Errors
    /// Never in practice: a parameter's shape always fits its values.
    pub fn publish(self, backbone: &Backbone, config: &BackboneConfig) -> Result<Tensors> {
        let tensors = publish(backbone, config, std::iter::empty())?.tensors.into_iter();
        let tensors = tensors.map(|(name, tensor)| (self.outer(config, &name), tensor)).collect();
        Ok(Tensors { tensors, ..Tensors::default() })
    }

    /// What a file with these `names` holds of a language model of this shape.
    pub fn plan<'a>(self, config: &BackboneConfig, names: impl Iterator<Item = &'a str>) -> Plan {
        let names: Vec<String> = names.filter_map(|name| self.inner(config, name)).collect();
        let mut plan = planned(config, "", names.iter().map(String::as_str));
        for tensor in &mut plan.tensors {
            tensor.name = self.outer(config, &tensor.name);
        }
        plan
    }
}

/// What all names of the decoder begin with.
fn body(config: &BackboneConfig) -> &'static str {
    match config {
        BackboneConfig::Gpt2(_) => "transformer.",
        BackboneConfig::Llama(_) | BackboneConfig::Opt(_) => "model.",
    }
}

/// How a file with these `names` spells its tensors.
fn layout<'a>(config: &BackboneConfig, mut names: impl Iterator<Item = &'a str>) -> Layout {
    match config {
        BackboneConfig::Llama(llama) if llama.gemma.is_some() => GEMMA,
        BackboneConfig::Llama(_) => LLAMA,
        BackboneConfig::Opt(_) => opt::layout(names.any(|name| name.starts_with(opt::BARE))),
        BackboneConfig::Gpt2(_) => gpt2::layout(names.any(|name| name.starts_with(gpt2::BARE))),
    }
}

/// Without the head, where it is the token table: some files hold it twice.
///
/// # Errors
/// They differ.
pub fn tied(mut tensors: Tensors, tied: bool, head: &str, table: &str) -> Result<Tensors> {
    if tied && let Some(found) = tensors.tensors.remove(head) {
        let tables = tensors.tensors.iter().filter(|(name, _)| name.ends_with(table));
        let same = tables.into_iter().any(|(_, tensor)| *tensor == found);
        if !same {
            return Err(untied(head, table));
        }
    }
    Ok(tensors)
}

/// The error for a head that is said to be the token table and is not.
pub(crate) fn untied(head: &str, table: &str) -> Error {
    Error::Setting {
        file: "config.json".into(),
        key: "tie_word_embeddings".into(),
        expected: format!("false, for {head} differs from {table}"),
        got: "true".into(),
        hint: "config.json and the weights must be of the same model",
    }
}

/// A divisor of `n`.
fn divides(config: &Config<'_>, key: &str, n: usize, by: usize) -> Result<()> {
    match n % by {
        0 => Ok(()),
        _ => Err(config.wrong(key, &format!("a divisor of {n}"), FOREIGN)),
    }
}
