//! What thinks in Qwen2.5-Omni (`reference/qwen2_5_omni.py`): sounds, pictures and videos in one prompt to the very tokens
//! that transformers writes, and what can be wrong.

use sensorium_checkpoint::{Tensor as Stored, safetensors};
use sensorium_encoder::{Encoder, audio};
use sensorium_flow::{Embeds, Input};
use sensorium_inference::{Batch, ChatModel, Error as Running, QwenVlModel};
use sensorium_media::{Media, MediaDecoder, Modality, Picture, Sampling};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Directory, Error, Piece, Pretrained, plan};
use sensorium_testkit::{Tensors, assert_close};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit_weights, lacks_or_renames, put};
use crate::golden;
use crate::open::{device, pretrained};
use crate::qwen_vl::{STACK, WATCHED, answer, asked, fails, go_on, message, qwen, seen, short};
use crate::sounds::{medium, wave};

const NAME: &str = "qwen2_5_omni";

#[derive(Deserialize)]
struct Case {
    question: String,
    sounds: Vec<usize>,
    pictures: Vec<String>,
    video: Option<String>,
    frames: usize,
    grids: Vec<[usize; 3]>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

impl Case {
    /// Sounds, pictures, a video.
    fn media(&self) -> Vec<Media> {
        let sounds = self.sounds.iter().map(|&samples| medium(wave(samples), 16_000));
        let picture = |name| Picture::read(&golden("published_images").join(name)).unwrap();
        let pictures = self.pictures.iter().map(picture).map(Media::Image);
        let video = self.video.iter().map(|name| {
            let path = golden("video").join(name);
            Media::Video(MediaDecoder::here().video(&path, Sampling::Frames(self.frames)).unwrap())
        });
        sounds.chain(pictures).chain(video).collect()
    }
}

fn cases() -> (Vec<Case>, Tensors) {
    let folder = golden(NAME);
    let cases = std::fs::read(folder.join("expected.json")).unwrap();
    let outputs = std::fs::read(folder.join("outputs.safetensors")).unwrap();
    let outputs = safetensors::read(&outputs).unwrap().tensors.into_iter();
    let outputs = outputs.map(|(name, t)| (name, t.into_parts())).collect();
    (serde_json::from_slice(&cases).unwrap(), outputs)
}

fn heard(model: &QwenVlModel, medium: &Media) -> Vec<Piece> {
    model.hearing.as_ref().unwrap().tower.pieces(medium).unwrap()
}

/// What stands for the media of a case, kind by kind.
fn perceived(model: &QwenVlModel, case: &Case, i: usize, outputs: &Tensors) {
    let close = |what: &str, got: &[f32], tolerance| {
        assert_close(what, got, &outputs[&format!("{i}.{what}")].1, tolerance);
    };
    let media = case.media();
    let of = |kind| media.iter().filter(move |medium| medium.modality() == kind);
    let pieces: Vec<Piece> = of(Modality::Audio).flat_map(|sound| heard(model, sound)).collect();
    if outputs.contains_key(&format!("{i}.mel")) {
        let Piece::Audio { mel, .. } = &pieces[0] else { panic!("mel") };
        close("mel", mel, 1e-5);
    }
    let tower = &model.hearing.as_ref().unwrap().tower;
    if let Some(Embeds(x)) = tower.encode(&pieces.iter().collect::<Vec<_>>()).unwrap() {
        close("heard", &read(x), STACK);
    }
    let mut grids = Vec::new();
    for (kind, what, tolerance) in
        [(Modality::Image, "image", STACK), (Modality::Video, "video", WATCHED)]
    {
        let all: Vec<_> = of(kind).map(|medium| seen(model, medium)).collect();
        grids.extend(all.iter().map(|(grid, ..)| [grid.steps, grid.rows, grid.columns]));
        if !all.is_empty() {
            let tokens = Tensor::cat(all.into_iter().map(|(.., tokens)| tokens).collect(), 1);
            close(what, &read(tokens), tolerance);
        }
    }
    assert_eq!(grids, case.grids, "{i}");
}

fn compare() {
    let (model, (cases, outputs)) = (qwen(&golden(NAME)), cases());
    assert_eq!(cases.len(), 7);
    for (i, case) in cases.iter().enumerate() {
        perceived(&model, case, i, &outputs);
        let reply = answer(&model, &case.question, &case.media());
        assert_eq!(reply.prompt, case.ids, "{i}: {}", case.question);
        let logits = &reply.continuation.first_logits;
        let tolerance = if case.video.is_some() { WATCHED } else { STACK };
        assert_close("logits", logits, &outputs[&format!("{i}.logits")].1, tolerance);
        // Theirs holds the end too.
        let said = &reply.continuation.ids;
        assert_eq!(said[..], case.greedy[..said.len()], "{i}: {}", case.question);
        assert!(case.greedy.len() - said.len() <= 1, "{i}: {} tokens", said.len());
    }
}

#[test]
fn it_answers_as_transformers_does() {
    compare();
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(compare);
}

/// Of a sound of a chunk and a half.
#[test]
fn every_block_that_hears_is_that_of_transformers() {
    let (_, outputs) = cases();
    let Pretrained::QwenVl(_, model) = pretrained(&golden(NAME)).unwrap() else { panic!("it") };
    let hearing = model.hearing.unwrap();
    let piece = hearing.processor.pieces(&medium(wave(4960), 16_000)).unwrap().remove(0);
    let Some(Input::Audio(sounds)) = hearing.processor.input([&piece], &device()).unwrap() else {
        panic!("a sound")
    };
    assert_eq!((sounds.mel.dims(), &*sounds.frames), ([1, 16, 31], &[31][..]));
    let Encoder::Audio(audio::Encoder::Omni(encoder)) = &hearing.tower.encoder else {
        panic!("its encoder")
    };
    for i in 1..=2 {
        let want = &outputs[&format!("encoder.{i}")].1;
        let got = read(encoder.hidden(sounds.mel.clone(), i));
        assert_close(&format!("encoder.{i}"), &got, want, STACK);
    }
}

#[test]
fn media_in_one_batch_get_what_they_get_alone() {
    let model = qwen(&golden(NAME));
    let (cases, _) = cases();
    let mut batch = Batch::new(&model.llm);
    let mut running = Vec::new();
    for case in &cases {
        let media = case.media();
        let messages = [message(&case.question, &media)];
        let inputs = model.prepare(&messages, &media, &short()).unwrap().unwrap();
        running.push((batch.join_inputs(&inputs).unwrap(), case));
    }
    while !batch.is_empty() {
        for (key, said) in batch.step(&mut |_, step| go_on(step)) {
            let (_, case) = running.iter().find(|(own, _)| *own == key).unwrap();
            let said = said.unwrap();
            assert_eq!(said.ids[..], case.greedy[..said.ids.len()], "{}", case.question);
        }
    }
}

/// Longer than is heard at once: stretch by stretch.
#[test]
fn long_sounds_stand_in_stretches_and_short_ones_are_refused() {
    let model = qwen(&golden(NAME));
    let reply = answer(&model, "what?", &[medium(wave(70_000), 16_000)]);
    assert_eq!(reply.slots.iter().map(|slot| slot.len).collect::<Vec<_>>(), [100, 9]);
    let error = asked(&model, "what?", &[medium(wave(320), 16_000)]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::ShortSound { least: 321, .. })), "{error}");
}

