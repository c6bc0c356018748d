//! `DINOv3ViTModel` of transformers: `model_type` `dinov3_vit`.
//!
//! Siméoni et al. 2025, <https://arxiv.org/abs/2508.10104>. What its files have beside a plain Vision
//! Transformer is undone once, when the weights are read: the factor of each channel that a block writes
//! (layer scale) is multiplied into the matrix before it, biases that are left out are zeros, and both halves
//! of a gated MLP stand in one matrix.

use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_encoder::image::{ActivationName, Pooling, Vit, VitConfig};
use sensorium_media::Style;
use sensorium_nn::prelude::*;
use serde_json::Value;

use super::dinov2::{Dinov2, Eye, fold, in_patches, reshape, side};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names::{self, Layout};
use crate::plan::{Expected, Plan};
use crate::vision;

/// `model_type`.
pub const FAMILY: &str = "dinov3_vit";

const CLASS: &str = "embeddings.cls_token";
const REGISTERS: &str = "embeddings.register_tokens";

/// The factors of a block and what they multiply.
const FACTORS: [[&str; 2]; 2] =
    [["layer_scale1.lambda1", "attention.o_proj"], ["layer_scale2.lambda1", "mlp.down_proj"]];

/// Linear maps of a block, by the setting that says whether they have a bias, which stands if the setting
/// does not.
const BIASES: [(&str, bool, &[&str]); 5] = [
    ("query_bias", true, &["attention.q_proj"]),
    ("key_bias", false, &["attention.k_proj"]),
    ("value_bias", true, &["attention.v_proj"]),
    ("proj_bias", true, &["attention.o_proj"]),
    ("mlp_bias", true, &["mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"]),
];

/// How the files differ from the encoder.
struct Published {
    layout: Layout,
    /// What the names of a block's tensors begin with, before its number.
    blocks: &'static str,
    /// Linear maps of a block that have no bias.
    unbiased: Vec<&'static str>,
    gated: bool,
}

impl Published {
    fn of(directory: &Directory) -> Result<(Self, VitConfig)> {
        let top = directory.config();
        let config = config(&top)?;
        let gated = config.activation == ActivationName::SwiGlu;
        let mut unbiased = Vec::new();
        for (key, usual, maps) in BIASES {
            if !top.flag_or(key, usual)? {
                unbiased.extend(maps.iter().filter(|map| gated || !map.ends_with("gate_proj")));
            }
        }
        let shapes = directory.shapes();
        let nested =
            shapes.is_ok_and(|all| all.keys().any(|name| name.starts_with("model.layer.")));
        let (layout, blocks) = match nested {
            true => (names::DINOV3_NESTED, "model.layer."),
            false => (names::DINOV3, "layer."),
        };
        Ok((Self { layout, blocks, unbiased, gated }, config))
    }

    /// What the weights must be.
    fn plan(&self, config: &VitConfig) -> Plan {
        let mut plan = Plan::new(FAMILY, "image", self.layout, config.parameters());
        if self.gated {
            plan.tensors = plan.tensors.into_iter().flat_map(halves).collect();
        }
        plan.tensors.retain(|tensor| !self.is_unbiased(&tensor.name));
        for tensor in &mut plan.tensors {
            match tensor.name.as_str() {
                CLASS => tensor.shape = vec![1, 1, config.hidden_size],
                REGISTERS => tensor.shape.insert(0, 1),
                _ => {}
            }
        }
        let expected = |name, shape| Expected { part: "image", name, shape, packs: false };
        if config.registers == 0 {
            plan.tensors.push(expected(REGISTERS.to_owned(), vec![1, 0, config.hidden_size]));
        }
        for block in self.blocks(config) {
            let factors = FACTORS.iter().map(|[factor, _]| format!("{block}.{factor}"));
            plan.tensors.extend(factors.map(|name| expected(name, vec![config.hidden_size])));
        }
        plan
    }

    /// What the names of each block's tensors begin with.
    fn blocks(&self, config: &VitConfig) -> impl Iterator<Item = String> {
        (0..config.n_layers).map(|i| format!("{}{i}", self.blocks))
    }

    fn is_unbiased(&self, name: &str) -> bool {
        let map = name.strip_suffix(".bias");
        map.is_some_and(|map| self.unbiased.iter().any(|one| map.ends_with(one)))
    }

