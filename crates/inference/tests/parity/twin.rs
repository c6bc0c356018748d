//! What every comparison needs: a golden's files as ours, gradients and curves as theirs.

use std::collections::BTreeMap;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::safetensors;
use sensorium_nn::device::from_env;
use sensorium_nn::optim::{AdamWRates, Flat};
use sensorium_nn::params::{self, gradients, read};
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Tensors, assert_gradients};

/// A stack of layers in f32.
pub const STACK: f32 = 1e-5;
/// Of the largest value of a gradient.
pub const GRADIENT: f32 = 1e-4;
/// Of each loss of a curve.
pub const CURVE: f64 = 1e-4;

/// The CPU, or what `SENSORIUM_DEVICE` names.
pub fn device() -> Device {
    from_env().unwrap_or_else(|error| panic!("{error}"))
}

/// The golden's weights, read by our own reader of safetensors.
pub fn weights(golden: &Golden) -> checkpoint::Tensors {
    let bytes = std::fs::read(golden.path("weights.safetensors")).expect("the golden is complete");
    safetensors::read(&bytes).expect("the golden is sound")
}

/// Input `name` as a tensor.
pub fn input<const D: usize>(golden: &Golden, name: &str) -> Tensor<D> {
    let (shape, values) = golden.inputs().remove(name).expect("the golden has this input");
    Tensor::from_data(TensorData::new(values, shape), &device().autodiff())
}

/// Input `name` as token ids, row-major, with B and T.
pub fn ids(golden: &Golden, name: &str) -> (Vec<u32>, [usize; 2]) {
    let (shape, values) = golden.inputs().remove(name).expect("the golden has this input");
    (values.iter().map(|&id| id as u32).collect(), [shape[0], shape[1]])
}

/// The number at `path` of the golden's configuration.
pub fn number(golden: &Golden, path: &str) -> f64 {
    let config = golden.config();
    let value = config.pointer(path).and_then(serde_json::Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {path} of {config}"))
}

/// As [`number`], for sizes.
pub fn size(golden: &Golden, path: &str) -> usize {
    number(golden, path) as usize
}

/// Labels of the golden, `[B, T]`, as ours: that of position t is the token at t + 1.
pub fn labels(golden: &Golden) -> Vec<i32> {
    let (shape, values) = &golden.inputs()["labels"];
    let next = |row: &[f32]| {
        let next: Vec<i32> = row[1..].iter().map(|&label| label as i32).collect();
        next.into_iter().chain([-100])
    };
    values.chunks(shape[1]).flat_map(next).collect()
}

/// `[B, N+1, E]` of the golden without the class token of each picture.
pub fn patches((shape, values): &(Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
    let &[b, n, e] = &shape[..] else { panic!("expected [B, N, E], got {shape:?}") };
    let rest = values.chunks(n * e).flat_map(|picture| picture[e..].to_vec()).collect();
    (vec![b, n - 1, e], rest)
}

/// Fails unless our gradients are the golden's. Parameters that are frozen here have no part in
/// the golden's loss: their gradients there are zero, or they are not published at all.
pub fn assert_same_gradients(
    golden: &Golden,
    module: &impl Module,
    loss: Tensor<1>,
    published: impl Fn(&str) -> String,
) {
    assert_gradients_within(golden, module, loss, published, GRADIENT);
}

/// As [`assert_same_gradients`], within `tolerance` of each tensor's largest value.
pub fn assert_gradients_within(
    golden: &Golden,
    module: &impl Module,
    loss: Tensor<1>,
    published: impl Fn(&str) -> String,
    tolerance: f32,
) {
    let mut want = golden.gradients();
    let got: Tensors = gradients(module, loss.backward())
        .expect("every trainable parameter is in the loss")
        .into_iter()
        .map(|(name, values)| (published(&name), values))
        .map(|(name, values)| (name.clone(), (want[&name].0.clone(), values.into_vec())))
        .collect();
    for parameter in params::list(module).iter().filter(|parameter| !parameter.trainable) {
        if let Some((_, values)) = want.remove(&published(&parameter.name)) {
            assert!(values.iter().all(|&v| v == 0.0), "{} is frozen here", parameter.name);
        }
    }
    assert_gradients(&got, &want, tolerance);
}

/// Ten losses of AdamW as the goldens have them (README of `reference`).
pub fn curve<M: Module>(mut model: M, loss: impl Fn(&M) -> Tensor<1>) -> Vec<f64> {
    let mut moments: BTreeMap<String, [Flat; 2]> = BTreeMap::new();
    let mut losses = Vec::new();
    for step in 1..=10 {
        let value = loss(&model);
        losses.push(f64::from(read(value.clone())[0]));
        let found = gradients(&model, value.backward()).expect("all trainable are in the loss");
        let trained = |name: &str| found.contains_key(name);
        model = params::edit(model, trained, |name, shape, values| {
            let zeros = || [values.zeros_like(), values.zeros_like()];
            let moments = moments.entry(name.to_string()).or_insert_with(zeros);
            let decay = if shape.len() >= 2 { 0.05 } else { 0.0 };
            let (beta1, beta2, eps) = (0.9, 0.95, 1e-8);
            let rates = AdamWRates { rate: 1e-3, beta1, beta2, eps, decay, step, scale: 1.0 };
            values.adamw(&found[name], moments, rates);
        });
    }
    losses
}