#[test]
fn raw_prompts_have_their_media_between_the_usual_tokens() {
    let model = qwen(&golden(NAME));
    let media = [medium(wave(4960), 16_000), Media::Image(Picture::filled(16, 24, [9; 3]))];
    let text = "hear <audio> and see <image>!";
    let ids = model.complete(text, true, &media, &short(), &mut go_on).unwrap().prompt;
    let token = |name: &str| model.llm.lm.text.tokenizer.id(name).unwrap();
    let around = |start: &str, end: &str| {
        let at = |name: &str| ids.iter().position(|id| *id == token(name)).unwrap();
        at(end) - at(start) - 1
    };
    assert_eq!(around("<|audio_bos|>", "<|audio_eos|>"), 8);
    assert_eq!(around("<|vision_bos|>", "<|vision_eos|>"), 6);
}

/// Not of models that do not.
#[test]
fn only_what_hears_takes_sounds() {
    let deaf = qwen(&golden("qwen2_5_vl"));
    let error = asked(&deaf, "what?", &[medium(wave(4960), 16_000)]).unwrap_err();
    assert!(matches!(error, Running::Modality { got: Modality::Audio, .. }), "{error}");
}

#[test]
fn every_tensor_has_its_place() {
    let directory = Directory::open(&golden(NAME)).unwrap();
    let plan = plan(&directory).unwrap();
    let mut stored = directory.shapes().unwrap();
    // Its marks of where a sound begins and ends are not read.
    stored.retain(|name, _| !plan.is_ignorable(name));
    assert_eq!(plan.tensors.len(), stored.len());
    for tensor in &plan.tensors {
        assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
    }
}

