//! What speaks in Qwen2.5-Omni (`reference/qwen2_5_omni_voice.py`): answers to the very codes of speech that transformers
//! draws, their spectrograms and samples from the same noise, and what can be wrong.

use sensorium_backbone::{Cache, Sampling};
use sensorium_checkpoint::{Tensor as Stored, Tensors as Checkpoint, safetensors};
use sensorium_inference::speech::{SpeakOptions, Spoken, Thoughts};
use sensorium_inference::{
    Batch, ChatModel, Error, GenerateOptions, QwenVlModel, Reply, TextToSpeech,
};
use sensorium_media::{Media, MediaDecoder, Modality, Picture, Sampling as Frames};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Directory, plan};
use sensorium_testkit::{Tensors, assert_close};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames, put};
use crate::golden;
use crate::open::{device, model};
use crate::qwen_vl::{STACK, fails, go_on, message, qwen};
use crate::sounds::{medium, wave};

const NAME: &str = "qwen2_5_omni_voice";

/// Scaled frames of a video may round a level of 255 otherwise, which so small a tower makes much of.
const WATCHED: f32 = 1e-2;

#[derive(Deserialize)]
struct Case {
    question: String,
    sounds: Vec<usize>,
    pictures: Vec<String>,
    video: Option<String>,
    frames: usize,
    voice: String,
    ids: Vec<u32>,
    greedy: Vec<u32>,
    codes: Vec<u32>,
}

impl Case {
    /// A video before its own sound; sounds, pictures.
    fn media(&self) -> Vec<Media> {
        let video = self.video.iter().map(|name| {
            let path = golden("video").join(name);
            Media::Video(MediaDecoder::here().video(&path, Frames::Frames(self.frames)).unwrap())
        });
        let sounds = self.sounds.iter().map(|&samples| medium(wave(samples), 16_000));
        let picture = |name| Picture::read(&golden("published_images").join(name)).unwrap();
        let pictures = self.pictures.iter().map(picture).map(Media::Image);
        video.chain(sounds).chain(pictures).collect()
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

/// Of an answer of so many words that is to be spoken.
fn spoken(case: &Case) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: case.greedy.len(),
        spoken: true,
        use_audio_in_video: true,
        ..GenerateOptions::default()
    }
}

fn reply(model: &QwenVlModel, case: &Case) -> Reply {
    let media = case.media();
    let messages = [message(&case.question, &media)];
    model.answer(&messages, &media, &spoken(case), &mut go_on).unwrap()
}

fn compare() {
    let (model, (cases, outputs)) = (qwen(&golden(NAME)), cases());
    assert_eq!(model.voices(), ["Chelsie", "Ethan"]);
    for (i, case) in cases.iter().enumerate() {
        let reply = reply(&model, case);
        assert_eq!((&reply.prompt, &reply.continuation.ids), (&case.ids, &case.greedy), "{i}");
        talked(&model, case, &reply.thoughts.unwrap(), i, &outputs);
        sounds(&model, case, i, &outputs);
    }
}

fn close(outputs: &Tensors, i: usize, what: &str, got: &[f32]) {
    let tolerance = if i == 3 && ["read", "hidden"].contains(&what) { WATCHED } else { STACK };
    assert_close(what, got, &outputs[&format!("{i}.{what}")].1, tolerance);
}

/// What the talker reads and thinks of the prompt, and the codes that it says.
fn talked(model: &QwenVlModel, case: &Case, thoughts: &Thoughts, i: usize, outputs: &Tensors) {
    let speaker = model.speaking.as_ref().unwrap();
    let voice = model.voices().iter().position(|voice| *voice == case.voice).unwrap();
    let script = model.script(thoughts, speaker, voice).unwrap();
    let places: Vec<f32> = thoughts.positions.iter().flatten().map(|&at| at as f32).collect();
    close(outputs, i, "positions", &places);
    close(outputs, i, "read", &read(script.prompt.clone()));
    let (talker, mut cache) = (&speaker.parts.talker, Cache::default());
    let hidden = talker.forward(script.prompt, &script.sequence, &mut cache);
    close(outputs, i, "hidden", &read(hidden));
    let codes = model.codes(thoughts, speaker, voice, Sampling::default()).unwrap();
    let ends = case.codes.iter().position(|code| *code == speaker.config.codec_end);
    let n = ends.unwrap_or(case.codes.len());
    assert_eq!(codes[..n], case.codes[..n], "{i}");
    assert!(ends.is_none() || codes.len() == n, "{i}: {codes:?}");
}

