//! Queries, keys and values in one matrix, as PyTorch's `MultiheadAttention` keeps them:
//! `in_proj_weight [3E, E]` and `in_proj_bias [3E]`. Tables call the parts `in_proj.{q,k,v}`; those of
//! `qkv.weight` and `qkv.bias` are `qkv.{q,k,v}`.

use sensorium_checkpoint::{Tensor, Tensors};

const PARTS: [&str; 3] = ["q", "k", "v"];

/// How tables spell the parts, and files the whole.
const SPELLINGS: [[&str; 2]; 2] = [[".in_proj.", ".in_proj_"], [".qkv.", ".qkv."]];

/// The name of a part that is published in one, as `(all three, which)`.
pub(super) fn packed(name: &str) -> Option<(String, usize)> {
    let find = |[parts, whole]: [&str; 2]| {
        let (front, part) = name.split_once(parts)?;
        let (part, end) = part.split_once('.')?;
        let place = PARTS.iter().position(|known| *known == part)?;
        Some((format!("{front}{whole}{end}"), place))
    };
    SPELLINGS.into_iter().find_map(find)
}

/// A matrix or bias of all three, as the parts are spelt: what stands before and after `q`.
fn whole(name: &str) -> Option<(String, &str)> {
    let find = |[parts, whole]: [&str; 2]| {
        let (front, end) = name.split_once(whole)?;
        matches!(end, "weight" | "bias").then(|| (format!("{front}{parts}"), end))
    };
    SPELLINGS.into_iter().find_map(find)
}

/// Shapes of parts as the file has them: three in one.
pub(super) fn join_shapes(shapes: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
    let mut joined = Vec::with_capacity(shapes.len());
    for (name, mut shape) in shapes {
        match packed(&name) {
            None => joined.push((name, shape)),
            Some((name, 0)) => {
                if let Some(rows) = shape.first_mut() {
                    *rows *= PARTS.len();
                }
                joined.push((name, shape));
            }
            Some(_) => {}
        }
    }
    joined
}

/// Takes every such matrix of the file apart. One whose rows are no multiple of three is left, for the
/// strict comparison to name.
pub(super) fn split(tensors: &mut Tensors) {
    let joined = |name: &&String| whole(name).is_some();
    let names: Vec<String> = tensors.tensors.keys().filter(joined).cloned().collect();
    for name in names {
        let Some((front, end)) = whole(&name) else { continue };
        let Some(tensor) = tensors.tensors.remove(&name) else { continue };
        let (mut shape, data) = tensor.into_parts();
        let rows = shape.first().copied().unwrap_or_default();
        if rows == 0 || rows % PARTS.len() != 0 {
            put(tensors, name.clone(), shape, data);
            continue;
        }
        shape[0] = rows / PARTS.len();
        let parts = data.chunks_exact(data.len() / PARTS.len());
        for (part, values) in PARTS.iter().zip(parts) {
            put(tensors, format!("{front}{part}.{end}"), shape.clone(), values.to_vec());
        }
    }
}

/// The other way, for files to be written.
pub(super) fn join(tensors: &mut Tensors) {
    let first = |name: &&String| packed(name).is_some_and(|(_, place)| place == 0);
    let firsts: Vec<String> = tensors.tensors.keys().filter(first).cloned().collect();
    for first in firsts {
        let Some((all, _)) = packed(&first) else { continue };
        let Some((front, end)) = whole(&all) else { continue };
        let (mut shape, mut data) = (Vec::new(), Vec::new());
        for part in PARTS {
            let Some(tensor) = tensors.tensors.remove(&format!("{front}{part}.{end}")) else {
                continue;
            };
            let (part_shape, values) = tensor.into_parts();
            shape = part_shape;
            data.extend(values);
        }
        if let Some(rows) = shape.first_mut() {
            *rows *= PARTS.len();
        }
        put(tensors, all, shape, data);
    }
}

fn put(tensors: &mut Tensors, name: String, shape: Vec<usize>, data: Vec<f32>) {
    // Shape and values come from tensors that agreed.
    if let Ok(tensor) = Tensor::new(shape, data) {
        tensors.tensors.insert(name, tensor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::new(shape.to_vec(), (0..n).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn parts_make_the_round_trip() {
        let mut tensors = Tensors::default();
        tensors.tensors.insert("a.in_proj_weight".into(), tensor(&[6, 2]));
        tensors.tensors.insert("a.in_proj_bias".into(), tensor(&[6]));
        tensors.tensors.insert("odd.in_proj_bias".into(), tensor(&[4]));
        tensors.tensors.insert("b.qkv.weight".into(), tensor(&[6, 2]));
        tensors.tensors.insert("b.qkv.bias".into(), tensor(&[3]));
        let before = tensors.clone();
        split(&mut tensors);
        assert_eq!(tensors.tensors["a.in_proj.k.weight"].data(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(tensors.tensors["a.in_proj.v.bias"].data(), [4.0, 5.0]);
        assert_eq!(tensors.tensors["b.qkv.k.weight"].data(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(tensors.tensors.len(), 13);
        let shapes = tensors.tensors.iter().map(|(n, t)| (n.clone(), t.shape().to_vec()));
        let joined = join_shapes(shapes.collect());
        join(&mut tensors);
        assert_eq!(tensors, before);
        let mut want: Vec<_> =
            before.tensors.iter().map(|(n, t)| (n.clone(), t.shape().to_vec())).collect();
        want.sort();
        let mut joined = joined;
        joined.sort();
        assert_eq!(joined, want);
    }
}
