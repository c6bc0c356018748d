//! wav2vec 2.0 and HuBERT that write down speech: `goldens/wav2vec2*` and `goldens/hubert`
//! (`reference/wav2vec2.py`), and what can be wrong with their directories.

use std::fs;
use std::path::Path;

use sensorium_flow::Encode;
use sensorium_inference::whisper::{TranscribeOptions, Transcript};
use sensorium_inference::{Error as Running, Model, Result, Wav2Vec2Model};
use sensorium_media::MediaDecoder;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Directory, Error, plan};
use sensorium_testkit::{Golden, Report, assert_close};
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails, lacks_or_renames};
use crate::golden;
use crate::open::{device, model};
use crate::sounds::{file, wave};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const RATE: u32 = 16_000;

const GOLDENS: [&str; 3] = ["wav2vec2", "wav2vec2_stable", "hubert"];

fn open(path: &Path, format: Option<pack::Format>) -> Wav2Vec2Model {
    match model(path, format).unwrap_or_else(|error| panic!("{error}")) {
        Model::Wav2Vec2(model) => model,
        _ => panic!("{} writes nothing down", path.display()),
    }
}

fn expected(name: &str) -> (Vec<usize>, Vec<String>) {
    let text = fs::read(golden(name).join("expected.json")).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    let of = |key: &str| value[key].clone();
    (serde_json::from_value(of("sounds")).unwrap(), serde_json::from_value(of("texts")).unwrap())
}

fn transcribe(model: &Wav2Vec2Model, samples: &[f32], rate: u32) -> Result<Transcript> {
    let (_folder, path) = file(samples, rate);
    let decoder = MediaDecoder::here();
    let speech: &dyn sensorium_inference::SpeechToText = model;
    speech.transcribe(&path, &decoder, &TranscribeOptions::default(), &mut |_, _| ())
}

/// With one space between words.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_state_is_that_of_transformers() {
    for (name, format) in
        GOLDENS.iter().flat_map(|name| [(name, None), (name, Some(pack::Format::F32))])
    {
        let golden = Golden::open(name);
        let (parts, (sounds, _)) = (open(&golden.path(""), format).parts, expected(name));
        let mut report = Report::new(&golden, STACK);
        let values = parts.extractor.input_values(&wave(sounds[0]));
        let samples = values.len();
        report.check("input_values", &[1, samples], &values);
        let values = Tensor::from_data(TensorData::new(values, [1, samples]), &device());
        let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
        check("heard", parts.model.heard(values.clone()));
        for i in 0..=2 {
            check(&format!("encoder.{i}"), parts.model.hidden(values.clone(), i));
        }
        check("encoder", parts.model.encode(values).0);
        for (i, samples) in sounds.iter().enumerate() {
            let logits = parts.logits(&wave(*samples));
            let n = parts.config.vocab_size;
            report.check(&format!("{i}.logits"), &[logits.len() / n, n], &logits);
        }
        report.finish();
    }
}

#[test]
fn sounds_are_written_down_as_transformers_does() {
    for (name, format) in
        GOLDENS.iter().flat_map(|name| [(name, None), (name, Some(pack::Format::F32))])
    {
        let (sounds, texts) = expected(name);
        let model = open(&golden(name), format);
        for (samples, text) in sounds.iter().zip(&texts) {
            let got = transcribe(&model, &wave(*samples), RATE).unwrap();
            assert_eq!(plain(&got.text), plain(text), "{name}, {samples} samples");
            let duration = *samples as f64 / f64::from(RATE);
            assert!((got.duration - duration).abs() < 1e-9);
            let words = got.segments.iter().flat_map(|segment| &segment.words);
            assert!(words.clone().all(|word| word.start < word.end && word.end <= duration));
            assert_eq!(words.count(), text.split_whitespace().count());
        }
    }
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(every_state_is_that_of_transformers);
}

#[test]
fn every_tensor_has_its_place() {
    for name in GOLDENS {
        let directory = Directory::open(&golden(name)).unwrap();
        let plan = plan(&directory).unwrap();
        let stored = directory.shapes().unwrap();
        let hidden = stored.keys().filter(|name| name.ends_with("masked_spec_embed")).count();
        assert_eq!((plan.tensors.len(), hidden), (stored.len() - 1, 1), "{name}");
        for tensor in &plan.tensors {
            assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
        }
    }
}

