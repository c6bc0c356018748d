//! Qwen2-Audio, which answers about sounds: `goldens/qwen2_audio` (`reference/qwen2_audio.py`), and what can be wrong
//! with its directory.

use std::fs;
use std::ops::ControlFlow;

use sensorium_encoder::{Encoder, audio};
use sensorium_flow::{Embeds, Input};
use sensorium_inference::{
    AudioLanguageModel, ChatModel, Error as Running, GenerateOptions, Model, Reply, Result,
};
use sensorium_media::{Media, Message, Modality, Part, Picture, Role};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Error, Pretrained};
use sensorium_testkit::{Golden, assert_close};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{as_in_memory, copy, fails, lacks_or_renames, placed, put};
use crate::golden;
use crate::open::{device, model, pretrained};
use crate::sounds::{medium, wave};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const NAME: &str = "qwen2_audio";

#[derive(Deserialize)]
struct Case {
    question: String,
    sounds: Vec<usize>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

impl Case {
    fn media(&self) -> Vec<Media> {
        self.sounds.iter().map(|&samples| medium(wave(samples), 16_000)).collect()
    }
}

fn cases() -> Vec<Case> {
    let text = fs::read(golden(NAME).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn open(format: Option<pack::Format>) -> AudioLanguageModel {
    match model(&golden(NAME), format).unwrap_or_else(|error| panic!("{error}")) {
        Model::AudioLanguage(model) => model,
        _ => panic!("it hears"),
    }
}

fn answer(model: &AudioLanguageModel, question: &str, media: &[Media]) -> Result<Reply> {
    let mut parts = vec![Part::Media(Modality::Audio); media.len()];
    parts.push(Part::Text(question.to_owned()));
    let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
    let message = Message { role: Role::User, parts };
    model.answer(&[message], media, &options, &mut |_| ControlFlow::Continue(()))
}

fn compare(format: Option<pack::Format>) {
    let (model, outputs) = (open(format), Golden::open(NAME).outputs());
    let cases = cases();
    assert!(cases.len() >= 4, "{} cases", cases.len());
    for (i, case) in cases.iter().enumerate() {
        let media = case.media();
        let pieces: Vec<_> =
            media.iter().flat_map(|medium| model.tower.pieces(medium).unwrap()).collect();
        if let Some(want) = outputs.get(&format!("{i}.mel")) {
            let sensorium_pretrained::Piece::Audio { mel, .. } = &pieces[0] else { panic!("mel") };
            assert_close("mel", mel, &want.1, 1e-5);
        }
        if let Some(Embeds(heard)) = model.tower.encode(&pieces.iter().collect::<Vec<_>>()).unwrap()
        {
            let want = &outputs[&format!("{i}.features")];
            assert_eq!(heard.dims()[1..], want.0[..]);
            assert_close("features", &read(heard), &want.1, STACK);
        }
        let reply = answer(&model, &case.question, &media).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reply.prompt, case.ids, "{i}: {}", case.question);
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, &outputs[&format!("{i}.logits")].1, STACK);
        let said = &reply.continuation.ids;
        assert_eq!(said[..], case.greedy[..said.len()], "{i}: {}", case.question);
        assert!(case.greedy.len() - said.len() <= 1, "{i}: {} tokens", said.len());
    }
}

#[test]
fn it_answers_as_transformers_does() {
    compare(None);
    compare(Some(pack::Format::F32));
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(|| compare(None));
}

/// Of a short sound, what is silence behind it does not change what is heard in it.
#[test]
fn every_block_is_that_of_transformers_where_the_sound_is() {
    let outputs = Golden::open(NAME).outputs();
    let Pretrained::AudioLanguage(parts) = pretrained(&golden(NAME)).unwrap() else {
        panic!("parts")
    };
    let piece = parts.processor.pieces(&medium(wave(4960), 16_000)).unwrap().remove(0);
    let Some(Input::Audio(sounds)) = parts.processor.input([&piece], &device()).unwrap() else {
        panic!("a sound")
    };
    assert_eq!((sounds.mel.dims(), &*sounds.frames), ([1, 16, 400], &[31][..]));
    let Encoder::Audio(audio::Encoder::Qwen2Audio(encoder)) = &parts.tower.encoder else {
        panic!("its encoder")
    };
    for i in 1..=2 {
        let (shape, want) = &outputs[&format!("encoder.{i}")];
        let got = encoder.hidden(&sounds, i).narrow(1, 0, shape[1]);
        assert_close(&format!("encoder.{i}"), &read(got), want, STACK);
    }
}

/// A sound longer than is heard at once stands as several, one after the other.
#[test]
fn longer_sounds_stand_in_pieces_and_shorter_ones_are_refused() {
    let model = open(None);
    let frames = |samples: usize| -> Vec<usize> {
        let pieces = model.tower.pieces(&medium(wave(samples), 16_000)).unwrap();
        pieces.iter().map(|piece| model.tower.tokens(piece)).collect()
    };
    assert_eq!(frames(321), [1]);
    assert_eq!(frames(64_000), [100]);
    assert_eq!(frames(64_160), [100], "what is left over is too short to be heard");
    assert_eq!(frames(150_000), [100, 100, 34]);
    let long = answer(&model, "what?", &[medium(wave(70_000), 16_000)]).unwrap();
    assert_eq!(long.slots.iter().map(|slot| slot.len).collect::<Vec<_>>(), [100, 9]);
    let error = answer(&model, "what?", &[medium(wave(320), 16_000)]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::ShortSound { least: 321, .. })), "{error}");
    assert!(answer(&model, "what?", &[medium(vec![0.0; 8000], 8000)]).is_ok());
}