/// The spectrogram and the samples of its codes, of the same noise.
fn sounds(model: &QwenVlModel, case: &Case, i: usize, outputs: &Tensors) {
    let parts = &model.speaking.as_ref().unwrap().parts;
    let voice = model.voices().iter().position(|voice| *voice == case.voice).unwrap();
    let voice = &parts.voices[voice].sound;
    let (dit, (shape, noise)) = (&parts.token2wav.dit, &outputs[&format!("{i}.noise")]);
    let codes: Vec<u32> = case.codes.iter().copied().filter(|code| *code < 34).collect();
    assert_eq!(dit.noise(codes.len()), noise.len());
    let told = dit.told(&codes, voice);
    let heard = told.clone().narrow(1, 0, 1).narrow(2, 0, 5);
    close(outputs, i, "speaker", &read(heard));
    let start = TensorData::new(noise.clone(), [1, shape[0], shape[1]]);
    let start = Tensor::<3>::from_data(start, &device());
    let velocity = dit.velocity(start.repeat_dim(0, 2), &told, 0.0);
    close(outputs, i, "velocity", &read(velocity));
    let mel = dit.sample(&codes, voice, noise.clone());
    close(outputs, i, "mel", &read(mel.clone()));
    close(outputs, i, "samples", &parts.token2wav.bigvgan.samples(mel));
}

#[test]
fn it_says_what_transformers_says() {
    compare();
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(compare);
}

fn say(model: &QwenVlModel, options: &SpeakOptions) -> Result<Spoken, Error> {
    model.speak("what was said", options, &mut |_, _| ())
}

#[test]
fn a_seed_speaks_the_same_twice_and_a_voice_its_own() {
    let (model, (cases, _)) = (qwen(&golden(NAME)), cases());
    let thoughts = reply(&model, &cases[1]).thoughts;
    let usual = SpeakOptions { thoughts: thoughts.clone(), seed: 3, ..SpeakOptions::default() };
    let said = say(&model, &usual).unwrap();
    assert_eq!((said.rate, &*said.voice, said.sentences.len()), (24_000, "Chelsie", 1));
    assert_eq!(said.samples, say(&model, &usual).unwrap().samples);
    // Six samples of a frame, two frames of a code.
    assert!(!said.samples.is_empty() && said.samples.len().is_multiple_of(12));
    let other = SpeakOptions { voice: Some("Ethan".into()), ..usual.clone() };
    assert_ne!(said.samples, say(&model, &other).unwrap().samples);
    let mut dumb = thoughts.unwrap();
    dumb.rows.truncate(dumb.positions.len() * 16);
    for (options, words) in [
        (SpeakOptions { voice: Some("Carl".into()), ..usual.clone() }, "Chelsie, Ethan"),
        (SpeakOptions { speed: 2.0, ..usual.clone() }, "--speed"),
        (SpeakOptions { phonemes: true, ..usual.clone() }, "--phonemes"),
        (SpeakOptions { speaker: Some(vec![1.0]), ..usual.clone() }, "--speaker"),
        (SpeakOptions { thoughts: None, ..usual.clone() }, "--out answer.wav"),
        (SpeakOptions { thoughts: Some(dumb), ..usual }, "codes of speech"),
    ] {
        let error = say(&model, &options).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
    }
}

/// Its places are told in the order in which they stand.
#[test]
fn a_video_is_heard_while_it_is_seen_only_if_that_is_asked_for() {
    let (model, (cases, _)) = (qwen(&golden(NAME)), cases());
    let slots = reply(&model, &cases[3]).slots;
    let kinds: Vec<_> = slots.iter().map(|slot| (slot.modality, slot.len)).collect();
    let (video, audio) = (Modality::Video, Modality::Audio);
    assert_eq!(kinds, [(video, 16), (audio, 6), (video, 8), (audio, 6), (audio, 5)]);
    assert!(slots.windows(2).all(|two| two[0].at + two[0].len == two[1].at));
    let apart = GenerateOptions { use_audio_in_video: false, ..spoken(&cases[3]) };
    let media = cases[3].media();
    let said = model.answer(&[message("x", &media)], &media, &apart, &mut go_on).unwrap();
    let kinds: Vec<_> = said.slots.iter().map(|slot| (slot.modality, slot.len)).collect();
    assert_eq!(kinds, [(video, 24), (audio, 17)]);
}

