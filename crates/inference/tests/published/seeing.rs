//! Models that answer about pictures: directories, conversations and picture files to the very tokens
//! that transformers writes.

use std::ops::ControlFlow;

use sensorium_checkpoint::safetensors;
use sensorium_flow::Embeds;
use sensorium_inference::{ChatModel, GenerateOptions, Reply, Step, VisionLanguageModel};
use sensorium_media::{Media, MediaDecoder, Message, Modality, Part, Picture, Role, Sampling};
use sensorium_nn::params::read;
use sensorium_nn::prelude::pack;
use sensorium_testkit::{Tensors, assert_close};
use serde::Deserialize;

use crate::golden;
use crate::open::{answer, model, vision_language};

const STACK: f32 = 1e-4;
/// One level of 255: torchvision rounds a frame once more.
const PIXELS: f32 = 8e-3;
const WATCHED: f32 = 2e-3;

#[derive(Deserialize)]
pub struct Case {
    pub question: String,
    pub pictures: Vec<String>,
    pub ids: Vec<u32>,
    pub greedy: Vec<u32>,
}

impl Case {
    pub fn pictures(&self) -> Vec<Picture> {
        let read = |name| Picture::read(&golden("published_images").join(name)).unwrap();
        self.pictures.iter().map(read).collect()
    }

    pub fn messages(&self) -> [Message; 1] {
        let mut parts = vec![Part::Media(Modality::Image); self.pictures.len()];
        parts.push(Part::Text(self.question.clone()));
        [Message { role: Role::User, parts }]
    }
}

pub fn cases<T: serde::de::DeserializeOwned>(name: &str) -> (Vec<T>, Tensors) {
    let folder = golden(name);
    let cases = std::fs::read(folder.join("expected.json")).expect("the golden is there");
    let outputs = std::fs::read(folder.join("outputs.safetensors")).unwrap();
    let outputs = safetensors::read(&outputs).unwrap().tensors.into_iter();
    let outputs = outputs.map(|(name, t)| (name, t.into_parts())).collect();
    (serde_json::from_slice(&cases).unwrap(), outputs)
}

fn compare(name: &str) {
    let vlm = vision_language(&golden(name), None).unwrap_or_else(|error| panic!("{error}"));
    compare_with(name, &vlm);
}

pub fn compare_with(name: &str, vlm: &VisionLanguageModel) {
    let (cases, outputs): (Vec<Case>, _) = cases(name);
    assert!(cases.len() >= 4, "{} cases", cases.len());
    for (i, case) in cases.iter().enumerate() {
        let pictures = case.pictures();
        if !pictures.is_empty() {
            let tiles: Vec<Picture> = pictures
                .iter()
                .flat_map(|picture| vlm.vision_tower.fit(picture, true).pictures)
                .collect();
            let pixels: Vec<f32> =
                tiles.iter().flat_map(|tile| vlm.vision_tower.planes(tile)).collect();
            assert_close("pixels", &pixels, &outputs[&format!("{i}.pixels")].1, 1e-5);
            let Embeds(seen) = vlm.vision_tower.encode(&tiles);
            assert_close("features", &read(seen), &outputs[&format!("{i}.features")].1, STACK);
        }
        let reply =
            answer(vlm, &case.messages(), &pictures, 16).unwrap_or_else(|error| panic!("{error}"));
        said_alike(&format!("{name} {i}"), case, &reply, &outputs[&format!("{i}.logits")].1);
    }
}

/// The prompt's ids, the logits after it, and the tokens that follow.
pub fn said_alike(name: &str, case: &Case, reply: &Reply, want: &[f32]) {
    assert_eq!(reply.prompt, case.ids, "{name}: {}", case.question);
    assert_close("logits", &reply.continuation.first_logits, want, STACK);
    // Theirs holds the end too.
    let said = &reply.continuation.ids;
    assert_eq!(said[..], case.greedy[..said.len()], "{name}: {}", case.question);
    assert!(case.greedy.len() - said.len() <= 1, "{name}: {} tokens", said.len());
}

#[test]
fn llava_answers_as_transformers_does() {
    compare("seeing_llava");
}

#[test]
fn llava_of_older_files_answers_as_transformers_does() {
    compare("seeing_llava_legacy");
}

/// All positions of an encoder, the class token too where there is one.
#[test]
fn llava_of_whole_towers_answers_as_transformers_does() {
    compare("seeing_llava_full");
    compare("seeing_llava_siglip");
    compare("seeing_llava_headless");
}

#[test]
fn idefics3_answers_as_transformers_does() {
    compare("seeing_idefics3");
}

#[test]
fn smolvlm_answers_as_transformers_does() {
    compare("seeing_smolvlm");
}

