//! SentencePiece's own file, a protocol buffer: `tokenizer.model`, `spiece.model`.
//!
//! <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>. Fields that say
//! nothing of how texts are read are passed over; what a file leaves out is as the schema has it.

use super::gguf::{BYTE, MAX_TOKENS, NORMAL};
use super::wrong;
use crate::Result;
use crate::error::quote;

/// Where errors lie.
pub(super) const FILE: &str = "SentencePiece file";

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;
const CHARACTERS: u64 = 4;

/// What such a file says of how texts are read.
#[derive(Debug, Default)]
pub(super) struct Proto<'a> {
    /// Pieces by id, their scores, and what each of them is by GGUF's numbers.
    pub(super) pieces: Vec<String>,
    pub(super) scores: Vec<f32>,
    pub(super) kinds: Vec<i32>,
    /// A unigram language model, not a byte-pair encoding.
    pub(super) unigram: bool,
    /// Characters without a piece are spelt in bytes.
    pub(super) byte_fallback: bool,
    /// The trie of characters and what is read instead of them; empty without one.
    pub(super) charsmap: &'a [u8],
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
}

impl<'a> Proto<'a> {
    /// Reads a `ModelProto`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut proto = Self {
            unigram: true,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            ..Self::default()
        };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => proto.piece(piece)?,
                (2, Value::Bytes(trainer)) => proto.trainer(trainer)?,
                (3, Value::Bytes(normalizer)) => proto.normalizer(normalizer)?,
                _ => {}
            }
        }
        Ok(proto)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<()> {
        let (id, mut kind) = (self.pieces.len(), NORMAL as u64);
        let (mut piece, mut score) = (&[][..], 0.0);
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(text)) => piece = text,
                (2, Value::Fixed32(bits)) => score = f32::from_bits(bits),
                (3, Value::Varint(n)) => kind = n,
                _ => {}
            }
        }
        let piece = std::str::from_utf8(piece).ok().filter(|piece| !piece.is_empty());
        let Some(piece) = piece else {
            return Err(wrong(FILE, "pieces of text", format!("none at id {id}")));
        };
        if !score.is_finite() {
            let got = format!("{score} for {}", quote(piece));
            return Err(wrong(FILE, "scores that are numbers", got));
        }
        if !(NORMAL as u64..=BYTE as u64).contains(&kind) {
            let got = format!("{kind} for {}", quote(piece));
            return Err(wrong(FILE, "kinds of pieces of 1 to 6", got));
        }
        if id == MAX_TOKENS {
            return Err(wrong(FILE, format!("at most {MAX_TOKENS} pieces"), "more"));
        }
        self.pieces.push(piece.to_owned());
        self.scores.push(score);
        self.kinds.push(kind as i32);
        Ok(())
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                // Where all pieces are characters there is one way to part a text.
                (3, Value::Varint(kind @ (UNIGRAM | BPE | CHARACTERS))) => {
                    self.unigram = kind != BPE;
                }
                (3, Value::Varint(kind)) => {
                    let got = format!("the model_type {kind}, of words");
                    return Err(wrong(FILE, "a unigram model, a BPE or characters", got));
                }
                (24, Value::Varint(1)) => {
                    let expected = "a space before a word";
                    return Err(wrong(FILE, expected, "treat_whitespace_as_suffix"));
                }
                (35, Value::Varint(on)) => self.byte_fallback = on != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, bytes: &'a [u8]) -> Result<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Value::Bytes(charsmap)) => self.charsmap = charsmap,
                (3, Value::Varint(on)) => self.add_dummy_prefix = on != 0,
                (4, Value::Varint(on)) => self.remove_extra_whitespaces = on != 0,
                (5, Value::Varint(0)) => {
                    return Err(wrong(FILE, "spaces spelt as \u{2581}", "escape_whitespaces off"));
                }
                _ => {}
            }
        }
        // The library that reads it takes memory for as many numbers as the first one says.
        let trie = self.charsmap.first_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize);
        if !self.charsmap.is_empty() && (trie == 0 || trie > self.charsmap.len() - 4) {
            let got = format!("{trie} bytes of {}", self.charsmap.len());
            return Err(wrong(FILE, "a charsmap that holds its trie", got));
        }
        Ok(())
    }
}

/// A field's value; nothing that is read here takes 8 bytes.
enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number, up to the first that is damaged.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| wrong(FILE, "a protocol buffer", "one that is cut or damaged")))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
