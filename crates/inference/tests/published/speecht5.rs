//! SpeechT5, which speaks in the voice of a vector: `goldens/speecht5` (`reference/speecht5.py`), and what can be wrong
//! with its directory and its vocoder's.

use std::fs;
use std::path::Path;

use sensorium_inference::speech::{SpeakOptions, Spoken};
use sensorium_inference::{Model, Result, SpeechT5Model, TextToSpeech};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Directory, Error, plan};
use sensorium_testkit::{Golden, Report};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails, lacks_or_renames};
use crate::golden;
use crate::open::model;

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

#[derive(Deserialize)]
struct Case {
    text: String,
    voice: String,
    ids: Vec<u32>,
}

fn cases() -> Vec<Case> {
    let text = fs::read(golden("speecht5").join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn opened(path: &Path, format: Option<pack::Format>) -> SpeechT5Model {
    match model(path, format).unwrap_or_else(|error| panic!("{error}")) {
        Model::SpeechT5(model) => model,
        _ => panic!("{} does not speak", path.display()),
    }
}

fn open(format: Option<pack::Format>) -> SpeechT5Model {
    opened(&golden("speecht5"), format)
}

fn check(format: Option<pack::Format>) {
    let golden = Golden::open("speecht5");
    let (parts, mut report) = (open(format).parts, Report::new(&golden, STACK));
    let (outputs, cases) = (golden.outputs(), cases());
    for i in 0..=2 {
        let x = parts.model.hidden(&cases[0].ids, i);
        report.check(&format!("text.{i}"), &x.dims(), &read(x.clone()));
    }
    for (i, case) in cases.iter().enumerate() {
        let ids = parts.tokenizer.encode_within(&case.text, true, 100).unwrap();
        assert_eq!(ids, case.ids, "{}", case.text);
        let (shape, kept) = &outputs[&format!("{i}.kept")];
        report.check(&format!("{i}.kept"), shape, kept);
        let mut rows = kept.chunks(shape[2]);
        let mut next = |n: usize| {
            let row = rows.next().expect("it ends where transformers' does");
            assert_eq!(row.len(), n);
            row.iter().map(|&kept| kept == 1.0).collect()
        };
        let number = parts.voices.iter().position(|voice| *voice == case.voice).unwrap();
        let made = parts.model.frames(&ids, &parts.speakers[number], &mut next);
        assert!(made.ended && rows.next().is_none(), "{}", case.text);
        let [before, log_mel] = [&made.before, &made.log_mel].map(|x| (x.dims(), read(x.clone())));
        report.check(&format!("{i}.before"), &before.0, &before.1);
        report.check(&format!("{i}.log_mel"), &log_mel.0, &log_mel.1);
        let samples = parts.vocoder.samples(made.log_mel);
        report.check(&format!("{i}.waveform"), &[samples.len()], &samples);
    }
    report.finish();
}

#[test]
fn it_speaks_as_transformers_does_of_the_same_draws() {
    check(None);
    check(Some(pack::Format::F32));
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(|| check(None));
}

fn say(text: &str, options: &SpeakOptions) -> Result<Spoken> {
    open(None).speak(text, options, &mut |_, _| ())
}

#[test]
fn voices_are_vectors_by_name_or_of_a_file() {
    let model = open(None);
    assert_eq!(model.voices(), ["anna", "bert"]);
    let named = |name: &str| SpeakOptions { voice: Some(name.into()), ..SpeakOptions::default() };
    let anna = say("a bell", &named("anna"));
    let again =
        SpeakOptions { speaker: Some(model.parts.speakers[0].clone()), ..SpeakOptions::default() };
    match (anna, say("a bell", &again)) {
        (Ok(anna), Ok(again)) => {
            assert_eq!((anna.rate, anna.sentences.len()), (16_000, 1));
            assert_eq!(anna.samples, again.samples);
        }
        // The seed's draws may leave no end to a random model; both say so.
        (anna, again) => assert_eq!(anna.unwrap_err().to_string(), again.unwrap_err().to_string()),
    }
    let short = SpeakOptions { speaker: Some(vec![1.0; 3]), ..SpeakOptions::default() };
    let fast = SpeakOptions { speed: 2.0, ..SpeakOptions::default() };
    let phonemes = SpeakOptions { phonemes: true, ..SpeakOptions::default() };
    for (text, options, words) in [
        ("a bell", named("carl"), "anna, bert"),
        ("a bell", short, "7 finite numbers"),
        ("a bell", fast, "--speed"),
        ("a bell", phonemes, "--phonemes"),
        ("a zebra 7", SpeakOptions::default(), "\"zr7\""),
        (" ", SpeakOptions::default(), "letters"),
    ] {
        let error = say(text, &options).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
    }
    let dir = copy("speecht5");
    fs::remove_file(dir.path().join("voices.safetensors")).unwrap();
    let model = opened(dir.path(), None);
    let error = model.speak("a bell", &SpeakOptions::default(), &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("--speaker FILE"), "{error}");
}

#[test]
fn every_tensor_has_its_place() {
    let directory = Directory::open(&golden("speecht5")).unwrap();
    let plan = plan(&directory).unwrap();
    let stored = directory.shapes().unwrap();
    assert!(plan.tensors.iter().all(|tensor| stored[&tensor.name].shape == tensor.shape));
    for key in [
        "speecht5.encoder.prenet.encode_positions.alpha",
        "speecht5.encoder.wrapped_encoder.embed_positions.pe_k.weight",
        "speecht5.decoder.prenet.speaker_embeds_layer.weight",
        "speecht5.decoder.wrapped_decoder.layers.1.encoder_attn.out_proj.bias",
        "speech_decoder_postnet.layers.2.batch_norm.running_var",
        "speech_decoder_postnet.prob_out.weight",
    ] {
        lacks_or_renames("speecht5", key, &key.replacen('e', "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
}

#[test]
fn the_vocoder_lies_inside_or_beside() {
    let dir = copy("speecht5");
    let [inside, named] = ["vocoder", "speecht5_hifigan"].map(|name| dir.path().join(name));
    fs::rename(&inside, &named).unwrap();
    let inner = dir.path().join("model");
    fs::create_dir(&inner).unwrap();
    opened(dir.path(), None);
    for entry in fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file())
    {
        fs::rename(entry.path(), inner.join(entry.file_name())).unwrap();
    }
    opened(&inner, None);
    fs::remove_file(named.join("config.json")).unwrap();
    let error = fails(&inner, &["vocoder/config.json", "speecht5_hifigan"]);
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 21] = [
        ("config.json", "vocab_size", json!(5), "vocab_size"),
        ("config.json", "vocab_size", json!(1 << 24), "another shape"),
        ("config.json", "hidden_size", json!(1 << 20), "another shape"),
        ("config.json", "encoder_attention_heads", json!(5), "a divisor"),
        ("config.json", "decoder_layers", json!(1 << 20), "layers"),
        ("config.json", "hidden_act", json!("swish"), "gelu"),
        ("config.json", "encoder_max_relative_position", json!(0), "whole number"),
        ("config.json", "num_mel_bins", json!(7), "another shape"),
        ("config.json", "speech_decoder_prenet_dropout", json!(1), "between 0 and 1"),
        ("config.json", "speech_decoder_prenet_dropout", json!(0), "above 0"),
        ("config.json", "speech_decoder_postnet_kernel", json!(4), "an odd number"),
        ("config.json", "speaker_embedding_dim", json!(8), "another shape"),
        ("config.json", "reduction_factor", json!(1), "another shape"),
        ("config.json", "max_text_positions", json!("x"), "whole number"),
        ("tokenizer_config.json", "normalize", json!(true), "normalize"),
        ("vocoder/config.json", "model_type", json!("vits"), "speecht5_hifigan"),
        ("vocoder/config.json", "model_in_dim", json!(80), "num_mel_bins"),
        ("vocoder/config.json", "normalize_before", json!(1), "true or false"),
        ("vocoder/config.json", "upsample_rates", json!([4]), "upsample_rates"),
        ("vocoder/config.json", "sampling_rate", json!(1_000_000), "at most 384000"),
        ("vocoder/config.json", "gated", json!(true), "gated"),
    ];
    for (file, key, value, words) in cases {
        let dir = copy("speecht5");
        edit(dir.path(), file, |settings| settings[key] = value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn files_that_are_missing_or_of_another_model() {
    for file in ["spm_char.model", "model.safetensors", "vocoder/model.safetensors"] {
        let dir = copy("speecht5");
        fs::remove_file(dir.path().join(file)).unwrap();
        let name = file.rsplit('/').next().unwrap();
        let error = fails(dir.path(), &[name]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
    let dir = copy("speecht5");
    edit_weights(&dir.path().join("vocoder"), |all| drop(all.tensors.remove("mean")));
    fails(dir.path(), &["mean"]);
    let dir = copy("speecht5");
    fs::copy(dir.path().join("vocoder/model.safetensors"), dir.path().join("voices.safetensors"))
        .unwrap();
    fails(dir.path(), &["speaker_embedding_dim"]);
}
