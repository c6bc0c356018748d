//! What speaks in Qwen2.5-Omni (`reference/qwen2_5_omni_voice.py`): answers to the very codes of speech that transformers
//! draws, their spectrograms and samples from the same noise, and what can be wrong.

use sensorium_backbone::{Cache, Sampling};
use sensorium_checkpoint::safetensors;
use sensorium_inference::speech::{SpeakOptions, Spoken, Thoughts};
use sensorium_inference::{ChatModel, GenerateOptions, QwenVlModel, Reply, TextToSpeech};
use sensorium_media::{Media, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Tensors, assert_close};
use serde::Deserialize;

use crate::golden;
use crate::qwen_vl::{STACK, go_on, message, qwen};
use crate::sounds::{medium, wave};

const NAME: &str = "qwen2_5_omni_voice";

/// Largest difference of what 36 calls of the model add up to, and of samples of it.
const SAMPLED: f32 = 1e-3;

#[derive(Deserialize)]
struct Case {
    question: String,
    sounds: Vec<usize>,
    pictures: Vec<String>,
    voice: String,
    ids: Vec<u32>,
    greedy: Vec<u32>,
    codes: Vec<u32>,
}

impl Case {
    fn media(&self) -> Vec<Media> {
        let sounds = self.sounds.iter().map(|&samples| medium(wave(samples), 16_000));
        let picture = |name| Picture::read(&golden("published_images").join(name)).unwrap();
        sounds.chain(self.pictures.iter().map(picture).map(Media::Image)).collect()
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

/// An answer of so many words that is to be spoken.
fn reply(model: &QwenVlModel, case: &Case) -> Reply {
    let options = GenerateOptions {
        max_new_tokens: case.greedy.len(),
        spoken: true,
        ..GenerateOptions::default()
    };
    let media = case.media();
    model.answer(&[message(&case.question, &media)], &media, &options, &mut go_on).unwrap()
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

fn close(outputs: &Tensors, i: usize, what: &str, got: &[f32], tolerance: f32) {
    assert_close(what, got, &outputs[&format!("{i}.{what}")].1, tolerance);
}

/// What the talker reads and thinks of the prompt, and the codes that it says.
fn talked(model: &QwenVlModel, case: &Case, thoughts: &Thoughts, i: usize, outputs: &Tensors) {
    let speaker = model.speaking.as_ref().unwrap();
    let voice = model.voices().iter().position(|voice| *voice == case.voice).unwrap();
    let script = model.script(thoughts, speaker, voice).unwrap();
    close(outputs, i, "read", &read(script.prompt.clone()), STACK);
    let (talker, mut cache) = (&speaker.parts.talker, Cache::default());
    let hidden = talker.forward(script.prompt, &script.sequence, &mut cache);
    close(outputs, i, "hidden", &read(hidden), STACK);
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
    close(outputs, i, "speaker", &read(heard), STACK);
    let start = TensorData::new(noise.clone(), [1, shape[0], shape[1]]);
    let start = Tensor::<3>::from_data(start, &Device::flex());
    let velocity = dit.velocity(start.repeat_dim(0, 2), &told, 0.0);
    close(outputs, i, "velocity", &read(velocity), STACK);
    let mel = dit.sample(&codes, voice, noise.clone());
    close(outputs, i, "mel", &read(mel.clone()), SAMPLED);
    close(outputs, i, "samples", &parts.token2wav.bigvgan.samples(mel), SAMPLED);
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
