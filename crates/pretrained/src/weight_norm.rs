//! Weights that are published as directions and lengths.
//!
//! Salimans and Kingma 2016, <https://arxiv.org/abs/1602.07868>: `w = g·v / |v|`, a length for each place along
//! one axis. Trained so, they run as one tensor.

use std::collections::BTreeMap;

use sensorium_checkpoint::{Tensor, Tensors};

use crate::directory::Directory;
use crate::error::Result;
use crate::plan::Expected;

/// How the files call lengths and directions: PyTorch's older way, and its newer one.
const SPELLINGS: [[&str; 2]; 2] = [
    ["weight_g", "weight_v"],
    ["parametrizations.weight.original0", "parametrizations.weight.original1"],
];

/// Puts lengths and directions in the place of each expected weight that `axis` gives an axis for, in the
/// files' spelling; what the files hold as one tensor stays one.
pub(crate) fn as_published(
    tensors: &mut Vec<Expected>,
    directory: &Directory,
    axis: impl Fn(&str) -> Option<usize>,
) {
    let stored = directory.shapes().unwrap_or_default();
    for expected in std::mem::take(tensors) {
        let axis = axis(&expected.name).filter(|_| !stored.contains_key(&expected.name));
        let part = expected.name.strip_suffix("weight");
        let (Some(axis), Some(part)) = (axis, part) else {
            tensors.push(expected);
            continue;
        };
        let newer = stored.contains_key(&format!("{part}{}", SPELLINGS[1][1]));
        let [lengths, directions] = SPELLINGS[usize::from(newer)];
        let mut shape = vec![1; expected.shape.len()];
        shape[axis] = expected.shape[axis];
        tensors.push(Expected {
            name: format!("{part}{lengths}"),
            shape,
            packs: false,
            ..expected.clone()
        });
        tensors.push(Expected { name: format!("{part}{directions}"), ..expected });
    }
}

/// Calls lengths and directions as PyTorch's older way does, and back again where `newer`; whether any were called so.
pub(crate) fn respell(tensors: &mut Tensors, newer: bool) -> bool {
    let (from, to) = (SPELLINGS[usize::from(!newer)], SPELLINGS[usize::from(newer)]);
    let renamed = |name: &str| {
        let pairs = from.into_iter().zip(to);
        pairs.into_iter().find_map(|(from, to)| Some(format!("{}{to}", name.strip_suffix(from)?)))
    };
    let names: Vec<String> = tensors.tensors.keys().cloned().collect();
    let mut any = false;
    for name in names {
        let Some(renamed) = renamed(&name) else { continue };
        if let Some(tensor) = tensors.tensors.remove(&name) {
            tensors.tensors.insert(renamed, tensor);
            any = true;
        }
    }
    any
}

/// One weight of each pair of lengths and directions.
///
/// # Errors
/// Never in practice: a direction's shape fits its values.
pub(crate) fn multiply(tensors: &mut Tensors) -> Result<()> {
    let pairs: BTreeMap<String, [String; 2]> = SPELLINGS
        .iter()
        .flat_map(|[lengths, directions]| {
            let part = |name: &String| Some(name.strip_suffix(directions)?.to_owned());
            let parts = tensors.tensors.keys().filter_map(part).collect::<Vec<_>>().into_iter();
            parts.map(move |part| {
                let pair = [lengths, directions].map(|end| format!("{part}{end}"));
                (format!("{part}weight"), pair)
            })
        })
        .collect();
    for (name, [lengths, directions]) in pairs {
        let found = (tensors.tensors.remove(&lengths), tensors.tensors.remove(&directions));
        let (Some(lengths), Some(directions)) = found else { continue };
        tensors.tensors.insert(name, product(&lengths, directions)?);
    }
    Ok(())
}

fn product(lengths: &Tensor, directions: Tensor) -> Result<Tensor> {
    let axis = lengths.shape().iter().position(|&n| n > 1).unwrap_or(0);
    let (shape, mut values) = directions.into_parts();
    let inner: usize = shape.iter().skip(axis + 1).product();
    let n = shape.get(axis).copied().unwrap_or(1).max(1);
    let mut squares = vec![0.0f64; n];
    let place = |i: usize| i / inner.max(1) % n;
    for (i, value) in values.iter().enumerate() {
        squares[place(i)] += f64::from(*value).powi(2);
    }
    let scales: Vec<f64> = lengths
        .data()
        .iter()
        .zip(&squares)
        .map(|(length, square)| f64::from(*length) / square.sqrt())
        .collect();
    for (i, value) in values.iter_mut().enumerate() {
        *value = (f64::from(*value) * scales[place(i)]) as f32;
    }
    Ok(Tensor::new(shape, values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_along_the_axis_that_has_them() {
        let tensor = |shape: &[usize], values: &[f32]| {
            Tensor::new(shape.to_vec(), values.to_vec()).expect("it fits")
        };
        let directions = tensor(&[2, 1, 2], &[3.0, 1.0, 4.0, 0.0]);
        for (lengths, want) in [
            (tensor(&[1, 1, 2], &[10.0, 2.0]), [6.0, 2.0, 8.0, 0.0]),
            (tensor(&[2, 1, 1], &[0.0, 2.0]), [0.0, 0.0, 2.0, 0.0]),
        ] {
            for [g, v] in SPELLINGS {
                let pair = [(g, lengths.clone()), (v, directions.clone())];
                let pair = pair.map(|(end, tensor)| (format!("conv.{end}"), tensor));
                let mut tensors = Tensors { tensors: pair.into(), metadata: BTreeMap::new() };
                multiply(&mut tensors).expect("it fits");
                assert_eq!(tensors.tensors["conv.weight"].data(), want);
                assert_eq!(tensors.tensors.len(), 1);
            }
        }
    }
}
