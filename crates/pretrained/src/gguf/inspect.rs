//! What a GGUF file of a language model is, before its values are read.

use std::collections::BTreeMap;

use sensorium_nn::pack::Blocked;

use super::config::{self, FUSED, ROPE_FACTORS, ROPE_FREQS, is_needless, is_stray};
use crate::error::Result;
use crate::families::language;
use crate::names::GGUF;
use crate::plan::{Expected, Plan};
use sensorium_checkpoint::gguf::Gguf;
use sensorium_checkpoint::safetensors::Stored;

/// What the file's tensors must be, by its metadata.
///
/// # Errors
/// It is not of a supported model.
pub fn plan(gguf: &Gguf<'_>) -> Result<Plan> {
    let (config, family) = config::read(gguf)?;
    let mut plan = Plan::new(family.name, "language", GGUF, config.parameters());
    if family.fused {
        plan.tensors = language::fused(plan.tensors, &FUSED);
    }
    // They became the configuration's stretching.
    plan.copies = &[ROPE_FREQS, ROPE_FACTORS[0], ROPE_FACTORS[1]];
    Ok(plan)
}

/// How every tensor is stored, but for tables of angles that no reader has a use for.
pub fn stored(gguf: &Gguf<'_>) -> BTreeMap<String, Stored> {
    let stored = gguf
        .tensors()
        .iter()
        .filter(|info| is_stray(info.name()) || !is_needless(info.name()))
        .map(|info| {
            let (dtype, shape) = (format!("{:?}", info.kind()), info.shape().to_vec());
            (info.name().to_owned(), Stored { dtype, shape })
        });
    stored.collect()
}

/// Bytes that the weights take in memory as they are stored: blocks where there is a kernel for them,
/// the others in f32.
pub fn bytes(plan: &Plan, gguf: &Gguf<'_>) -> u64 {
    let of = |tensor: &Expected| {
        let info = gguf.get(&tensor.name).ok().filter(|_| tensor.packs);
        let blocks = info.filter(|info| Blocked::try_from(info.kind()).is_ok());
        blocks.map_or(4 * tensor.count(), |info| info.bytes().len() as u64)
    };
    plan.tensors.iter().map(of).sum()
}
