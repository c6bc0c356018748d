//! `goldens/whisper` (80 bands, languages and tasks) and `goldens/whisper_english` (128 bands):
//! directories as the hub has them.

use sensorium_checkpoint::safetensors;
use sensorium_flow::{Encode, Features, Forward, Hidden, Sequence};
use sensorium_inference::{Model, WhisperModel};
use sensorium_media::Tokenizer;
use sensorium_model::whisper::{Rules, Task, Whisper, WhisperConfig};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::names::{self, WHISPER};
use sensorium_pretrained::{Config, families};
use sensorium_testkit::{Golden, Report};

use crate::twin::{STACK, device, ids};

struct Twin {
    golden: Golden,
    config: WhisperConfig,
    rules: Rules,
    model: Whisper,
}

impl Twin {
    fn open(name: &str) -> Self {
        let golden = Golden::open(name);
        let directory = Directory::open(&golden.path("")).expect("a directory");
        let config = families::whisper::config(&directory.config()).expect("a configuration");
        let tokenizer = std::fs::read(golden.path("tokenizer.json")).expect("a tokenizer");
        let tokenizer = Tokenizer::from_bytes(&tokenizer).expect("a tokenizer");
        let rules = families::whisper::rules(&directory, &config, &tokenizer).expect("rules");
        let tensors = directory.tensors().expect("tensors");
        let model = families::whisper::load(&config, tensors.clone(), &mut Init::empty(&device()))
            .expect("the names fit");
        let saved = names::save(&model, &WHISPER).expect("it can be written");
        assert_eq!(saved.tensors, tensors.tensors);
        Self { golden, config, rules, model }
    }

    /// The model as one that transcribes.
    fn running(&self) -> WhisperModel {
        let Model::Whisper(model) = crate::open::model(&self.golden) else { panic!("Whisper") };
        model
    }

    fn mel(&self) -> Vec<f32> {
        self.golden.inputs()["input_features"].1.clone()
    }

    fn tensor(&self) -> Tensor<3> {
        let shape = [1, self.config.encoder.bands, self.config.frames()];
        Tensor::from_data(TensorData::new(self.mel(), shape), &device())
    }

    /// Every state of the encoder, then the decoder's and the logits, whole and token by token.
    fn states(&self) {
        let mut report = Report::new(&self.golden, STACK);
        let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
        let Whisper { encoder, decoder } = &self.model;
        for i in 0..self.config.encoder.n_layers {
            check(&format!("encoder.layers.{i}"), encoder.hidden(self.tensor(), i + 1));
        }
        let Features(features) = encoder.encode(self.tensor());
        check("encoder", features.clone());
        let (ids, [b, t]) = ids(&self.golden, "decoder_input_ids");
        let logits = |Hidden(x): Hidden| {
            let [b, t, d] = x.dims();
            decoder.logits(x.reshape([b * t, d])).reshape([b, t, self.config.decoder.vocab_size])
        };
        let mut cache = decoder.cross_keys(&Features(features.clone()));
        let heard = Sequence { features: Some(Features(features)), ..Sequence::default() };
        let hidden = decoder.forward(decoder.embed(&ids, [b, t]), &heard, None);
        check("decoder", hidden.0.clone());
        check("logits", logits(hidden));
        let parts = [&ids[..3], &ids[3..4], &ids[4..]].map(|ids| {
            let embeds = decoder.embed(ids, [1, ids.len()]);
            decoder.forward(embeds, &Sequence::default(), Some(&mut cache)).0
        });
        check("decoder", Tensor::cat(parts.to_vec(), 1));
        assert_eq!(cache.tokens(), t);
        report.finish();
    }

    /// What `generate` says of the window, whatever the matrices' layout.
    fn said(&self, language: Option<&str>, task: Task) {
        let transcriber = self.running();
        for (name, timestamps) in [("without_times", false), ("with_times", true)] {
            let want: Vec<u32> =
                self.golden.outputs()[name].1.iter().map(|&id| id as u32).collect();
            let language = language.and_then(|code| self.rules.language(code).expect("known"));
            let prompt = self.rules.prompt(language, task, timestamps).expect("a prompt");
            let got = transcriber.window(self.mel(), &prompt, timestamps).expect("finite");
            let ends = want.last() == Some(&self.rules.end);
            assert_eq!(got, want[..want.len() - usize::from(ends)], "{name}");
        }
    }
}

#[test]
fn whisper() {
    let twin = Twin::open("whisper");
    twin.states();
    twin.said(Some("de"), Task::Translate);
    let transcriber = twin.running();
    let (code, id) = transcriber.detect(twin.mel()).expect("finite").expect("languages");
    assert_eq!(id, twin.golden.outputs()["language"].1[0] as u32);
    assert!(["de", "en", "fr"].contains(&code.as_str()));
}

#[test]
fn whisper_english() {
    let twin = Twin::open("whisper_english");
    twin.states();
    twin.said(None, Task::Transcribe);
    let transcriber = twin.running();
    assert_eq!(transcriber.detect(twin.mel()).expect("finite"), None);
}

