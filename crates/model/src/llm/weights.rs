//! The backbone's parameters from a file, one tensor at a time.

use sensorium_backbone::{Llama, LlamaConfig};
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;

use super::config::Family;
use crate::checkpoint::gguf::Gguf;
use crate::checkpoint::{Result, strict_shapes};
use crate::names::GGUF;

/// A backbone with every parameter unpacked from the file.
///
/// # Errors
/// Lists, by the file's names, every tensor that is missing, left over or of another shape; names a
/// tensor that holds NaN or infinity.
pub fn load(gguf: &Gguf<'_>, config: &LlamaConfig, family: &Family) -> Result<Llama> {
    let wanted = config.parameters().into_iter().map(|(name, shape)| (GGUF.to_hf(&name), shape));
    let found = gguf.tensors().iter().map(|info| (info.name(), info.shape()));
    // Only then is memory taken: as much as the file's own tensors unpack to.
    strict_shapes(&wanted.collect::<Vec<_>>(), &found.collect())?;

    let llama = Llama::init(config, &mut Init::empty(&running_device()));
    let mut read = Ok(());
    let llama = params::update(llama, |name, _, data| {
        let unpacked = gguf.get(&GGUF.to_hf(name)).and_then(|info| info.unpack_into(data));
        match unpacked {
            Ok(()) if family.interleaved && is_rotated(name) => {
                *data = halves(data, config);
            }
            Ok(()) => {}
            Err(error) => read = Err(error),
        }
        read.is_ok()
    });
    read.map(|()| llama)
}

fn is_rotated(name: &str) -> bool {
    name.ends_with(".attention.q.weight") || name.ends_with(".attention.k.weight")
}

/// Rows of each head from pairs to halves: row `2i + s` becomes row `s·K/2 + i`. Converters to GGUF
/// store them as pairs because ggml's rotation for Llama turns neighbours.
fn halves(rows: &[f32], config: &LlamaConfig) -> Vec<f32> {
    let (d, k) = (config.width, config.head_width);
    let mut turned = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(k * d) {
        for row in (0..k).step_by(2).chain((1..k).step_by(2)) {
            turned.extend_from_slice(&head[row * d..][..d]);
        }
    }
    turned
}
