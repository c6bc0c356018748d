//! From messages with pictures to the ids that the backbone reads.

use std::path::Path;

use sensorium_media::chat::tokenize;
use sensorium_media::{ChatFormat, Fitted, Medium, Message, Modality, Part, Prompt, Slot};
use sensorium_pretrained::Error as Pretrained;
use sensorium_pretrained::families::llava;

use super::{Place, VisionLanguageModel};
use crate::error::{Error, Result};

impl VisionLanguageModel {
    /// A conversation that the assistant is to continue, a slot in it for each tile of the pictures.
    /// Without a chat template, what its last message says, pictures first.
    ///
    /// # Errors
    /// The template is broken or refuses the messages, or leaves pictures out.
    pub fn prompt(&self, messages: &[Message], pictures: &[Fitted]) -> Result<Prompt> {
        let (marker, [before, after]) = match &self.place {
            Place::Marked { name, frame } => (name, frame),
            Place::Front { id } => return self.behind(messages, pictures, *id),
        };
        let medium = |fitted: &Fitted| {
            let medium = llava::medium(marker, fitted.layout, self.vision_tower.tokens());
            Medium { text: format!("{before}{}{after}", medium.text), ..medium }
        };
        let media: Vec<Medium> = pictures.iter().map(medium).collect();
        let text = &self.llm.lm.text;
        let mut prompt = match text.chat.template() {
            Ok(template) => {
                let format = ChatFormat { template, variables: text.chat.variables.clone() };
                format.prompt(&text.tokenizer, messages, &media)?
            }
            Err(Pretrained::NoChat) => {
                let last = messages.last().map(|message| self.plain(message, marker));
                tokenize(&text.tokenizer, &last.unwrap_or_default(), &media)?
            }
            Err(error) => return Err(error.into()),
        };
        // As transformers: the opening token, unless the template has written it.
        if let Some(bos) = text.bos_token_id.filter(|bos| prompt.ids.first() != Some(bos)) {
            prompt.open(bos);
        }
        prompt.ids = self.llm.known(prompt.ids)?;
        Ok(prompt)
    }

    /// What the last message says behind its picture's `marker`s, the opening token between them: as
    /// the processor of BLIP-2 has it, which knows no template.
    fn behind(&self, messages: &[Message], pictures: &[Fitted], marker: u32) -> Result<Prompt> {
        if pictures.len() > 1 {
            return Err(Error::OnePicture { got: pictures.len() });
        }
        let said = messages.last().map(Message::words).unwrap_or_default();
        let text = self.llm.prompt(&said)?;
        let slot = Slot { at: 0, len: self.vision_tower.tokens(), modality: Modality::Image };
        let slots = vec![slot; pictures.len()];
        let places = std::iter::repeat_n(marker, pictures.len() * slot.len);
        let ids: Vec<u32> = places.chain(text).collect();
        let (answer, spans) = (vec![false; ids.len()], vec![0; ids.len()]);
        Ok(Prompt { ids, answer, slots, spans })
    }

    fn plain(&self, message: &Message, marker: &str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => self.llm.lm.text.tokenizer.shield(text),
            Part::Media(_) => format!("{marker}\n"),
        };
        message.parts.iter().map(part).collect()
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
