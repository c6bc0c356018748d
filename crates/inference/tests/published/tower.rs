//! One tower of CLIP or SigLIP alone, against transformers (`reference/towers.py`).

use std::path::Path;

use sensorium_media::Picture;
use sensorium_testkit::assert_close;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails};
use crate::golden;
use crate::open::model;

/// Rows of unit length; transformers leaves them as they come.
fn unit(rows: &Value) -> Vec<Vec<f32>> {
    let rows: Vec<Vec<f32>> = serde_json::from_value(rows.clone()).unwrap();
    let unit = |row: Vec<f32>| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / length).collect()
    };
    rows.into_iter().map(unit).collect()
}

fn pictures(names: &Value) -> Vec<Picture> {
    let names: Vec<String> = serde_json::from_value(names.clone()).unwrap_or_default();
    let read = |name: &String| Picture::read(&golden("published_images").join(name)).unwrap();
    names.iter().map(read).collect()
}

#[test]
fn vectors_are_those_of_transformers_and_the_other_tower_is_missed() {
    for name in ["clip_vision", "clip_vision_projection", "siglip_vision"].into_iter().chain([
        "clip_text",
        "clip_text_projection",
        "siglip_text",
    ]) {
        let folder = golden("towers").join(name);
        let expected = std::fs::read(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let model = model(&folder, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tower = model.embedding().unwrap();
        let pictures = pictures(&expected["pictures"]);
        let (rows, error) = if pictures.is_empty() {
            let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).unwrap();
            let error = tower.embed_pictures(&[]).unwrap_err().to_string();
            assert!(error.contains("without its vision tower"), "{error}");
            (tower.embed_texts(&texts).unwrap(), error)
        } else {
            let error = tower.embed_texts(&[]).unwrap_err().to_string();
            assert!(error.contains("without its text tower"), "{error}");
            (tower.embed_pictures(&pictures).unwrap(), error)
        };
        assert!(error.contains("\nhint: "), "{error}");
        let want = unit(&expected["vectors"]);
        assert_eq!(rows.len(), want.len());
        assert_close(name, &rows.concat(), &want.concat(), 1e-5);
        let error = model.score().err().unwrap().to_string();
        assert!(error.contains("one tower"), "{error}");
    }
}

#[test]
fn a_whole_models_directory_with_one_towers_weights_is_that_tower() {
    let embed = |dir: &Path, sees: bool| {
        let model = model(dir, None).unwrap();
        let tower = model.embedding().unwrap();
        match sees {
            true => tower.embed_pictures(&pictures(&json!(["rings.png"]))).unwrap(),
            false => tower.embed_texts(&["a photo of a cat".to_owned()]).unwrap(),
        }
    };
    for (name, key, sees) in [
        ("clip_vision_projection", "vision_config", true),
        ("clip_text_projection", "text_config", false),
    ] {
        let dir = copy(&format!("towers/{name}"));
        edit(dir.path(), "config.json", |all| {
            *all = json!({"model_type": "clip", "projection_dim": 12, key: all.clone()});
        });
        assert_eq!(embed(dir.path(), sees), embed(&golden("towers").join(name), sees), "{name}");
    }
    for (sees, other) in [(true, "text"), (false, "vi")] {
        let dir = copy("published_siglip");
        edit_weights(dir.path(), |all| {
            all.tensors.retain(|name, _| !name.starts_with(other) && !name.starts_with("logit"));
        });
        assert_eq!(embed(dir.path(), sees), embed(&golden("published_siglip"), sees), "{sees}");
    }
}

#[test]
fn settings_that_no_tower_has_are_errors() {
    let changed = |name: &str, change: &dyn Fn(&mut Value), words: &[&str]| {
        let dir = copy(&format!("towers/{name}"));
        edit(dir.path(), "config.json", |all| change(all));
        fails(dir.path(), words);
    };
    changed("clip_vision", &|all| all["hidden_size"] = json!(17), &["num_attention_heads", "17"]);
    changed("clip_text_projection", &|all| all["projection_dim"] = json!(9), &["text_projection"]);
    changed("siglip_vision", &|all| all["vision_use_head"] = json!(false), &["vision_use_head"]);
    changed("siglip_text", &|all| all["model_type"] = json!("siglip_tex_model"), &["model_type"]);
}
