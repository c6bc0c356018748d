//! Published checkpoints through the command, in the golden directories.

use serde_json::Value;

use crate::fixture::{
    dir, fails, file, gguf, language_model, model, png, run_with, succeeds, texts,
};

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
        (golden("siglip2"), true),
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
    let siglip2 = golden("siglip2_wide");
    let found = json(&["classify", &picture, "--labels", "cat,dog", "--model", &siglip2]);
    assert!(found["labels"][1]["sigmoid"].as_f64().unwrap() > 0.0, "{found}");
    let found = json(&["embed", "--image", &picture, "--text", "a cat", "--model", &siglip2]);
    assert_eq!(found["dim"], 30, "{found}");
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
fn pictures_are_drawn_anew() {
    let [before, model] =
        ["before.png", "v1"].map(|name| golden(&format!("stable_diffusion/{name}")));
    let out = dir("redraw").join("after.png").to_string_lossy().into_owned();
    let args = ["draw", "a cat", "--image", &before, "--out", &out, "--steps", "3", "--model"];
    succeeds(&[&args[..], &[&model, "--strength", "0.6"]].concat());
    let png = std::fs::read(&out).unwrap();
    assert_eq!((&png[16..20], &png[20..24]), (&[0, 0, 0, 16][..], &[0, 0, 0, 24][..]));
    let error = fails(2, &[&args[..], &[&model, "--strength", "1.5"]].concat());
    assert!(error.contains("above 0, up to 1"), "{error}");
    let error = fails(2, &["draw", "a cat", "--strength", "0.5", "--out", &out, "--model", &model]);
    assert!(error.contains("--image"), "{error}");
    let error = fails(1, &[&args[..], &[&model, "--strength", "0.1"]].concat());
    assert!(error.contains("strength") && error.contains("hint:"), "{error}");
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

    for name in ["qwen2", "qwen2_tied", "siglip2", "siglip2_wide", "seeing_llava_siglip"] {
        let table = succeeds(&["inspect", &golden(name)]);
        assert!(table.contains("every tensor of the model is there"), "{name}: {table}");
    }

    let half = dir("inspect");
    let config = std::fs::read(format!("{}/config.json", golden("published_siglip"))).unwrap();
    file(&half, "config.json", &config);
    let path = half.to_str().unwrap();
    let found = json(&["inspect", path, "--config-only"]);
    assert!(found.get("weights").is_none() && found["parameters"].as_u64().unwrap() > 1000);
    fails(1, &["inspect", path]);
    fails(1, &["inspect", "no/such/directory"]);

    let mut odd: Value = serde_json::from_slice(&config).unwrap();
    odd["text_config"]["a_new_key"] = 1.into();
    file(&half, "config.json", odd.to_string().as_bytes());
    succeeds(&["inspect", path, "--config-only"]);
    let error = fails(1, &["inspect", path, "--config-only", "--strict"]);
    assert!(
        error.contains(
            "config.json: expected nothing that is not heeded, got text_config.a_new_key"
        ),
        "{error}"
    );
}