#[test]
fn what_is_said_in_a_batch_is_thought_as_alone() {
    let (model, (cases, _)) = (qwen(&golden(NAME)), cases());
    let mut batch = Batch::new(&model.llm);
    let mut running = Vec::new();
    for case in &cases {
        let media = case.media();
        let messages = [message(&case.question, &media)];
        let inputs = model.prepare(&messages, &media, &spoken(case)).unwrap().unwrap();
        running.push((batch.join_inputs(&inputs).unwrap(), inputs, case));
    }
    while !batch.is_empty() {
        for (key, said) in batch.step(&mut |_, step| go_on(step)) {
            let (_, inputs, case) = running.iter().find(|(own, ..)| *own == key).unwrap();
            let thoughts = model.thoughts(inputs, &said.unwrap());
            assert_eq!(thoughts, reply(&model, case).thoughts, "{}", case.question);
        }
    }
    // Nobody has to think who is not heard.
    let unheard = GenerateOptions { spoken: false, ..spoken(&cases[0]) };
    let silent = model.answer(&[message("x", &[])], &[], &unheard, &mut go_on).unwrap();
    assert_eq!(silent.thoughts, None);
}

/// As the hub has it: voices in a pickle, which is not read.
#[test]
fn without_voices_answers_are_texts() {
    let (dir, (cases, _)) = (copy(NAME), cases());
    std::fs::rename(dir.path().join("voices.safetensors"), dir.path().join("spk_dict.pt")).unwrap();
    let mute = model(dir.path(), None).unwrap();
    let Err(error) = mute.voices() else { panic!("it speaks") };
    assert!(error.to_string().contains("voices.safetensors"), "{error}");
    let said = reply(&qwen(dir.path()), &cases[0]);
    assert_eq!((said.continuation.ids, said.thoughts), (cases[0].greedy.clone(), None));
}

#[test]
fn every_tensor_has_its_place() {
    let directory = Directory::open(&golden(NAME)).unwrap();
    let plan = plan(&directory).unwrap();
    let mut stored = directory.shapes().unwrap();
    // The marks of where a sound begins and ends are not read.
    stored.retain(|name, _| !plan.is_ignorable(name));
    assert_eq!(plan.tensors.len(), stored.len());
    for tensor in &plan.tensors {
        assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
    }
    for key in [
        "talker.codec_head.weight",
        "talker.thinker_to_talker_proj.bias",
        "talker.model.embed_tokens.weight",
        "talker.model.layers.1.self_attn.k_proj.bias",
        "token2wav.code2wav_dit_model.text_embed.codec_embed.weight",
        "token2wav.code2wav_dit_model.input_embed.spk_encoder.blocks.0.conv.weight",
        "token2wav.code2wav_dit_model.input_embed.spk_encoder.asp.tdnn.conv.bias",
        "token2wav.code2wav_dit_model.transformer_blocks.2.attn_norm.linear.weight",
        "token2wav.code2wav_dit_model.transformer_blocks.1.attn.to_out.0.bias",
        "token2wav.code2wav_bigvgan_model.ups.1.0.weight",
        "token2wav.code2wav_bigvgan_model.resblocks.3.activations.5.act.beta",
        "token2wav.code2wav_bigvgan_model.activation_post.act.alpha",
        "token2wav.code2wav_bigvgan_model.conv_post.weight",
    ] {
        lacks_or_renames(NAME, key, &format!("{key}x"), fails);
    }
}

/// Older files hold what follows from the settings.
#[test]
fn rates_and_filters_in_files_are_passed_over() {
    let dir = copy(NAME);
    edit_weights(dir.path(), |all| {
        for name in [
            "token2wav.code2wav_dit_model.rotary_embed.inv_freq",
            "token2wav.code2wav_bigvgan_model.activation_post.upsample.filter",
        ] {
            all.tensors.insert(name.into(), Stored::new(vec![2], vec![0.0; 2]).unwrap());
        }
    });
    let (cases, _) = cases();
    assert!(reply(&qwen(dir.path()), &cases[0]).thoughts.is_some());
}

