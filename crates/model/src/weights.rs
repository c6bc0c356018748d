//! Between a module's parameters and a checkpoint's tensors. Strict in both directions.

use sensorium_nn::prelude::*;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::{Tensors, strict};

/// A module's parameters as named tensors.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn tensors(module: &impl Module) -> checkpoint::Result<Tensors> {
    let mut all = Tensors::default();
    for (name, values) in params::values(module) {
        all.tensors.insert(name, checkpoint::Tensor::new(values.shape, values.data)?);
    }
    Ok(all)
}

/// The module with every parameter read from `tensors`.
///
/// # Errors
/// Lists every tensor that is missing, left over or of another shape.
pub fn load<M: Module>(module: M, tensors: &Tensors) -> checkpoint::Result<M> {
    let expected: Vec<_> = params::list(&module).into_iter().map(|p| (p.name, p.shape)).collect();
    strict(&expected, tensors)?;
    Ok(params::update(module, |name, _, data| match tensors.tensors.get(name) {
        Some(tensor) => {
            data.copy_from_slice(tensor.data());
            true
        }
        None => false,
    }))
}

/// Names and shapes of parameters as those of the part `part`.
pub fn under(part: &str, all: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
    all.into_iter().map(|(name, shape)| (format!("{part}.{name}"), shape)).collect()
}

/// A module's tensors with every name passed through `rename`: the way into and out of published
/// layouts.
///
/// # Errors
/// As [`tensors`].
pub fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    let Tensors { tensors, metadata } = tensors;
    let tensors = tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
    Tensors { tensors, metadata }
}

/// BLAKE3 of every parameter by name: equal before and after a training for what was frozen.
pub fn hashes(module: &impl Module) -> Vec<(String, String)> {
    let hash = |v: &params::Values| checkpoint::manifest::hash_tensor(&v.shape, &v.data);
    params::values(module).iter().map(|(name, values)| (name.clone(), hash(values))).collect()
}
