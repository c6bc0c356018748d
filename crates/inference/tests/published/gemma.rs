//! Gemmas that see (`reference/seeing_gemma.py`): Gemma 3, PaliGemma and PaliGemma 2.

use sensorium_checkpoint::Tensor;
use sensorium_inference::Error;
use sensorium_media::{Message, Role};

use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames, placed, put};
use crate::golden;
use crate::llava::fails;
use crate::open::{answer, vision_language};
use crate::tiles::compare;

const ALL: [&str; 3] = ["seeing_gemma3", "seeing_paligemma", "seeing_paligemma2"];

/// A picture's tokens see each other both ways, in layers that see the last tokens and in those that see all.
#[test]
fn gemma3_answers_as_transformers_does() {
    compare("seeing_gemma3");
}

/// A prompt is read both ways, whatever its length.
#[test]
fn paligemma_answers_as_transformers_does() {
    compare("seeing_paligemma");
    compare("seeing_paligemma2");
}

#[test]
fn paligemma_reads_no_text_without_a_picture() {
    let vlm = vision_language(&golden("seeing_paligemma"), None).unwrap();
    let error = answer(&vlm, &[Message::text(Role::User, "what is it?")], &[], 1).unwrap_err();
    assert!(matches!(error, Error::NoPicture) && error.to_string().contains("hint: "), "{error}");
}

#[test]
fn every_tensor_has_its_place() {
    for name in ALL {
        placed(name);
    }
}

/// As files of before transformers 4.52 have it, since then, and as it is in memory; with the head that is
/// the token table once more.
#[test]
fn every_layout_of_names_is_read() {
    let inner = [
        ["multi_modal_projector.", "model.multi_modal_projector."],
        ["language_model.model.", "model.language_model."],
        ["language_model.lm_head.", "lm_head."],
    ];
    let layouts: [Vec<[&str; 2]>; 3] = [
        vec![["vision_tower.", "vision_tower.vision_model."]],
        [&[["vision_tower.", "model.vision_tower.vision_model."]][..], &inner].concat(),
        [&[["vision_tower.", "model.vision_tower."]][..], &inner].concat(),
    ];
    for (name, layout) in ["seeing_gemma3", "seeing_paligemma2"]
        .into_iter()
        .flat_map(|name| layouts.iter().map(move |layout| (name, layout)))
    {
        let dir = copy(name);
        edit_weights(dir.path(), |all| {
            let table = all.tensors["language_model.model.embed_tokens.weight"].clone();
            all.tensors.insert("language_model.lm_head.weight".into(), table);
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
    let layer = "language_model.model.layers.0";
    for (name, key) in [
        ("seeing_gemma3", "multi_modal_projector.mm_input_projection_weight".to_owned()),
        ("seeing_gemma3", "multi_modal_projector.mm_soft_emb_norm.weight".to_owned()),
        ("seeing_gemma3", format!("{layer}.self_attn.k_norm.weight")),
        ("seeing_gemma3", format!("{layer}.post_feedforward_layernorm.weight")),
        ("seeing_paligemma2", format!("{layer}.pre_feedforward_layernorm.weight")),
        ("seeing_paligemma2", "multi_modal_projector.linear.bias".to_owned()),
        ("seeing_paligemma", "vision_tower.vision_model.post_layernorm.bias".to_owned()),
    ] {
        lacks_or_renames(name, &key, &key.replacen("_", "x", 1), fails);
    }
    let dir = copy("seeing_gemma3");
    edit_weights(dir.path(), |all| {
        let key = "multi_modal_projector.mm_input_projection_weight";
        let (shape, values) = all.tensors.remove(key).unwrap().into_parts();
        let turned = Tensor::new(vec![shape[1], shape[0]], values).unwrap();
        all.tensors.insert(key.into(), turned);
    });
    fails(dir.path(), &["1 of another shape", "mm_input_projection_weight"]);
}

#[test]
fn settings_that_cannot_be() {
    let text = "/text_config";
    let cases: [(&str, String, Value, &str); 15] = [
        ("seeing_gemma3", "/mm_tokens_per_image".into(), json!(9), "a divisor of 4 patches"),
        ("seeing_gemma3", "/mm_tokens_per_image".into(), json!(16), "at most sliding_window 9"),
        ("seeing_gemma3", format!("{text}/layer_types"), json!(["full_attention"]), "3 times"),
        ("seeing_gemma3", format!("{text}/layer_types"), json!("full"), "3 times"),
        ("seeing_gemma3", format!("{text}/query_pre_attn_scalar"), json!(0), "above 0"),
        ("seeing_gemma3", format!("{text}/attn_logit_softcapping"), json!(50), "nothing"),
        ("seeing_gemma3", format!("{text}/model_type"), json!("gemma2"), "gemma3_text"),
        (
            "seeing_gemma3",
            format!("{text}/rope_parameters/sliding_attention/rope_type"),
            json!("linear"),
            "default",
        ),
        ("seeing_gemma3", "/vision_config/model_type".into(), json!("clip"), "siglip_vision_model"),
        ("seeing_gemma3", "/image_token_index".into(), json!(50_000), "places pictures take"),
        ("seeing_gemma3", "/boi_token_index".into(), json!(50_000), "places pictures take"),
        ("seeing_paligemma", "/projection_dim".into(), json!(20), "projection_dim"),
        ("seeing_paligemma", "/vision_config/vision_use_head".into(), json!(true), "false"),
        ("seeing_paligemma2", format!("{text}/attn_logit_softcapping"), json!(-1), "above 0"),
        ("seeing_paligemma2", format!("{text}/model_type"), json!("llama"), "gemma or gemma2"),
    ];
    for (name, path, value, words) in cases {
        let dir = copy(name);
        put(dir.path(), "config.json", &path, value);
        fails(dir.path(), &[words]);
    }
    let dir = copy("seeing_gemma3");
    edit(dir.path(), "processor_config.json", |settings| {
        settings["image_processor"]["do_pan_and_scan"] = json!(true);
    });
    fails(dir.path(), &["do_pan_and_scan"]);
}
