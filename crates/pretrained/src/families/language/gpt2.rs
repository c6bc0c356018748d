//! Settings of GPT-2, <https://huggingface.co/docs/transformers/model_doc/gpt2>, and its matrices,
//! which are stored for products from the other side.

use sensorium_backbone::{BackboneConfig, Gpt2Config};
use serde_json::json;

use super::{Config, Result, divides, tied};
use crate::names::{GPT2, GPT2_BARE, Layout};
use crate::plan::Expected;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::{Tensor, Tensors};

pub fn gpt2(config: &Config<'_>) -> Result<BackboneConfig> {
    config.only("activation_function", &json!("gelu_new"))?;
    config.only("scale_attn_weights", &json!(true))?;
    config.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
    config.only("add_cross_attention", &json!(false))?;
    let width = config.size("n_embd")?;
    let n_heads = config.size("n_head")?;
    divides(config, "n_head", width, n_heads)?;
    Ok(BackboneConfig::Gpt2(Gpt2Config {
        vocab_size: config.size("vocab_size")?,
        context: config.size("n_positions")?,
        hidden_size: width,
        n_layers: config.size("n_layer")?,
        n_heads,
        intermediate_size: config.size_or("n_inner", 4 * width)?,
        eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        tied: config.flag_or("tie_word_embeddings", true)?,
    }))
}

/// The prefix of files of the body alone, which lack an outer one.
pub const BARE: &str = "h.";

pub fn layout(bare: bool) -> Layout {
    if bare { GPT2_BARE } else { GPT2 }
}

/// Matrices that files hold as `[in, out]`.
const TURNED: [&str; 3] = ["c_attn.weight", "c_proj.weight", "c_fc.weight"];

/// The tensors before [`prepare`]: matrices as `[in, out]`, queries, keys and values in one.
pub fn as_published(tensors: Vec<Expected>) -> Vec<Expected> {
    let apart = |name: &str| name.contains(".attn.k.") || name.contains(".attn.v.");
    let joined = tensors.into_iter().filter(|tensor| !apart(&tensor.name)).map(|mut tensor| {
        if tensor.name.contains(".attn.q.") {
            tensor.name = tensor.name.replace(".attn.q.", ".attn.c_attn.");
            tensor.shape[0] *= 3;
        }
        if TURNED.iter().any(|end| tensor.name.ends_with(end)) {
            tensor.shape.reverse();
        }
        tensor
    });
    joined.collect()
}

/// Every matrix of a block turned to `[out, in]`, queries, keys and values apart, under the names
/// `attn.q`, `attn.k`, `attn.v`.
pub fn prepare(config: &Gpt2Config, tensors: Tensors) -> Result<Tensors> {
    let tensors = tied(tensors, config.tied, "lm_head.weight", "wte.weight")?;
    let mut turned = Tensors::default();
    for (name, tensor) in tensors.tensors {
        let is_turned = TURNED.iter().any(|end| name.ends_with(end));
        let tensor = if is_turned { turn(tensor)? } else { tensor };
        match split_name(&name) {
            Some((block, end)) if !tensor.shape().is_empty() && tensor.shape()[0] % 3 == 0 => {
                for (part, third) in ["q", "k", "v"].iter().zip(thirds(tensor)?) {
                    turned.tensors.insert(format!("{block}.{part}.{end}"), third);
                }
            }
            _ => drop(turned.tensors.insert(name, tensor)),
        }
    }
    Ok(turned)
}

/// What [`prepare`] has made, as files have it.
pub fn publish(mut tensors: Tensors) -> Result<Tensors> {
    let firsts = |name: &&String| name.contains(".attn.q.");
    for first in tensors.tensors.keys().filter(firsts).cloned().collect::<Vec<_>>() {
        let parts =
            ["q", "k", "v"].map(|part| first.replace(".attn.q.", &format!(".attn.{part}.")));
        let parts = parts.iter().filter_map(|name| tensors.tensors.remove(name));
        let (mut whole, mut rows, mut columns) = (Vec::new(), 0, Vec::new());
        for (shape, values) in parts.map(Tensor::into_parts) {
            rows += shape[0];
            columns = shape[1..].to_vec();
            whole.extend(values);
        }
        let shape = std::iter::once(rows).chain(columns).collect();
        let name = first.replace(".attn.q.", ".attn.c_attn.");
        tensors.tensors.insert(name, Tensor::new(shape, whole)?);
    }
    for (name, tensor) in &mut tensors.tensors {
        if TURNED.iter().any(|end| name.ends_with(end)) {
            *tensor = turn(tensor.clone())?;
        }
    }
    Ok(tensors)
}

/// `h.0.attn.c_attn.weight` to `h.0.attn` and `weight`.
fn split_name(name: &str) -> Option<(&str, &str)> {
    ["weight", "bias"]
        .iter()
        .find_map(|end| Some((name.strip_suffix(end)?.strip_suffix(".c_attn.")?, *end)))
}

/// `[in, out] -> [out, in]`; others stay as they are, for the comparison of shapes to name.
fn turn(tensor: Tensor) -> checkpoint::Result<Tensor> {
    let &[rows, columns] = tensor.shape() else { return Ok(tensor) };
    let data = tensor.data();
    let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c]));
    Tensor::new(vec![columns, rows], turned.collect())
}

fn thirds(tensor: Tensor) -> checkpoint::Result<Vec<Tensor>> {
    let (mut shape, data) = tensor.into_parts();
    shape[0] /= 3;
    let n = data.len() / 3;
    (0..3).map(|i| Tensor::new(shape.clone(), data[i * n..(i + 1) * n].to_vec())).collect()
}
