//! `Dinov2Model` of transformers and the one with registers: `model_type` `dinov2` and
//! `dinov2_with_registers`.
//!
//! Oquab et al. 2023, <https://arxiv.org/abs/2304.07193>. Two things are done once, when the weights
//! are read: the factor of each channel that a block writes (layer scale) is multiplied into the
//! matrix before it, and the table of positions is resized to the pictures that are read.

use sensorium_encoder::image::{ActivationName, ConvNext, Pooling, Vit, VitConfig};
use sensorium_media::{ImageProcessor, Picture, Style};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names;
use crate::plan::{Expected, Plan};
use crate::towers::{CHUNK, class_and_mean, planes};
use crate::{positions, vision};
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::clip::{in_chunks, unit};

const CLASS: &str = "embeddings.cls_token";
const POSITIONS: &str = "embeddings.position_embeddings";
const REGISTERS: &str = "embeddings.register_tokens";

/// The factors of a block and what they multiply.
const FACTORS: [[&str; 2]; 3] = [
    ["layer_scale1.lambda1", "attention.output.dense"],
    ["layer_scale2.lambda1", "mlp.fc2"],
    ["layer_scale2.lambda1", "mlp.weights_out"],
];

/// An image encoder trained without words: DINOv2, or its successor.
#[derive(Debug)]
pub struct Dinov2 {
    /// The encoder.
    pub eye: Eye,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    pub(super) device: Device,
    /// `model_type`.
    pub family: &'static str,
}

/// Which encoder.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one of them")]
pub enum Eye {
    /// A Vision Transformer, with its sizes for pictures as the processor makes them.
    Vit(Vit, VitConfig),
    /// Convolutions, which DINOv3 has, too.
    ConvNext(ConvNext),
}

impl Eye {
    /// All places after the last norm, what stands for the whole first: `[B, 3, h, w] -> [B, 1+N, E]`.
    pub fn positions(&self, pixels: Tensor<4>) -> Tensor<3> {
        match self {
            Self::Vit(vit, _) => vit.positions(pixels),
            Self::ConvNext(convnext) => convnext.positions(pixels),
        }
    }

    /// What stands for the whole: `[B, 3, h, w] -> [B, E]`.
    fn embed(&self, pixels: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Vit(vit, _) => vit.embed(pixels),
            Self::ConvNext(convnext) => convnext.embed(pixels),
        }
    }
}

impl Dinov2 {
    /// One vector of unit length for each picture: the class token after the last norm, or the mean of all places.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Vec<Vec<f32>> {
        in_chunks(CHUNK, pictures, |chunk| unit(self.eye.embed(self.pixels(chunk))))
    }

    /// What a linear probe reads of each picture, as DINOv2's own does: the class token after the last norm
    /// and the mean of the patches, `2·E` numbers.
    pub fn features(&self, pictures: &[Picture]) -> Vec<Vec<f32>> {
        in_chunks(CHUNK, pictures, |chunk| class_and_mean(self.eye.positions(self.pixels(chunk))))
    }

    /// All positions of one picture after the last norm, the class token first: rows of width E.
    pub fn positions(&self, picture: &Picture) -> Vec<f32> {
        read(self.eye.positions(self.pixels(std::slice::from_ref(picture))))
    }

    fn pixels(&self, pictures: &[Picture]) -> Tensor<4> {
        planes(&self.processor, pictures, &self.device)
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        match &mut self.eye {
            Eye::Vit(vit, _) => vit.pack_as(format),
            Eye::ConvNext(convnext) => convnext.pack_as(format),
        }
    }
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let config = config(&directory.config())?;
    let layout = match config.activation {
        ActivationName::SwiGlu => names::DINOV2_SWIGLU,
        _ => names::DINOV2,
    };
    let mut plan = Plan::new("dinov2", "image", layout, config.parameters());
    as_published(&mut plan.tensors, "", &config);
    Ok(plan)
}

