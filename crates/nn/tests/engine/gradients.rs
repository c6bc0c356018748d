//! Gradients by name: one that is missing is an error that names the parameter, frozen ones are
//! left out, and parts that meet twice add up.

use std::collections::BTreeMap;

use sensorium_nn::optim::Flat;
use sensorium_nn::params::{self, MissingGradients, set_trainable};
use sensorium_nn::prelude::*;

use crate::case::{draw, tensor};

fn gradients(
    module: &impl Module,
    slopes: burn::tensor::Gradients,
) -> Result<BTreeMap<String, Vec<f32>>, MissingGradients> {
    let found = params::gradients(module, slopes)?;
    Ok(found.into_iter().map(|(name, gradient)| (name, gradient.into_vec())).collect())
}

fn mlp() -> Mlp {
    Mlp::init(
        [3, 5, 3],
        Activation::Gelu,
        [0.5, 0.5],
        &mut Init::new(1, &Device::flex().autodiff()),
    )
}

fn input() -> Tensor<2> {
    tensor(&draw(2, 4 * 3), [4, 3], &Device::flex().autodiff())
}

#[test]
fn a_parameter_that_the_loss_never_met_is_named() {
    let mlp = mlp();
    let loss = mlp.fc1.forward(input()).square().mean();
    let missing = gradients(&mlp, loss.backward()).expect_err("fc2 is not in the loss");
    assert_eq!(missing.0, ["fc2.weight", "fc2.bias"]);
    let message = missing.to_string();
    assert!(message.contains("fc2.weight, fc2.bias") && message.contains("hint: "), "{message}");
}

#[test]
fn a_frozen_part_needs_none_and_still_passes_gradients_on() {
    let mlp = set_trainable(mlp(), |name| name.starts_with("fc1"));
    let loss = mlp.forward(input()).square().mean();
    let found = gradients(&mlp, loss.backward()).expect("fc1 is in the loss");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["fc1.bias", "fc1.weight"]);
    assert!(found["fc1.weight"].iter().any(|&g| g != 0.0));
    let names: Vec<String> = params::list(&mlp)
        .into_iter()
        .filter(|parameter| parameter.trainable)
        .map(|parameter| parameter.name)
        .collect();
    assert_eq!(names, ["fc1.weight", "fc1.bias"]);
}

#[test]
fn two_uses_of_one_parameter_add_up() {
    let mlp = set_trainable(mlp(), |name| name.starts_with("fc1"));
    let once = gradients(&mlp, mlp.fc1.forward(input()).sum().backward()).expect("fc1 is used");
    let both = mlp.fc1.forward(input()).sum() + mlp.fc1.forward(input()).sum();
    let twice = gradients(&mlp, both.backward()).expect("fc1 is used");
    for (name, gradient) in &once {
        let doubled: Vec<f32> = gradient.iter().map(|g| 2.0 * g).collect();
        assert_eq!(&twice[name], &doubled, "{name}");
    }
}

#[test]
fn thawed_parameters_train_again() {
    let frozen = set_trainable(mlp(), |_| false);
    assert!(params::list(&frozen).iter().all(|parameter| !parameter.trainable));
    let thawed = set_trainable(frozen, |_| true);
    let loss = thawed.forward(input()).square().mean();
    assert_eq!(gradients(&thawed, loss.backward()).expect("all are used").len(), 4);
}

#[test]
fn an_updated_parameter_keeps_its_name_its_shape_and_its_trainability() {
    let mlp = set_trainable(mlp(), |name| name == "fc2.weight");
    let before = params::list(&mlp);
    let mlp = params::update(mlp, |name, _, data| {
        data.fill(2.0);
        name == "fc2.weight" || name == "fc1.bias"
    });
    assert_eq!(params::list(&mlp), before);
    let values = params::values(&mlp);
    assert!(values["fc2.weight"].data.iter().all(|&v| v == 2.0));
    assert!(values["fc2.bias"].data.iter().all(|&v| v == 0.0), "fc2.bias was refused");
}

#[test]
fn an_edited_parameter_keeps_all_but_its_values_and_a_copy_of_the_module_keeps_those() {
    let mlp = set_trainable(mlp(), |name| name == "fc2.weight");
    let (before, old) = (params::list(&mlp), params::values(&mlp));
    let copy = mlp.clone();
    let wanted = |name: &str| name == "fc2.weight" || name == "fc1.bias";
    let mlp = params::edit(mlp, wanted, |_, _, data| *data = Flat::Host(vec![2.0; data.count()]));
    assert_eq!(params::list(&mlp), before);
    for (name, values) in params::values(&mlp) {
        if wanted(&name) {
            assert!(values.data.iter().all(|&v| v == 2.0), "{name}");
        } else {
            assert_eq!(values, old[&name], "{name}");
        }
    }
    assert_eq!(params::values(&copy), old);
}
