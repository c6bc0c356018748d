//! Between a module's parameters and a checkpoint's tensors. Strict in both directions.

use std::collections::BTreeMap;

use sensorium_nn::prelude::*;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::{Tensors, strict_shapes};

/// A module's parameters as named tensors.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn tensors(module: &impl Module) -> checkpoint::Result<Tensors> {
    named(params::values(module))
}

/// As [`tensors`], of all that training moves.
///
/// # Errors
/// As [`tensors`].
pub fn trained(module: &impl Module) -> checkpoint::Result<Tensors> {
    named(params::trained(module))
}

fn named(values: BTreeMap<String, params::Values>) -> checkpoint::Result<Tensors> {
    let mut all = Tensors::default();
    for (name, values) in values {
        all.tensors.insert(name, checkpoint::Tensor::new(values.shape, values.data)?);
    }
    Ok(all)
}

/// The module with every parameter read from `tensors`, whose names may be those of [`plain`].
///
/// # Errors
/// Lists every tensor that is missing, left over or of another shape.
pub fn load<M: Module>(module: M, tensors: &Tensors) -> checkpoint::Result<M> {
    load_with(module, tensors, |_| true)
}

/// As [`load`], where those that are frozen may be missing: they stay what they are.
///
/// # Errors
/// As [`load`].
pub fn load_trained<M: Module>(module: M, tensors: &Tensors) -> checkpoint::Result<M> {
    load_with(module, tensors, |parameter| parameter.moves)
}

/// As [`load`], of tensors that may hold more than the module has a place for.
///
/// # Errors
/// As [`load`].
pub fn load_known<M: Module>(module: M, tensors: &Tensors) -> checkpoint::Result<M> {
    let mut tensors = tensors.clone();
    let known: Vec<String> = params::list(&module).into_iter().map(|p| p.name).collect();
    tensors.tensors.retain(|name, _| known.contains(name));
    load(module, &tensors)
}

fn load_with<M: Module>(
    module: M,
    tensors: &Tensors,
    is_needed: impl Fn(&params::Parameter) -> bool,
) -> checkpoint::Result<M> {
    let found: BTreeMap<String, &checkpoint::Tensor> =
        tensors.tensors.iter().map(|(name, tensor)| (plain(name), tensor)).collect();
    let expected = params::list(&module).into_iter();
    let expected = expected.filter(|p| is_needed(p) || found.contains_key(&p.name));
    let expected: Vec<_> = expected.map(|p| (p.name, p.shape)).collect();
    let shapes = found.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
    strict_shapes(&expected, &shapes.collect())?;
    Ok(params::fill(module, |name, _| Some(found.get(name)?.data().to_vec())))
}

/// Variants of enums in the names of older files: `Mlp.mlp.fc1.weight` is now `mlp.fc1.weight`.
const VARIANTS: [&str; 2] = ["Linear", "Mlp"];

/// A parameter's name, whichever version of ours wrote it.
pub fn plain(name: &str) -> String {
    let fields = name.split('.').filter(|field| !VARIANTS.contains(field));
    fields.collect::<Vec<_>>().join(".")
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

#[cfg(test)]
mod tests {
    use sensorium_input_projector::{Projector, ProjectorConfig};

    use super::*;

    #[test]
    fn names_of_older_files_are_read() {
        let linear = ProjectorConfig::Linear { features: 3, shuffle: 1, bias: true, width: 2 };
        let made = Projector::init(&linear, &mut Init::new(1, &Device::flex()));
        let new = tensors(&made).expect("shapes fit");
        assert!(new.tensors.contains_key("fc.weight"));
        let old = renamed(new.clone(), |name| format!("Linear.{name}"));
        let empty = Projector::init(&linear, &mut Init::empty(&Device::flex()));
        let read = load(empty, &old).expect("the names are known");
        assert_eq!(tensors(&read).expect("shapes fit"), new);
        assert_eq!(plain("m.projector.Mlp.mlp.fc1.weight"), "m.projector.mlp.fc1.weight");
    }
}
