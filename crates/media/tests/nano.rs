//! nano's committed tokenizer and chat template give the ids that it was trained on.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;

use sensorium_media::{Message, Modality, Part, Role, Slot, Tokenizer, render};

#[derive(serde::Deserialize)]
struct Recorded {
    texts: Vec<Text>,
    prompts: Vec<Conversation>,
}

#[derive(serde::Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

/// Messages as role and parts, a picture as null.
#[derive(serde::Deserialize)]
struct Conversation {
    messages: Vec<(Role, Vec<Option<String>>)>,
    image_tokens: usize,
    generate: bool,
    ids: Vec<u32>,
    answer: Vec<u8>,
    images: Vec<usize>,
    spans: Vec<i32>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("data/nano.json")).unwrap()
}

fn tokenizer() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/nano/tokenizer.json");
    Tokenizer::from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn texts_have_the_ids_that_they_had() {
    let (tokenizer, texts) = (tokenizer(), recorded().texts);
    assert!(texts.len() > 400);
    for Text { text, ids, decoded } in texts {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.encode_rendered(&tokenizer.shield(&text)).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), decoded);
    }
}

#[test]
fn conversations_have_the_ids_answers_and_places_that_they_had() {
    let (tokenizer, prompts) = (tokenizer(), recorded().prompts);
    assert!(prompts.len() > 100);
    let message = |(role, parts): (Role, Vec<Option<String>>)| {
        let part = |text: Option<String>| text.map_or(Part::Media(Modality::Image), Part::Text);
        Message { role, parts: parts.into_iter().map(part).collect() }
    };
    for case in prompts {
        let messages: Vec<Message> = case.messages.into_iter().map(message).collect();
        let prompt = render(&tokenizer, &messages, case.image_tokens, case.generate).unwrap();
        assert_eq!(prompt.ids, case.ids, "{messages:?}");
        assert_eq!(prompt.spans, case.spans, "{messages:?}");
        let slot = |at: &usize| Slot { at: *at, len: case.image_tokens, modality: Modality::Image };
        assert_eq!(prompt.slots, case.images.iter().map(slot).collect::<Vec<_>>());
        let answer: Vec<bool> = case.answer.iter().map(|n| *n == 1 && !case.generate).collect();
        assert_eq!(prompt.answer, answer, "{messages:?}");
    }
}
