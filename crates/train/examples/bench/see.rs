//! A picture question to its first token, and a recording to its text: P10 and the rows of Whisper.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_media::{Message, Part, Picture, Role, Sound};
use sensorium_model::nano::AskOptions;
use sensorium_model::vlm::Vlm;
use sensorium_model::whisper::{Options, Transcriber};
use sensorium_nn::prelude::*;
use serde_json::Map;

use crate::{Task, fail, timed};

const QUESTION: &str = "What is in the picture?";

/// Resizing, encoder, projector, prompt, first token; the picture is in memory.
pub fn first_token(directory: &str, picture: &str, format: pack::Format) -> Task {
    let vlm = Vlm::open(Path::new(directory), Some(format)).unwrap_or_else(fail);
    let pictures = [Picture::read(Path::new(picture)).unwrap_or_else(fail)];
    let parts = vec![Part::Image, Part::Text(QUESTION.to_owned())];
    let messages = [Message { role: Role::User, parts }];
    let options = AskOptions { max_tokens: 1, ..AskOptions::default() };
    let run = move || {
        let answer = || vlm.answer(&messages, &pictures, options, |_| ControlFlow::Continue(()));
        timed(|| answer().unwrap_or_else(fail)).1
    };
    Task { facts: Map::new(), run: Box::new(run) }
}

/// Reading the file, spectrogram, encoder, greedy decoder.
pub fn transcript(directory: &str, sound: &str, format: pack::Format) -> Task {
    let whisper = Transcriber::open(Path::new(directory), format).unwrap_or_else(fail);
    let options = Options { language: Some("en".into()), ..Options::default() };
    let sound = sound.to_owned();
    let run = move || {
        let read = || Sound::read(Path::new(&sound)).unwrap_or_else(fail);
        timed(|| whisper.transcribe(read(), &options, |_, _| {}).unwrap_or_else(fail)).1
    };
    Task { facts: Map::new(), run: Box::new(run) }
}
