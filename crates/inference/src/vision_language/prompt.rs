//! From messages with pictures to the ids that the backbone reads.

use std::path::Path;

use sensorium_media::chat::tokenize;
use sensorium_media::{Fitted, Layout, Medium, Message, Modality, Part, Prompt, Slot};
use sensorium_pretrained::Error as Pretrained;
use sensorium_pretrained::families::llava::{self, Bidirectional};

use super::{Place, Seen, VideoPlace, VisionLanguageModel};
use crate::error::{Error, Result};

impl VisionLanguageModel {
    /// A conversation that the assistant is to continue, a slot in it for each tile of the pictures, and each
    /// piece of other media. Without a chat template, what its last message says, pictures first.
    ///
    /// # Errors
    /// The template is broken or refuses the messages, or leaves pictures out; there is no picture for a
    /// model that reads none without one.
    pub(super) fn prompt(&self, messages: &[Message], seen: &[&Seen]) -> Result<Prompt> {
        let Place::Marked { .. } = &self.place else {
            let said = messages.last().map(Message::words).unwrap_or_default();
            return self.behind(&self.llm.prompt(&said)?, seen.len());
        };
        if self.bidirectional == Bidirectional::Prompt {
            let parts = messages.last().map(|message| &*message.parts).unwrap_or_default();
            return self.read_at_once(parts, false, seen);
        }
        let media = self.media(seen);
        self.llm.prompted(messages, &media, || {
            let last = messages.last().map(|message| self.plain(message)).unwrap_or_default();
            self.llm.opened(tokenize(&self.llm.lm.text.tokenizer, &last, &media)?)
        })
    }

    /// A text to be continued as it is, its pictures at their places.
    ///
    /// # Errors
    /// The tokenizer has no ids for it.
    pub(super) fn raw(&self, parts: &[Part], special: bool, seen: &[&Seen]) -> Result<Prompt> {
        let tokenizer = &self.llm.lm.text.tokenizer;
        let written = |parts: &[Part]| self.written(parts, special);
        match &self.place {
            Place::Marked { .. } if self.bidirectional == Bidirectional::Prompt => {
                self.read_at_once(parts, special, seen)
            }
            Place::Marked { .. } => {
                self.llm.opened(tokenize(tokenizer, &written(parts), &self.media(seen))?)
            }
            Place::Front { .. } => {
                let none = |part: &&Part| matches!(part, Part::Text(_));
                let parts: Vec<Part> = parts.iter().filter(none).cloned().collect();
                self.behind(&self.llm.prompt_with_special(&written(&parts))?, seen.len())
            }
        }
    }

    /// A text with the marks of its media, its control tokens as letters unless they are `special`.
    fn written(&self, parts: &[Part], special: bool) -> String {
        self.llm.written(parts, special, |modality| self.mark(modality))
    }

    /// A text as the processor of PaliGemma has it: its opening token stands behind the last picture, a line
    /// end behind all.
    fn read_at_once(&self, parts: &[Part], special: bool, seen: &[&Seen]) -> Result<Prompt> {
        let text = &self.llm.lm.text;
        let last = parts.iter().rposition(|part| matches!(part, Part::Media(_)));
        let (pictures, words) = parts.split_at(last.ok_or(Error::NoPicture)? + 1);
        let bos = text.bos_token().map(str::to_owned);
        let bos = bos.or_else(|| text.tokenizer.token(text.bos_token_id?)).unwrap_or_default();
        let [pictures, words] = [pictures, words].map(|parts| self.written(parts, special));
        let written = format!("{pictures}{bos}{words}\n");
        let mut prompt = tokenize(&text.tokenizer, &written, &self.media(seen))?;
        prompt.ids = self.llm.known(prompt.ids)?;
        Ok(prompt)
    }

    /// The same with what is answered, and the token that ends it, as the processor of PaliGemma has a suffix.
    ///
    /// # Errors
    /// There is more than a question with a picture and its answer.
    pub(super) fn answered_at_once(&self, messages: &[Message], seen: &[&Seen]) -> Result<Prompt> {
        let [question, answer] = messages else {
            return Err(Error::OneAnswer { got: messages.len() });
        };
        let text = &self.llm.lm.text;
        let mut prompt = self.read_at_once(&question.parts, false, seen)?;
        prompt.answer.fill(false);
        let ids = text.tokenizer.encode(&answer.words())?;
        let ids: Vec<u32> = ids.into_iter().chain(text.eos_token_ids.first().copied()).collect();
        prompt.answer.resize(prompt.ids.len() + ids.len(), true);
        prompt.ids.extend(self.llm.known(ids)?);
        prompt.spans.resize(prompt.ids.len(), 0);
        self.llm.shortened(prompt)
    }

    /// What stands for each of the media in a text that names a token for it.
    pub(super) fn media(&self, seen: &[&Seen]) -> Vec<Medium> {
        let Place::Marked { name, token, frame: [before, after], video } = &self.place else {
            return Vec::new();
        };
        let medium = |seen: &&Seen| match seen {
            Seen::Picture(Fitted { pictures, layout }) => {
                let tokens = self.vision_tower.tokens_of(*layout, pictures.len());
                let medium = llava::medium(token, *layout, tokens);
                let framed = |text: &str| format!("{before}{text}{after}");
                match (layout, video) {
                    (Layout::Frames, Some(VideoPlace { marker, numbered: false })) => Medium {
                        modality: Modality::Video,
                        ..llava::medium(marker, *layout, tokens)
                    },
                    (Layout::Frames, Some(VideoPlace { marker, numbered: true })) => {
                        let frame =
                            |n: usize| format!("Frame{n}: {}", framed(&token.repeat(tokens)));
                        let frames: Vec<String> = (1..=pictures.len()).map(frame).collect();
                        Medium { marker: marker.clone(), text: frames.join("\n"), ..medium }
                    }
                    _ => Medium { marker: name.clone(), text: framed(&medium.text), ..medium },
                }
            }
            Seen::Piece(piece) => {
                let tower = self.towers.iter().find(|tower| tower.modality() == piece.modality());
                Medium::framed(piece.modality(), tower.map_or(0, |tower| tower.tokens(piece)))
            }
        };
        seen.iter().map(medium).collect()
    }

    /// The ids of a text behind its picture's, the opening token between them: as the processor of
    /// BLIP-2 has it, which knows no template.
    fn behind(&self, text: &[u32], pictures: usize) -> Result<Prompt> {
        let Place::Front { id } = self.place else { return Ok(Prompt::default()) };
        if pictures > 1 {
            return Err(Error::OnePicture { got: pictures });
        }
        let slot = Slot { at: 0, len: self.vision_tower.tokens(), modality: Modality::Image };
        let slots = vec![slot; pictures];
        let places = std::iter::repeat_n(id, pictures * slot.len);
        let ids: Vec<u32> = places.chain(text.iter().copied()).collect();
        let (answer, spans) = (vec![false; ids.len()], vec![0; ids.len()]);
        Ok(Prompt { ids, answer, slots, spans })
    }

    fn plain(&self, message: &Message) -> String {
        self.llm.written(&message.parts, false, |modality| format!("{}\n", self.mark(modality)))
    }

    /// What marks the place of a medium in a text: of a picture, its own token.
    fn mark(&self, modality: Modality) -> String {
        match (modality, &self.place) {
            (Modality::Image, Place::Marked { name, .. })
            | (
                Modality::Video,
                Place::Marked { video: Some(VideoPlace { marker: name, .. }), .. },
            ) => name.clone(),
            (Modality::Image, Place::Front { .. }) => String::new(),
            (other, _) => Medium::framed(other, 0).marker,
        }
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
