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
//! The whole file may be a list of these, too. Pictures are files below the file's folder; where `content`
//! names none, they are those of `images`, a list beside `messages`, in its order.

use std::path::Path;

use sensorium_media::{Message, Modality, Part, Role, parse_markers};
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Record, Source, bytes, lines};
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Messages { messages: Vec<Turn>, images: Option<Vec<String>> },
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
    Text {
        text: String,
    },
    /// Without a file, the next of `images`.
    Image {
        image: Option<String>,
    },
    ImageUrl {
        image_url: Url,
    },
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
    conversation(value, Vec::new()).map_err(bad)
}

/// What a line says, about pictures from elsewhere or its own.
pub(super) fn conversation(value: Value, mut given: Vec<Source>) -> Entry {
    let line = serde_json::from_value(value).map_err(
        |_| "expected messages of the roles system, user and assistant, or prompt and completion",
    )?;
    let turns = match line {
        Line::Messages { messages, images } => {
            given.extend(images.into_iter().flatten().map(Source::File));
            messages
        }
        Line::Completion { prompt, completion } => {
            let turn = |role, text| Turn { role, content: Content::Text(text) };
            vec![turn(Speaker::User, prompt), turn(Speaker::Assistant, completion)]
        }
    };
    let mut pictures = Pictures { given: given.into_iter(), all: Vec::new() };
    let messages = turns.into_iter().map(|turn| message(turn, &mut pictures));
    let messages = messages.collect::<std::result::Result<Vec<Message>, String>>()?;
    let left: Vec<Source> = pictures.given.collect();
    if left.is_empty() {
        return answered(messages, pictures.all);
    }
    if !pictures.all.is_empty() {
        return Err(format!("{} pictures more than the messages show", left.len()));
    }
    shown(messages, left)
}

/// Messages about pictures that stand before the first question.
pub(super) fn shown(mut messages: Vec<Message>, pictures: Vec<Source>) -> Entry {
    if !pictures.is_empty() {
        let first = messages.iter_mut().find(|message| message.role == Role::User);
        let parts = &mut first.ok_or("no question about the picture")?.parts;
        parts.splice(0..0, vec![Part::Media(Modality::Image); pictures.len()]);
    }
    answered(messages, pictures)
}

fn answered(messages: Vec<Message>, pictures: Vec<Source>) -> Entry {
    let answers =
        |message: &Message| message.role == Role::Assistant && !message.words().is_empty();
    match messages.iter().any(answers) {
        true => Ok(Record { pictures, text: None, messages, spoken: None }),
        false => Err("no answer".into()),
    }
}

/// Pictures as messages show them.
struct Pictures {
    /// Those that no message has shown yet.
    given: std::vec::IntoIter<Source>,
    all: Vec<Source>,
}

impl Pictures {
    fn named(&mut self, path: &str) -> Part {
        self.all.push(Source::File(path.strip_prefix("file://").unwrap_or(path).to_owned()));
        Part::Media(Modality::Image)
    }

    fn next(&mut self) -> std::result::Result<Part, String> {
        self.all.push(self.given.next().ok_or("more places for pictures than there are images")?);
        Ok(Part::Media(Modality::Image))
    }

    /// A text, in which `<image>` is a picture's place, if there are pictures.
    fn text(&mut self, text: String) -> std::result::Result<Vec<Part>, String> {
        let markers = text.matches(MARKER).count();
        if markers == 0 || self.given.as_slice().is_empty() {
            return Ok(vec![Part::Text(text)]);
        }
        (0..markers).try_for_each(|_| self.next().map(|_| ()))?;
        parse_markers(&text, &vec![Modality::Image; markers]).map_err(|error| error.to_string())
    }
}

const MARKER: &str = "<image>";

fn message(
    Turn { role, content }: Turn,
    pictures: &mut Pictures,
) -> std::result::Result<Message, String> {
    let role = match role {
        Speaker::System => Role::System,
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    let pieces = match content {
        Content::Text(text) => return Ok(Message { role, parts: pictures.text(text)? }),
        Content::Parts(pieces) => pieces,
    };
    let part = |piece| match piece {
        Piece::Text { text } => Ok(Part::Text(text)),
        Piece::Image { image: Some(path) } => Ok(pictures.named(&path)),
        Piece::Image { image: None } => pictures.next(),
        Piece::ImageUrl { image_url: Url::Bare(url) | Url::Within { url } } => {
            Ok(pictures.named(&url))
        }
    };
    let parts = pieces.into_iter().map(part).collect::<std::result::Result<_, String>>()?;
    Ok(Message { role, parts })
}
