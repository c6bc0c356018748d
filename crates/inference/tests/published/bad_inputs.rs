//! Each way in which a directory can be wrong is a typed error that says what to do.

use std::fs;
use std::path::Path;

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_inference::Error as Running;
use sensorium_pretrained::{Directory, Error, Plan, plan};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden;
use crate::open::{model, pretrained};

/// A copy of a golden to damage.
pub fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_into(&golden(name), dir.path());
    dir
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_into(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[track_caller]
pub fn fails(dir: &Path, words: &[&str]) -> Error {
    let error = pretrained(dir).expect_err("it is damaged");
    let text = error.to_string();
    assert!(text.contains("\nhint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    error
}

pub fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

pub fn edit_weights(dir: &Path, change: impl FnOnce(&mut Tensors)) {
    let path = dir.join("model.safetensors");
    // How many batches a norm has seen is no f32.
    let counts = |name: &str| name.ends_with("num_batches_tracked");
    let mut tensors = safetensors::load_but(&path, counts).unwrap();
    change(&mut tensors);
    fs::write(path, safetensors::write(&tensors, Dtype::F32).unwrap()).unwrap();
}

/// Sets what `path` points to in a file of settings, whether it is there or not.
pub fn put(dir: &Path, file: &str, path: &str, value: Value) {
    edit(dir, file, |settings| {
        let (at, key) = path.rsplit_once('/').unwrap();
        settings.pointer_mut(at).unwrap_or_else(|| panic!("{path}"))[key] = value;
    });
}

/// Calls tensors as transformers has them in memory: what is beside the language model lies in `model` too.
pub fn as_in_memory(dir: &Path) {
    edit_weights(dir, |all| {
        let today = |name: String| match name.strip_prefix("language_model.") {
            Some("lm_head.weight") => "lm_head.weight".to_owned(),
            Some(name) => format!("model.language_model.{}", name.trim_start_matches("model.")),
            None => format!("model.{name}"),
        };
        let tensors = std::mem::take(&mut all.tensors).into_iter();
        all.tensors = tensors.map(|(name, tensor)| (today(name), tensor)).collect();
    });
}

/// What is wanted of a golden, which has a place for each of its tensors and no other.
#[track_caller]
pub fn placed(name: &str) -> Plan {
    let directory = Directory::open(&golden(name)).unwrap();
    let plan = plan(&directory).unwrap();
    let stored = directory.shapes().unwrap();
    assert_eq!(plan.tensors.len(), stored.len(), "{name}");
    for tensor in &plan.tensors {
        assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
    }
    plan
}

/// A golden without the tensor `key`, and one that calls it `renamed`, fail by naming both.
#[track_caller]
pub fn lacks_or_renames(name: &str, key: &str, renamed: &str, fails: impl Fn(&Path, &[&str])) {
    let dir = copy(name);
    edit_weights(dir.path(), |all| drop(all.tensors.remove(key)));
    fails(dir.path(), &["1 missing, 0 unexpected", key]);

    let dir = copy(name);
    edit_weights(dir.path(), |all| {
        let tensor = all.tensors.remove(key).unwrap();
        all.tensors.insert(renamed.to_owned(), tensor);
    });
    fails(dir.path(), &["1 missing, 1 unexpected", key, renamed]);
}

#[test]
fn files_that_are_missing() {
    let empty = tempfile::tempdir().unwrap();
    fails(empty.path(), &["config.json", "an empty directory"]);
    let hints = [
        ("model.safetensors", "download the weights"),
        ("tokenizer.json", "save_pretrained"),
        ("preprocessor_config.json", "download it"),
        ("config.json", "pass the directory"),
    ];
    for (file, hint) in hints {
        let dir = copy("published_siglip");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file, hint]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
}

#[test]
fn pickles_are_never_loaded() {
    let dir = copy("published_clip");
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), b"PK\x03\x04 anything").unwrap();
    fails(dir.path(), &["pytorch_model.bin", "pickles", "save_pretrained"]);
    // Nor under another name.
    fs::rename(dir.path().join("pytorch_model.bin"), dir.path().join("model.safetensors")).unwrap();
    fails(dir.path(), &["zip archive", "convert once"]);
}

#[test]
fn shards_and_their_index() {
    const INDEX: &str = "model.safetensors.index.json";
    const SHARD: &str = "model-00002-of-00003.safetensors";
    let dir = copy("published_clip_sharded");
    fs::remove_file(dir.path().join(SHARD)).unwrap();
    fails(dir.path(), &[SHARD, "download it"]);

    let dir = copy("published_clip_sharded");
    edit(dir.path(), INDEX, |index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        let other = json!("model-00001-of-00003.safetensors");
        let moved = map.values_mut().find(|shard| *shard == SHARD).unwrap();
        *moved = other;
    });
    fails(dir.path(), &[INDEX, "index is damaged"]);

    for shard in ["../model.safetensors", "/etc/passwd", "model.bin", ""] {
        let dir = copy("published_clip_sharded");
        edit(dir.path(), INDEX, |index| {
            let map = index["weight_map"].as_object_mut().unwrap();
            *map.values_mut().next().unwrap() = json!(shard);
        });
        fails(dir.path(), &[INDEX, "beside it"]);
    }

    let dir = copy("published_clip_sharded");
    edit(dir.path(), INDEX, |index| *index = json!({"weight_map": [1]}));
    fails(dir.path(), &["weight_map", "an object"]);
}

