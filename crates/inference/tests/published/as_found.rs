//! Directories as people have them: with more in them, or under older names, or elsewhere than usual.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use sensorium_inference::{GenerateOptions, LogitsOptions, Model, Options};
use sensorium_pretrained::{Directory, TextProcessor};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_inputs::{copy, edit, edit_weights, fails};
use crate::golden;
use crate::open::{device, model, vision_language};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// `reference/generation.py`: what a directory's settings ask for is done, and what is asked for instead.
#[test]
fn greedy_tokens_under_penalties_are_those_of_transformers() {
    let cases = read(&golden("generation").join("cases.json"));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 15);
    let plain = vision_language(&golden("seeing_llava"), None).unwrap();
    for case in cases {
        let numbers =
            |key: &str| -> Vec<u32> { serde_json::from_value(case[key].clone()).unwrap() };
        let (ids, want, settings) = (numbers("ids"), numbers("tokens"), &case["settings"]);
        let dir = copy("seeing_llava");
        let mut file = read(&dir.path().join("generation_config.json"));
        file.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        file["eos_token_id"] = json!([]);
        fs::write(dir.path().join("generation_config.json"), file.to_string()).unwrap();
        let by_file = vision_language(dir.path(), None).unwrap();
        let options = GenerateOptions { max_new_tokens: 32, ..GenerateOptions::default() };
        let go_on = &mut |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        let said = by_file.llm.extend(&ids, &options, go_on).unwrap().ids;
        assert_eq!(said, want, "{settings}");

        let number = |key: &str| settings[key].as_f64();
        let logits = LogitsOptions {
            repetition_penalty: number("repetition_penalty").map(|x| x as f32),
            no_repeat_ngram_size: number("no_repeat_ngram_size").map(|n| n as usize),
            bad_words_ids: serde_json::from_value(settings["bad_words_ids"].clone())
                .unwrap_or_default(),
            ..LogitsOptions::default()
        };
        let known = ["suppress_tokens", "begin_suppress_tokens"];
        if known.iter().all(|key| settings[key].is_null()) {
            let options = GenerateOptions { logits, ..options };
            let said = plain.llm.extend(&ids, &options, go_on).unwrap().ids;
            assert!(want.starts_with(&said), "{settings}: {said:?}");
        }
    }
}

#[test]
fn stray_weights_are_left_aside_unless_none_may_be_there() {
    let open = |dir: &Path, strict| Model::open(dir, &Options { strict, ..Options::on(&device()) });
    for name in
        ["published_siglip", "seeing_smolvlm", "published_dinov2", "seeing_llava", "whisper"]
    {
        let dir = copy(name);
        edit_weights(dir.path(), |all| {
            let (_, tensor) = all.tensors.first_key_value().unwrap();
            let tensor = tensor.clone();
            all.tensors.insert("head.of.another.task".into(), tensor);
        });
        open(dir.path(), false).unwrap_or_else(|error| panic!("{name}: {error}"));
        let error = open(dir.path(), true).err().unwrap().to_string();
        assert!(
            error.contains("head.of.another.task") && error.contains("1 unexpected"),
            "{error}"
        );
    }
}

#[test]
fn directories_without_settings_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let make = |path: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    };
    make("cache/snapshots/0123456/config.json");
    make("sentence/0_CLIPModel/config.json");
    make("lora/adapter_config.json");
    for (name, words) in [
        ("cache", "hub's cache"),
        ("sentence", "one in 0_CLIPModel"),
        ("lora", "LoRA adapter"),
        ("nothing", "no directory"),
    ] {
        fails(&dir.path().join(name), &[words]);
    }
    // timm's settings beside open_clip's name no model.
    let dir = copy("published_open_clip");
    fs::write(dir.path().join("config.json"), r#"{"architecture": "vit_base_patch16_clip_224"}"#)
        .unwrap();
    assert_eq!(Directory::open(dir.path()).unwrap().model_type(), Some("open_clip"));
    model(dir.path(), None).unwrap();
}

#[test]
fn a_template_in_the_processors_settings_is_used() {
    let (dir, jinja) = (copy("seeing_smolvlm"), "chat_template.jinja");
    let template = fs::read_to_string(dir.path().join(jinja)).unwrap();
    fs::remove_file(dir.path().join(jinja)).unwrap();
    let text = |dir: &Path| {
        let text = TextProcessor::read(&Directory::open(dir).unwrap()).unwrap();
        text.chat.text().unwrap().map(str::to_owned)
    };
    assert_eq!(text(dir.path()), None);
    edit(dir.path(), "processor_config.json", |all| all["chat_template"] = json!(template));
    assert_eq!(text(dir.path()), Some(template));
}

#[test]
fn tokens_that_end_a_text_stand_at_its_end() {
    let dir = copy("seeing_llava");
    let special = |name: &str, id: u32| json!({name: {"id": name, "ids": [id], "tokens": [name]}});
    edit(dir.path(), "tokenizer.json", |all| {
        all["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [],
            "special_tokens": special("</s>", 2),
        });
    });
    let text = TextProcessor::read(&Directory::open(dir.path()).unwrap()).unwrap();
    assert_eq!((text.bos_token_id, &text.suffix[..]), (None, &[2][..]));
    let llm = vision_language(dir.path(), None).unwrap().llm;
    let ids = llm.prompt("hi").unwrap();
    assert_eq!((ids.len(), ids.last()), (3, Some(&2)));
}

