//! Models whose pictures and videos of any shape become tokens with places in time, height and width: Qwen2-VL,
//! Qwen2.5-VL, Qwen3-VL, and Qwen2.5-Omni, which hears and speaks too.
//!
//! ```text
//! config.json ──▶ QwenVlConfig, layout ──▶ Plan ──compared with the tensors──▶ PatchTower, Backbone
//! preprocessor_config.json, video_preprocessor_config.json ──▶ what makes patches
//! ```

mod omni;
mod processor;
mod settings;
mod speaking;

use std::path::PathBuf;

use sensorium_backbone::Backbone;
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_media::PatchProcessor;
use sensorium_model::assistant::AssistantConfig;
use sensorium_model::qwen_vl::{PatchTower, PatchTowerConfig};
use sensorium_nn::prelude::*;

use super::language::{self, Place};
use super::spelling::{Spelling, Spellings};
use crate::TextProcessor;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{
    self, Layout, QWEN2_5_OMNI, QWEN2_VL, QWEN2_VL_NESTED, QWEN3_VL, QWEN3_VL_BESIDE,
};
use crate::plan::Plan;
pub use omni::{Hearing, HearingConfig};
pub use settings::{QwenVlConfig, Timing};
pub use speaking::{Speaking, SpeakingConfig, Voice};

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// A head that is the token table again.
const HEADS: &[&str] = &["lm_head.weight", "thinker.lm_head.weight"];

/// What the first map of patches ends with, which files have as a convolution.
const STEM: &str = "visual.patch_embed.proj.weight";

/// A loaded model and what makes its inputs.
#[derive(Debug)]
pub struct QwenVl {
    /// What sees.
    pub tower: PatchTower,
    /// What hears, if anything does.
    pub hearing: Option<Hearing>,
    /// What speaks, if anything does.
    pub speaking: Option<Speaking>,
    /// The language model.
    pub backbone: Backbone,
    /// Their shape.
    pub config: QwenVlConfig,
    /// Pictures to patches.
    pub pictures: PatchProcessor,
    /// Videos to patches.
    pub videos: PatchProcessor,
    /// The directory that it is of.
    pub path: PathBuf,
    /// Where it computes.
    pub device: Device,
}

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(plan_of(&settings::config(directory)?, directory))
}

fn plan_of(config: &QwenVlConfig, directory: &Directory) -> Plan {
    let (layout, place) = layout(config, directory);
    let tower = params::shapes(|init| PatchTower::init(&config.tower, init));
    let mut plan = Plan::new(config.family, "language", layout, tower);
    for tensor in plan.tensors.iter_mut().filter(|tensor| tensor.name.ends_with(STEM)) {
        tensor.shape = convolution(config);
    }
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let language = place.plan(&config.language, names.iter().map(String::as_str));
    if !language.copies.is_empty() {
        plan.copies = HEADS;
    }
    if let Some(hearing) = &config.hearing {
        plan.tensors.extend(omni::plan(hearing).tensors);
    }
    match &config.speaking {
        Some(speaking) => plan.tensors.extend(speaking::plan(speaking).tensors),
        None if config.hearing.is_some() => plan.training = &speaking::MOUTH,
        None => {}
    }
    plan.tensors.extend(language.tensors);
    plan
}

/// The first map of patches as files have it.
fn convolution(config: &QwenVlConfig) -> Vec<usize> {
    let PatchTowerConfig { image, .. } = &config.tower;
    vec![image.hidden_size, 3, config.temporal, config.patch, config.patch]
}