#[test]
fn tensors_that_do_not_fit() {
    let key = "vision_model.post_layernorm.weight";
    let dir = copy("published_siglip");
    edit_weights(dir.path(), |all| drop(all.tensors.remove(key)));
    let error = fails(dir.path(), &["1 missing, 0 unexpected", key]);
    assert!(matches!(error, Error::Weights(checkpoint::Error::Mismatch(_))), "{error:?}");

    let dir = copy("published_siglip");
    edit_weights(dir.path(), |all| {
        let tensor = all.tensors[key].clone();
        all.tensors.insert("vision_model.extra".into(), tensor);
    });
    fails(dir.path(), &["0 missing, 1 unexpected", "vision_model.extra"]);

    let dir = copy("published_siglip");
    edit_weights(dir.path(), |all| {
        let values = all.tensors[key].data().to_vec();
        let shape = vec![1, values.len()];
        all.tensors.insert(key.into(), Tensor::new(shape, values).unwrap());
    });
    fails(dir.path(), &["1 of another shape", key]);

    let packed = "vision_model.head.attention.in_proj_weight";
    let dir = copy("published_siglip");
    edit_weights(dir.path(), |all| {
        let (shape, mut values) = all.tensors.remove(packed).unwrap().into_parts();
        values.truncate(values.len() - shape[1]);
        let shape = vec![shape[0] - 1, shape[1]];
        all.tensors.insert(packed.into(), Tensor::new(shape, values).unwrap());
    });
    fails(dir.path(), &["1 of another shape", packed]);
}

