//! LLaVA with towers of several kinds: what can be wrong with its directory. Its answers are compared in
//! [`seeing`](crate::seeing).

use std::path::Path;

use sensorium_checkpoint::Tensor;

use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames, placed};
use crate::open::vision_language;

#[track_caller]
pub fn fails(dir: &Path, words: &[&str]) {
    let Err(error) = vision_language(dir, None) else { panic!("it is damaged: {words:?}") };
    let text = error.to_string();
    assert!(text.contains("\nhint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn every_tensor_has_its_place() {
    for name in
        ["seeing_llava", "seeing_llava_full", "seeing_llava_siglip", "seeing_llava_headless"]
    {
        placed(name);
    }
}

/// As files of before transformers 4.52 have it, since then, and as it is in memory.
#[test]
fn a_tower_of_siglip_in_every_layout_of_names() {
    let layouts: [&[[&str; 2]]; 3] = [
        &[["vision_tower.", "vision_tower.vision_model."]],
        &[
            ["vision_tower.", "model.vision_tower.vision_model."],
            ["multi_modal_projector.", "model.multi_modal_projector."],
            ["language_model.model.", "model.language_model."],
            ["language_model.lm_head.", "lm_head."],
        ],
        &[
            ["vision_tower.", "model.vision_tower."],
            ["multi_modal_projector.", "model.multi_modal_projector."],
            ["language_model.model.", "model.language_model."],
            ["language_model.lm_head.", "lm_head."],
        ],
    ];
    for layout in layouts {
        let dir = copy("seeing_llava_siglip");
        edit_weights(dir.path(), |all| {
            let renamed = std::mem::take(&mut all.tensors).into_iter().map(|(name, tensor)| {
                let found = layout.iter().find(|[from, _]| name.starts_with(from));
                (found.map_or(name.clone(), |[from, to]| name.replacen(from, to, 1)), tensor)
            });
            all.tensors = renamed.collect();
        });
        vision_language(dir.path(), None).unwrap_or_else(|error| panic!("{layout:?}: {error}"));
    }
}

#[test]
fn keys_that_are_missing_renamed_or_left_over_are_named() {
    let keys = [
        "vision_tower.embeddings.patch_embedding.bias",
        "vision_tower.encoder.layers.2.mlp.fc1.weight",
        "vision_tower.head.attention.in_proj_bias",
        "multi_modal_projector.linear_2.bias",
        "language_model.model.layers.1.self_attn.q_proj.bias",
    ];
    for key in keys {
        lacks_or_renames("seeing_llava_siglip", key, &key.replacen("_", "x", 1), fails);
    }
    // A head that the settings say is not there.
    let dir = copy("seeing_llava_headless");
    edit_weights(dir.path(), |all| {
        let probe = Tensor::new(vec![1, 1, 24], vec![0.0; 24]).unwrap();
        all.tensors.insert("vision_tower.head.probe".into(), probe);
    });
    fails(dir.path(), &["0 missing, 1 unexpected", "vision_tower.head.probe"]);
}

#[test]
fn settings_that_cannot_be() {
    const STRATEGY: &str = "vision_feature_select_strategy";
    let cases: [(&str, &str, Value, &str); 13] = [
        ("seeing_llava_siglip", STRATEGY, json!("default"), "drops a patch"),
        ("seeing_llava_siglip", STRATEGY, json!(null), "drops a patch"),
        ("seeing_llava_full", STRATEGY, json!("cls"), "\"default\" or \"full\""),
        ("seeing_llava_full", STRATEGY, json!(1), STRATEGY),
        ("seeing_llava_siglip", "vision_feature_layer", json!(-5), "a level of 3 blocks"),
        ("seeing_llava_siglip", "vision_feature_layer", json!([]), "a level of 3 blocks"),
        ("seeing_llava_siglip", "vision_feature_layer", json!([-2, -1]), "another shape"),
        ("seeing_llava_siglip", "/model_type", json!("vit"), "siglip_vision_model or dinov2"),
        ("seeing_llava_siglip", "/model_type", json!("clip_vision_model"), "class_embedding"),
        ("seeing_llava_siglip", "/vision_use_head", json!(false), "11 unexpected"),
        ("seeing_llava_headless", "/vision_use_head", json!("no"), "true or false"),
        ("seeing_llava_siglip", "/image_size", json!(24), "image_size of config.json"),
        ("seeing_llava_siglip", "/hidden_size", json!(3 << 20), "another shape"),
    ];
    for (name, key, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), "config.json", |config| match key.strip_prefix('/') {
            Some(key) => config["vision_config"][key] = value.clone(),
            None => config[key] = value.clone(),
        });
        fails(dir.path(), &[words]);
    }
}
