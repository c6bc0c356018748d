//! Text of ids that come one by one, in time that grows with their number only.
//!
//! ```text
//! id ──spelling──▶ held back until what follows cannot change it ──▶ text
//! ```
//! Byte-level tokenizers end their tokens inside of characters; what is held back are bytes. For all
//! others a token's text depends on the one before it, and bytes spelt `<0x0A>` on those after them.

use std::collections::HashMap;
use std::sync::LazyLock;

use tokenizers::DecoderWrapper;

use super::{Tokenizer, byte_chars};
use crate::Result;

/// Makes the text that [`Tokenizer::decode`] makes of all ids, piece by piece.
#[derive(Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// Of a character that is not complete.
    Bytes(Vec<u8>),
    /// Ids without a text yet, after the last one with one.
    Ids { before: Option<u32>, ids: Vec<u32> },
}

impl<'a> Decoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        let held = match tokenizer.inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => Held::Bytes(Vec::new()),
            _ => Held::Ids { before: None, ids: Vec::new() },
        };
        Self { tokenizer, held }
    }

    /// What is certain of the text now and was not before `id`. Control and unknown ids add nothing.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        let Some(token) = self.spelling(id) else { return Ok(String::new()) };
        match &mut self.held {
            Held::Bytes(held) => {
                held.extend(bytes(&token));
                let rest = held.split_off(complete(held));
                Ok(String::from_utf8_lossy(&std::mem::replace(held, rest)).into_owned())
            }
            Held::Ids { ids, .. } => {
                ids.push(id);
                if is_byte(&token) { Ok(String::new()) } else { self.flush() }
            }
        }
    }

    /// What was held back, now that no id follows.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        match &mut self.held {
            Held::Bytes(held) => Ok(String::from_utf8_lossy(&std::mem::take(held)).into_owned()),
            Held::Ids { .. } => self.flush(),
        }
    }

    fn spelling(&self, id: u32) -> Option<String> {
        let inner = &self.tokenizer.inner;
        let added = inner.get_added_vocabulary();
        let token = added.simple_id_to_token(id).or_else(|| inner.id_to_token(id))?;
        (!added.is_special_token(&token)).then_some(token)
    }

    /// What the held ids add to the text of the one before them.
    fn flush(&mut self) -> Result<String> {
        let Held::Ids { before, ids } = &mut self.held else { return Ok(String::new()) };
        let known = self.tokenizer.decode(before.as_slice())?;
        let all: Vec<u32> = before.iter().chain(&*ids).copied().collect();
        let text = self.tokenizer.decode(&all)?;
        let new = text.strip_prefix(&known).unwrap_or_default().to_owned();
        if !new.is_empty() {
            *before = ids.last().copied();
        }
        // The first token with a text may lose its space: what stands before it counts.
        if before.is_some() {
            ids.clear();
        }
        Ok(new)
    }
}

/// The bytes that each id adds to a text that has begun, by id; none for control tokens and unknown ids.
pub(super) fn token_bytes(tokenizer: &Tokenizer) -> Result<Vec<Vec<u8>>> {
    let decoder = Decoder::new(tokenizer);
    let is_bytes = matches!(decoder.held, Held::Bytes(_));
    let before = (0..tokenizer.vocabulary() as u32).find(|&id| {
        tokenizer
            .decode(&[id])
            .is_ok_and(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()) && !text.is_empty())
    });
    let known = tokenizer.decode(before.as_slice())?;
    let added = |id: u32, token: String| match u8::from_str_radix(
        token.get(3..5).unwrap_or_default(),
        16,
    ) {
        _ if is_bytes => Ok(bytes(&token)),
        Ok(byte) if is_byte(&token) => Ok(vec![byte]),
        _ => {
            let both: Vec<u32> = before.into_iter().chain([id]).collect();
            let text = tokenizer.decode(&both)?;
            Ok(text.strip_prefix(&known).unwrap_or_default().as_bytes().to_vec())
        }
    };
    let ids = 0..tokenizer.vocabulary() as u32;
    ids.map(|id| decoder.spelling(id).map_or(Ok(Vec::new()), |token| added(id, token))).collect()
}

/// Whether a token stands for one byte where no character of the vocabulary fits.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// The bytes that a token in the byte-level alphabet stands for; one that is not in it stands for
/// itself.
fn bytes(token: &str) -> Vec<u8> {
    static BYTES: LazyLock<HashMap<char, u8>> =
        LazyLock::new(|| byte_chars().zip(0..=255).collect());
    let bytes: Option<Vec<u8>> = token.chars().map(|c| BYTES.get(&c).copied()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// How many bytes there are before a character that more bytes could complete.
fn complete(bytes: &[u8]) -> usize {
    let begun = |n: &usize| match std::str::from_utf8(&bytes[bytes.len() - n..]) {
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
        Ok(_) => false,
    };
    bytes.len() - (1..=bytes.len().min(3)).find(begun).unwrap_or(0)
}