#[test]
fn only_what_is_ignorable_may_be_of_another_dtype() {
    let dir = copy("published_clip");
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    assert!(header.contains("position_ids\":{\"dtype\":\"I64\""), "{header}");
    // The same bytes under a name that carries weights.
    let header = header
        .replace("vision_model.embeddings.position_ids", "vision_model.embeddings.position_idz");
    let renamed = [&bytes[..8], header.as_bytes(), &bytes[8 + length..]].concat();
    fs::write(&path, renamed).unwrap();
    fails(dir.path(), &["position_idz"]);
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 23] = [
        (
            "published_clip",
            "/model_type",
            json!("blip"),
            "clip, open_clip, siglip, siglip2, dinov2",
        ),
        ("published_clip", "/model_type", json!(3), "clip, open_clip, siglip, siglip2, dinov2"),
        ("published_clip", "/vision_config/hidden_size", json!(1u64 << 40), "hidden_size"),
        ("published_clip", "/vision_config/hidden_size", json!(1 << 23), "another shape"),
        ("published_clip", "/vision_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("published_clip", "/vision_config/num_attention_heads", json!(5), "a divisor of"),
        ("published_clip", "/vision_config/image_size", json!([26, 26]), "image_size"),
        ("published_clip", "/vision_config/image_size", json!(28), "image_size of config.json"),
        ("published_clip", "/vision_config/hidden_act", json!("relu"), "quick_gelu"),
        ("published_clip", "/text_config", json!([]), "an object"),
        ("published_clip", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("published_siglip", "/text_config/projection_size", json!(16), "projection_size"),
        ("published_siglip", "/vision_config/patch_size", json!(0), "patch_size"),
        ("published_dinov2", "/use_swiglu_ffn", json!(true), "weights_in"),
        ("published_dinov2_swiglu", "/use_swiglu_ffn", json!("yes"), "true or false"),
        (
            "published_dinov3_gated",
            "/hidden_act",
            json!("gelu"),
            "silu where use_gated_mlp is true",
        ),
        ("published_dinov3", "/num_attention_heads", json!(4), "a multiple of 4 channels"),
        ("published_dinov3", "/key_bias", json!(true), "k_proj.bias"),
        ("published_dinov3_convnext", "/depths", json!([1, 2]), "3 numbers, as hidden_sizes"),
        ("published_dinov3_convnext", "/depths", json!([1, 2, 1 << 20]), "1 to 512"),
        ("published_dinov3_convnext", "/depths", json!([1, 3, 1]), "stages.1.layers.2"),
        ("published_dinov3_convnext", "/hidden_sizes", json!([]), "1 to 8 numbers"),
        ("published_dinov3_convnext", "/hidden_act", json!("relu"), "quick_gelu"),
    ];
    for (name, path, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), "config.json", |config| {
            *config.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        });
        fails(dir.path(), &[words]);
    }
    let resnet = [
        ("layers", json!([2, 1, 2]), "four numbers"),
        ("layers", json!([2, 1, 2, 0]), "four numbers"),
        ("layers", json!([2, 1, 2, 2]), "layer4.1"),
        ("width", json!(5), "an even number"),
        ("head_width", json!(60), "a divisor"),
        ("width", json!(8), "another shape"),
        ("image_size", json!(65), "a multiple of 32"),
        ("patch_size", json!(16), "nothing"),
        ("timm_model_name", json!("convnext"), "no such key"),
    ];
    for (key, value, words) in resnet {
        let dir = copy("published_clip_resnet");
        edit(dir.path(), "open_clip_config.json", |config| {
            config["model_cfg"]["vision_cfg"][key] = value;
        });
        fails(dir.path(), &[words]);
    }
    let dir = copy("published_clip");
    fs::write(dir.path().join("config.json"), b"{").unwrap();
    fails(dir.path(), &["config.json", "expected JSON"]);
}

#[test]
fn image_processors_and_tokenizers_that_do_not_fit() {
    let dir = copy("published_clip");
    edit(dir.path(), "preprocessor_config.json", |p| p["image_std"] = json!([0, 1, 1]));
    fails(dir.path(), &["preprocessor_config.json", "image_std"]);
    let dir = copy("published_clip");
    edit(dir.path(), "preprocessor_config.json", |p| p["crop_size"] = json!(24));
    fails(dir.path(), &["26x26", "24x24"]);
    let dir = copy("published_dinov2");
    edit(dir.path(), "preprocessor_config.json", |p| p["crop_size"] = json!(4096));
    fails(dir.path(), &["at most 1536 pixels", "4096x4096"]);
    let dir = copy("published_clip");
    fs::write(dir.path().join("tokenizer.json"), b"{}").unwrap();
    fails(dir.path(), &["tokenizer.json"]);

    // A tokenizer of another model: its ids have no rows.
    let dir = copy("published_siglip");
    fs::copy(golden("published_clip").join("tokenizer.json"), dir.path().join("tokenizer.json"))
        .unwrap();
    let model = model(dir.path(), None).unwrap();
    let error = model.embedding().unwrap().embed_texts(&["a cat".to_owned()]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::Token { .. })), "{error}");
}