#[test]
fn keys_that_are_missing_renamed_or_of_another_shape_are_named() {
    for key in [
        "wav2vec2.feature_extractor.conv_layers.0.layer_norm.weight",
        "wav2vec2.feature_extractor.conv_layers.6.conv.weight",
        "wav2vec2.feature_projection.layer_norm.bias",
        "wav2vec2.encoder.pos_conv_embed.conv.weight_g",
        "wav2vec2.encoder.pos_conv_embed.conv.weight_v",
        "wav2vec2.encoder.layers.1.feed_forward.output_dense.weight",
        "lm_head.weight",
    ] {
        lacks_or_renames("wav2vec2", key, &key.replacen('e', "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
    let key = "wav2vec2.encoder.pos_conv_embed.conv.weight_g";
    let dir = copy("wav2vec2");
    edit_weights(dir.path(), |all| {
        let (mut shape, values) = all.tensors.remove(key).unwrap().into_parts();
        shape.reverse();
        let turned = sensorium_checkpoint::Tensor::new(shape, values).unwrap();
        all.tensors.insert(key.into(), turned);
    });
    fails(dir.path(), &["1 of another shape", key]);
}

/// Whoever has folded lengths into directions has published the same model.
#[test]
fn positions_may_be_told_by_one_tensor() {
    let dir = copy("wav2vec2");
    edit_weights(dir.path(), |all| {
        let conv = "wav2vec2.encoder.pos_conv_embed.conv";
        let g = all.tensors.remove(&format!("{conv}.weight_g")).unwrap();
        let (shape, mut values) =
            all.tensors.remove(&format!("{conv}.weight_v")).unwrap().into_parts();
        let kernel = shape[2];
        for (k, length) in g.data().iter().enumerate() {
            let places = || (k..values.len()).step_by(kernel);
            let norm = places().map(|i| values[i] * values[i]).sum::<f32>().sqrt();
            places().collect::<Vec<_>>().into_iter().for_each(|i| values[i] *= length / norm);
        }
        let whole = sensorium_checkpoint::Tensor::new(shape, values).unwrap();
        all.tensors.insert(format!("{conv}.weight"), whole);
    });
    let logits = |path: &Path| open(path, None).parts.logits(&wave(4960));
    assert_close("logits", &logits(dir.path()), &logits(&golden("wav2vec2")), STACK);
}

#[test]
fn settings_that_cannot_be() {
    let own = "preprocessor_config.json";
    let tokens = "tokenizer_config.json";
    let cases: [(&str, &str, Value, &str); 24] = [
        ("config.json", "conv_dim", json!([8, 12]), "as many as of conv_dim"),
        ("config.json", "conv_stride", json!([0, 2, 2, 2, 2, 2, 2]), "sizes above 0"),
        ("config.json", "conv_kernel", json!("wide"), "sizes above 0"),
        ("config.json", "conv_kernel", json!([1 << 24, 3, 3, 3, 3, 2, 2]), "samples"),
        ("config.json", "conv_dim", json!([8, 12, 12, 12, 12, 12, 1 << 24]), "another shape"),
        ("config.json", "feat_extract_norm", json!("batch"), "group or layer"),
        ("config.json", "feat_extract_activation", json!("relu"), "gelu"),
        ("config.json", "hidden_size", json!(3 << 20), "another shape"),
        ("config.json", "num_conv_pos_embedding_groups", json!(5), "a divisor"),
        ("config.json", "num_attention_heads", json!(5), "a divisor"),
        ("config.json", "num_hidden_layers", json!(1 << 20), "layers"),
        ("config.json", "vocab_size", json!(1 << 24), "another shape"),
        ("config.json", "add_adapter", json!(true), "add_adapter"),
        ("config.json", "adapter_attn_dim", json!(16), "adapter_attn_dim"),
        ("config.json", "conv_pos_batch_norm", json!(true), "conv_pos_batch_norm"),
        ("config.json", "do_stable_layer_norm", json!("yes"), "true or false"),
        (own, "sampling_rate", json!(0), "sampling_rate"),
        (own, "sampling_rate", json!(1_000_000), "at most 384000"),
        (own, "sampling_rate", json!("16 kHz"), "sampling_rate"),
        (own, "feature_size", json!(80), "feature_size"),
        (
            own,
            "feature_extractor_type",
            json!("WhisperFeatureExtractor"),
            "Wav2Vec2FeatureExtractor",
        ),
        (tokens, "target_lang", json!("deu"), "target_lang"),
        (tokens, "pad_token", json!("[PAD]"), "stands for no letter"),
        (tokens, "unk_token", json!(3), "a token"),
    ];
    for (file, key, value, words) in cases {
        let dir = copy("wav2vec2");
        edit(dir.path(), file, |settings| settings[key] = value);
        fails(dir.path(), &[words]);
    }
    let dir = copy("wav2vec2");
    edit(dir.path(), "vocab.json", |letters| letters["E"] = json!("five"));
    fails(dir.path(), &["vocab.json", "E", "a token id"]);
}

#[test]
fn files_that_are_missing() {
    for file in ["vocab.json", "preprocessor_config.json", "model.safetensors"] {
        let dir = copy("wav2vec2");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
}

#[test]
fn sounds_of_any_length_and_loudness_are_heard_or_refused() {
    let model = open(&golden("wav2vec2"), None);
    for samples in [1, 399] {
        let error = transcribe(&model, &wave(samples), RATE).unwrap_err();
        assert!(
            matches!(error, Running::Pretrained(Error::ShortSound { least: 400, .. })),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("got {samples}\nhint: ")), "{error}");
    }
    transcribe(&model, &wave(400), RATE).unwrap();
    let silence = transcribe(&model, &[0.0; 16_000], RATE).unwrap();
    assert!((silence.duration - 1.0).abs() < 1e-9);
    // Two pieces, of which none ends outside of the sound.
    let long = transcribe(&model, &wave(21 * 16_000), RATE).unwrap();
    assert_eq!(long.segments.len(), 2);
    assert!(long.segments[0].end <= long.segments[1].start + 0.02);
    assert!(long.segments[1].end <= 21.0);
}

/// A model that was taught at another rate hears sounds at that one.
#[test]
fn the_sampling_rate_is_heeded() {
    let dir = copy("wav2vec2");
    edit(dir.path(), "preprocessor_config.json", |own| own["sampling_rate"] = json!(8000));
    let (sounds, texts) = expected("wav2vec2");
    let got = transcribe(&open(dir.path(), None), &wave(sounds[1]), 8000).unwrap();
    assert_eq!(plain(&got.text), plain(&texts[1]));
    assert!((got.duration - sounds[1] as f64 / 8000.0).abs() < 1e-9);
}