/// The tensors of `config`, whose names begin with `prefix`, with the sizes of 1 and the factors that
/// files have.
pub(super) fn as_published(tensors: &mut Vec<Expected>, prefix: &str, config: &VitConfig) {
    for tensor in tensors.iter_mut() {
        match tensor.name.strip_prefix(prefix) {
            Some(CLASS) => tensor.shape = vec![1, 1, config.hidden_size],
            Some(POSITIONS | REGISTERS) => tensor.shape.insert(0, 1),
            _ => {}
        }
    }
    for (i, [factor, _]) in
        (0..config.n_layers).flat_map(|i| [FACTORS[0], FACTORS[1]].map(|pair| (i, pair)))
    {
        let name = format!("{prefix}encoder.layer.{i}.{factor}");
        let shape = vec![config.hidden_size];
        tensors.push(Expected { part: "image", name, shape, packs: false });
    }
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Dinov2> {
    let (vit, config, processor) = trainable(directory, &mut Init::empty(device))?;
    Ok(Dinov2 { eye: Eye::Vit(vit, config), processor, device: device.clone(), family: "dinov2" })
}

/// The encoder in a directory, with layers as `init` makes them, its sizes, and what makes its pixels.
///
/// # Errors
/// As [`open`].
pub fn trainable(
    directory: &Directory,
    init: &mut Init,
) -> Result<(Vit, VitConfig, ImageProcessor)> {
    let mut config = config(&directory.config())?;
    let processor = vision::processor(directory, Style::Clip)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let from = config.grid();
    config.image = side(&processor, in_patches(&config))?;
    prepare(&mut tensors, "", &config, from)?;
    let vit = names::take(Vit::init(&config, init), tensors, &plan.layout)?;
    Ok((vit, config, processor))
}

/// The shape, for pictures as the directory's processor makes them; as trained, where there is none.
pub(super) fn config_as_read(directory: &Directory) -> Result<VitConfig> {
    let mut config = config(&directory.config())?;
    if let Ok(processor) = vision::processor(directory, Style::Clip) {
        config.image = side(&processor, in_patches(&config))?;
    }
    Ok(config)
}

/// The tensors under `prefix`, as files have them, to ours: a table of `from`² places for the pictures of
/// `config`.
pub(super) fn prepare(
    tensors: &mut Tensors,
    prefix: &str,
    config: &VitConfig,
    from: usize,
) -> Result<()> {
    for i in 0..config.n_layers {
        fold(tensors, &format!("{prefix}encoder.layer.{i}"), &FACTORS);
    }
    // The one with registers was trained with another way of resizing.
    let taps = if config.registers > 0 { positions::antialiased } else { positions::bicubic };
    let width = config.hidden_size;
    reshape(tensors, &format!("{prefix}{CLASS}"), |_, values| (vec![width], values))?;
    if config.registers > 0 {
        let shape = vec![config.registers, width];
        reshape(tensors, &format!("{prefix}{REGISTERS}"), |_, values| (shape, values))?;
    }
    reshape(tensors, &format!("{prefix}{POSITIONS}"), |_, values| {
        let resized = positions::resize(values, [from, config.grid()], width, taps);
        (vec![config.patches() + 1, width], resized)
    })
}

/// Ours under `prefix` as files have them: with sizes of 1, and factors of 1, for they are multiplied in.
pub(super) fn publish(tensors: &mut Tensors, prefix: &str, config: &VitConfig) -> Result<()> {
    let mut expected = Vec::new();
    as_published(&mut expected, prefix, config);
    for Expected { name, shape, .. } in expected {
        let ones = vec![1.0; config.hidden_size];
        tensors.tensors.insert(name, Stored::new(shape, ones)?);
    }
    for name in [CLASS, POSITIONS] {
        reshape(tensors, &format!("{prefix}{name}"), |shape, values| {
            let ones = std::iter::repeat_n(1, 3 - shape.len());
            (ones.chain(shape).collect(), values)
        })?;
    }
    Ok(())
}

/// The tensors of an encoder with a class token and without projection, as files of DINOv2 have them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn tensors(vit: &Vit, config: &VitConfig) -> Result<Tensors> {
    let mut tensors = names::save(vit, &names::DINOV2)?;
    publish(&mut tensors, "", config)?;
    Ok(tensors)
}

/// `config.json` of such an encoder.
pub fn settings(config: &VitConfig) -> Value {
    json!({
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "image_size": config.image,
        "patch_size": config.stem.first().map_or(1, |conv| conv.kernel),
        "num_channels": config.channels(),
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "mlp_ratio": config.intermediate_size / config.hidden_size.max(1),
        "hidden_act": "gelu",
        "layer_norm_eps": config.eps,
        "qkv_bias": true,
        "use_mask_token": false,
        "use_swiglu_ffn": false,
    })
}

