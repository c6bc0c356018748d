//! `goldens/llava`: a tower read one block before its end, a two-layer projector, a decoder; three
//! curves for what is trained.

use sensorium_backbone::BackboneConfig;
use sensorium_checkpoint as checkpoint;
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{FeatureSelect, VitConfig};
use sensorium_flow::{Input, Project};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{Modality, Slot};
use sensorium_model::llava::{Llava, LlavaConfig, TowerConfig};
use sensorium_model::prompt::Batch;
use sensorium_nn::params::{self, read, set_trainable};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, LLAVA, LLAVA_LEGACY, LLAVA_TOWER};
use sensorium_testkit::{Golden, Report, assert_losses, assert_tensor};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, ids, input, labels, number, patches, size,
    weights,
};

fn config(golden: &Golden) -> LlavaConfig {
    let vision = |key: &str| size(golden, &format!("/vision_config/{key}"));
    let backbone = crate::llama::config(golden, "/text_config");
    let image = VitConfig {
        n_heads: vision("num_attention_heads"),
        intermediate_size: vision("intermediate_size"),
        eps: number(golden, "/vision_config/layer_norm_eps"),
        ..VitConfig::clip(
            vision("image_size"),
            vision("patch_size"),
            vision("hidden_size"),
            vision("num_hidden_layers"),
            vision("projection_dim"),
        )
    };
    let (features, width) = (image.hidden_size, backbone.hidden_size);
    let projector = ProjectorConfig::Mlp {
        features,
        shuffle: 1,
        norm: None,
        hidden: width,
        width,
        places: None,
        stack: 1,
        bias: true,
    };
    let features = FeatureSelect { layers: vec![1], class: false };
    let encoder = EncoderConfig::Vit { vit: image, features };
    let towers = vec![TowerConfig { encoder, projector }];
    LlavaConfig { towers, backbone: BackboneConfig::Llama(backbone), prefix: false }
}

const ENCODER: &str = "towers.0.encoder.";

/// What lies behind the feature layer has no part in the loss.
fn is_used(name: &str) -> bool {
    !["blocks.2.", "norm.", "proj."]
        .iter()
        .any(|part| name.strip_prefix(ENCODER).is_some_and(|name| name.starts_with(part)))
}

fn model(golden: &Golden) -> Llava {
    let llava = Llava::init(&config(golden), &mut Init::new(1, &device().autodiff()));
    let llava = names::load(llava, &weights(golden), &LLAVA_LEGACY).expect("the names fit");
    set_trainable(llava, is_used)
}

fn batch(golden: &Golden) -> Batch {
    let (ids, shape) = ids(golden, "input_ids");
    let marker = size(golden, "/image_token_index") as u32;
    let first = |row: &[u32]| row.iter().position(|&id| id == marker).expect("a picture a row");
    let len = config(golden).towers[0].tokens();
    let slot = |(i, row)| Slot { at: i * shape[1] + first(row), len, modality: Modality::Image };
    let slots = ids.chunks(shape[1]).enumerate().map(slot).collect();
    let spans = vec![Span::None; ids.len()].into();
    Batch { ids, labels: labels(golden), spans, positions: None, slots, shape }
}

#[test]
fn llava() {
    let golden = Golden::open("llava");
    let (llava, batch) = (model(&golden), batch(&golden));
    let images: Tensor<4> = input(&golden, "pixel_values");
    let encode = |llava: &Llava| llava.encode(Input::Image(images.clone()));
    let loss = |llava: &Llava| llava.loss(&batch, &[encode(llava)], 0.0);

    let outputs = golden.outputs();
    let name = "vision_tower.vision_model.encoder.layers.1";
    let features = encode(&llava).features.0;
    assert_tensor(name, &features.dims(), &read(features), &patches(&outputs[name]), STACK);

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("multi_modal_projector", llava.towers[0].projector.project(encode(&llava).features).0);
    let hidden = llava.forward(&batch, &[encode(&llava)]);
    check("language_model.model.norm", hidden.0.clone());
    check("logits", llava.logits(hidden));
    report.check("loss", &[1], &read(loss(&llava)));
    report.finish();

    assert_same_gradients(&golden, &llava, loss(&llava), |name| LLAVA_LEGACY.to_hf(name));
    assert_losses(&curve(llava.clone(), loss), &golden.losses(), CURVE);
    let projector = set_trainable(llava.clone(), |name| name.starts_with("towers.0.projector."));
    assert_losses(&curve(projector, loss), &golden.curve("stage1"), CURVE);
    let answers = set_trainable(llava, |name| !name.starts_with(ENCODER));
    assert_losses(&curve(answers, loss), &golden.curve("stage2"), CURVE);
}

/// Every parameter in each of the three published layouts, there and back.
#[test]
fn every_layout_makes_the_round_trip() {
    let golden = Golden::open("llava");
    let llava = model(&golden);
    let before = params::values(&llava);
    for layout in [LLAVA, LLAVA_TOWER, LLAVA_LEGACY] {
        let saved = names::save(&llava, &layout).expect("it can be written");
        let fresh = Llava::init(&config(&golden), &mut Init::new(2, &device().autodiff()));
        let loaded = names::load(fresh, &saved, &layout).expect("its own names");
        let mut after = params::values(&loaded);
        let unused = "towers.0.encoder.proj.weight";
        after.insert(unused.into(), before[unused].clone());
        assert_eq!(after, before);

        let mut removed = saved.clone();
        let (key, tensor) = removed.tensors.pop_first().expect("there are tensors");
        let message = fails(&llava, &removed, &layout);
        assert!(message.contains("1 missing") && message.contains(&key), "{message}");
        removed.tensors.insert(format!("{key}.renamed"), tensor);
        let message = fails(&llava, &removed, &layout);
        assert!(message.contains(&format!("{key}.renamed")), "{message}");
    }
    let legacy = names::save(&llava, &LLAVA_LEGACY).expect("it can be written");
    assert_eq!(legacy.tensors, weights(&golden).tensors);
}

fn fails(llava: &Llava, tensors: &checkpoint::Tensors, layout: &names::Layout) -> String {
    names::load(llava.clone(), tensors, layout).expect_err("the keys do not fit").to_string()
}