#[test]
fn keys_that_are_missing_or_renamed_are_named() {
    for key in [
        "thinker.audio_tower.conv2.weight",
        "thinker.audio_tower.layers.1.self_attn.v_proj.bias",
        "thinker.audio_tower.ln_post.weight",
        "thinker.audio_tower.proj.bias",
        "thinker.visual.blocks.1.attn.k.weight",
        "thinker.visual.merger.mlp.2.weight",
        "thinker.model.layers.1.self_attn.q_proj.bias",
        "thinker.lm_head.weight",
    ] {
        lacks_or_renames(NAME, key, &format!("{key}x"), fails);
    }
}

/// Where it is switched off, what speaks is not read.
#[test]
fn what_speaks_is_passed_over() {
    let dir = copy(NAME);
    edit_weights(dir.path(), |all| {
        for name in ["talker.codec_head.weight", "token2wav.code2wav_dit_model.proj_out.bias"] {
            all.tensors.insert(name.into(), Stored::new(vec![2], vec![0.0; 2]).unwrap());
        }
    });
    let (cases, _) = cases();
    let said = answer(&qwen(dir.path()), &cases[0].question, &[]).continuation.ids;
    assert_eq!(said[..], cases[0].greedy[..said.len()]);
    // Nor is anything else.
    edit_weights(dir.path(), |all| {
        all.tensors.insert("walker.x".into(), Stored::new(vec![2], vec![0.0; 2]).unwrap());
    });
    fails(dir.path(), &["1 unexpected", "walker.x"]);
}

/// As the first directories have it: settings of pictures and of sounds in one file, and none of videos.
#[test]
fn older_files_are_read_alike() {
    let dir = copy(NAME);
    let path = dir.path().join("processor_config.json");
    let all: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
    let mut one = all["image_processor"].as_object().unwrap().clone();
    one.extend(all["feature_extractor"].as_object().unwrap().clone());
    std::fs::write(dir.path().join("preprocessor_config.json"), Value::Object(one).to_string())
        .unwrap();
    let model = qwen(dir.path());
    let (cases, _) = cases();
    let case = cases.iter().find(|case| !case.pictures.is_empty()).unwrap();
    let reply = answer(&model, &case.question, &case.media());
    assert_eq!(reply.prompt, case.ids);
    // Frames have sizes of their own: 100,352 pixels or more.
    let grid = model.videos.grid([20, 30], 2).unwrap();
    assert!(grid.rows * grid.columns * 16 >= 100_352, "{grid:?}");
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 17] = [
        ("config.json", "/audio_config/encoder_attention_heads", json!(5), "a divisor"),
        ("config.json", "/audio_config/encoder_layers", json!(1 << 20), "layers"),
        ("config.json", "/audio_config/d_model", json!(23), "even"),
        ("config.json", "/audio_config/d_model", json!(48), "another shape"),
        ("config.json", "/audio_config/n_window", json!(31), "max_source_positions"),
        ("config.json", "/audio_config/output_dim", json!(33), "the width of the language model"),
        ("config.json", "/audio_config/activation_function", json!("relu"), "gelu"),
        ("config.json", "/audio_config/scale_embedding", json!(true), "false"),
        ("config.json", "/audio_config/model_type", json!("whisper"), "qwen2_5_omni_audio_encoder"),
        ("config.json", "/vision_config/out_hidden_size", json!(33), "the width of the language"),
        ("config.json", "/vision_config/hidden_act", json!("gelu"), "silu"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("config.json", "/audio_token_index", json!(9999), "tokenizer.json"),
        ("config.json", "/position_id_per_seconds", json!(0), "position_id_per_seconds"),
        ("processor_config.json", "/feature_extractor/sampling_rate", json!(8000), "16000"),
        ("processor_config.json", "/feature_extractor/feature_size", json!(80), "16"),
        ("processor_config.json", "/feature_extractor/chunk_length", json!(301), "300"),
    ];
    for (file, path, value, words) in cases {
        let dir = copy(NAME);
        let root = if file == "config.json" { "/thinker_config" } else { "" };
        put(dir.path(), file, &format!("{root}{path}"), value);
        fails(dir.path(), &[words]);
    }
}