/// `preprocessor_config.json` of such an encoder: the middle square of a picture.
pub fn processor(config: &VitConfig) -> Value {
    let side = config.image;
    json!({
        "image_processor_type": "BitImageProcessor",
        "do_resize": true, "size": {"shortest_edge": side}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": side, "width": side},
        "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        "do_convert_rgb": true,
    })
}

/// Defaults are those of `Dinov2Config`.
pub(super) fn config(top: &Config<'_>) -> Result<VitConfig> {
    top.only("qkv_bias", &Value::Bool(true))?;
    let width = top.size_or("hidden_size", 768)?;
    let (image, patch) = vision::patches(top, [224, 14], width)?;
    let hidden = width * top.size_or("mlp_ratio", 4)?;
    // Two thirds, so that three matrices have as many weights as two, in eights (its code).
    top.without_effect(&["hidden_act"]);
    let (mlp, activation) = match top.flag_or("use_swiglu_ffn", false)? {
        true => ((hidden * 2 / 3).next_multiple_of(8), ActivationName::SwiGlu),
        false => (hidden, vision::activation(top, "gelu")?),
    };
    Ok(VitConfig {
        image,
        frames: None,
        stem: vec![patch],
        stem_bias: true,
        registers: match top.text_or("model_type", "dinov2")? {
            "dinov2_with_registers" => top.size_or("num_register_tokens", 4)?,
            _ => 0,
        },
        rope_theta: None,
        hidden_size: width,
        n_layers: vision::layers(top, "num_hidden_layers", 12)?,
        n_heads: vision::heads(top, "num_attention_heads", 12, width)?,
        intermediate_size: mlp,
        activation,
        stem_norm: false,
        pre_norm: false,
        pooling: Pooling::Class,
        proj: false,
        embed: width,
        eps: top.positive_or("layer_norm_eps", 1e-6)?,
    })
}

/// Patches along an edge: attention over more than the square of it costs gigabytes.
const MAX_GRID: usize = 256;

/// Least and largest side of a square of patches.
pub(super) fn in_patches(config: &VitConfig) -> [usize; 2] {
    let patch = config.stem.first().map_or(1, |conv| conv.kernel);
    [patch, MAX_GRID * patch]
}

/// Side of the square that the processor makes, within bounds.
pub(super) fn side(processor: &ImageProcessor, [least, most]: [usize; 2]) -> Result<usize> {
    let [height, width] = processor.size().unwrap_or_default().map(|n| n as usize);
    if height == width && (least..=most).contains(&height) {
        return Ok(height);
    }
    Err(Error::Setting {
        file: "preprocessor_config.json".into(),
        key: "size and crop_size".into(),
        expected: format!("a square of at least {least} and at most {most} pixels"),
        got: format!("{width}x{height}"),
        hint: "DINO reads squares here; set both edges of crop_size to one number",
    })
}

/// `λ·(W x + b) = (λW) x + λb` of a block's `factors` and the layers that they multiply.
pub(super) fn fold(tensors: &mut Tensors, block: &str, factors: &[[&str; 2]]) {
    for [factor, layer] in factors {
        let layer = format!("{block}.{layer}");
        if !tensors.tensors.contains_key(&format!("{layer}.weight")) {
            continue;
        }
        let Some(factors) = tensors.tensors.remove(&format!("{block}.{factor}")) else { continue };
        for end in ["weight", "bias"] {
            // All of them are there: the plan has been checked.
            let _ = reshape(tensors, &format!("{layer}.{end}"), |shape, mut values| {
                let row = values.len().checked_div(factors.data().len()).unwrap_or(1).max(1);
                for (row, factor) in values.chunks_exact_mut(row).zip(factors.data()) {
                    row.iter_mut().for_each(|value| *value *= factor);
                }
                (shape, values)
            });
        }
    }
}

/// Puts another tensor in the place of the one called `name`, if it is there.
pub(super) fn reshape(
    tensors: &mut Tensors,
    name: &str,
    change: impl FnOnce(Vec<usize>, Vec<f32>) -> (Vec<usize>, Vec<f32>),
) -> Result<()> {
    if let Some(tensor) = tensors.tensors.remove(name) {
        let (shape, values) = tensor.into_parts();
        let (shape, values) = change(shape, values);
        tensors.tensors.insert(name.to_owned(), Stored::new(shape, values)?);
    }
    Ok(())
}
