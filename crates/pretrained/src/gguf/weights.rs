//! The backbone's parameters from a file: matrices packed, the rest as f32.

use std::borrow::Cow;
use std::sync::Arc;

use sensorium_backbone::{Llama, LlamaConfig};
use sensorium_nn::prelude::*;

use super::config::{FUSED, Family, ROPE_FACTORS, ROPE_FREQS, is_needless};
use crate::names::GGUF;
use sensorium_checkpoint::gguf::{Gguf, Info};
use sensorium_checkpoint::{Result, strict_shapes};

/// A backbone laid out for running: its matrices in `format`, or, without one, multiplied as they
/// are stored where there is a kernel for that; on other devices than the CPU they are f32.
///
/// # Errors
/// Lists, by the file's names, every tensor that is missing, left over or of another shape; names a
/// tensor that holds NaN or infinity.
pub fn load(
    gguf: &Gguf<'_>,
    config: &LlamaConfig,
    family: &Family,
    format: Option<pack::Format>,
    device: &Device,
) -> Result<Llama> {
    let apart;
    let gguf = if family.fused {
        apart = gguf.apart(|name| parts(name, config))?;
        &apart
    } else {
        gguf
    };
    // Only then is memory taken: as much as the file's own tensors unpack to.
    check(gguf, config)?;
    let needed = gguf.tensors().iter().filter(|info| !is_needless(info.name()));
    needed.into_iter().try_for_each(Info::check)?;

    let llama = Llama::init(config, &mut Init::empty(device));
    // Biases first: a matrix is packed with the bias that it has then.
    let mut llama = fill(llama, gguf, family, config, |shape| shape.len() == 1)?;
    let mut read = Ok(());
    llama.pack(&mut |layer, weight| {
        if !fused::has_kernels(&weight.val()) {
            return None;
        }
        let head = rotated(family, layer).then_some(config.head_dim);
        let packed = gguf.get(&GGUF.to_hf(&format!("{layer}.weight")));
        let packed = packed.map(|info| packed_matrix(info, head, format));
        Some(Arc::new(packed.unwrap_or_else(|error| {
            read = Err(error);
            let [out, in_] = weight.val().dims();
            Packed::new(pack::Format::F32, out, in_, &vec![0.0; out * in_])
        })))
    });
    read?;
    fill(llama, gguf, family, config, |shape| shape.len() > 1)
}

/// Names and rows of the maps that lie in one matrix.
fn parts(name: &str, config: &LlamaConfig) -> Option<Vec<(String, usize)>> {
    let (whole, parts) = FUSED.into_iter().find(|(whole, _)| name.contains(whole))?;
    let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
    let rows = if parts.len() == 3 { vec![q, kv, kv] } else { vec![config.intermediate_size; 2] };
    Some(parts.iter().map(|part| name.replace(whole, part)).zip(rows).collect())
}

/// That the file's tensors are those of the configuration.
///
/// # Errors
/// Lists those that are missing, left over or of another shape.
pub fn check(gguf: &Gguf<'_>, config: &LlamaConfig) -> Result<()> {
    let wanted = config.parameters().into_iter().map(|(name, shape)| (GGUF.to_hf(&name), shape));
    // The factors on the wavelengths have become the configuration's stretching.
    let is_factor = |name: &str| name == ROPE_FREQS || ROPE_FACTORS.contains(&name);
    let is_needed = |name: &str| !is_factor(name) && !is_needless(name);
    let found = gguf.tensors().iter().filter(|info| is_needed(info.name()));
    let found = found.map(|info| (info.name(), info.shape()));
    strict_shapes(&wanted.collect::<Vec<_>>(), &found.collect())
}

/// The parameters of these shapes from the file; what is packed has left none behind.
fn fill(
    llama: Llama,
    gguf: &Gguf<'_>,
    family: &Family,
    config: &LlamaConfig,
    wanted: impl Fn(&[usize]) -> bool,
) -> Result<Llama> {
    let mut read = Ok(());
    let llama = params::fill(llama, |name, shape| {
        if shape.contains(&0) || !wanted(shape) || read.is_err() {
            return None;
        }
        match gguf.get(&GGUF.to_hf(name)).and_then(Info::tensor) {
            Ok(tensor) if rotated(family, name) => {
                let row = shape[1..].iter().product();
                Some(halves(tensor.data(), row, config.head_dim))
            }
            Ok(tensor) => Some(tensor.into_parts().1),
            Err(error) => {
                read = Err(error);
                None
            }
        }
    });
    read.map(|()| llama)
}

/// One matrix, with the rows of each head of so many rows in the order of our rotation.
fn packed_matrix(info: &Info<'_>, head: Option<usize>, format: Option<pack::Format>) -> Packed {
    let (out, in_) = (info.shape()[0], info.shape()[1]);
    let bytes = match head {
        Some(head) => Cow::Owned(halves(info.bytes(), info.bytes().len() / out, head)),
        None => Cow::Borrowed(info.bytes()),
    };
    if let (None, Ok(kind)) = (format, info.kind().try_into()) {
        return Packed::from_blocks(kind, out, in_, &bytes);
    }
    let mut values = vec![0.0; out * in_];
    info.kind().dequantize(&bytes, &mut values);
    Packed::new(format.unwrap_or(pack::Format::F32), out, in_, &values)
}

/// Whether the rows of our parameter or layer `name` are stored in another order than ours.
pub fn rotated(family: &Family, name: &str) -> bool {
    let part = |part: &str| name.contains(&format!(".attention.{part}."));
    family.interleaved
        && (name.ends_with(".attention.q")
            || name.ends_with(".attention.k")
            || part("q")
            || part("k"))
}

/// Rows (of `row` numbers or bytes) of each head from pairs to halves: row `2i + s` becomes row
/// `s·K/2 + i`. Converters to GGUF store them as pairs because ggml's rotation for Llama turns
/// neighbours.
pub fn halves<T: Copy>(rows: &[T], row: usize, head: usize) -> Vec<T> {
    let order: Vec<usize> = (0..head).step_by(2).chain((1..head).step_by(2)).collect();
    reordered(rows, row, &order)
}

/// The way back from [`halves`].
pub fn pairs<T: Copy>(rows: &[T], row: usize, head: usize) -> Vec<T> {
    let order: Vec<usize> = (0..head / 2).flat_map(|i| [i, i + head / 2]).collect();
    reordered(rows, row, &order)
}

fn reordered<T: Copy>(rows: &[T], row: usize, order: &[usize]) -> Vec<T> {
    let mut turned = Vec::with_capacity(rows.len());
    for rows in rows.chunks_exact(order.len() * row) {
        for &at in order {
            turned.extend_from_slice(&rows[at * row..][..row]);
        }
    }
    turned
}