/// The very tokens that transformers writes, through the command.
#[test]
fn questions_about_pictures_and_videos() {
    for name in [
        "seeing_llava",
        "seeing_llava_siglip",
        "seeing_smolvlm",
        "seeing_idefics3",
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
    ] {
        let folder = golden(name);
        let cases = std::fs::read(format!("{folder}/expected.json")).unwrap();
        let cases: Value = serde_json::from_slice(&cases).unwrap();
        for case in cases.as_array().unwrap() {
            let mut args = vec!["ask".to_owned(), case["question"].as_str().unwrap().to_owned()];
            for picture in case["pictures"].as_array().unwrap() {
                let picture = picture.as_str().unwrap();
                args.extend(["--image".to_owned(), golden(&format!("published_images/{picture}"))]);
            }
            if let Some(video) = case["video"].as_str() {
                let (video, frames) =
                    (golden(&format!("video/{video}")), case["frames"].to_string());
                args.extend(["--video".into(), video, "--num-frames".into(), frames]);
            }
            args.extend(["--model", &folder, "--max-tokens", "16"].map(str::to_owned));
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let found = json(&[&args[..], &["--logprobs", "2", "--logits"]].concat());
            assert_eq!(found["prompt_token_ids"], case["ids"], "{name}");
            let said = found["token_ids"].as_array().unwrap();
            let greedy = case["greedy"].as_array().unwrap();
            assert_eq!(said[..], greedy[..said.len()], "{name}");
            let stopped = found["finish_reason"] == "stop";
            assert_eq!(stopped, said.len() < greedy.len() || said.len() < 16, "{found}");
            assert_eq!(found["logprobs"].as_array().unwrap().len(), said.len());
            let logits = found["first_logits"].as_array().unwrap();
            let best = |id: &Value| logits[id.as_u64().unwrap() as usize].as_f64().unwrap();
            assert!(logits.iter().all(|x| x.as_f64().unwrap() <= best(&greedy[0])));
            for part in ["load", "process", "encode", "prefill", "decode"] {
                assert!(found["seconds"][part].as_f64().unwrap() >= 0.0, "{found}");
            }
            assert_eq!(found["answer"], found["text"].as_str().unwrap().trim());
        }
    }
}

#[test]
fn captions_and_talks_with_a_model_that_sees() {
    let picture = golden("published_images/rings.png");
    let smolvlm = golden("seeing_smolvlm");
    let options = ["--model", &smolvlm, "--max-tokens", "3"];
    let found = json(&[&["caption", &picture][..], &options].concat());
    assert_eq!(found["captions"][0]["file"], picture.as_str());
    let lines = format!("what is {picture}\n/image {picture}\nand this?\nwhy?\n");
    let output = run_with(&[&["chat"][..], &options].concat(), &lines);
    let (out, err) = texts(&output);
    assert!(output.status.success() && !err.contains("error: "), "{out}{err}");
    let legacy = golden("seeing_llava_legacy");
    assert!(fails(1, &["chat", "--model", &legacy]).contains("chat template"));
    let question = ["ask", "why?", "--image", &picture, "--model"];
    let error = fails(1, &[&question[..], &[language_model()]].concat());
    assert!(error.contains("reads texts alone"), "{error}");
}

/// Few-shot prompts: pictures stand where the question marks them.
#[test]
fn questions_about_several_pictures_to_a_model_that_asks_them() {
    let [a, b] = ["rings.png", "noise.png"].map(|name| golden(&format!("published_images/{name}")));
    for name in ["idefics", "idefics_plain", "idefics_table"] {
        let folder = golden(name);
        let options = ["--model", &folder, "--max-tokens", "5"];
        let asked = |args: &[&str]| json(&[&["ask"][..], args, &options].concat());
        let count = |found: &Value, id: u64| {
            let ids = found["prompt_token_ids"].as_array().unwrap();
            ids.iter().filter(|other| other.as_u64() == Some(id)).count()
        };
        let image = 43;
        let shots = "<image> a cat. <image> a dog. <image> is it a";
        let found = asked(&[shots, "--image", &a, "--image", &b, "--image", &a]);
        assert_eq!(count(&found, image), 3, "{found}");
        // Each picture between marks of its own, for words stand between them.
        assert_eq!(count(&found, 42), 6, "{found}");
        let found = asked(&["two", "--image", &a, "--image", &b, "--precision", "bf16"]);
        assert_eq!((count(&found, image), count(&found, 42)), (2, 3), "{found}");
        let found = asked(&["a cat"]);
        assert_eq!(count(&found, image), 0, "{found}");
        let captions = json(&[&["caption", &a][..], &options].concat());
        assert_eq!(captions["captions"].as_array().unwrap().len(), 1);
        let output =
            run_with(&[&["chat"][..], &options].concat(), &format!("what is {a}\nand {b}\nwhy?\n"));
        let (out, err) = texts(&output);
        assert!(output.status.success() && !err.contains("error: "), "{out}{err}");
        let found = json(&["inspect", &folder]);
        assert_eq!(found["weights"]["missing"], Value::Array(vec![]), "{found}");
        assert_eq!(found["weights"]["left_over"], Value::Array(vec![]), "{found}");
        assert!(found["weights"]["reshaped"].as_array().unwrap().is_empty(), "{found}");
    }
    let error = fails(1, &["ask", "<image> a", "--model", &golden("idefics")]);
    assert!(error.contains("1 <image> marker but 0 images"), "{error}");
}

