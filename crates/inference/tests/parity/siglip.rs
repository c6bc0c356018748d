//! `goldens/siglip`: the sigmoid loss. The tower's head has an MLP that ours has not, so its loss
//! is compared and its layers are not.

use crate::twin::device;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, assert_close};

/// A single loss in f32.
const LOSS: f32 = 1e-5;

fn leaf<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &device().autodiff()).require_grad()
}

/// Cosines as "images" against one-hot "texts": their products are the cosines themselves.
#[test]
fn the_loss_alone() {
    let file = Golden::open("siglip").json("loss.json");
    let cases = file["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let number = |key: &str| case[key].as_f64().expect("a number") as f32;
        let numbers = |key: &str| -> Vec<f32> {
            let values = case[key].as_array().expect("numbers");
            values.iter().map(|value| value.as_f64().expect("a number") as f32).collect()
        };
        let n = number("n") as usize;
        let one_hot = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let cosine = leaf(numbers("cosine"), [n, n]);
        let (t, b) = (leaf(vec![number("t")], [1]), leaf(vec![number("b")], [1]));
        let ignored = vec![false; n * n];
        let loss =
            loss::sigmoid(cosine.clone(), leaf(one_hot, [n, n]), t.clone(), b.clone(), &ignored);
        let gradients = loss.backward();
        let close = |name: &str, got: Vec<f32>, want: &[f32]| {
            assert_close(&format!("{name}, n = {n}"), &got, want, LOSS);
        };
        close("loss", read(loss), &[number("loss")]);
        let slope = |leaf: &Tensor<1>| read(leaf.grad(&gradients).expect("a gradient"));
        close("t", slope(&t), &[number("gradient_t")]);
        close("b", slope(&b), &[number("gradient_b")]);
        let cosine = read(cosine.grad(&gradients).expect("a gradient"));
        close("cosine", cosine, &numbers("gradient_cosine"));
    }
}

#[test]
fn the_loss_of_the_reference_embeddings() {
    let golden = Golden::open("siglip");
    let (outputs, weights) = (golden.outputs(), golden.weights());
    let embeds = |name: &str| {
        let (shape, values) = outputs[name].clone();
        leaf(values, [shape[0], shape[1]])
    };
    let scalar = |name: &str| leaf(weights[name].1.clone(), [1]);
    let loss = loss::sigmoid(
        embeds("image_embeds"),
        embeds("text_embeds"),
        scalar("logit_scale"),
        scalar("logit_bias"),
        &[false; 9],
    );
    assert_close("loss", &read(loss), &outputs["loss"].1, LOSS);
}