/// Of what is published in two ways, the one that the files have; without weights, that of most on the hub.
fn layout(config: &QwenVlConfig, directory: &Directory) -> (Layout, Place) {
    if config.hearing.is_some() {
        return (QWEN2_5_OMNI, Place::Among("thinker."));
    }
    let names = directory.shapes().unwrap_or_default();
    let nested = names.keys().any(|name| name.starts_with("model.visual."));
    let beside = names.keys().any(|name| name.starts_with("visual."));
    let words = config.timing == Timing::Words;
    match (words, nested || words && !beside) {
        (false, false) => (QWEN2_VL, Place::Body("model.")),
        (false, true) => (QWEN2_VL_NESTED, Place::Body(NESTED)),
        (true, false) => (QWEN3_VL_BESIDE, Place::Body("model.")),
        (true, true) => (QWEN3_VL, Place::Body(NESTED)),
    }
}

/// What the names of a decoder begin with that lies in one model with its tower.
const NESTED: &str = "model.language_model.";

/// Its shape, and how its tensors are called.
pub(super) fn spelt(directory: &Directory) -> Result<(AssistantConfig, Spellings)> {
    let config = settings::config(directory)?;
    let spelling = |(tower, place)| Spelling { tower, part: "patches.", place };
    let files = spelling(layout(&config, directory));
    let nested = if config.timing == Timing::Words { QWEN3_VL } else { QWEN2_VL_NESTED };
    let memory = spelling((nested, Place::Body(NESTED)));
    let (patches, backbone) = (Some(config.tower), config.language);
    let config = AssistantConfig { towers: Vec::new(), patches, anyres: None, backbone };
    Ok((config, Spellings { files, memory }))
}

/// The model in a directory.
///
/// # Errors
/// As [`plan`]; the weights are missing, damaged, or not those of the configuration.
pub fn open(directory: &Directory, device: &Device) -> Result<QwenVl> {
    let mut model = trainable(directory, &mut Init::empty(device))?;
    if let Some(config) = &model.config.speaking {
        let tokens = model.config.language.vocabulary();
        model.speaking = speaking::open(config, directory, tokens, device)?;
    }
    Ok(model)
}

/// The model in a directory, to be trained, with layers as `init` makes them; without what speaks, which learns
/// nothing here.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<QwenVl> {
    let config = settings::config(directory)?;
    let [pictures, videos] = processor::processors(directory, &config)?;
    let plan = plan_of(&config, directory);
    let strays = plan.check(directory)?;
    // A head that is the token table again is read, and compared with it.
    let speaks = |name: &str| speaking::MOUTH.iter().any(|part| name.starts_with(part));
    let unread =
        |name: &str| plan.layout.is_ignorable(name) || speaks(name) || strays.contains(name);
    let mut tensors = directory.tensors_but(unread)?;
    let (layout, place) = layout(&config, directory);
    let hear = |hearing| omni::open(hearing, directory, &mut tensors, init);
    let hearing = config.hearing.as_ref().map(hear).transpose()?;
    let language = place.take(&config.language, &mut tensors);
    let backbone = language::fill(&config.language, language, init)?;
    flatten(&mut tensors)?;
    let tower = names::take(PatchTower::init(&config.tower, init), tensors, &layout)?;
    let (path, device) = (directory.path().to_owned(), init.device().clone());
    let speaking = None;
    Ok(QwenVl { tower, hearing, speaking, backbone, config, pictures, videos, path, device })
}

/// What makes ids of a directory's texts.
///
/// # Errors
/// A file is missing or damaged.
pub fn text(directory: &Directory) -> Result<TextProcessor> {
    let text = TextProcessor::read(directory)?;
    match directory.model_type() {
        Some(omni::FAMILY) => omni::ending(directory, text),
        _ => Ok(text),
    }
}

/// A convolution whose kernels do not overlap as the matrix that it is.
fn flatten(tensors: &mut Tensors) -> Result<()> {
    let stem = tensors.tensors.iter_mut().find(|(name, _)| name.ends_with(STEM));
    if let Some((_, stem)) = stem {
        let (shape, values) = stem.clone().into_parts();
        let rows = shape.first().copied().unwrap_or(1).max(1);
        *stem = Tensor::new(vec![rows, values.len() / rows], values)?;
    }
    Ok(())
}
