//! Conversations about pictures, as LLaVA's training data has them (Liu et al. 2023,
//! <https://arxiv.org/abs/2304.08485>).
//!
//! ```json
//! [{"id": "1", "image": "1.jpg", "conversations": [
//!     {"from": "human", "value": "<image>\nWhat is this?"},
//!     {"from": "gpt", "value": "A dog in the snow."}]}]
//! ```
//!
//! Without `image`, a conversation is text alone; of several pictures, it is a list.

use std::path::Path;

use sensorium_media::{Message, Modality, Part, Role, parse_markers};
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Record, Source, bytes};
use crate::{Error, Result};

const MARKER: &str = "<image>";

#[derive(Deserialize)]
struct Conversation {
    #[serde(default)]
    image: Images,
    conversations: Vec<Turn>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Images {
    #[default]
    None,
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Turn {
    from: Speaker,
    value: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    #[serde(alias = "user")]
    Human,
    #[serde(alias = "assistant")]
    Gpt,
    System,
}

/// The entries of the file at `path`.
///
/// # Errors
/// A file that cannot be read or is not a list in JSON.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let expected = "a list of conversations in JSON";
    let entries: Vec<Value> = serde_json::from_slice(&bytes(path, expected)?).map_err(|error| {
        let hint = "see the data set's documentation for the file of its conversations";
        Error::Format { path: path.to_owned(), expected, got: error.to_string(), hint }
    })?;
    let entry =
        |(number, value)| entry(value).map_err(|reason| format!("conversation {number}: {reason}"));
    Ok(entries.into_iter().enumerate().map(entry).collect())
}

fn entry(value: Value) -> Entry {
    let Conversation { image, conversations } =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    let pictures = match image {
        Images::None => Vec::new(),
        Images::One(file) => vec![file],
        Images::Several(files) => files,
    };
    record(conversations, pictures.into_iter().map(Source::File).collect())
}

/// Turns about pictures.
fn record(turns: Vec<Turn>, pictures: Vec<Source>) -> Entry {
    let messages = messages(turns, pictures.len())?;
    Ok(Record { pictures, text: None, messages, spoken: None })
}

/// The value of `conversations` about pictures from elsewhere.
pub(super) fn conversations(value: Value, pictures: Vec<Source>) -> Entry {
    record(serde_json::from_value(value).map_err(|error| error.to_string())?, pictures)
}

/// The turns, each marker as its picture's place; a picture without a marker comes first.
fn messages(turns: Vec<Turn>, pictures: usize) -> std::result::Result<Vec<Message>, String> {
    if !turns.iter().any(|turn| matches!(turn.from, Speaker::Gpt) && !turn.value.trim().is_empty())
    {
        return Err("no answer".into());
    }
    let count = |turn: &Turn| turn.value.matches(MARKER).count();
    let markers: usize = turns.iter().map(count).sum();
    if markers > 0 && markers != pictures {
        return Err(format!("{markers} {MARKER} markers for {pictures} pictures"));
    }
    let message = |turn: Turn| {
        let parts = parse_markers(&turn.value, &vec![Modality::Image; count(&turn)])
            .map_err(|error| error.to_string())?;
        Ok(Message { role: role(turn.from), parts })
    };
    let mut messages =
        turns.into_iter().map(message).collect::<std::result::Result<Vec<_>, String>>()?;
    if markers < pictures {
        let first = messages.iter_mut().find(|message| message.role == Role::User);
        let parts = &mut first.ok_or("no question about the picture")?.parts;
        parts.splice(0..0, vec![Part::Media(Modality::Image); pictures]);
    }
    Ok(messages)
}

fn role(speaker: Speaker) -> Role {
    match speaker {
        Speaker::Human => Role::User,
        Speaker::Gpt => Role::Assistant,
        Speaker::System => Role::System,
    }
}