#[test]
fn texts_are_continued_with_sounds_at_their_marks_and_pictures_refused() {
    let model = open(None);
    let options = GenerateOptions { max_new_tokens: 3, ..GenerateOptions::default() };
    let mut go_on = |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
    let sound = [medium(wave(4960), 16_000)];
    let reply = model.complete("hear: <audio>!", true, &sound, &options, &mut go_on).unwrap();
    // The words, and eight tokens of sound between their marks.
    assert_eq!(reply.prompt.len(), "hear: ".len() + 1 + 8 + 1 + 1);
    assert_eq!((reply.slots[0].at, reply.slots[0].len), (7, 8));
    let picture = Media::Image(Picture::filled(4, 4, [1, 2, 3]));
    let error = answer(&model, "what?", &[picture]).unwrap_err();
    assert!(matches!(error, Running::Modality { got: Modality::Image, .. }), "{error}");
    let typed = model.complete("<|AUDIO|>", false, &[], &options, &mut go_on).unwrap();
    assert_eq!(typed.prompt.len(), "<|AUDIO|>".len(), "what is typed is letters");
}

#[test]
fn every_tensor_has_its_place() {
    placed(NAME);
}

#[test]
fn keys_that_are_missing_or_renamed_are_named() {
    for key in [
        "audio_tower.conv2.weight",
        "audio_tower.embed_positions.weight",
        "audio_tower.layers.1.self_attn.v_proj.bias",
        "audio_tower.layer_norm.bias",
        "multi_modal_projector.linear.weight",
        "language_model.model.layers.1.mlp.down_proj.weight",
        "language_model.lm_head.weight",
    ] {
        lacks_or_renames(NAME, key, &key.replacen("_", "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
}

/// As transformers holds it in memory.
#[test]
fn the_names_of_today_are_read_too() {
    let dir = copy(NAME);
    as_in_memory(dir.path());
    assert!(matches!(pretrained(dir.path()), Ok(Pretrained::AudioLanguage(_))));
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 14] = [
        ("config.json", "/audio_config/encoder_attention_heads", json!(5), "a divisor"),
        ("config.json", "/audio_config/encoder_layers", json!(1 << 20), "layers"),
        ("config.json", "/audio_config/d_model", json!(24 << 18), "another shape"),
        ("config.json", "/audio_config/max_source_positions", json!(100), "chunk_length"),
        ("config.json", "/audio_config/activation_function", json!("relu"), "gelu"),
        ("config.json", "/audio_config/scale_embedding", json!(true), "false"),
        ("config.json", "/audio_config/model_type", json!("whisper"), "qwen2_audio_encoder"),
        ("config.json", "/text_config/model_type", json!("llama"), "qwen2"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("config.json", "/audio_token_index", json!(9999), "whose places sounds take"),
        ("processor_config.json", "/feature_extractor/sampling_rate", json!(8000), "16000"),
        ("processor_config.json", "/feature_extractor/feature_size", json!(80), "16"),
        ("processor_config.json", "/feature_extractor/chunk_length", json!(30), "400 frames"),
        (
            "processor_config.json",
            "/feature_extractor/feature_extractor_type",
            json!("ClapFeatureExtractor"),
            "WhisperFeatureExtractor",
        ),
    ];
    for (file, path, value, words) in cases {
        let dir = copy(NAME);
        put(dir.path(), file, path, value);
        fails(dir.path(), &[words]);
    }
    for file in ["tokenizer.json", "processor_config.json"] {
        let dir = copy(NAME);
        fs::remove_file(dir.path().join(file)).unwrap();
        assert!(matches!(fails(dir.path(), &["expected"]), Error::Missing { .. }), "{file}");
    }
}
