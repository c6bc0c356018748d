//! Published checkpoints through the command, in the golden directories.

use serde_json::Value;

use crate::fixture::{dir, fails, file, gguf, model, png, succeeds};

fn golden(name: &str) -> String {
    format!("{}/../../goldens/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&[args, &["--json"]].concat())).unwrap()
}

#[test]
fn scores_of_all_pairs() {
    let picture = file(&dir("score"), "scene.png", &png());
    let args =
        ["score", "--image", &picture, "--text", "a cat", "--text", "a dog", "--image", &picture];
    for (choice, pairwise) in [
        (golden("published_clip"), false),
        (golden("published_siglip"), true),
        (model().into(), true),
    ] {
        for precision in ["auto", "int8"] {
            let found =
                json(&[&args[..], &["--model", &choice, "--precision", precision]].concat());
            let pairs = found["pairs"].as_array().unwrap();
            assert_eq!(pairs.len(), 4, "{found}");
            let number = |i: usize, key: &str| pairs[i][key].as_f64().unwrap();
            assert!((-1.0..=1.0).contains(&number(0, "similarity")), "{found}");
            let sum = number(0, "probability") + number(1, "probability");
            let sigmoid = 1.0 / (1.0 + (-number(0, "logit")).exp());
            match pairwise {
                true => assert!((number(0, "probability") - sigmoid).abs() < 1e-5, "{found}"),
                false => assert!((sum - 1.0).abs() < 1e-5, "{found}"),
            }
        }
    }
    let table = succeeds(&[&args[..], &["--model", &golden("published_clip")]].concat());
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn labels_and_vectors() {
    let picture = file(&dir("published"), "scene.png", &png());
    let siglip = golden("published_siglip");
    let found = json(&["classify", &picture, "--labels", "cat,dog,the photo", "--model", &siglip]);
    let labels = found["labels"].as_array().unwrap();
    let sum: f64 = labels.iter().map(|label| label["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5 && labels[0]["sigmoid"].as_f64().unwrap() > 0.0, "{found}");
    let clip = golden("published_open_clip");
    let args = ["classify", &picture, "--labels", "cat,dog", "--model", &clip];
    let found = json(&[&args[..], &["--template", "a {}"]].concat());
    assert!(found["labels"][0].get("sigmoid").is_none(), "{found}");
    fails(1, &[&args[..], &["--template", "a photo"]].concat());

    let dinov2 = golden("published_dinov2");
    let found = json(&["embed", "--image", &picture, "--model", &dinov2]);
    assert_eq!(found["dim"], 36);
    let error = fails(1, &["embed", "--text", "a cat", "--model", &dinov2]);
    assert!(error.contains("reads pictures alone"), "{error}");
    fails(1, &["classify", &picture, "--labels", "a,b", "--model", &dinov2]);
}

#[test]
fn inspections() {
    let found = json(&["inspect", &golden("published_clip_sharded")]);
    assert_eq!(
        (&found["family"], &found["weights"]["missing"]),
        (&"clip".into(), &Value::Array(vec![]))
    );
    assert!(found["weights"]["dtypes"]["BF16"].as_u64().unwrap() > 50, "{found}");
    let [f32, int8] = ["f32", "int8"].map(|name| found["memory"][name].as_u64().unwrap());
    assert!(f32 == 4 * found["parameters"].as_u64().unwrap() && int8 < f32, "{found}");
    let table = succeeds(&["inspect", &golden("published_clip")]);
    assert!(table.contains("ignored    text_model.embeddings.position_ids"), "{table}");
    assert!(table.contains("every tensor of the model is there"), "{table}");

    let half = dir("inspect");
    let config = std::fs::read(format!("{}/config.json", golden("published_siglip"))).unwrap();
    file(&half, "config.json", &config);
    let path = half.to_str().unwrap();
    let found = json(&["inspect", path, "--config-only"]);
    assert!(found.get("weights").is_none() && found["parameters"].as_u64().unwrap() > 1000);
    fails(1, &["inspect", path]);
    fails(1, &["inspect", "no/such/directory"]);
}

#[test]
fn inspections_of_sounds_files_and_what_is_unknown() {
    let found = json(&["inspect", &golden("whisper")]);
    let parts: Vec<&str> = found["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["part"].as_str().unwrap())
        .collect();
    assert_eq!((&found["family"], parts), (&"whisper".into(), vec!["encoder", "decoder"]));
    assert_eq!(found["weights"]["missing"], Value::Array(vec![]), "{found}");
    assert_eq!(found["weights"]["left_over"], Value::Array(vec![]), "{found}");

    let found = json(&["inspect", gguf()]);
    assert_eq!(found["weights"]["missing"], Value::Array(vec![]), "{found}");
    let [auto, f32] = ["auto", "f32"].map(|name| found["memory"][name].as_u64().unwrap());
    assert!(auto < f32 && f32 == 4 * found["parameters"].as_u64().unwrap(), "{found}");
    let table = succeeds(&["inspect", gguf()]);
    assert!(table.contains("every tensor of the model is there"), "{table}");
    assert!(json(&["inspect", gguf(), "--config-only"]).get("weights").is_none());

    let foreign = dir("foreign");
    file(&foreign, "config.json", br#"{"model_type": "mamba"}"#);
    let error = fails(1, &["inspect", foreign.to_str().unwrap()]);
    for known in ["clip", "whisper", "llama", "gpt2"] {
        assert!(error.contains(known), "{error}");
    }
}

#[test]
fn conversions_there_and_back() {
    let dir = dir("convert");
    let [from, to] = ["tiny", "tiny.gguf"].map(|name| dir.join(name).to_str().unwrap().to_owned());
    let done = json(&["convert", gguf(), &from]);
    assert_eq!((&done["family"], &done["path"]), (&"qwen3".into(), &from.as_str().into()));
    let line = succeeds(&["convert", &from, &to, "--quantize", "q8_0"]);
    assert!(line.contains("Q8_0") && line.contains("parameters"), "{line}");
    let run = ["--prompt", "the hat", "--precision", "f32", "--max-tokens", "4"];
    let [a, b, c] = [gguf(), &from, &to].map(|model| json(&[&["run", model][..], &run].concat()));
    assert_eq!((&a["text"], &a["token_ids"]), (&b["text"], &b["token_ids"]));
    assert_eq!(a["prompt_token_ids"], c["prompt_token_ids"]);
    let error = fails(1, &["convert", gguf(), &from]);
    assert!(error.contains("expected nothing there"), "{error}");
    fails(2, &["convert", gguf(), &from, "--quantize", "q9"]);
}
