//! Voxtral, which answers about sounds and writes them down: `goldens/voxtral` (`reference/voxtral.py`), and what can be
//! wrong with its directory.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use sensorium_encoder::{Encoder, audio};
use sensorium_flow::{Embeds, Input};
use sensorium_inference::whisper::{Fallback, Task, TranscribeOptions, Transcript};
use sensorium_inference::{
    AudioLanguageModel, ChatModel, Error as Running, GenerateOptions, Model, Reply, Result,
    SpeechToText,
};
use sensorium_media::{Media, MediaDecoder, Message, Modality, Part, Role, Tokenizer};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Error, Piece, Pretrained};
use sensorium_testkit::{Golden, assert_close};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{
    as_in_memory, copy, edit, edit_weights, fails, lacks_or_renames, placed, put,
};
use crate::golden;
use crate::open::{device, model, pretrained};
use crate::sounds::{file, medium, wave};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const NAME: &str = "voxtral";

#[derive(Deserialize)]
struct Expected {
    conversations: Vec<Conversation>,
    transcriptions: Vec<Transcription>,
    texts: Vec<Spelt>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Value>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

#[derive(Deserialize)]
struct Transcription {
    samples: usize,
    language: Option<String>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

#[derive(Deserialize)]
struct Spelt {
    text: String,
    ids: Vec<u32>,
}

impl Conversation {
    /// Its messages, and the sounds in them.
    fn given(&self) -> (Vec<Message>, Vec<Media>) {
        let mut media = Vec::new();
        let mut part = |part: &Value| match part.as_u64() {
            Some(samples) => {
                media.push(medium(wave(samples as usize), 16_000));
                Part::Media(Modality::Audio)
            }
            None => Part::Text(part.as_str().unwrap().to_owned()),
        };
        let message = |message: &Value| Message {
            role: serde_json::from_value(message["role"].clone()).unwrap(),
            parts: message["content"].as_array().unwrap().iter().map(&mut part).collect(),
        };
        (self.messages.iter().map(message).collect(), media)
    }
}

fn expected() -> Expected {
    serde_json::from_slice(&fs::read(golden(NAME).join("expected.json")).unwrap()).unwrap()
}

fn opened(path: &Path, format: Option<pack::Format>) -> AudioLanguageModel {
    match model(path, format).unwrap_or_else(|error| panic!("{error}")) {
        Model::AudioLanguage(model) => model,
        _ => panic!("it hears"),
    }
}

fn options() -> GenerateOptions {
    GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() }
}

fn answer(model: &AudioLanguageModel, messages: &[Message], media: &[Media]) -> Result<Reply> {
    model.answer(messages, media, &options(), &mut |_| ControlFlow::Continue(()))
}

/// What is said begins as it should, as far as it goes: an end is not among it.
fn begins(said: &[u32], greedy: &[u32]) {
    assert_eq!(said[..], greedy[..said.len()]);
    assert!(greedy.len() - said.len() <= 1, "{} tokens", said.len());
}

fn compare(format: Option<pack::Format>) {
    let (model, outputs) = (opened(&golden(NAME), format), Golden::open(NAME).outputs());
    let cases = expected().conversations;
    assert!(cases.len() >= 5, "{} cases", cases.len());
    for (i, case) in cases.iter().enumerate() {
        let (messages, media) = case.given();
        let pieces: Vec<Piece> =
            media.iter().flat_map(|medium| model.tower.pieces(medium).unwrap()).collect();
        if let Some(want) = outputs.get(&format!("{i}.mel")) {
            let Some(Piece::Audio { mel, .. }) = pieces.last() else { panic!("mel") };
            assert_close("mel", mel, &want.1, 1e-5);
        }
        if let Some(Embeds(heard)) = model.tower.encode(&pieces.iter().collect::<Vec<_>>()).unwrap()
        {
            let want = &outputs[&format!("{i}.features")];
            assert_eq!(heard.dims()[1..], want.0[..]);
            assert_close("features", &read(heard), &want.1, STACK);
        }
        let reply = answer(&model, &messages, &media).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reply.prompt, case.ids, "{i}");
        assert_eq!(reply.slots.len(), media.len(), "a sound stands in one row");
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, &outputs[&format!("{i}.logits")].1, STACK);
        begins(&reply.continuation.ids, &case.greedy);
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

#[test]
fn every_block_is_that_of_transformers() {
    let outputs = Golden::open(NAME).outputs();
    let Pretrained::AudioLanguage(parts) = pretrained(&golden(NAME)).unwrap() else {
        panic!("parts")
    };
    let piece = parts.processor.pieces(&medium(wave(4960), 16_000)).unwrap().remove(0);
    let Some(Input::Audio(sounds)) = parts.processor.input([&piece], &device()).unwrap() else {
        panic!("a sound")
    };
    assert_eq!(sounds.mel.dims(), [1, 8, 400]);
    let Encoder::Audio(audio::Encoder::Whisper(encoder)) = &parts.tower.encoder else {
        panic!("its encoder")
    };
    for i in 1..=2 {
        let (_, want) = &outputs[&format!("encoder.{i}")];
        let all = read(encoder.hidden(sounds.mel.clone(), i));
        // Of every eighth position.
        let got: Vec<f32> = all.chunks(16 * 8).flat_map(|rows| rows[..16].to_vec()).collect();
        assert_close(&format!("encoder.{i}"), &got, want, STACK);
    }
}

/// As tiktoken cuts and joins them.
#[test]
fn texts_have_the_ids_of_mistral_common() {
    let bytes = fs::read(golden(NAME).join("tekken.json")).unwrap();
    let tokenizer = Tokenizer::from_tekken(&bytes).unwrap();
    for Spelt { text, ids } in expected().texts {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert_eq!(tokenizer.encode_within("a", true, 9).unwrap(), [1, 40 + u32::from(b'a')]);
    assert_eq!((tokenizer.vocabulary(), tokenizer.id("[AUDIO]")), (336, Some(24)));
    assert_eq!(tokenizer.token(39).unwrap(), "<SPECIAL_39>");
    assert!(tokenizer.encode("[INST]").unwrap().len() > 1, "what is typed is letters");
}

#[test]
fn damaged_tokens_are_refused() {
    let whole: Value =
        serde_json::from_slice(&fs::read(golden(NAME).join("tekken.json")).unwrap()).unwrap();
    let cases: [(&str, Value, &str); 11] = [
        ("/config/pattern", json!("(unclosed"), "a pattern"),
        ("/config/default_vocab_size", json!(39), "256 to 300"),
        ("/config/default_vocab_size", json!(400), "256 to 300"),
        ("/config/default_num_special_tokens", json!(3), "at most 3 special"),
        ("/config/default_num_special_tokens", json!(1_u64 << 40), "at most 1048576"),
        ("/vocab/3/rank", json!(4), "of rank 3"),
        ("/vocab/65/token_bytes", json!("QkI="), "of rank 65"),
        ("/vocab/280/token_bytes", json!("?"), "of rank 280"),
        ("/vocab/281/token_bytes", whole["vocab"][280]["token_bytes"].clone(), "each token once"),
        ("/special_tokens/1/token_str", json!("<t>"), "the special token <s>"),
        ("/special_tokens", Value::Null, "an older file"),
    ];
    for (path, value, words) in cases {
        let mut damaged = whole.clone();
        *damaged.pointer_mut(path).unwrap() = value;
        let error = Tokenizer::from_tekken(damaged.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("hint: "), "{path}: {error}");
    }
    assert!(Tokenizer::from_tekken(b"{}").is_err());
}

fn transcribe(
    model: &AudioLanguageModel,
    samples: usize,
    options: &TranscribeOptions,
) -> Result<Transcript> {
    let (_folder, path) = file(&wave(samples), 16_000);
    model.transcribe(&path, &MediaDecoder::here(), options, &mut |_, _| ())
}

#[test]
fn sounds_are_written_down_as_transformers_does() {
    let (model, outputs) = (opened(&golden(NAME), None), Golden::open(NAME).outputs());
    for (i, case) in expected().transcriptions.iter().enumerate() {
        // The prompt, and what follows it, token by token.
        let told = case.language.as_ref().map(|code| format!("lang:{code}")).unwrap_or_default();
        let text = format!("[INST]<audio>[/INST]{told}[TRANSCRIBE]");
        let sound = [medium(wave(case.samples), 16_000)];
        let mut go_on = |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        let reply = model.complete(&text, true, &sound, &options(), &mut go_on).unwrap();
        assert_eq!(reply.prompt, case.ids, "{i}");
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, &outputs[&format!("transcription.{i}.logits")].1, STACK);
        begins(&reply.continuation.ids, &case.greedy);
        let asked = TranscribeOptions { language: case.language.clone(), ..Default::default() };
        let made = transcribe(&model, case.samples, &asked).unwrap();
        let ids = &made.segments[0].tokens;
        begins(&ids[..ids.len().min(16)], &case.greedy);
        assert_eq!(made.language, case.language.clone().unwrap_or_else(|| "und".to_owned()));
        assert!((made.duration - case.samples as f64 / 16_000.0).abs() < 1e-6);
        let confidence = made.segments[0].confidence;
        assert!(confidence.avg_logprob < 0.0 && confidence.avg_logprob.is_finite());
    }
}

#[test]
fn what_only_whisper_does_is_refused() {
    let model = opened(&golden(NAME), None);
    let plain = TranscribeOptions::default;
    let language = |name: &str| TranscribeOptions { language: Some(name.into()), ..plain() };
    assert_eq!(transcribe(&model, 4960, &language("German")).unwrap().language, "de");
    assert_eq!(transcribe(&model, 4960, &language("javanese")).unwrap().language, "jv");
    for (options, words) in [
        (TranscribeOptions { task: Task::Translate, ..plain() }, "translates"),
        (TranscribeOptions { timestamps: true, ..plain() }, "tells when"),
        (TranscribeOptions { initial_prompt: Some("x".into()), ..plain() }, "said before"),
        (TranscribeOptions { fallback: Fallback::none(), ..plain() }, "again"),
        (language("cantonese"), "two letters"),
    ] {
        let error = transcribe(&model, 4960, &options).unwrap_err();
        assert!(matches!(error, Running::Cannot { family: "Voxtral", .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let hears = model_of("qwen2_audio").speech().map(drop).unwrap_err();
    assert!(matches!(hears, Running::Cannot { .. }), "{hears}");
}

fn model_of(name: &str) -> Model {
    model(&golden(name), None).unwrap()
}

/// As mistral-common has it: instructions stand beside sounds only in later versions.
#[test]
fn conversations_that_the_format_does_not_know_are_refused() {
    let say = |role, text: &str| Message::text(role, text);
    let sound = Message {
        role: Role::User,
        parts: vec![Part::Media(Modality::Audio), Part::Text("what?".into())],
    };
    let media = [medium(wave(4960), 16_000)];
    let told = [say(Role::System, "be brief"), sound];
    let refused = |dir: &Path| answer(&opened(dir, None), &told, &media).map(|reply| reply.prompt);
    let error = refused(&golden(NAME)).unwrap_err().to_string();
    assert!(error.contains("no system message beside sounds"), "{error}");
    let dir = copy(NAME);
    edit(dir.path(), "tekken.json", |tekken| tekken["config"]["version"] = json!("v13"));
    let prompt = refused(dir.path()).unwrap();
    assert_eq!(prompt[..2], [1, 17]);
    let model = opened(&golden(NAME), None);
    let twice = [say(Role::User, "a"), say(Role::User, "b")];
    let error = answer(&model, &twice, &[]).unwrap_err().to_string();
    assert!(error.contains("alternate"), "{error}");
}

/// Directories that people make of it have one.
#[test]
fn a_tokenizer_json_and_a_template_go_first() {
    let dir = copy(NAME);
    let tekken = fs::read(dir.path().join("tekken.json")).unwrap();
    let json = Tokenizer::from_tekken(&tekken).unwrap().to_bytes().unwrap();
    fs::remove_file(dir.path().join("tekken.json")).unwrap();
    fs::write(dir.path().join("tokenizer.json"), json).unwrap();
    let expected = expected();
    let case = &expected.conversations[1];
    let (messages, media) = case.given();
    let ids = |dir: &Path| answer(&opened(dir, None), &messages, &media).unwrap().prompt;
    assert_eq!(ids(dir.path()), case.ids);
    fs::write(
        dir.path().join("chat_template.jinja"),
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% else \
         %}[AUDIO]{% endif %}{% endfor %}{% endfor %}",
    )
    .unwrap();
    assert_eq!(ids(dir.path()).len() + 3, case.ids.len(), "[INST], [BEGIN_AUDIO] and [/INST] less");
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
        "multi_modal_projector.linear_2.weight",
        "language_model.model.layers.1.mlp.down_proj.weight",
        "language_model.lm_head.weight",
    ] {
        lacks_or_renames(NAME, key, &key.replacen("_", "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
    let dir = copy(NAME);
    edit_weights(dir.path(), |all| {
        let bias = sensorium_checkpoint::Tensor::new(vec![32], vec![0.0; 32]).unwrap();
        all.tensors.insert("multi_modal_projector.linear_1.bias".into(), bias);
    });
    fails(dir.path(), &["0 missing, 1 unexpected"]);
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
    let cases: [(&str, &str, Value, &str); 22] = [
        ("config.json", "/audio_config/num_attention_heads", json!(5), "a divisor"),
        ("config.json", "/audio_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("config.json", "/audio_config/hidden_size", json!(32), "frame_rate"),
        ("config.json", "/audio_config/intermediate_size", json!(65), "16 times a divisor"),
        ("config.json", "/audio_config/intermediate_size", json!(16 * 7), "16 times a divisor"),
        ("config.json", "/audio_config/max_source_positions", json!(100), "chunk_length"),
        ("config.json", "/audio_config/activation_function", json!("relu"), "gelu"),
        ("config.json", "/audio_config/scale_embedding", json!(true), "false"),
        ("config.json", "/audio_config/head_dim", json!(64), "head_dim"),
        ("config.json", "/audio_config/model_type", json!("whisper"), "voxtral_encoder"),
        ("config.json", "/projector_hidden_act", json!("silu"), "gelu"),
        ("config.json", "/text_config/model_type", json!("qwen2"), "llama"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("config.json", "/audio_token_id", json!(9999), "whose places sounds take"),
        ("preprocessor_config.json", "/sampling_rate", json!(8000), "16000"),
        ("preprocessor_config.json", "/feature_size", json!(80), "8"),
        ("preprocessor_config.json", "/chunk_length", json!(30), "400 frames"),
        ("tekken.json", "/config/version", json!("v15"), "v7, v11, v13"),
        ("tekken.json", "/audio/sampling_rate", json!(24_000), "16000"),
        ("tekken.json", "/audio/chunk_length_s", json!(30.0), "4"),
        ("tekken.json", "/audio/frame_rate", json!(25.0), "12.5"),
        ("tekken.json", "/audio/transcription_format", json!("streaming"), "instruct"),
    ];
    for (file, path, value, words) in cases {
        let dir = copy(NAME);
        put(dir.path(), file, path, value);
        fails(dir.path(), &[words]);
    }
    for file in ["tekken.json", "preprocessor_config.json"] {
        let dir = copy(NAME);
        fs::remove_file(dir.path().join(file)).unwrap();
        assert!(matches!(fails(dir.path(), &["expected"]), Error::Missing { .. }), "{file}");
    }
}
