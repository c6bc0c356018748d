//! Freezing, with proof: what may move, what may not, and that it did not.

use std::collections::{BTreeMap, BTreeSet};

use sensorium_model::weights;
use sensorium_nn::params;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::optim::Gradients;

/// Trained and frozen parameters of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trained {
    /// Values that are trained.
    pub trainable: usize,
    /// All values.
    pub total: usize,
}

impl std::fmt::Display for Trained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.trainable as f64 / self.total.max(1) as f64;
        write!(f, "training {} of {} parameters ({share:.2} %)", self.trainable, self.total)
    }
}

/// Whether the parameter `name` is of the part `part`.
pub(crate) fn is_of(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Makes the parts whose names start with one of `parts` trainable and freezes the rest.
///
/// # Errors
/// [`TrainError::Part`] for a part that matches no parameter.
pub fn thaw_only<M: Module>(model: M, parts: &[&str]) -> Result<(M, Trained)> {
    let model = params::set_trainable(model, |name| parts.iter().any(|part| is_of(name, part)));
    let mut list = params::list(&model);
    for part in parts {
        if !list.iter().any(|p| is_of(&p.name, part)) {
            return Err(TrainError::Part { part: (*part).to_string() });
        }
    }
    list.retain(|p| !params::is_statistic(&p.name));
    let count = |p: &params::Parameter| p.count();
    let trained = Trained {
        trainable: list.iter().filter(|p| p.trainable).map(count).sum(),
        total: list.iter().map(count).sum(),
    };
    Ok((model, trained))
}

/// The model with only that trainable, of what is, which a batch `reaches`: the rest has no gradient of it.
pub(crate) fn reached<M: Module>(model: &M, reaches: impl Fn(&str) -> bool) -> M {
    let trained = params::list(model).into_iter().filter(|p| p.trainable).map(|p| p.name);
    let (kept, left): (BTreeSet<String>, BTreeSet<String>) =
        trained.partition(|name| reaches(name));
    if left.is_empty() {
        return model.clone();
    }
    params::set_trainable(model.clone(), |name| kept.contains(name))
}

/// Gradients of what of the model learns; none where nothing does, which is so if a batch reaches only what is frozen.
pub(crate) fn gradients(model: &impl Module, loss: Tensor<1>) -> Result<Gradients> {
    match params::list(model).iter().any(|one| one.trainable) {
        true => Ok(params::gradients(model, loss.backward())?),
        false => Ok(Gradients::new()),
    }
}

/// Hash of every frozen tensor.
pub type Proof = BTreeMap<String, String>;

/// The hashes of all frozen tensors of `model`.
pub fn proof(model: &impl Module) -> Proof {
    let frozen: Vec<String> =
        params::list(model).into_iter().filter(|p| !p.moves).map(|p| p.name).collect();
    let hashes: BTreeMap<_, _> = weights::hashes(model).into_iter().collect();
    hashes.into_iter().filter(|(name, _)| frozen.contains(name)).collect()
}

/// Checks that every frozen tensor is what it was.
///
/// # Errors
/// [`TrainError::Moved`] names the tensors that changed.
pub fn verify(model: &impl Module, before: &Proof) -> Result<()> {
    let after = proof(model);
    let moved: Vec<String> = before
        .iter()
        .filter(|(name, hash)| after.get(*name) != Some(hash))
        .map(|(name, _)| name.clone())
        .collect();
    if moved.is_empty() { Ok(()) } else { Err(TrainError::Moved { tensors: moved }) }
}
