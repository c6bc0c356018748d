//! `goldens/nano_vit`: the convolutional stem and the attention pooling. The golden is ours, so its
//! names are nearly ours.

use sensorium_checkpoint as checkpoint;
use sensorium_encoder::image::{ActivationName, Conv, Pooling, Vit, VitConfig};
use sensorium_flow::{Encode, Features};
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, input, number, size, weights,
};

fn config(golden: &Golden) -> VitConfig {
    let conv = |i: usize| Conv {
        channels: size(golden, &format!("/channels/{}", i + 1)),
        kernel: size(golden, &format!("/kernels/{i}")),
        stride: size(golden, &format!("/strides/{i}")),
        padding: size(golden, &format!("/paddings/{i}")),
    };
    let width = size(golden, "/hidden_size");
    VitConfig {
        image: size(golden, "/image_size"),
        frames: None,
        stem: (0..4).map(conv).collect(),
        stem_bias: true,
        registers: 0,
        rope_theta: None,
        hidden_size: width,
        n_layers: size(golden, "/num_hidden_layers"),
        n_heads: size(golden, "/num_attention_heads"),
        intermediate_size: width * size(golden, "/mlp_ratio"),
        activation: ActivationName::Gelu,
        stem_norm: true,
        pre_norm: false,
        pooling: Pooling::Attention,
        proj: true,
        embed: size(golden, "/embed_dim"),
        eps: number(golden, "/layer_norm_eps"),
    }
}

/// The golden's name of our parameter.
fn theirs(name: &str) -> String {
    name.replace("pool.attention.", "pool.")
}

fn ours(name: &str) -> String {
    match name.strip_prefix("pool.") {
        Some(rest) if rest != "probe" && !rest.starts_with("grid.") => {
            format!("pool.attention.{rest}")
        }
        _ => name.to_string(),
    }
}

/// The golden keeps positions as `[1, N, E]`, we as `[N, E]`.
fn renamed(golden: &Golden) -> checkpoint::Tensors {
    let mut tensors = load::renamed(weights(golden), ours);
    let position = tensors.tensors.remove("position").expect("the golden has positions");
    let (shape, values) = position.into_parts();
    let flat = checkpoint::Tensor::new(shape[1..].to_vec(), values).expect("same values");
    tensors.tensors.insert("position".into(), flat);
    tensors
}

#[test]
fn nano_vit() {
    let golden = Golden::open("nano_vit");
    let vit = Vit::init(&config(&golden), &mut Init::new(1, &device().autodiff()));
    let vit = load::load(vit, &renamed(&golden)).expect("the names fit");
    let images: Tensor<4> = input(&golden, "pixel_values");
    let loss = |vit: &Vit| (vit.embed(images.clone()) - input(&golden, "target")).square().mean();

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, Features(x): Features| report.check(name, &x.dims(), &read(x));
    check("blocks.0", vit.encode_before(images.clone(), &[1]));
    check("blocks.1", vit.encode_before(images.clone(), &[0]));
    check("norm", vit.encode(images.clone()));
    let embedding = vit.embed(images.clone());
    report.check("embedding", &embedding.dims(), &read(embedding));
    report.check("loss", &[1], &read(loss(&vit)));
    report.finish();
    assert_same_gradients(&golden, &vit, loss(&vit), theirs);
    assert_losses(&curve(vit, loss), &golden.losses(), CURVE);
}
