//! `goldens/vit`: CLIP's vision tower at odd sizes.

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_nn::params::{self, read, set_trainable};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, CLIP_VISION};
use sensorium_testkit::{Golden, Report, assert_losses, assert_tensor};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, input, number, patches, size, weights,
};

/// The golden's class token is not projected, so ours is projected by the identity.
fn model(golden: &Golden) -> Vit {
    let [width, layers] = ["/hidden_size", "/num_hidden_layers"].map(|path| size(golden, path));
    let [image, patch] = ["/image_size", "/patch_size"].map(|path| size(golden, path));
    let config = VitConfig {
        n_heads: size(golden, "/num_attention_heads"),
        intermediate_size: size(golden, "/intermediate_size"),
        eps: number(golden, "/layer_norm_eps"),
        ..VitConfig::clip(image, patch, width, layers, width)
    };
    let vit = Vit::init(&config, &mut Init::new(1, &device().autodiff()));
    let vit = names::load(vit, &weights(golden), &CLIP_VISION).expect("the names fit");
    let identity = params::update(vit, |name, _, data| {
        for (i, value) in data.iter_mut().enumerate().filter(|_| name == "proj.weight") {
            *value = if i % (width + 1) == 0 { 1.0 } else { 0.0 };
        }
        name == "proj.weight"
    });
    set_trainable(identity, |name| name != "proj.weight")
}

#[test]
fn vit() {
    let golden = Golden::open("vit");
    let (vit, images): (Vit, Tensor<4>) = (model(&golden), input(&golden, "pixel_values"));
    let outputs = golden.outputs();
    for skip in 0..=3 {
        let name = match skip {
            3 => "vision_model.pre_layrnorm".to_string(),
            _ => format!("vision_model.encoder.layers.{}", 2 - skip),
        };
        let x = vit.encode_before(images.clone(), &[skip]).0;
        assert_tensor(&name, &x.dims(), &read(x), &patches(&outputs[&name]), STACK);
    }

    let loss = |vit: &Vit| (vit.embed(images.clone()) - input(&golden, "target")).square().mean();
    let mut report = Report::new(&golden, STACK);
    let pooled = vit.embed(images.clone());
    report.check("pooler_output", &pooled.dims(), &read(pooled));
    report.check("loss", &[1], &read(loss(&vit)));
    report.finish();
    assert_same_gradients(&golden, &vit, loss(&vit), |name| CLIP_VISION.to_hf(name));
    assert_losses(&curve(vit, loss), &golden.losses(), CURVE);
}
