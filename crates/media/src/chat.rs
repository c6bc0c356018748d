//! A conversation as token ids, with what training and splicing need to know
//! about each of them.
//!
//! ```text
//! <|bos|> <|user|> <|image|> <|image_token|>* <|image_end|> what is this <|end|>
//!         <|assistant|> a red circle <|end|>
//!                       ^^^^^^^^^^^^^^^^^^^ answer
//! ```

use crate::text::{Special, Tokenizer};
use crate::{Error, Result};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, always data: it never becomes a special token.
    Text(String),
    /// The place of the next picture.
    Image,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and pictures in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of text only.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, parts: vec![Part::Text(text.into())] }
    }

    /// Its texts, one after the other, without its pictures.
    pub fn words(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image => None,
        });
        texts.collect()
    }
}

/// A rendered conversation. `ids`, `answer` and `spans` have one entry a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// True for an assistant's text and the [`Special::End`] after it: the
    /// loss mask.
    pub answer: Vec<bool>,
    /// Index of the first [`Special::ImageToken`] of each picture.
    pub images: Vec<usize>,
    /// `n > 0` for the positions of the n-th picture and its two markers,
    /// which see each other both ways; 0 elsewhere.
    pub spans: Vec<i32>,
}

impl Prompt {
    fn push(&mut self, id: u32, answer: bool, span: i32) {
        self.ids.push(id);
        self.answer.push(answer);
        self.spans.push(span);
    }
}

/// Renders `messages`, each picture as `image_tokens` positions between its
/// markers. With `generate`, the prompt ends where the assistant is to speak.
pub fn render(
    tok: &Tokenizer,
    messages: &[Message],
    image_tokens: usize,
    generate: bool,
) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.push(tok.special(Special::Bos), false, 0);
    for message in messages {
        let answer = message.role == Role::Assistant;
        prompt.push(tok.special(opening(message.role)), false, 0);
        for part in &message.parts {
            match part {
                Part::Text(text) => {
                    tok.encode(text).into_iter().for_each(|id| prompt.push(id, answer, 0));
                }
                Part::Image => push_image(&mut prompt, tok, image_tokens),
            }
        }
        prompt.push(tok.special(Special::End), answer, 0);
    }
    if generate {
        prompt.push(tok.special(Special::Assistant), false, 0);
    }
    prompt
}

fn opening(role: Role) -> Special {
    match role {
        Role::System => Special::System,
        Role::User => Special::User,
        Role::Assistant => Special::Assistant,
    }
}

fn push_image(prompt: &mut Prompt, tok: &Tokenizer, image_tokens: usize) {
    let span = prompt.images.len() as i32 + 1;
    prompt.push(tok.special(Special::Image), false, span);
    prompt.images.push(prompt.ids.len());
    for _ in 0..image_tokens {
        prompt.push(tok.special(Special::ImageToken), false, span);
    }
    prompt.push(tok.special(Special::ImageEnd), false, span);
}

/// Splits a user's text at its literal `<image>` markers; spaces around them
/// are dropped. Without a marker the pictures come first.
///
/// # Errors
/// [`Error::Markers`] if there are markers, but not one for each picture.
pub fn parse_markers(text: &str, pictures: usize) -> Result<Vec<Part>> {
    const MARKER: &str = "<image>";
    let markers = text.matches(MARKER).count();
    if markers == 0 {
        let mut parts = vec![Part::Image; pictures];
        parts.extend(text_part(text));
        return Ok(parts);
    }
    if markers != pictures {
        return Err(Error::Markers { markers, pictures });
    }
    let mut parts = Vec::new();
    for (i, piece) in text.split(MARKER).enumerate() {
        if i > 0 {
            parts.push(Part::Image);
        }
        parts.extend(text_part(piece));
    }
    Ok(parts)
}

fn text_part(text: &str) -> Option<Part> {
    let text = text.trim();
    (!text.is_empty()).then(|| Part::Text(text.to_owned()))
}
