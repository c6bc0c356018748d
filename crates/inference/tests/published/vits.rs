//! VITS, which speaks: `goldens/vits` and `goldens/vits_voices` (`reference/vits.py`), and what can be wrong with their
//! directories.

use std::fs;

use sensorium_inference::speech::{SpeakOptions, Spoken};
use sensorium_inference::{Error as Running, Model, Result, TextToSpeech, VitsModel};
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

const GOLDENS: [&str; 3] = ["vits", "vits_voices", "vits_piper"];

#[derive(Deserialize)]
struct Case {
    text: String,
    voice: u32,
    speed: f64,
    letters: String,
    ids: Vec<u32>,
    frames: Vec<usize>,
}

fn cases(name: &str) -> Vec<Case> {
    let text = fs::read(golden(name).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn open(name: &str, format: Option<pack::Format>) -> VitsModel {
    match model(&golden(name), format).unwrap_or_else(|error| panic!("{error}")) {
        Model::Vits(model) => model,
        _ => panic!("{name} does not speak"),
    }
}

fn check(name: &str, format: Option<pack::Format>) {
    let golden = Golden::open(name);
    let (parts, mut report) = (open(name, format).parts, Report::new(&golden, STACK));
    let (outputs, cases) = (golden.outputs(), cases(name));
    for i in 0..=2 {
        let x = parts.model.hidden(&cases[0].ids, i);
        report.check(&format!("text.{i}"), &x.dims(), &read(x.clone()));
    }
    let text = parts.model.read(&cases[0].ids);
    report.check("means", &text.means.dims(), &read(text.means.clone()));
    report.check("deviations", &text.deviations.dims(), &read(text.deviations.clone()));
    for (i, case) in cases.iter().enumerate() {
        let spoken = parts.letters.spoken(&case.text).unwrap();
        assert_eq!(spoken, case.letters);
        assert_eq!(parts.letters.ids(&spoken), case.ids, "{}", case.text);
        let text = parts.model.read(&case.ids);
        let voice = parts.config.speakers.map(|_| case.voice);
        let given = |name: &str| outputs.get(&format!("{i}.{name}")).map(|(_, x)| x.clone());
        let scale = parts.manner.noise.duration_scale as f32;
        let noise = given("duration_noise").unwrap_or_default().iter().map(|x| x * scale).collect();
        let noise: Vec<f32> = noise;
        let frames =
            parts.model.frames(&text, voice, &noise, parts.manner.speaking_rate * case.speed);
        assert_eq!(frames, case.frames, "{}", case.text);
        let noise = given("noise").unwrap();
        let shape = [noise.len() / parts.config.channels, parts.config.channels];
        report.check(&format!("{i}.noise"), &shape, &noise);
        let latents = parts.model.latents(&text, &frames, voice, noise, parts.manner.noise.scale);
        report.check(&format!("{i}.latents"), &latents.dims(), &read(latents.clone()));
        let samples = parts.model.samples(latents, voice);
        report.check(&format!("{i}.waveform"), &[samples.len()], &samples);
        assert_eq!(samples.len(), frames.iter().sum::<usize>() * parts.config.hop());
    }
    report.finish();
}

#[test]
fn it_speaks_as_transformers_does_of_the_same_noise() {
    for name in GOLDENS {
        check(name, None);
        check(name, Some(pack::Format::F32));
    }
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(|| check("vits", None));
}

fn say(model: &VitsModel, text: &str, options: &SpeakOptions) -> Result<Spoken> {
    model.speak(text, options, &mut |_, _| ())
}

#[test]
fn a_seed_says_the_same_and_a_speed_says_it_faster() {
    let model = open("vits", None);
    let usual = SpeakOptions::default;
    let said = say(&model, "Hello! The hat.", &usual()).unwrap();
    assert_eq!((said.rate, &*said.voice, said.sentences.len()), (16_000, "0", 2));
    assert_eq!(said.sentences[1].text, "The hat.");
    assert_eq!(said.sentences[1].phonemes.concat(), "the hat");
    assert_eq!(said.sentences[0].end, said.sentences[1].start);
    assert!((said.sentences[1].end - said.seconds()).abs() < 1e-9);
    assert_eq!(said.samples, say(&model, "Hello! The hat.", &usual()).unwrap().samples);
    let other = SpeakOptions { seed: 1, ..usual() };
    assert_ne!(said.samples, say(&model, "Hello! The hat.", &other).unwrap().samples);
    let fast = SpeakOptions { speed: 4.0, ..usual() };
    assert!(say(&model, "Hello! The hat.", &fast).unwrap().samples.len() < said.samples.len());
    let error = say(&model, "hello", &SpeakOptions { speed: 9.0, ..usual() }).unwrap_err();
    assert!(matches!(error, Running::Speed { .. }), "{error}");
}

#[test]
fn voices_are_their_numbers() {
    let model = open("vits_voices", None);
    assert_eq!(model.voices(), ["0", "1", "2"]);
    let say = |voice: Option<&str>| {
        let options = SpeakOptions { voice: voice.map(str::to_owned), ..SpeakOptions::default() };
        say(&model, "hello", &options)
    };
    let first = say(None).unwrap();
    assert_eq!((first.rate, &first.samples), (22_050, &say(Some("0")).unwrap().samples));
    assert_ne!(first.samples, say(Some("2")).unwrap().samples);
    let error = say(Some("slt")).unwrap_err().to_string();
    assert!(error.contains("0, 1, 2") && error.contains("slt"), "{error}");
}

#[test]
fn letters_that_the_voice_lacks_are_named() {
    let model = open("vits", None);
    for (text, words) in [
        ("hello \u{436}x4x", ["\u{436}x4", "hello"]),
        ("...", ["letters that the voice knows", "..."]),
        ("", ["got \"\"", "hint"]),
    ] {
        let error = say(&model, text, &SpeakOptions::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        assert!(error.contains("\nhint: "), "{error}");
    }
    // What is no letter is left out, as where the model was taught.
    assert!(say(&model, "(hello?)", &SpeakOptions::default()).is_ok());
}

#[test]
fn every_tensor_has_its_place() {
    for name in GOLDENS {
        let directory = Directory::open(&golden(name)).unwrap();
        let plan = plan(&directory).unwrap();
        let stored = directory.shapes().unwrap();
        let rest = stored.keys().filter(|name| !plan.is_ignorable(name)).count();
        assert_eq!(plan.tensors.len(), rest, "{name}");
        for tensor in &plan.tensors {
            assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
        }
        // Piper's voices have no longer what heard recordings.
        let training = |name: &&String| name.starts_with("posterior_encoder.");
        assert!(stored.keys().filter(training).all(|name| plan.is_ignorable(name)));
    }
}

#[test]
fn keys_that_are_missing_or_renamed_are_named() {
    for key in [
        "text_encoder.encoder.layers.1.attention.emb_rel_k",
        "text_encoder.encoder.layers.0.feed_forward.conv_2.bias",
        "text_encoder.project.weight",
        "flow.flows.1.wavenet.in_layers.0.weight_g",
        "flow.flows.0.wavenet.res_skip_layers.1.weight_v",
        "decoder.upsampler.1.weight",
        "decoder.resblocks.3.convs1.1.bias",
        "duration_predictor.flows.0.log_scale",
        "duration_predictor.flows.4.conv_dds.convs_dilated.1.weight",
    ] {
        lacks_or_renames("vits", key, &key.replacen('e', "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
    // What only training needs may be left out.
    let dir = copy("vits");
    edit_weights(dir.path(), |all| {
        all.tensors.retain(|name, _| {
            !name.starts_with("posterior_encoder.") && !name.contains("duration_predictor.post_")
        });
    });
    assert!(matches!(model(dir.path(), None), Ok(Model::Vits(_))));
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 27] = [
        ("config.json", "vocab_size", json!(5), "vocab_size of config.json"),
        ("config.json", "vocab_size", json!(1 << 24), "another shape"),
        ("config.json", "hidden_size", json!(1 << 20), "another shape"),
        ("config.json", "num_attention_heads", json!(5), "a divisor"),
        ("config.json", "num_hidden_layers", json!(1 << 20), "layers"),
        ("config.json", "window_size", json!(0), "window_size"),
        ("config.json", "flow_size", json!(7), "an even number"),
        ("config.json", "ffn_kernel_size", json!(4), "an odd number"),
        ("config.json", "hidden_act", json!("swish"), "gelu"),
        ("config.json", "use_stochastic_duration_prediction", json!(false), "conv_1"),
        ("config.json", "duration_predictor_num_flows", json!(9), "at most 4"),
        ("config.json", "depth_separable_channels", json!(4), "2"),
        ("config.json", "depth_separable_num_layers", json!(60), "4096 places"),
        ("config.json", "wavenet_dilation_rate", json!(1 << 20), "4096 places"),
        ("config.json", "prior_encoder_num_wavenet_layers", json!(3), "missing"),
        ("config.json", "upsample_rates", json!([4]), "of each of the upsample_rates"),
        ("config.json", "upsample_rates", json!([8, 8]), "of each of the upsample_rates"),
        ("config.json", "upsample_initial_channel", json!(2), "of 2 channels"),
        ("config.json", "resblock_kernel_sizes", json!([3, 4]), "odd numbers"),
        ("config.json", "resblock_dilation_sizes", json!([[1, 3]]), "a list for each"),
        ("config.json", "resblock_dilation_sizes", json!([[1, 3], "x"]), "sizes"),
        ("config.json", "num_speakers", json!(3), "speaker_embedding_size"),
        ("config.json", "noise_scale", json!(-1), "noise_scale"),
        ("config.json", "speaking_rate", json!(0), "speaking_rate"),
        ("config.json", "sampling_rate", json!(1_000_000), "at most 384000"),
        ("tokenizer_config.json", "add_blank", json!("yes"), "true or false"),
        ("config.json", "resblock", json!("2"), "convs2"),
    ];
    for (file, key, value, words) in cases {
        let dir = copy("vits");
        edit(dir.path(), file, |settings| settings[key] = value);
        fails(dir.path(), &[words]);
    }
}

fn phonemes(text: &str) -> Result<Spoken> {
    let options = SpeakOptions { phonemes: true, ..SpeakOptions::default() };
    say(&open("vits_piper", None), text, &options)
}

#[test]
fn a_voice_of_piper_reads_phonemes_that_are_written() {
    let said = phonemes("h\u{259}l\u{2c8}o\u{28a}. \u{f5}l").unwrap();
    assert_eq!((said.rate, said.sentences.len()), (22_050, 2));
    assert_eq!(said.sentences[1].phonemes.concat(), "o\u{303}l");
    let error = phonemes("hxl").unwrap_err().to_string();
    assert!(error.contains("\"x\"") && error.contains("\nhint: "), "{error}");
    let error = say(
        &open("vits", None),
        "hello",
        &SpeakOptions { phonemes: true, ..SpeakOptions::default() },
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("--phonemes"), "{error}");
}

#[test]
fn settings_of_piper_that_cannot_be() {
    let cases: [(&[&str], Value, &str); 13] = [
        (&["phoneme_id_map"], json!(null), "nothing can be spoken"),
        (&["phoneme_id_map"], json!({"a": [1]}), "its id"),
        (&["phoneme_id_map", "h"], json!([99]), "vocab_size of config.json"),
        (&["phoneme_id_map", "h"], json!([]), "vocab_size of config.json"),
        (&["phoneme_id_map", "ab"], json!([1]), "one letter"),
        (&["phoneme_type"], json!("text"), "espeak"),
        (&["phoneme_map"], json!({"a": ["b"]}), "phoneme_map"),
        (&["num_symbols"], json!(256), "12"),
        (&["num_speakers"], json!(2), "num_speakers"),
        (&["speaker_id_map"], json!({"joe": 1}), "a number below 1"),
        (&["espeak", "voice"], json!("-x/../y"), "a voice of espeak-ng"),
        (&["inference", "length_scale"], json!(0), "length_scale"),
        (&["audio", "sample_rate"], json!(1 << 20), "at most 384000"),
    ];
    for (path, value, words) in cases {
        let dir = copy("vits_piper");
        edit(dir.path(), "voice.onnx.json", |settings| {
            *path.iter().fold(settings, |at, key| &mut at[*key]) = value;
        });
        fails(dir.path(), &[words]);
    }
    let dir = copy("vits_piper");
    fs::remove_file(dir.path().join("voice.onnx.json")).unwrap();
    fails(dir.path(), &["vocab.json"]);
}

#[test]
fn files_that_are_missing() {
    for file in ["vocab.json", "model.safetensors"] {
        let dir = copy("vits");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
}
