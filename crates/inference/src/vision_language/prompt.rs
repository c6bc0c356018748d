//! From messages with pictures to the ids that the backbone reads.

use sensorium_media::chat_template::Content;
use sensorium_media::{Message, Part, Tiles};
use serde_json::{Value, json};

use std::path::Path;

use sensorium_pretrained::Error as Pretrained;

use super::{Place, VisionLanguageModel};
use crate::error::{Error, Result};

impl VisionLanguageModel {
    /// Ids of a conversation that the assistant is to continue, a place in it for each of the
    /// pictures' tokens. Without a chat template, what its last message says, pictures first.
    ///
    /// # Errors
    /// The template is broken or refuses the messages, or leaves pictures out.
    pub fn prompt(&self, messages: &[Message], pictures: &[Tiles]) -> Result<Vec<u32>> {
        let (marker, marker_id) = match &self.place {
            Place::Marked { name, id } => (name, *id),
            Place::Front { id } => return self.behind(messages, pictures, *id),
        };
        let text = self.spell(&self.render(messages, marker)?, pictures, marker)?;
        let mut ids = self.llm.lm.text.tokenizer.encode_rendered(&text)?;
        // As transformers: the opening token, unless the template has written it.
        if let Some(opening) = self.llm.lm.text.bos_token_id
            && ids.first() != Some(&opening)
        {
            ids.insert(0, opening);
        }
        let expected: usize = pictures.iter().map(|p| p.tiles.len() * self.eye.tokens()).sum();
        let got = ids.iter().filter(|id| **id == marker_id).count();
        let hint = "the tokenizer may be of another model: it must know the picture's token";
        same(marker, expected, got, hint)?;
        self.llm.known(ids)
    }

    /// Ids of what the last message says behind its picture's `marker`s, the opening token between
    /// them: as the processor of BLIP-2 has it, which knows no template.
    fn behind(&self, messages: &[Message], pictures: &[Tiles], marker: u32) -> Result<Vec<u32>> {
        if pictures.len() > 1 {
            return Err(Error::OnePicture { got: pictures.len() });
        }
        let said = messages.last().map(Message::words).unwrap_or_default();
        let text = self.llm.prompt(&said)?;
        let places = std::iter::repeat_n(marker, pictures.len() * self.eye.tokens());
        Ok(places.chain(text).collect())
    }

    /// The text of a conversation, with one marker for each picture.
    fn render(&self, messages: &[Message], marker: &str) -> Result<String> {
        match self.llm.lm.text.chat.template() {
            Err(Pretrained::NoChat) => {
                Ok(messages.last().map(|message| self.plain(message, marker)).unwrap_or_default())
            }
            Err(error) => Err(error.into()),
            Ok(template) => {
                let messages = messages.iter().map(|m| self.message(m, template.content(), marker));
                Ok(self.llm.lm.text.chat.render(messages.collect())?)
            }
        }
    }

    /// A message as templates read it. What is said is data; a picture is a part, or, where a
    /// template wants a text, a marker on a line of its own (LLaVA).
    fn message(&self, message: &Message, content: Content, marker: &str) -> Value {
        let role = message.role;
        let part = |part: &Part| match part {
            Part::Text(text) => json!({"type": "text", "text": self.shield(text)}),
            Part::Image => json!({"type": "image"}),
        };
        match content {
            Content::Text => json!({"role": role, "content": self.plain(message, marker)}),
            Content::Parts => {
                json!({"role": role, "content": message.parts.iter().map(part).collect::<Value>()})
            }
        }
    }

    fn plain(&self, message: &Message, marker: &str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => self.shield(text),
            Part::Image => format!("{marker}\n"),
        };
        message.parts.iter().map(part).collect()
    }

    fn shield(&self, text: &str) -> String {
        self.llm.lm.text.tokenizer.shield(text)
    }

    /// The text with each marker as the whole of what stands for its picture.
    fn spell(&self, text: &str, pictures: &[Tiles], marker: &str) -> Result<String> {
        let pieces: Vec<&str> = text.split(marker).collect();
        let hint = "the chat template leaves pictures out, or the files are of different models";
        same(marker, pictures.len(), pieces.len() - 1, hint)?;
        let spelt = pictures.iter().map(|tiles| self.eye.spell(tiles, marker));
        let spelt = spelt.chain([String::new()]);
        Ok(pieces.iter().zip(spelt).map(|(piece, picture)| format!("{piece}{picture}")).collect())
    }
}

fn same(marker: &str, expected: usize, got: usize, hint: &'static str) -> Result<()> {
    match expected == got {
        true => Ok(()),
        false => Err(Error::Places { marker: marker.to_owned(), expected, got, hint }),
    }
}

/// The error for a picture's token that the tokenizer does not know.
pub(super) fn no_marker(directory: &Path, id: u32) -> Error {
    Error::Pretrained(Pretrained::Missing {
        file: format!("token {id}, whose places pictures take,"),
        path: directory.join("tokenizer.json"),
        found: "none of that id".into(),
        hint: "config.json and tokenizer.json must be of the same model",
    })
}