/// As on a device without kernels.
#[test]
fn whisper_by_twins() {
    fused::with_twins(whisper);
}

/// Fine-tuners' directories lack files and keys: the tokenizer's names tell the ids.
#[test]
fn whisper_knows_its_ids_by_the_tokenizers_names() {
    let twin = Twin::open("whisper");
    let read = |name: &str| std::fs::read(twin.golden.path(name)).expect("the golden is complete");
    let tokenizer = Tokenizer::from_bytes(&read("tokenizer.json")).expect("a tokenizer");
    let generation: serde_json::Value =
        serde_json::from_slice(&read("generation_config.json")).expect("JSON");
    let mut wide = twin.config.clone();
    wide.decoder.vocab_size = 51_865;
    let rules = |config: &WhisperConfig, generation: Option<serde_json::Value>| {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        put("config.json", &read("config.json")).expect("written");
        if let Some(generation) = generation {
            put("generation_config.json", generation.to_string().as_bytes()).expect("written");
        }
        let directory = Directory::open(folder.path()).expect("a directory");
        families::whisper::rules(&directory, config, &tokenizer).expect("rules")
    };
    let without = |keys: &[&str]| {
        let mut some = generation.clone();
        keys.iter().for_each(|key| drop(some.as_object_mut().expect("an object").remove(*key)));
        some
    };
    let keys = ["lang_to_id", "task_to_id", "no_timestamps_token_id", "eos_token_id"];
    assert_eq!(rules(&twin.config, Some(without(&keys))), twin.rules);
    assert_eq!(rules(&twin.config, Some(without(&["decoder_start_token_id"]))), twin.rules);
    // Of how many languages a model is that says nothing, its vocabulary's length tells.
    let silent = without(&["lang_to_id", "is_multilingual"]);
    assert_eq!(rules(&wide, Some(silent.clone())), twin.rules);
    assert!(rules(&twin.config, Some(silent)).languages.is_empty());
    let bare = rules(&wide, None);
    let Rules { suppressed, suppressed_first, latest_start, .. } = twin.rules.clone();
    assert!(bare.suppressed.is_empty() && bare.suppressed_first.is_empty());
    assert_eq!(Rules { suppressed, suppressed_first, latest_start, ..bare }, twin.rules);
    let mut none = generation.clone();
    none["suppress_tokens"] = serde_json::json!([-1]);
    assert!(rules(&twin.config, Some(none)).suppressed.is_empty());
}

/// Names of models that were saved without their head, or inside of something.
#[test]
fn whisper_reads_other_names_of_the_same_tensors() {
    let twin = Twin::open("whisper");
    let tensors = std::fs::read(twin.golden.path("model.safetensors")).expect("complete");
    let tensors = safetensors::read(&tensors).expect("the golden is sound");
    for prefix in ["", "module.model.", "whisper."] {
        let mut named = tensors.clone();
        named.tensors = std::mem::take(&mut named.tensors)
            .into_iter()
            .map(|(name, tensor)| (name.replacen("model.", prefix, 1), tensor))
            .collect();
        let model = families::whisper::load(&twin.config, named, &mut Init::empty(&device()));
        let saved = names::save(&model.expect(prefix), &WHISPER).expect("it can be written");
        assert_eq!(saved.tensors, tensors.tensors);
    }
}

/// What a file claims is compared with what it holds before memory is taken for it.
#[test]
fn whisper_refuses_settings_that_do_not_fit() {
    let golden = Golden::open("whisper");
    let tensors = std::fs::read(golden.path("model.safetensors")).expect("the golden is complete");
    let tensors = safetensors::read(&tensors).expect("the golden is sound");
    let huge = serde_json::json!(1 << 24);
    let cases = [
        ("encoder_layers", huge.clone(), "layers"),
        ("decoder_layers", serde_json::json!(4), "missing"),
        ("d_model", serde_json::json!(24 << 19), "of another shape"),
        ("vocab_size", huge.clone(), "of another shape"),
        ("max_source_positions", huge, "of another shape"),
        ("num_mel_bins", serde_json::json!(0), "num_mel_bins"),
        ("max_target_positions", serde_json::json!(4), "at least 5"),
        ("d_model", serde_json::json!(1e30), "d_model"),
        ("encoder_attention_heads", serde_json::json!(5), "a divisor"),
        ("decoder_ffn_dim", serde_json::json!("wide"), "decoder_ffn_dim"),
        ("activation_function", serde_json::json!("relu"), "gelu"),
        ("scale_embedding", serde_json::json!(true), "false"),
        ("tie_word_embeddings", serde_json::json!(false), "true"),
        ("model_type", serde_json::json!("bert"), "whisper"),
    ];
    for (key, value, words) in cases {
        let mut changed = golden.config();
        changed[key] = value;
        let config = Config::new("config.json", &changed);
        let result = families::whisper::config(&config).and_then(|config| {
            families::whisper::load(&config, tensors.clone(), &mut Init::empty(&device()))
        });
        let text = result.expect_err(key).to_string();
        assert!(text.contains(words), "{key}: {text}");
    }
}
