//! What succeeds prints what it promises.

use serde_json::Value;

use crate::fixture::{
    WORDS, dir, fails, file, gguf, golden_with, language_model, model, png, run_with, succeeds,
    texts,
};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args)).unwrap()
}

#[test]
fn answers() {
    let picture = file(&dir("answers"), "scene.png", &png());
    let ask = |threads| {
        let args = ["ask", "what is it?", "--image", &picture, "--model", model(), "--json"];
        let more = ["--max-tokens", "3", "--temperature", "1", "--seed", "7", "--threads", threads];
        json(&[args.as_slice(), &more].concat())
    };
    let (one, two) = (ask("1"), ask("2"));
    assert_eq!((&one["answer"], &one["tokens"]), (&two["answer"], &two["tokens"]));
    assert!(one["answer"].is_string() && one["tokens"].as_u64().unwrap() <= 3);
    for part in ["load", "encode", "prefill", "decode"] {
        assert!(one["seconds"][part].as_f64().unwrap() >= 0.0, "{part}");
    }
    let args = ["caption", &picture, &picture, "--model", model(), "--json", "--max-tokens", "1"];
    let captions = json(&args)["captions"].clone();
    assert_eq!(captions.as_array().unwrap().len(), 2);
    assert_eq!((&captions[0]["file"], &captions[0]), (&picture.into(), &captions[1]));
}

#[test]
fn texts_are_continued() {
    let run = |threads: &str, more: &[&str]| {
        let args = ["run", gguf(), "--prompt", "Hello, you", "--max-tokens", "6"];
        let drawn = ["--temperature", "1", "--top-k", "20", "--seed", "3", "--threads", threads];
        succeeds(&[&args, drawn.as_slice(), more].concat())
    };
    let found: Value = serde_json::from_str(&run("1", &["--json"])).unwrap();
    assert_eq!(found["prompt_tokens"], 10);
    let ids = found["token_ids"].as_array().unwrap();
    assert!((1..=6).contains(&ids.len()), "{found}");
    assert!(found["tokens_per_second"]["prefill"].as_f64().unwrap() > 0.0);
    assert_eq!(found["prompt_token_ids"].as_array().unwrap().len(), 10);
    assert!(found["seconds"]["load"].as_f64().unwrap() > 0.0);
    assert!(["stop", "length"].contains(&found["finish_reason"].as_str().unwrap()));
    assert!(found.get("logprobs").is_none() && found.get("first_logits").is_none());
    // What is streamed is the same text, whatever the number of threads.
    assert_eq!(run("2", &[]), format!("{}\n", found["text"].as_str().unwrap()));
}

