//! `DINOv3ConvNextModel` of transformers: `model_type` `dinov3_convnext`.
//!
//! Siméoni et al. 2025, section 5, <https://arxiv.org/abs/2508.10104>. The factor of each channel that a block writes
//! (layer scale) is multiplied into the matrix before it when the weights are read.

use sensorium_checkpoint::Tensors;
use sensorium_encoder::image::{ConvNext, ConvNextConfig};
use sensorium_media::Style;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::dinov2::{Dinov2, Eye, fold, side};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names;
use crate::plan::{Expected, Plan};
use crate::vision::{self, MAX_LAYERS};

/// `model_type`.
pub const FAMILY: &str = "dinov3_convnext";

/// A block's factors and what they multiply.
const FACTORS: [[&str; 2]; 1] = [["gamma", "pointwise_conv2"]];

/// Squares of the stem along an edge: what is read of more of them costs gigabytes.
const MAX_GRID: usize = 256;

/// More stages than any published model has.
const MAX_STAGES: usize = 8;

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let config = config(&directory.config())?;
    let nested = is_nested(directory);
    let layout = if nested { names::DINOV3_CONVNEXT_NESTED } else { names::DINOV3_CONVNEXT };
    let mut plan = Plan::new(FAMILY, "image", layout, config.parameters());
    plan.tensors.extend(layers(&config, nested).map(|(layer, c)| Expected {
        part: "image",
        name: format!("{layer}.{}", FACTORS[0][0]),
        shape: vec![c],
        packs: false,
    }));
    Ok(plan)
}

/// Whether the stages lie in a part of their own.
fn is_nested(directory: &Directory) -> bool {
    let nested = |name: &String| name.starts_with("model.stages.");
    directory.shapes().is_ok_and(|all| all.keys().any(nested))
}

/// What the names of each block's tensors begin with, and its channels.
fn layers(config: &ConvNextConfig, nested: bool) -> impl Iterator<Item = (String, usize)> {
    let prefix = if nested { "model." } else { "" };
    let stages = config.hidden_sizes.iter().zip(&config.depths).enumerate();
    stages.flat_map(move |(stage, (&c, &depth))| {
        (0..depth).map(move |i| (format!("{prefix}stages.{stage}.layers.{i}"), c))
    })
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Dinov2> {
    let config = config(&directory.config())?;
    let processor = vision::processor(directory, Style::Dinov3)?;
    side(&processor, [config.factor(), MAX_GRID * 4])?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors: Tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    for (layer, _) in layers(&config, is_nested(directory)) {
        fold(&mut tensors, &layer, &FACTORS);
    }
    let encoder = ConvNext::init(&config, &mut Init::empty(device));
    let encoder = names::take(encoder, tensors, &plan.layout)?;
    Ok(Dinov2 { eye: Eye::ConvNext(encoder), processor, device: device.clone(), family: FAMILY })
}

/// Defaults are those of `DINOv3ConvNextConfig`.
fn config(top: &Config<'_>) -> Result<ConvNextConfig> {
    top.only("num_channels", &json!(3))?;
    // The processor says how large pictures are; the first values of a training.
    top.without_effect(&["image_size", "layer_scale_init_value"]);
    let most = MAX_LAYERS as u64;
    let depths = counts(top, "depths", &[3, 3, 9, 3], most)?;
    let hidden_sizes = counts(top, "hidden_sizes", &[96, 192, 384, 768], 1 << 20)?;
    if depths.len() != hidden_sizes.len() {
        let expected = format!("{} numbers, as hidden_sizes", hidden_sizes.len());
        return Err(top.wrong("depths", &expected, FOREIGN));
    }
    Ok(ConvNextConfig {
        hidden_sizes,
        depths,
        activation: vision::activation(top, "gelu")?,
        eps: top.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// A number for each stage.
fn counts(top: &Config<'_>, key: &str, default: &[usize], most: u64) -> Result<Vec<usize>> {
    let Some(value) = top.get(key) else { return Ok(default.to_vec()) };
    let count = |value: &Value| value.as_u64().filter(|n| (1..=most).contains(n));
    let all = value.as_array().and_then(|all| all.iter().map(count).collect::<Option<Vec<_>>>());
    let all = all.filter(|all| (1..=MAX_STAGES).contains(&all.len()));
    let expected = format!("1 to {MAX_STAGES} numbers of 1 to {most}");
    let all = all.ok_or_else(|| top.wrong(key, &expected, FOREIGN))?;
    Ok(all.into_iter().map(|n| n as usize).collect())
}