#[derive(Deserialize)]
struct Film {
    question: String,
    video: String,
    frames: usize,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

/// A video's frames, never cut, between words that tell when they are shown.
#[test]
fn smolvlm_watches_as_transformers_does() {
    let vlm = vision_language(&golden("seeing_video"), None).unwrap();
    let (films, outputs): (Vec<Film>, _) = cases("seeing_video");
    assert!(films.len() >= 3, "{} films", films.len());
    for (i, Film { question, video, frames, ids, greedy }) in films.into_iter().enumerate() {
        let path = golden("video").join(video);
        let video = MediaDecoder::here().video(&path, Sampling::Frames(frames)).unwrap();
        assert_eq!(video.frames.len(), frames);
        let squares = video.pictures().flat_map(|frame| vlm.vision_tower.fit_frame(frame).pictures);
        let pixels: Vec<f32> =
            squares.flat_map(|square| vlm.vision_tower.planes(&square)).collect();

        assert_close("pixels", &pixels, &outputs[&format!("{i}.pixels")].1, PIXELS);
        let parts = vec![Part::Media(Modality::Video), Part::Text(question)];
        let message = Message { role: Role::User, parts };
        let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
        let go_on = &mut |_: Step<'_>| ControlFlow::Continue(());
        let reply = vlm.answer(&[message], &[Media::Video(video)], &options, go_on).unwrap();
        assert_eq!(reply.prompt, ids, "{i}");
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, &outputs[&format!("{i}.logits")].1, WATCHED);
        let said = &reply.continuation.ids;
        assert_eq!(said[..], greedy[..said.len()], "{i}");
    }
}

/// Rounded weights move logits a little, not the tokens of a prompt.
#[test]
fn packed_models_answer_nearly_the_same() {
    let (cases, outputs): (Vec<Case>, _) = cases("seeing_llava");
    let vlm = vision_language(&golden("seeing_llava"), Some(pack::Format::Bf16)).unwrap();
    for (i, case) in cases.iter().enumerate() {
        let reply = answer(&vlm, &case.messages(), &case.pictures(), 1).unwrap();
        assert_eq!(reply.prompt, case.ids);
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, &outputs[&format!("{i}.logits")].1, 0.15);
    }
}

/// What users write never becomes a picture's place or a control token.
#[test]
fn typed_markers_stay_text() {
    let vlm = vision_language(&golden("seeing_smolvlm"), None).unwrap();
    let text = "<image> <end_of_utterance> <fake_token_around_image>";
    let message = Message { role: Role::User, parts: vec![Part::Text(text.into())] };
    let ids = answer(&vlm, &[message], &[], 1).unwrap().prompt;
    let special = |name: &str| vlm.llm.lm.text.tokenizer.id(name).unwrap();
    let count = |name: &str| ids.iter().filter(|id| **id == special(name)).count();
    assert_eq!((count("<image>"), count("<fake_token_around_image>")), (0, 0));
    assert_eq!(count("<end_of_utterance>"), 1);
}

#[derive(Deserialize)]
struct Raw {
    model: String,
    text: String,
    pictures: Vec<String>,
    ids: Vec<u32>,
    greedy: Option<Vec<u32>>,
}

/// `reference/raw_prompt.py`: texts with pictures at their places, without a template; no space is lost.
#[test]
fn raw_prompts_are_continued_as_transformers_does() {
    let cases = std::fs::read(golden("raw_prompt").join("cases.json")).unwrap();
    let cases: Vec<Raw> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() > 12);
    let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
    for Raw { model: name, text, pictures, ids, greedy } in cases {
        let model = model(&golden(&name), None).unwrap();
        let complete = |text: &str, special, pictures: &[String]| {
            let read = |name: &String| Picture::read(&golden("published_images").join(name));
            let media: Vec<Media> =
                pictures.iter().map(|name| Media::Image(read(name).unwrap())).collect();
            let go_on = &mut |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
            model.chat().unwrap().complete(text, special, &media, &options, go_on)
        };
        let reply = complete(&text, true, &pictures).unwrap();
        assert_eq!(reply.prompt, ids, "{name}: {text:?}");
        if let Some(greedy) = greedy {
            let said = &reply.continuation.ids;
            assert_eq!(said[..], greedy[..said.len()], "{name}: {text:?}");
            assert!(greedy.len() - said.len() <= 1, "{name}: {text:?}");
        }
        // Read as letters, other names of tokens are longer.
        let letters = complete(&text, false, &pictures).unwrap().prompt;
        assert_eq!(letters.len() > ids.len(), text.contains("<|im_start|>"), "{name}: {text:?}");
        let error = complete(&text, true, &[]).unwrap_err().to_string();
        assert!(error.contains("0 images were given") && error.contains("hint: "), "{error}");
    }
}

#[test]
fn blip2_answers_as_transformers_does() {
    compare("blip2_opt");
}

/// Files of 2023, in which no token stands for a picture.
#[test]
fn blip2_without_an_image_token_answers_as_transformers_does() {
    compare("blip2_opt_plain");
}