/// As the first files name them.
#[test]
fn older_settings_are_read_alike() {
    let dir = copy(NAME);
    edit(dir.path(), "config.json", |config| {
        let dit = config["token2wav_config"]["dit_config"].as_object_mut().unwrap();
        for (new, old) in [
            ("hidden_size", "dim"),
            ("num_hidden_layers", "depth"),
            ("num_attention_heads", "heads"),
        ] {
            let value = dit.remove(new).unwrap();
            dit.insert(old.into(), value);
        }
    });
    assert!(qwen(dir.path()).speaking.is_some());
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, Value, &str); 25] = [
        ("talker_config/tts_text_pad_token_id", json!(269), "below the vocab_size, 269"),
        ("talker_config/model_type", json!("qwen2"), "qwen2_5_omni_talker"),
        ("talker_config/embedding_size", json!(17), "the width of the language model"),
        ("talker_config/audio_token_index", json!(3), "4"),
        ("talker_config/position_id_per_seconds", json!(25), "3"),
        ("talker_config/spatial_merge_size", json!(4), "2"),
        ("talker_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("talker_config/hidden_size", json!(26), "another shape"),
        ("talker_config/vocab_size", json!(37), "below the vocab_size"),
        ("talker_config/tts_codec_end_token_id", json!(40), "below the vocab_size"),
        ("token2wav_config/dit_config/head_dim", json!(7), "an even number"),
        ("token2wav_config/dit_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("token2wav_config/dit_config/num_embeds", json!(1 << 24), "another shape"),
        ("token2wav_config/dit_config/look_ahead_layers", json!([3]), "a list of blocks"),
        ("token2wav_config/dit_config/block_size", json!(1 << 20), "block_size"),
        ("token2wav_config/dit_config/repeats", json!(0), "repeats"),
        ("token2wav_config/dit_config/enc_channels", json!([8, 8, 16]), "the sum"),
        ("token2wav_config/dit_config/enc_channels", json!([8, 6, 8, 14]), "alike"),
        ("token2wav_config/dit_config/enc_res2net_scale", json!(3), "multiples of 3"),
        ("token2wav_config/dit_config/enc_kernel_sizes", json!([5, 4, 3, 1]), "an odd one"),
        ("token2wav_config/dit_config/enc_dilations", json!([1, 2, 3]), "one for each layer"),
        ("token2wav_config/dit_config/enc_emb_dim", json!(7), "another shape"),
        ("token2wav_config/bigvgan_config/mel_dim", json!(9), "the mel_dim of dit_config"),
        ("token2wav_config/bigvgan_config/upsample_rates", json!([3, 3]), "an even number more"),
        (
            "token2wav_config/bigvgan_config/resblock_dilation_sizes",
            json!([[1, 3], [1, 2, 3]]),
            "lists of three",
        ),
    ];
    for (path, value, words) in cases {
        let dir = copy(NAME);
        put(dir.path(), "config.json", &format!("/{path}"), value);
        fails(dir.path(), &[words]);
    }
}

/// A golden whose voices are changed.
fn voiced(change: impl FnOnce(&mut Checkpoint)) -> TempDir {
    let dir = copy(NAME);
    let path = dir.path().join("voices.safetensors");
    let mut all = safetensors::load(&path).unwrap();
    change(&mut all);
    let bytes = safetensors::write(&all, safetensors::Dtype::F32).unwrap();
    std::fs::write(path, bytes).unwrap();
    dir
}

#[test]
fn voices_that_cannot_be() {
    let of = |shape: &[usize], value: f32| {
        Stored::new(shape.to_vec(), vec![value; shape.iter().product()]).unwrap()
    };
    for (key, tensor, words) in [
        ("Ethan.bos_token", of(&[1], 269.0), "below 269"),
        ("Ethan.bos_token", of(&[1], 1.5), "a token of the language model"),
        ("Ethan.bos_token", of(&[2], 1.0), "Ethan.bos_token"),
        ("Ethan.cond", of(&[1, 7], 1.0), "[1, 6]"),
        ("Ethan.cond", of(&[1, 6], f32::NAN), "finite"),
        ("Ethan.ref_mel", of(&[1, 3, 8], 1.0), "4 frames or more"),
        ("Ethan.ref_mel", of(&[1, 9, 7], 1.0), "8]"),
        ("Ethan.mood", of(&[1], 1.0), "Ethan.mood"),
        ("Carl.cond", of(&[1, 6], 1.0), "Carl.bos_token"),
    ] {
        let dir = voiced(|all| drop(all.tensors.insert(key.into(), tensor)));
        fails(dir.path(), &[words]);
    }
    fails(voiced(|all| all.tensors.clear()).path(), &["no voice"]);
    let dir = voiced(|all| drop(all.tensors.remove("Ethan.cond")));
    fails(dir.path(), &["Ethan.cond"]);
}
