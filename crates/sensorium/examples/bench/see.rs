//! A picture question to its first token, and a recording to its text: P10 and the rows of Whisper.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_inference::whisper::TranscribeOptions;
use sensorium_inference::{GenerateOptions, Model, Options, Step};
use sensorium_media::{Media, MediaDecoder, Message, Modality, Part, Picture, Role};
use sensorium_nn::prelude::*;
use serde_json::Map;

use crate::{Task, device, fail, timed};

const QUESTION: &str = "What is in the picture?";

/// Resizing, encoder, projector, prompt, first token; the picture is in memory.
pub fn first_token(directory: &str, picture: &str, format: pack::Format) -> Task {
    let model = open(directory, format);
    let media = [Media::Image(Picture::read(Path::new(picture)).unwrap_or_else(fail))];
    let parts = vec![Part::Media(Modality::Image), Part::Text(QUESTION.to_owned())];
    let messages = [Message { role: Role::User, parts }];
    let options = GenerateOptions { max_new_tokens: 1, ..GenerateOptions::default() };
    let run = move || {
        let chat = model.chat().unwrap_or_else(fail);
        let go_on = &mut |_: Step<'_>| ControlFlow::Continue(());
        timed(|| chat.answer(&messages, &media, &options, go_on).unwrap_or_else(fail)).1
    };
    Task { facts: Map::new(), run: Box::new(run) }
}

/// Reading the file, spectrogram, encoder, greedy decoder.
pub fn transcript(directory: &str, sound: &str, format: pack::Format) -> Task {
    let model = open(directory, format);
    let options = TranscribeOptions { language: Some("en".into()), ..TranscribeOptions::default() };
    let sound = sound.to_owned();
    let run = move || {
        let (sound, decoder) = (Path::new(&sound), MediaDecoder::here());
        let whisper = model.speech().unwrap_or_else(fail);
        let write = || whisper.transcribe(sound, &decoder, &options, &mut |_, _| {});
        timed(|| write().unwrap_or_else(fail)).1
    };
    Task { facts: Map::new(), run: Box::new(run) }
}

fn open(directory: &str, format: pack::Format) -> Model {
    let options = Options { format: Some(format), ..Options::on(&device()) };
    Model::open(Path::new(directory), &options).unwrap_or_else(fail)
}
