//! No setting is silently left aside: each is heeded, refused, without effect, or named in a warning.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use sensorium_media::{ImageProcessor, PatchProcessor, PatchStyle, Style};
use sensorium_pretrained::{Directory, Pretrained, families, ignored, plan};
use serde_json::{Value, json};

use crate::as_found::bert;
use crate::bad_inputs::{copy, edit, fails};
use crate::golden;

thread_local! {
    static TOLD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        TOLD.with_borrow_mut(|told| told.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// What is told while a directory is opened, without its path.
fn told(path: &Path) -> Vec<String> {
    static LOG: Once = Once::new();
    LOG.call_once(|| {
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    TOLD.take();
    let directory = Directory::open(path).unwrap();
    Pretrained::load(&directory, &crate::open::device())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let path = format!("{}: ", path.display());
    TOLD.take().into_iter().map(|line| line.replace(&path, "")).collect()
}

/// `reference/settings.py`.
fn cases() -> Value {
    let text = fs::read(golden("settings").join("cases.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The keys of a `config.json` that a family neither heeds nor knows to be without effect.
fn ignored_of(config: &Value) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    plan(&directory).unwrap_or_else(|error| panic!("{}: {error}", config["model_type"]));
    directory.config().ignored()
}

/// The objects inside, by their paths, that are settings of a part.
fn parts(config: &Value) -> Vec<String> {
    let inner = config.as_object().unwrap().iter();
    let inner = inner.filter(|(key, value)| key.ends_with("_config") && value.is_object());
    inner.map(|(key, _)| key.clone()).collect()
}

#[test]
fn every_key_of_every_family_is_classified() {
    let cases = cases();
    let mut kinds: Vec<&str> =
        vec!["sensorium", "open_clip", "sensorium_blip2", "sensorium_flamingo"];
    // diffusers' are in directories of their own.
    kinds.push(families::stable_diffusion::FAMILY);
    kinds.extend(families::stable_diffusion::AUTOENCODERS);
    kinds.push(families::consistency::FAMILY);
    kinds.push(families::kokoro::FAMILY);
    let mut unclassified: Vec<String> = Vec::new();
    for config in cases["config.json"].as_array().unwrap() {
        let kind = config["model_type"].as_str().unwrap();
        kinds.push(kind);
        unclassified.extend(ignored_of(config).into_iter().map(|key| format!("{kind}: {key}")));

        let mut foreign = config.clone();
        foreign["a_new_key"] = json!(1);
        let mut want = vec!["a_new_key".to_owned()];
        // Of a resampler that most have not, and of what speaks, which is not read.
        const OTHERS: [&str; 3] = ["perceiver_config", "talker_config", "token2wav_config"];
        for part in parts(config).into_iter().filter(|part| !OTHERS.contains(&part.as_str())) {
            foreign[&part]["a_new_key"] = json!(false);
            want.push(format!("{part}.a_new_key"));
        }
        let mut got = ignored_of(&foreign);
        got.retain(|key| key.ends_with("a_new_key"));
        got.sort();
        want.sort();
        assert_eq!(got, want, "{kind}");
    }
    let unseen = families::FAMILIES.iter().filter(|family| !kinds.contains(&family.model_type));
    assert_eq!(unseen.count(), 0, "{kinds:?}");

    for processor in cases["preprocessor_config.json"].as_array().unwrap() {
        let style = match processor["image_processor_type"].as_str().unwrap() {
            "Qwen2VLImageProcessor" => {
                let (_, asked) = PatchProcessor::read(processor, PatchStyle::Picture).unwrap();
                unclassified.extend(ignored(processor, &asked));
                continue;
            }
            "Idefics3ImageProcessor" | "SmolVLMImageProcessor" => Style::Idefics3,
            "Siglip2ImageProcessor" => Style::Siglip2,
            "GotOcr2ImageProcessor" => Style::GotOcr2,
            "DINOv3ViTImageProcessor" => Style::Dinov3,
            "JanusImageProcessor" => Style::Janus,
            "LlavaNextImageProcessor" | "LlavaOnevisionImageProcessor" => Style::LlavaNext,
            _ => Style::Clip,
        };
        let (_, asked) = ImageProcessor::read(processor, style).unwrap();
        unclassified.extend(ignored(processor, &asked));
    }
    for processor in cases["video_preprocessor_config.json"].as_array().unwrap() {
        let style = match processor["video_processor_type"].as_str().unwrap() {
            "Qwen3VLVideoProcessor" => PatchStyle::Video,
            _ => PatchStyle::Frames,
        };
        let (_, asked) = PatchProcessor::read(processor, style).unwrap();
        unclassified.extend(ignored(processor, &asked));
    }
    assert_eq!(unclassified, [""; 0]);
}

/// `config.json` as they are on the hub, of all years.
#[test]
fn published_settings_are_not_complained_of() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(files.len() > 10);
    let mut named = Vec::new();
    for file in files {
        let config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        if config.get("model_cfg").is_none() {
            let file = file.file_name().unwrap().to_string_lossy().into_owned();
            named.extend(ignored_of(&config).into_iter().map(|key| format!("{file}: {key}")));
        }
    }
    assert_eq!(named, [""; 0]);
}

#[test]
fn whole_directories_are_not_complained_of() {
    let all = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let is_whole = |path: &PathBuf| {
        let has = |name: &str| path.join(name).exists();
        has("open_clip_config.json")
            || has("config.json") && (has("tokenizer.json") || has("preprocessor_config.json"))
    };
    let models: Vec<_> = all.filter(is_whole).collect();
    assert!(models.len() > 15);
    let lines = models.iter().flat_map(|path| told(path).into_iter().map(move |line| (path, line)));
    assert_eq!(lines.collect::<Vec<_>>(), []);
}

/// Of SmolVLM's and Whisper's own files.
#[test]
fn what_published_tokenizers_say_beside_tokenizer_json_is_not_complained_of() {
    for (name, settings) in [
        (
            "seeing_smolvlm",
            json!({
                "add_prefix_space": false, "added_tokens_decoder": {}, "vocab_size": 49152,
                "clean_up_tokenization_spaces": false, "truncation_side": "left", "legacy": false,
                "fake_image_token": "<fake_token_around_image>", "tokenizer_class": "GPT2Tokenizer",
                "model_max_length": 16384, "extra_special_tokens": {}, "unk_token": null,
            }),
        ),
        (
            "whisper",
            json!({
                "add_bos_token": false, "add_prefix_space": false, "errors": "replace",
                "return_attention_mask": false, "tokenizer_class": "WhisperTokenizer",
                "processor_class": "WhisperProcessor", "model_max_length": 1024,
            }),
        ),
    ] {
        let dir = copy(name);
        fs::write(dir.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        assert_eq!(told(dir.path()), [""; 0], "{name}");
    }
}

#[test]
fn what_is_not_heeded_is_named_once_a_file() {
    type Change = (&'static str, &'static str, &'static str, Value);
    let (config, image) = ("config.json", "preprocessor_config.json");
    let (tokens, generation) = ("tokenizer_config.json", "generation_config.json");
    let outer = "processor_config.json";
    let cases: [Change; 16] = [
        ("published_clip", config, "a_new_key", json!({"deep": 1})),
        ("published_clip", image, "crop_pct", json!(0.9)),
        ("published_clip", tokens, "model_max_length", json!(3)),
        ("published_clip", tokens, "do_lower_case", json!(false)),
        ("published_siglip", config, "quantization_config", json!({"bits": 4})),
        ("published_dinov2", image, "do_flip_channel_order", json!(true)),
        ("seeing_llava", config, "a_new_key", json!(false)),
        ("seeing_llava", generation, "num_beams", json!(4)),
        ("seeing_llava", tokens, "add_eos_token", json!(true)),
        ("seeing_llava", outer, "a_new_key", json!("x")),
        ("seeing_smolvlm", config, "qk_layer_norms", json!(true)),
        ("idefics", config, "is_decoder", json!(true)),
        ("idefics", tokens, "split_special_tokens", json!(true)),
        ("blip2_opt", config, "temperature_of_queries", json!(2)),
        ("whisper", image, "dither", json!(0.1)),
        ("whisper", generation, "num_beams", json!(5)),
    ];
    for (name, file, key, value) in cases {
        let dir = copy(name);
        edit(dir.path(), file, |settings| settings[key] = value);
        assert_eq!(told(dir.path()), [format!("ignored: {file}: {key}")], "{name}");
        fails(dir.path(), &[file, "not heeded, got", key]);
    }
    // A sentence encoder's files.
    for (file, usual, key) in [
        (
            "sentence_bert_config.json",
            json!({"max_seq_length": 9, "do_lower_case": false}),
            "a_new_key",
        ),
        (
            "config_sentence_transformers.json",
            json!({"__version__": {"pytorch": "2"}, "prompts": {"q": "a "}, "similarity_fn_name": "cosine"}),
            "truncate_dim",
        ),
        (
            "1_Pooling/config.json",
            json!({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true}),
            "a_new_key",
        ),
        ("special_tokens_map.json", json!({"unk_token": "[UNK]"}), "a_new_key"),
    ] {
        let dir = bert();
        fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        let modules = json!([{"type": "models.Transformer"}, {"type": "models.Pooling", "path": "1_Pooling"}]);
        let pooling = json!({"pooling_mode_mean_tokens": true});
        for (file, content) in
            [("modules.json", &modules), ("1_Pooling/config.json", &pooling), (file, &usual)]
        {
            fs::write(dir.path().join(file), content.to_string()).unwrap();
        }
        assert_eq!(told(dir.path()), [""; 0], "{file}");
        edit(dir.path(), file, |settings| settings[key] = json!(4));
        assert_eq!(told(dir.path()), [format!("ignored: {file}: {key}")]);
    }
    // How tokens are drawn is told where they are to be drawn; all of a file is told at once.
    let dir = copy("seeing_llava");
    edit(dir.path(), generation, |settings| {
        settings["do_sample"] = json!(true);
        settings["temperature"] = json!(0.5);
    });
    assert_eq!(told(dir.path()), ["ignored: generation_config.json: do_sample, temperature"]);
}
