//! CLIP with a ResNet, as open_clip publishes it: every batch norm is multiplied into the convolution
//! before it when the weights are read.
//!
//! ```text
//! γ·(W x - μ) / √(σ² + ε) + β = (γ/√(σ² + ε) · W) x + (β - γμ/√(σ² + ε))
//! ```

use sensorium_encoder::image::{Encoder, Resnet, ResnetConfig};
use sensorium_encoder::text::{TextConfig, TextTower};
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::open_clip;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, OPEN_CLIP_RESNET};
use crate::plan::{Expected, Plan};
use crate::towers::{Inputs, Towers, tensors};
use crate::vision::MAX_LAYERS;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::clip::{self, Clip};

/// PyTorch's, which nobody changed.
const EPS: f32 = 1e-5;
/// Pixels of a side that become one position.
const STRIDE: usize = 32;
/// Sixteen times that of the largest published one has.
const MAX_WIDTH: usize = 2048;

/// What a norm has for each channel.
const LEARNED: [&str; 2] = ["weight", "bias"];
const MEASURED: [&str; 2] = ["running_mean", "running_var"];

/// The shape that `vision_cfg` describes.
///
/// # Errors
/// A setting is missing, out of range or not supported.
pub fn config(image: &Config<'_>, embed: usize) -> Result<ResnetConfig> {
    const HINT: &str = "RN50 has 3, 4, 6, 3";
    let counts = image.get("layers").and_then(Value::as_array);
    let count = |value: &Value| {
        let n = value.as_u64().filter(|n| (1..=MAX_LAYERS as u64).contains(n));
        n.map(|n| n as usize)
    };
    let layers: Option<Vec<usize>> = counts.and_then(|all| all.iter().map(count).collect());
    let layers = layers.and_then(|layers| <[usize; 4]>::try_from(layers).ok());
    let layers = layers.ok_or_else(|| {
        image.wrong("layers", &format!("four numbers of 1 to {MAX_LAYERS}"), HINT)
    })?;
    image.only_null("patch_size")?;
    image.only_null("mlp_ratio")?;
    let width = image.size_or("width", 64)?;
    if !width.is_multiple_of(2) || width > MAX_WIDTH {
        let expected = format!("an even number of at most {MAX_WIDTH}");
        return Err(image.wrong("width", &expected, "RN50 has 64"));
    }
    let side = image.size_or("image_size", 224)?;
    if !side.is_multiple_of(STRIDE) || side > MAX_SIDE {
        let expected = format!("a multiple of {STRIDE} of at most {MAX_SIDE}");
        return Err(image.wrong("image_size", &expected, "RN50 has 224"));
    }
    let shape = ResnetConfig { image: side, layers, hidden_size: width, n_heads: 1, embed };
    let n_heads = open_clip::heads(image, shape.channels())?;
    Ok(ResnetConfig { n_heads, ..shape })
}

/// Longest edge of a picture, in pixels.
const MAX_SIDE: usize = 4096;

/// What the weights must be: a norm where ours has a bias.
pub fn plan(image: &ResnetConfig, text: &TextConfig) -> Plan {
    let parameters = clip::parameters(image.parameters(), text, false);
    let mut plan = Plan::new("clip", "image", OPEN_CLIP_RESNET, parameters);
    let expected = std::mem::take(&mut plan.tensors);
    for tensor in expected {
        let Some(norm) = tensor.name.strip_suffix(".bias").and_then(norm_of) else {
            // Convolutions over more than a pixel are multiplied in f32 whatever was chosen.
            plan.tensors
                .push(Expected { packs: tensor.packs && tensor.shape.len() == 2, ..tensor });
            continue;
        };
        let named = |end: &str| format!("{norm}.{end}");
        plan.buffers.extend(MEASURED.map(|end| (named(end), tensor.shape.clone())));
        plan.tensors.extend(LEARNED.map(|end| Expected { name: named(end), ..tensor.clone() }));
    }
    plan
}

/// The towers of a directory whose weights are those of `plan`.
pub fn load(
    directory: &Directory,
    plan: &Plan,
    image: &ResnetConfig,
    text: TextConfig,
    inputs: Inputs,
    device: &Device,
) -> Result<Towers> {
    let mut tensors = tensors(directory, plan)?;
    let convs: Vec<String> = tensors.tensors.keys().filter_map(|name| conv(name)).collect();
    for (conv, norm) in convs.iter().filter_map(|conv| Some((conv, norm_of(conv)?))) {
        fold(&mut tensors, conv, &norm)?;
    }
    let init = &mut Init::empty(device);
    let clip = Clip {
        image: Resnet::init(image, init),
        text: TextTower::init(&text, init),
        scale: init.constant([1], 0.0),
        bias: None,
    };
    let clip = names::take(clip, tensors, &plan.layout)?;
    Ok(Towers::new(clip, Encoder::Resnet, text, inputs, device))
}

/// The convolution that a tensor is the weight of.
fn conv(name: &str) -> Option<String> {
    let conv = name.strip_suffix(".weight")?;
    norm_of(conv).map(|_| conv.to_owned())
}

/// The norm behind a convolution of the picture encoder.
fn norm_of(conv: &str) -> Option<String> {
    let (front, last) = conv.rsplit_once('.')?;
    let inside = front.starts_with("visual") && !front.starts_with("visual.attnpool");
    match last {
        _ if !inside => None,
        "conv1" | "conv2" | "conv3" => Some(format!("{front}.bn{}", &last[4..])),
        "0" if front.ends_with(".downsample") => Some(format!("{front}.1")),
        _ => None,
    }
}

/// Multiplies a norm into the convolution before it, which gets a bias.
fn fold(tensors: &mut Tensors, conv: &str, norm: &str) -> checkpoint::Result<()> {
    let mut take = |name: String| {
        let tensor = tensors.tensors.remove(&name);
        // All of them are there: the plan has been checked.
        tensor.map_or((Vec::new(), Vec::new()), Stored::into_parts)
    };
    let [(shape, gamma), (_, mut beta)] = LEARNED.map(|end| take(format!("{norm}.{end}")));
    let [(_, mean), (_, variance)] = MEASURED.map(|end| take(format!("{norm}.{end}")));
    let (kernel, mut weight) = take(format!("{conv}.weight"));
    let row = weight.len().checked_div(gamma.len()).unwrap_or(1).max(1);
    let channels = gamma.iter().zip(&mean).zip(&variance).zip(&mut beta);
    for ((((gamma, mean), variance), beta), row) in channels.zip(weight.chunks_exact_mut(row)) {
        let factor = gamma / (variance + EPS).sqrt();
        row.iter_mut().for_each(|value| *value *= factor);
        *beta -= factor * mean;
    }
    tensors.tensors.insert(format!("{conv}.weight"), Stored::new(kernel, weight)?);
    tensors.tensors.insert(format!("{conv}.bias"), Stored::new(shape, beta)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_follow_their_convolutions() {
        for (conv, norm) in [
            ("visual.conv2", Some("visual.bn2")),
            ("visual.layer3.1.conv3", Some("visual.layer3.1.bn3")),
            ("visual.layer1.0.downsample.0", Some("visual.layer1.0.downsample.1")),
            ("visual.layer1.0.downsample.1", None),
            ("visual.attnpool.q_proj", None),
            ("transformer.resblocks.0.ln_1", None),
            ("conv1", None),
        ] {
            assert_eq!(norm_of(conv).as_deref(), norm, "{conv}");
        }
    }
}