/// A sentence encoder of nine words.
pub fn bert() -> TempDir {
    let words = ["[UNK]", "It", "it", "is", "a", "cat", "two", "dogs", "cat:"];
    let vocab: Value =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    let dir = copy("bert");
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

#[test]
fn sentence_encoders_are_read_under_berts_first_names_and_with_their_prompts() {
    let texts = ["It is a cat".to_owned(), "two dogs".to_owned()];
    let embed = |dir: &Path, texts: &[String]| {
        model(dir, None).unwrap().embedding().unwrap().embed_texts(texts).unwrap()
    };
    let usual = bert();
    let plain = embed(usual.path(), &texts);
    let dir = bert();
    edit_weights(dir.path(), |all| {
        let older = |name: &str| {
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            name.replace("LayerNorm.bias", "LayerNorm.beta")
        };
        let tensors = std::mem::take(&mut all.tensors);
        all.tensors = tensors.into_iter().map(|(name, tensor)| (older(&name), tensor)).collect();
    });
    assert_eq!(embed(dir.path(), &texts), plain);

    let settings = r#"{"prompts": {"query": "cat: "}, "default_prompt_name": "query"}"#;
    fs::write(dir.path().join("config_sentence_transformers.json"), settings).unwrap();
    let prompted = texts.clone().map(|text| format!("cat: {text}"));
    assert_eq!(embed(dir.path(), &texts), embed(usual.path(), &prompted));
    assert_ne!(embed(dir.path(), &texts), plain);
    fs::remove_file(dir.path().join("config_sentence_transformers.json")).unwrap();

    let file = dir.path().join("sentence_bert_config.json");
    fs::write(file, r#"{"max_seq_length": 16, "do_lower_case": true}"#).unwrap();
    let lower = texts.clone().map(|text| text.to_lowercase());
    assert_eq!(embed(dir.path(), &texts), embed(dir.path(), &lower));

    // Without a length of its own, the tokenizer's.
    let limit = r#"{"model_max_length": 2}"#;
    fs::write(usual.path().join("tokenizer_config.json"), limit).unwrap();
    let starts = ["It is".to_owned(), "two dogs".to_owned()];
    assert_eq!(embed(usual.path(), &texts), embed(usual.path(), &starts));
}

#[test]
fn siglip_2_of_one_resolution_reads_lower_case() {
    let embed = |dir: &Path, text: &str| {
        model(dir, None).unwrap().embedding().unwrap().embed_texts(&[text.to_owned()]).unwrap()
    };
    let dir = copy("published_siglip");
    edit(dir.path(), "tokenizer.json", |all| all["normalizer"] = Value::Null);
    assert_ne!(embed(dir.path(), "A Cat"), embed(dir.path(), "a cat"));
    edit(dir.path(), "tokenizer_config.json", |all| {
        all["tokenizer_class"] = json!("Siglip2Tokenizer");
    });
    assert_eq!(embed(dir.path(), "A Cat"), embed(dir.path(), "a cat"));
}

#[test]
fn sliding_windows_that_no_layer_has_and_scaled_angles_are_read() {
    let plan = |change: &dyn Fn(&mut Value)| {
        let dir = copy("qwen2");
        edit(dir.path(), "config.json", |all| change(all));
        sensorium_pretrained::plan(&Directory::open(dir.path()).unwrap()).map(drop)
    };
    plan(&|all| {
        all["use_sliding_window"] = json!(true);
        all["sliding_window"] = json!(4);
        all["max_window_layers"] = json!(99);
    })
    .unwrap();
    for (kind, good) in
        [("linear", true), ("dynamic", true), ("yarn", true), ("longrope", false), ("ntk", false)]
    {
        let scaled = plan(&|all| {
            all.as_object_mut().unwrap().remove("rope_parameters");
            all["rope_scaling"] = json!({"type": kind, "factor": 2.0});
        });
        assert_eq!(scaled.is_ok(), good, "{kind}");
    }
}

#[test]
fn directories_without_a_tokenizer_json_are_read() {
    let texts = ["A photo of a CAT".to_owned(), "two dogs, it's".to_owned()];
    let embed =
        |dir: &Path| model(dir, None).unwrap().embedding().unwrap().embed_texts(&texts).unwrap();
    let dir = copy("published_clip");
    let whole = embed(dir.path());
    let json = dir.path().join("tokenizer.json");
    let inner = read(&json)["model"].clone();
    let pair =
        |pair: &Value| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges: Vec<String> = inner["merges"].as_array().unwrap().iter().map(pair).collect();
    fs::write(dir.path().join("vocab.json"), inner["vocab"].to_string()).unwrap();
    fs::write(dir.path().join("merges.txt"), format!("#version: 0.2\n{}\n", merges.join("\n")))
        .unwrap();
    fs::remove_file(&json).unwrap();
    assert_eq!(embed(dir.path()), whole);
    fs::write(dir.path().join("merges.txt"), "a b c").unwrap();
    fails(dir.path(), &["vocab.json", "merges.txt", "a b c"]);

    let dir = copy("bert");
    fs::copy(golden("tokenizer_files/bert/vocab.txt"), dir.path().join("vocab.txt")).unwrap();
    assert_eq!(embed(dir.path()).len(), 2);

    let text = |name: &str| {
        TextProcessor::read(&Directory::open(&golden("tokenizer_files").join(name)).unwrap())
            .unwrap()
    };
    assert_eq!(text("llama").bos_token_id, Some(1));
    assert_eq!(text("llama_legacy").suffix, [2]);
    assert_eq!(text("gpt2").bos_token_id, None);
}