#[test]
fn log_probabilities_and_logits_are_told_when_asked_for() {
    let args = ["run", gguf(), "--prompt", "Hello", "--max-tokens", "2", "--json"];
    let found = json(&[args.as_slice(), &["--logprobs", "3", "--logits"]].concat());
    let logits: Vec<f64> =
        found["first_logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(logits.len(), 97);
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    let first = &found["logprobs"][0];
    let id = first["token_id"].as_u64().unwrap() as usize;
    assert_eq!((&found["token_ids"][0], id), (&first["token_id"], best(&logits)));
    let want = logits[id] - sum.ln();
    assert!((first["logprob"].as_f64().unwrap() - want).abs() < 1e-4, "{first}");
    let top = first["top"].as_array().unwrap();
    let of = |i: usize| top[i]["logprob"].as_f64().unwrap();
    assert!(top.len() == 3 && of(0) == first["logprob"] && of(0) >= of(1) && of(1) >= of(2));
}

fn best(logits: &[f64]) -> usize {
    (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap()
}

#[test]
fn language_models_from_directories_continue_and_answer() {
    let dir = language_model();
    let found = json(&["run", dir, "--prompt", "ab", "--max-tokens", "3", "--json"]);
    assert_eq!(found["prompt_token_ids"], serde_json::json!([1, 5]));
    let chat = ["run", dir, "--prompt", "b", "--chat", "--max-tokens", "3", "--json"];
    assert_eq!(json(&chat)["prompt_token_ids"], serde_json::json!([1, 4, 1]));
    let output =
        run_with(&["chat", "--model", dir, "--max-tokens", "2"], "a\n/no\n/new\nb\n/quit\n");
    let (out, err) = texts(&output);
    assert!(output.status.success() && out.lines().count() == 2, "{out}{err}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
}

#[test]
fn sentences_are_embedded() {
    let dir = golden_with("sentences", "bert", &[("tokenizer.json", WORDS)]);
    let found = json(&["embed", "--text", "a b", "--text", "b", "--model", &dir, "--json"]);
    assert_eq!((&found["dim"], found["items"].as_array().unwrap().len()), (&30.into(), 2));
}

#[test]
fn perplexity_of_random_weights_is_near_chance_or_worse() {
    let text = file(&dir("perplexity"), "text.txt", "To be, or not to be.\n".repeat(9).as_bytes());
    let args = ["eval", "perplexity", "--model", gguf(), "--text", &text, "--context", "64"];
    let found = json(&[args.as_slice(), &["--json"]].concat());
    assert_eq!((&found["windows"], &found["scored"]), (&2.into(), &62.into()));
    let perplexity = found["perplexity"].as_f64().unwrap();
    assert!(perplexity > 30.0 && found["chance"] == 97, "{found}");
    assert!(succeeds(&args).starts_with(&format!("perplexity {perplexity:.4} +/- ")));
}

#[test]
fn embeddings_have_unit_length() {
    let picture = file(&dir("embed"), "scene.png", &png());
    let text = "a red circle";
    let found = json(&["embed", "--image", &picture, "--text", text, "--model", model(), "--json"]);
    assert_eq!(found["dim"], 128);
    let items = found["items"].as_array().unwrap();
    let kinds: Vec<_> = items.iter().map(|item| (&item["kind"], &item["source"])).collect();
    assert_eq!(kinds, [(&"image".into(), &picture.into()), (&"text".into(), &text.into())]);
    for item in items {
        let row = item["embedding"].as_array().unwrap();
        let length: f64 = row.iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
        assert!(row.len() == 128 && (length - 1.0).abs() < 1e-4, "{length}");
    }
}

#[test]
fn labels_come_best_first() {
    let picture = file(&dir("classify"), "scene.png", &png());
    let found = json(&[
        "classify",
        &picture,
        "--labels",
        "cat, dog,a red circle",
        "--model",
        model(),
        "--json",
    ]);
    let scores: Vec<f64> = found["labels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["probability"].as_f64().unwrap())
        .collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-4);
}

#[test]
fn evaluations_print_tables_json_and_cards() {
    let dir = dir("eval");
    let card = dir.join("card/MODEL_CARD.md");
    let common = ["eval", "retrieval", "--samples", "3", "--model", model()];
    let table = succeeds(&common);
    assert!(table.contains("chance %") && table.contains("recall@10"), "{table}");
    let more = ["--json", "--card", card.to_str().unwrap()];
    let report = json(&[common.as_slice(), &more].concat());
    let figure = &report["figures"][0];
    for key in ["task", "metric", "value", "low", "high", "right", "n", "chance", "prior"] {
        assert!(figure.get(key).is_some(), "{key}: {figure}");
    }
    assert_eq!((&figure["n"], &report["seed"]), (&3.into(), &0.into()));
    let card = std::fs::read_to_string(card).unwrap();
    assert!(card.starts_with("---\nlicense:") && card.contains("recall@1"), "{card}");
}

#[test]
fn exports_load_again() {
    let to = dir("export");
    let to = to.to_str().unwrap();
    let tokenizer = format!("{}/tokenizer.json", model());
    let manifest = json(&["export", model(), "--to", to, "--tokenizer", &tokenizer, "--json"]);
    assert_eq!(manifest["precision"], "q8_0");
    let files = manifest["files"].as_array().unwrap();
    // Tokenizer, settings, processor, template, and the components.
    assert_eq!(files.len(), 9);
    let info = json(&["info", "--model", to, "--json"]);
    assert_eq!(info["parameters"], manifest["parameters"]);
    let components = info["components"].as_array().unwrap();
    for (component, file) in components.iter().zip(&files[4..]) {
        assert_eq!((&component["file"], &component["blake3"]), (&file["name"], &file["blake3"]));
        assert!(!component["tensors"].as_array().unwrap().is_empty());
    }
    assert!(succeeds(&["info", "--model", to]).contains("is not known"));
}

#[test]
fn conversations_go_through_pipes() {
    let picture = file(&dir("chat"), "scene.png", &png());
    let lines =
        format!("/image {picture}\nwhat is it?\n/nothing\nnosuch.png hm\nand now?\n/quit\nx\n");
    let output = run_with(&["chat", "--model", model(), "--max-tokens", "2"], &lines);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    // Two answers; two lines that were wrong are said to be so and end nothing.
    assert_eq!(out.lines().count(), 2, "{out}");
    assert_eq!(err.matches("error: ").count(), 2, "{err}");
    assert!(err.contains("64 x 64 pixels"), "{err}");
}

#[test]
fn full_conversations_say_so() {
    let long = "circle ".repeat(200);
    let lines = format!("hello\n{long}{long}{long}\n/new\nhello\n");
    let output = run_with(&["chat", "--model", model(), "--max-tokens", "1"], &lines);
    let (out, err) = texts(&output);
    assert!(output.status.success() && out.lines().count() == 2, "{out}{err}");
    assert!(err.contains("hint: /new starts another one"), "{err}");
}

#[test]
fn samples_are_shown_and_the_vocabulary_learned() {
    let dir = dir("preview");
    let tokenizer = dir.join("t.json");
    let text = format!(
        "recipe = \"tokenizer\"\nseed = 1\nvocabulary = 600\nsamples = 20\ntokenizer = {tokenizer:?}\n"
    );
    let recipe = file(&dir, "recipe.toml", text.as_bytes());
    let sheet = dir.join("sheet.png");
    succeeds(&["data", "preview", &recipe, "--out", sheet.to_str().unwrap(), "--count", "5"]);
    assert!(sensorium::media::Picture::read(&sheet).unwrap().width > 100);
    succeeds(&["train", &recipe, "--out", dir.join("run").to_str().unwrap()]);
    assert!(tokenizer.is_file());
}

#[test]
fn a_data_set_is_checked() {
    let sample =
        |name: &str| format!("{}/../data/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    for (name, kind, examples) in [
        ("folder-csv", "folder", 2),
        ("csv/train.tsv", "csv", 2),
        ("messages/chats.jsonl", "messages", 2),
        ("llava-json/conversations.json", "llava-json", 2),
        ("captions-lavis/karpathy_train.json", "captions", 3),
        ("webdataset/photos-{000..001}.tar", "webdataset", 3),
        ("webdataset", "webdataset", 3),
        ("parquet-pictures", "parquet", 3),
        ("parquet-messages/chats.parquet", "parquet", 3),
        ("folder-parquet", "folder", 2),
        ("interleaved-obelics/docs.jsonl", "interleaved", 1),
    ] {
        let found = json(&["data", "check", &sample(name), "--json"]);
        assert_eq!(
            (&found["kind"], &found["examples"]),
            (&kind.into(), &examples.into()),
            "{name}"
        );
        assert_eq!(found["bad"].as_array().map(Vec::len), Some(0), "{name}");
    }
    let coco = sample("captions-coco");
    let images = format!("images={coco}/val");
    let found = succeeds(&["data", "check", &format!("{coco}/captions.json"), "--set", &images]);
    assert!(found.contains("captions: 3 examples") && found.contains("broken: 0"), "{found}");
    let output = run_with(&["data", "check", &sample("messages/pictures.jsonl")], "");
    let (found, error) = texts(&output);
    assert!(!output.status.success() && found.contains("example 4: line 5"), "{found}");
    assert!(error.contains("expected at most 5 %") && error.contains("57.1 %"), "{error}");
    for (args, says) in [
        (&["gone/"][..], "gone"),
        (&["gone.csv", "--kind", "zip"], "--kind"),
        (&["gone", "--kind", "scenes"], "unknown field"),
        (&["gone", "--set", "images"], "KEY=VALUE"),
    ] {
        let error = fails(1, &[&["data", "check"], args].concat());
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn info_says_what_the_machine_is_fast_at() {
    let found = json(&["info", "--machine", "--json"]);
    let [f32, bf16] = ["f32", "bf16"].map(|name| found["gflops"]["step"][name].as_f64().unwrap());
    let faster = if bf16 > 1.05 * f32 { "bf16" } else { "f32" };
    assert_eq!(found["auto"]["train"], faster, "{found}");
    assert!(succeeds(&["info", "--machine"]).contains(found["kernels"].as_str().unwrap()));
}