#[test]
fn a_text_with_pictures_is_continued_as_it_stands() {
    let picture = golden("published_images/rings.png");
    for (name, special) in [("seeing_llava_legacy", false), ("seeing_smolvlm", true)] {
        let folder = golden(name);
        let prompt = ["run", &folder, "--prompt", "USER: <image>\nwhy? ASSISTANT:"];
        let options = ["--image", &picture, "--max-tokens", "3"];
        let args =
            [&prompt[..], &options, if special { &["--parse-special"] } else { &[] }].concat();
        let found = json(&args);
        assert_eq!(found["token_ids"].as_array().unwrap().len(), 3, "{found}");
        assert!(found["seconds"]["encode"].as_f64().unwrap() > 0.0, "{found}");
        succeeds(&args);
        let error = fails(1, &[&["run", &folder, "--prompt", "why?"][..], &options].concat());
        assert!(error.contains("0 <image> markers but 1 image"), "{error}");
    }
    let args = ["run", language_model(), "--prompt", "<image>", "--image", &picture];
    assert!(fails(1, &args).contains("reads texts alone"));
}

#[test]
fn towers_alone_embed_what_they_read() {
    let picture = golden("published_images/rings.png");
    for (name, can, cannot, lacks) in [
        ("towers/clip_vision", ["--image", &picture], ["--text", "a"], "text tower"),
        ("towers/clip_text_projection", ["--text", "a"], ["--image", &picture], "vision tower"),
    ] {
        let model = ["--model", &golden(name)];
        let found = json(&[&["embed"][..], &can, &model].concat());
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
        let error = fails(1, &[&["embed"][..], &cannot, &model].concat());
        assert!(error.contains(&format!("without its {lacks}")), "{error}");
        let found = json(&["inspect", &golden(name)]);
        assert_eq!(found["weights"]["missing"], Value::Array(vec![]), "{found}");
    }
}

#[test]
fn blip2_compares_and_writes() {
    let picture = file(&dir("blip2"), "scene.png", &png());
    let matching = golden("blip2_matching");
    let args = ["score", "--image", &picture, "--text", "a cat", "--text", "a dog"];
    let found = json(&[&args[..], &["--model", &matching]].concat());
    let pairs = found["pairs"].as_array().unwrap();
    let number = |i: usize, key: &str| pairs[i][key].as_f64().unwrap();
    let sum = number(0, "probability") + number(1, "probability");
    assert!((sum - 1.0).abs() < 1e-5, "{found}");
    assert!(number(0, "similarity") == number(0, "logit"), "{found}");
    assert!((0.0..=1.0).contains(&number(0, "matching")), "{found}");
    let table = succeeds(&[&args[..], &["--model", &matching]].concat());
    assert!(table.lines().skip(1).all(|line| line.contains(", matching 0.")), "{table}");
    let error = fails(1, &["embed", "--image", &picture, "--model", &matching]);
    assert!(error.contains("sensorium score"), "{error}");

    let writing = golden("blip2_opt");
    let args = ["ask", "what is it?", "--image", &picture, "--model", &writing];
    let found = json(&[&args[..], &["--max-tokens", "3"]].concat());
    assert!(found["answer"].is_string(), "{found}");
    let found = json(&["caption", &picture, "--model", &writing, "--max-tokens", "3"]);
    assert_eq!(found["captions"][0]["file"], picture.as_str());
    let error = fails(1, &["score", "--image", &picture, "--text", "a", "--model", &writing]);
    assert!(error.contains("which answers about pictures\nhint: take CLIP"), "{error}");
    let found = json(&["inspect", &writing]);
    let parts: Vec<&str> = found["parts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|part| part["part"].as_str())
        .collect();
    assert_eq!(parts, ["image", "projector", "language"]);
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