    /// The tensors, as files have them, to ours.
    fn prepare(&self, tensors: &mut Tensors, config: &VitConfig) -> Result<()> {
        let (width, hidden) = (config.hidden_size, config.intermediate_size);
        reshape(tensors, CLASS, |_, values| (vec![width], values))?;
        match config.registers {
            0 => drop(tensors.tensors.remove(REGISTERS)),
            n => reshape(tensors, REGISTERS, |_, values| (vec![n, width], values))?,
        }
        for block in self.blocks(config) {
            for map in &self.unbiased {
                let rows = match *map {
                    "mlp.up_proj" | "mlp.gate_proj" => hidden,
                    _ => width,
                };
                let zeros = Stored::new(vec![rows], vec![0.0; rows])?;
                tensors.tensors.insert(format!("{block}.{map}.bias"), zeros);
            }
            join(tensors, &format!("{block}.mlp"))?;
            fold(tensors, &block, &FACTORS);
        }
        Ok(())
    }
}

/// The first matrix of a gated MLP, or its bias, as the two that are published; any other tensor as it is.
fn halves(tensor: Expected) -> Vec<Expected> {
    if !tensor.name.contains(".mlp.up_proj.") {
        return vec![tensor];
    }
    let mut up = tensor;
    up.shape[0] /= 2;
    let gate = Expected { name: up.name.replace("up_proj", "gate_proj"), ..up.clone() };
    vec![gate, up]
}

/// Puts the gate's rows, where it has one, before the others' of the MLP called `mlp`.
fn join(tensors: &mut Tensors, mlp: &str) -> Result<()> {
    for end in ["weight", "bias"] {
        let Some(gate) = tensors.tensors.remove(&format!("{mlp}.gate_proj.{end}")) else {
            continue;
        };
        let gate = gate.into_parts().1;
        reshape(tensors, &format!("{mlp}.up_proj.{end}"), |mut shape, values| {
            shape[0] *= 2;
            (shape, [gate, values].concat())
        })?;
    }
    Ok(())
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (published, config) = Published::of(directory)?;
    Ok(published.plan(&config))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Dinov2> {
    let (published, mut config) = Published::of(directory)?;
    let processor = vision::processor(directory, Style::Dinov3)?;
    let plan = published.plan(&config);
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    config.image = side(&processor, in_patches(&config))?;
    published.prepare(&mut tensors, &config)?;
    let vit = Vit::init(&config, &mut Init::empty(device));
    let vit = names::take(vit, tensors, &plan.layout)?;
    Ok(Dinov2 { eye: Eye::Vit(vit, config), processor, device: device.clone(), family: FAMILY })
}

/// Defaults are those of `DINOv3ViTConfig`.
fn config(top: &Config<'_>) -> Result<VitConfig> {
    // Moves of the places, in training only.
    top.without_effect(&["pos_embed_jitter", "pos_embed_rescale", "pos_embed_shift"]);
    let width = top.size_or("hidden_size", 384)?;
    let (image, patch) = vision::patches(top, [224, 16], width)?;
    let heads = vision::heads(top, "num_attention_heads", 6, width)?;
    if !(width / heads).is_multiple_of(4) {
        let hint = "rows and columns turn half of a head's channels each, in pairs";
        return Err(top.wrong("num_attention_heads", "heads of a multiple of 4 channels", hint));
    }
    let activation = match top.flag_or("use_gated_mlp", false)? {
        true if top.text_or("hidden_act", "gelu")? == "silu" => ActivationName::SwiGlu,
        true => {
            let hint = "a gated MLP with another activation is not built";
            return Err(top.wrong("hidden_act", "silu where use_gated_mlp is true", hint));
        }
        false => vision::activation(top, "gelu")?,
    };
    Ok(VitConfig {
        image,
        frames: None,
        stem: vec![patch],
        stem_bias: true,
        registers: match top.get("num_register_tokens").and_then(Value::as_u64) {
            None | Some(0) => top.only("num_register_tokens", &Value::from(0)).map(|()| 0)?,
            Some(_) => top.size("num_register_tokens")?,
        },
        rope_theta: Some(top.positive_or("rope_theta", 100.0)? as f32),
        hidden_size: width,
        n_layers: vision::layers(top, "num_hidden_layers", 12)?,
        n_heads: heads,
        intermediate_size: top.size_or("intermediate_size", 1536)?,
        activation,
        stem_norm: false,
        pre_norm: false,
        pooling: Pooling::Class,
        proj: false,
        embed: width,
        eps: top.positive_or("layer_norm_eps", 1e-5)?,
    })
}
