//! `goldens/whisper` (80 bands, languages and tasks) and `goldens/whisper_english` (128 bands):
//! directories as the hub has them.

use sensorium_checkpoint::safetensors;
use sensorium_flow::{Encode, Features, Hidden};
use sensorium_inference::{Model, WhisperModel};
use sensorium_model::whisper::{Rules, Task, Whisper, WhisperConfig};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::names::{self, WHISPER};
use sensorium_pretrained::{Config, families};
use sensorium_testkit::{Golden, Report};

use crate::twin::{STACK, ids};

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
        let rules = families::whisper::rules(&directory, &config).expect("rules");
        let tensors = directory.tensors().expect("tensors");
        let model = families::whisper::load(&config, tensors.clone(), &Device::flex())
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
        Tensor::from_data(TensorData::new(self.mel(), shape), &Device::flex())
    }

    /// Every state of the encoder, then the decoder's and the logits, whole and token by token.
    fn states(&self) {
        let mut report = Report::new(&self.golden, STACK);
        let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
        let Whisper { encoder, decoder } = &self.model;
        for i in 0..self.config.encoder.n_layers {
            check(&format!("encoder.layers.{i}"), encoder.hidden(self.tensor(), i + 1));
        }
        let Features(cache) = encoder.encode(self.tensor());
        check("encoder", cache.clone());
        let (ids, [b, t]) = ids(&self.golden, "decoder_input_ids");
        let logits = |Hidden(x): Hidden| {
            let [b, t, d] = x.dims();
            decoder.logits(x.reshape([b * t, d])).reshape([b, t, self.config.decoder.vocab_size])
        };
        let mut cache = decoder.cross_keys(&Features(cache));
        check("decoder", decoder.forward(&ids, [b, t], &cache).0);
        check("logits", logits(decoder.forward(&ids, [b, t], &cache)));
        let parts = [&ids[..3], &ids[3..4], &ids[4..]];
        let parts = parts.map(|ids| decoder.extend(ids, [1, ids.len()], &mut cache).0);
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
        let result = families::whisper::config(&config)
            .and_then(|config| families::whisper::load(&config, tensors.clone(), &Device::flex()));
        let text = result.expect_err(key).to_string();
        assert!(text.contains(words), "{key}: {text}");
    }
}
