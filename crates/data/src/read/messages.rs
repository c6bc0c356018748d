//! Conversations as chat models' APIs have them, a line each.
//!
//! ```json
//! {"messages": [{"role": "user", "content": "What is a square?"},
//!               {"role": "assistant", "content": "Four equal sides."}]}
//! {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "red.png"}},
//!                                            {"type": "text", "text": "What is this?"}]},
//!               {"role": "assistant", "content": "A red square."}]}
//! {"prompt": "What is a square?", "completion": "Four equal sides."}
//! ```
//!
//! The whole file may be a list of these, too. Pictures are files below the file's folder.

use std::path::Path;

use sensorium_media::{Message, Modality, Part, Role};
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Record, Source, bytes, lines};
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Messages { messages: Vec<Turn> },
    Completion { prompt: String, completion: String },
}

#[derive(Deserialize)]
struct Turn {
    role: Speaker,
    content: Content,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Piece>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    Text { text: String },
    Image { image: String },
    ImageUrl { image_url: Url },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Url {
    Bare(String),
    Within { url: String },
}

/// The entries of the file at `path`.
///
/// # Errors
/// A file that cannot be read or is no text.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let expected = "conversations in JSON, a line each";
    let wrong = |got: String| {
        let hint = "a line is {\"messages\": [{\"role\": \"user\", \"content\": \"..\"}, ..]}";
        Error::Format { path: path.to_owned(), expected, got, hint }
    };
    let text =
        String::from_utf8(bytes(path, expected)?).map_err(|error| wrong(error.to_string()))?;
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        return Ok(list
            .into_iter()
            .enumerate()
            .map(|(n, value)| entry("entry", n, Ok(value)))
            .collect());
    }
    let lines = lines(text.as_bytes());
    Ok(lines.map(|(n, line)| entry("line", n, serde_json::from_slice(line))).collect())
}

fn entry(what: &str, number: usize, value: serde_json::Result<Value>) -> Entry {
    let bad = |reason: String| format!("{what} {number}: {reason}");
    let value = value.map_err(|error| bad(error.to_string()))?;
    let line = serde_json::from_value(value).map_err(|_| {
        bad("expected messages of the roles system, user and assistant, or prompt and completion".into())
    })?;
    record(line).map_err(bad)
}

fn record(line: Line) -> Entry {
    let turns = match line {
        Line::Messages { messages } => messages,
        Line::Completion { prompt, completion } => {
            let turn = |role, text| Turn { role, content: Content::Text(text) };
            vec![turn(Speaker::User, prompt), turn(Speaker::Assistant, completion)]
        }
    };
    let mut pictures = Vec::new();
    let messages: Vec<Message> =
        turns.into_iter().map(|turn| message(turn, &mut pictures)).collect();
    let answers =
        |message: &Message| message.role == Role::Assistant && !message.words().is_empty();
    if !messages.iter().any(answers) {
        return Err("no answer".into());
    }
    if pictures.len() > 1 {
        return Err(format!("expected one picture at most, got {}", pictures.len()));
    }
    Ok(Record { picture: pictures.pop().map(Source::File), text: None, messages })
}

fn message(Turn { role, content }: Turn, pictures: &mut Vec<String>) -> Message {
    let role = match role {
        Speaker::System => Role::System,
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    let mut picture = |path: String| {
        pictures.push(path.strip_prefix("file://").unwrap_or(&path).to_owned());
        Part::Media(Modality::Image)
    };
    let parts = match content {
        Content::Text(text) => vec![Part::Text(text)],
        Content::Parts(pieces) => pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Text { text } => Part::Text(text),
                Piece::Image { image } => picture(image),
                Piece::ImageUrl { image_url: Url::Bare(url) | Url::Within { url } } => picture(url),
            })
            .collect(),
    };
    Message { role, parts }
}
