//! Texts and pictures in turn to ids, and the picture that each of them sees, as transformers'
//! `IdeficsProcessor` makes them.
//!
//! ```text
//! <s>User:<fake_token_around_image><image><fake_token_around_image>what is it<end_of_utterance>\nAssistant:
//! none... ^ none                   ^ picture 0, and on to the next <image>
//! ```

use sensorium_media::{Message, Part, Role, Tokenizer};

use sensorium_pretrained::Error as Pretrained;

use crate::error::Result;
use crate::generate::known;

/// Stands on both sides of a picture; pictures in a row share the one between them.
const FAKE: &str = "<fake_token_around_image>";

/// The place of a picture.
const IMAGE: &str = "<image>";

/// After each turn, in models that were taught to talk.
const UTTERANCE: &str = "<end_of_utterance>";

/// What the model reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids `[T]`.
    pub ids: Vec<u32>,
    /// The picture that each of them sees, `[T]`: the latest at or before it.
    pub image_attention: Vec<Option<usize>>,
}

impl Prompt {
    /// Pictures that it speaks of.
    pub fn pictures(&self) -> usize {
        self.image_attention.last().copied().flatten().map_or(0, |last| last + 1)
    }
}

/// Writes prompts.
#[derive(Clone, Debug)]
pub struct IdeficsProcessor {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Opens every prompt.
    opening: String,
    image: u32,
    fake: u32,
    /// `<end_of_utterance>`, in models that have it.
    utterance: Option<u32>,
    /// Rows of the token table.
    vocabulary: usize,
}

impl IdeficsProcessor {
    /// With the tokenizer of a model with so many rows, whose prompts begin with `opening`.
    ///
    /// # Errors
    /// The tokenizer has no token for pictures.
    pub fn new(tokenizer: Tokenizer, opening: String, vocabulary: usize) -> Result<Self> {
        let id = |token: &str| {
            let id = tokenizer.id(token).filter(|id| (*id as usize) < vocabulary);
            id.ok_or_else(|| Pretrained::Setting {
                file: "tokenizer.json".into(),
                key: "added_tokens".into(),
                expected: format!("{token}, with an id below {vocabulary}"),
                got: "a tokenizer without it".into(),
                hint: "tokenizer.json and the weights may be of different models",
            })
        };
        let (image, fake) = (id(IMAGE)?, id(FAKE)?);
        let utterance = id(UTTERANCE).ok();
        Ok(Self { tokenizer, opening, image, fake, utterance, vocabulary })
    }

    /// Ids that stand for pictures, which a model is never to say.
    pub fn picture_ids(&self) -> [u32; 2] {
        [self.image, self.fake]
    }

    /// The id after which a turn is over, in models that were taught to talk.
    pub fn utterance(&self) -> Option<u32> {
        self.utterance
    }

    /// Texts and pictures in turn, to be gone on from. In models that were taught to talk, a turn ends
    /// between a text and a text after it. Texts are data, unless special tokens in them are to be parsed.
    ///
    /// # Errors
    /// The tokenizer has no ids for a text, or one that the model has no row for.
    pub fn prompt(&self, parts: &[Part], parse_special: bool) -> Result<Prompt> {
        self.encode(&format!("{}{}", self.opening, self.written(parts, parse_special)))
    }

    /// Messages that the assistant is to answer: `User: ...` and `Assistant: ...` in models that were
    /// taught to talk, `Question: ...` and `Answer: ...` in others (Flamingo's own prompts).
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn conversation(&self, messages: &[Message]) -> Result<Prompt> {
        let (user, assistant, end) = match self.utterance {
            Some(_) => ("User:", "\nAssistant:", UTTERANCE),
            None => ("Question:", " Answer:", ""),
        };
        let mut text = self.opening.clone();
        for (i, message) in messages.iter().enumerate() {
            match message.role {
                Role::Assistant => text.push_str(assistant),
                Role::User if i == 0 => text.push_str(user),
                Role::User => text.extend(["\n", user]),
                Role::System => {}
            }
            if message.role != Role::System && matches!(message.parts.first(), Some(Part::Text(_)))
            {
                text.push(' ');
            }
            text.push_str(&self.written(&message.parts, false));
            text.push_str(end);
        }
        text.push_str(assistant);
        self.encode(&text)
    }

    /// The rules of `IdeficsProcessor`. Texts are data, unless they are parsed: no token of pictures or
    /// turns is made from what they spell.
    fn written(&self, parts: &[Part], parse_special: bool) -> String {
        let mut text = String::new();
        let mut before: Option<&Part> = None;
        for part in parts {
            match (part, before) {
                (Part::Media(_), Some(Part::Media(_))) => text.extend([IMAGE, FAKE]),
                (Part::Media(_), _) => text.extend([FAKE, IMAGE, FAKE]),
                (Part::Text(words), before) => {
                    if self.utterance.is_some() && matches!(before, Some(Part::Text(_))) {
                        text.push_str(UTTERANCE);
                    }
                    let words = words.trim_matches(' ');
                    match parse_special {
                        true => text.push_str(words),
                        false => text.push_str(&self.tokenizer.shield(words)),
                    }
                }
            }
            before = Some(part);
        }
        text
    }

    fn encode(&self, text: &str) -> Result<Prompt> {
        let ids = known(self.tokenizer.encode_rendered(text)?, self.vocabulary)?;
        let mut latest = None;
        let look = |id: &u32| {
            if *id == self.image {
                latest = Some(latest.map_or(0, |latest| latest + 1));
            }
            latest
        };
        let image_attention = ids.iter().map(look).collect();
        Ok(Prompt { ids, image_attention })
    }
}
