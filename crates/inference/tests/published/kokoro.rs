//! Kokoro, which speaks phonemes in a style: `goldens/kokoro` (`reference/kokoro_82m.py`), and what can be wrong with its
//! directory.

use std::fs;

use sensorium_inference::speech::{SpeakOptions, Spoken};
use sensorium_inference::{KokoroModel, Model, Result, TextToSpeech};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Error;
use sensorium_testkit::{Golden, Report};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, fails, lacks_or_renames, placed};
use crate::golden;
use crate::open::model;

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

/// The same of samples, which phases are made of that the inverse STFT adds up.
const WAVEFORM: f32 = 2e-4;

#[derive(Deserialize)]
struct Case {
    phonemes: String,
    voice: String,
    speed: f64,
    ids: Vec<u32>,
    frames: Vec<usize>,
}

fn open(format: Option<pack::Format>) -> KokoroModel {
    match model(&golden("kokoro"), format).unwrap_or_else(|error| panic!("{error}")) {
        Model::Kokoro(model) => model,
        _ => panic!("it does not speak"),
    }
}

fn check(format: Option<pack::Format>) {
    let golden = Golden::open("kokoro");
    let (model, mut report) = (open(format), Report::new(&golden, STACK));
    let mut waveforms = Report::new(&golden, WAVEFORM);
    let (parts, outputs) = (&model.parts, golden.outputs());
    let text = fs::read(crate::golden("kokoro").join("expected.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    for (i, case) in cases.iter().enumerate() {
        let ids = model.ids(&case.phonemes).unwrap();
        assert_eq!(ids, case.ids[1..=ids.len()], "{}", case.phonemes);
        let voice = parts.voices.iter().position(|voice| *voice == case.voice).unwrap();
        let style = model.style(voice, ids.len());
        let (shape, noise) = &outputs[&format!("{i}.noise")];
        report.check(&format!("{i}.noise"), shape, noise);
        let bert = parts.model.read(&case.ids);
        report.check(&format!("{i}.bert"), &bert.dims(), &read(bert.clone()));
        let timed = parts.model.timed(&case.ids, style, case.speed);
        assert_eq!(timed.frames, case.frames, "{}", case.phonemes);
        let [height, loudness] = timed.curves.clone().map(read);
        report.check(&format!("{i}.height"), &[height.len()], &height);
        report.check(&format!("{i}.loudness"), &[loudness.len()], &loudness);
        let mut drawn = |n: usize| {
            assert_eq!(n, noise.len());
            noise.clone()
        };
        let samples = parts.model.samples(&case.ids, &timed, style, &mut drawn);
        waveforms.check(&format!("{i}.waveform"), &[samples.len()], &samples);
    }
    report.finish();
    waveforms.finish();
}

#[test]
fn it_speaks_as_its_own_code_does_of_the_same_noise() {
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

fn phonemes() -> SpeakOptions {
    SpeakOptions { phonemes: true, ..SpeakOptions::default() }
}

#[test]
fn voices_say_phonemes_and_a_speed_says_them_faster() {
    let said = say("l\u{2c8}o. h\u{259}l", &phonemes()).unwrap();
    assert_eq!((said.rate, &*said.voice, said.sentences.len()), (24_000, "anna", 2));
    let other = SpeakOptions { voice: Some("bert".into()), ..phonemes() };
    assert_ne!(said.samples, say("l\u{2c8}o. h\u{259}l", &other).unwrap().samples);
    let slow = SpeakOptions { speed: 0.25, ..phonemes() };
    assert!(say("l\u{2c8}o. h\u{259}l", &slow).unwrap().samples.len() > said.samples.len());
    let vector = SpeakOptions { speaker: Some(vec![1.0]), ..phonemes() };
    let nobody = SpeakOptions { voice: Some("carl".into()), ..phonemes() };
    for (text, options, words) in [
        ("lo", SpeakOptions::default(), "--phonemes"),
        ("lo", vector, "--speaker"),
        ("lo", nobody, "anna, bert"),
        ("lxo", phonemes(), "\"x\""),
        (" ", phonemes(), "letters"),
    ] {
        let error = say(text, &options).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn every_tensor_has_its_place() {
    placed("kokoro");
    for key in [
        "bert.embeddings.token_type_embeddings.weight",
        "bert.encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.bias",
        "bert_encoder.weight",
        "predictor.text_encoder.lstms.2.weight_hh_l0_reverse",
        "predictor.text_encoder.lstms.3.fc.weight",
        "predictor.F0.1.pool.weight_v",
        "predictor.N.1.conv1x1.weight_g",
        "text_encoder.cnn.1.1.gamma",
        "text_encoder.lstm.bias_ih_l0",
        "decoder.asr_res.0.weight_v",
        "decoder.decode.3.norm2.fc.bias",
        "decoder.generator.m_source.l_linear.weight",
        "decoder.generator.noise_res.1.alpha2.2",
        "decoder.generator.resblocks.3.adain1.0.fc.weight",
    ] {
        lacks_or_renames("kokoro", key, &key.replacen('e', "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&[&str], Value, &str); 17] = [
        (&["n_token"], json!(5), "n_token"),
        (&["n_token"], json!(1 << 24), "another shape"),
        (&["hidden_dim"], json!(20), "a multiple of 8"),
        (&["hidden_dim"], json!(24), "upsample_initial_channel"),
        (&["style_dim"], json!(4), "the shape"),
        (&["n_layer"], json!(1 << 20), "at most 512"),
        (&["text_encoder_kernel_size"], json!(4), "an odd number"),
        (&["max_dur"], json!(7), "another shape"),
        (&["vocab"], json!([1]), "an object"),
        (&["vocab", "ab"], json!(1), "one letter"),
        (&["vocab", "h"], json!(99), "n_token"),
        (&["plbert", "num_attention_heads"], json!(5), "a divisor"),
        (&["plbert", "num_hidden_groups"], json!(2), "num_hidden_groups"),
        (&["plbert", "max_position_embeddings"], json!(41), "another shape"),
        (&["istftnet", "gen_istft_n_fft"], json!(7), "an even number"),
        (&["istftnet", "gen_istft_hop_size"], json!(9), "two hops"),
        (&["istftnet", "upsample_rates"], json!([2, 3]), "upsample_rates"),
    ];
    for (path, value, words) in cases {
        let dir = copy("kokoro");
        edit(dir.path(), "config.json", |settings| {
            *path.iter().fold(settings, |at, key| &mut at[*key]) = value;
        });
        fails(dir.path(), &[words]);
    }
    for file in ["voices.safetensors", "model.safetensors"] {
        let dir = copy("kokoro");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
}
