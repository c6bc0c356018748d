//! Text to ids and back: one [`tokenizers::Tokenizer`], read from a `tokenizer.json`, made of the files
//! that were published before there was one, of mistral-common's, of a GGUF file's fields, or trained here.
//!
//! <https://github.com/huggingface/tokenizers>. That library was made for files its user trusts: some
//! crafted ones make it panic. Its panics end here, as errors.
//!
//! ```text
//! text ──normalise, split──▶ pieces ──BPE, Unigram or WordPiece──▶ ids ──cut──▶ + special tokens
//! rendered template: control tokens too, but where a user's text spells one
//! ```

mod decoder;
mod files;
mod gguf;
mod proto;
mod sentencepiece;
mod special;
mod steps;
mod tekken;
mod train;
mod vocabulary;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::tokenizer::pre_tokenizer::OffsetType;
use tokenizers::{AddedVocabulary, Encoding, Model, PreTokenizer, Token, TruncationDirection};

use crate::error::quote;
use crate::{Error, Result};

pub use decoder::Decoder;
pub use files::{Files, VocabularyFile};
pub use gguf::Published;
pub use sentencepiece::Pieces;
pub use special::Special;
pub use vocabulary::Vocabulary;

/// Largest `tokenizer.json`, in bytes: 256,000 pieces with their merges take 33 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// Ids stay below this.
const MAX_ID: u32 = 1 << 24;
/// Longest text in bytes that is encoded at once: a thousand times any context here.
const MAX_TEXT: usize = 16 << 20;

/// Stands inside what users write where it spells a control token, until the template has been
/// rendered. A noncharacter: no text has it.
pub(crate) const SHIELD: char = '\u{10FFFF}';

/// Text to ids and back. Texts are data: a control token's name in one is encoded as letters, unless
/// the text is a rendered template.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The added tokens; control tokens among them are not found in a text.
    data: AddedVocabulary,
    /// Names and ids of the control tokens, longest first.
    control: Vec<(String, u32)>,
    /// Control tokens that a model might still put together from letters.
    never: HashSet<u32>,
    vocabulary: usize,
    hash: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary", &self.vocabulary)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Its own truncation and padding are left out: who encodes says how
    /// long a text may be.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is longer than 64 MiB, no tokenizer, or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(wrong("file", format!("at most {MAX_BYTES} bytes"), bytes.len()));
        }
        // `parse` was compiled with the library; its own `from_bytes` would be again, here.
        let mut inner = guarded("file", "a tokenizer.json of the tokenizers library", || {
            std::str::from_utf8(bytes)?.parse::<tokenizers::Tokenizer>()
        })?;
        inner.with_padding(None);
        guarded("truncation", "none", || inner.with_truncation(None).map(|_| ()))?;
        let vocab = guarded("model", "a vocabulary", || Ok(inner.get_vocab(true)))?;
        match vocab.into_values().max() {
            Some(id) if id < MAX_ID => {
                let hash = blake3::hash(bytes).to_hex().to_string();
                Self::new(inner, id as usize + 1, hash)
            }
            Some(id) => Err(wrong("model", format!("ids below {MAX_ID}"), id)),
            None => Err(wrong("model", "at least one token", "none")),
        }
    }

    fn new(inner: tokenizers::Tokenizer, vocabulary: usize, hash: String) -> Result<Self> {
        let added = inner.get_added_vocabulary();
        let special = added.get_added_tokens_decoder().iter().filter(|(_, token)| token.special);
        let named = special.map(|(id, token)| (token.content.clone(), *id));
        let mut control: Vec<_> = named.filter(|(name, _)| !name.is_empty()).collect();
        control.sort_by_key(|(name, _)| Reverse(name.len()));
        let mut data = added.clone();
        data.set_encode_special_tokens(true);
        let unknown = guarded("model", "a consistent one", || Ok(unknown(&inner)))?;
        let never = control.iter().map(|(_, id)| *id).filter(|id| !unknown.contains(id)).collect();
        Ok(Self { inner, data, control, never, vocabulary, hash })
    }

    /// The same tokenizer, which reads every text in lower case.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if one of the file's added tokens cannot be spelt so.
    pub fn lowercased(mut self) -> Result<Self> {
        let own = self.inner.get_normalizer().cloned();
        let all = std::iter::once(Lowercase.into()).chain(own).collect();
        guarded("normalizer", "lower case", || {
            self.inner.with_normalizer(Some(Sequence::new(all))).map(|_| ())
        })?;
        Self::new(self.inner, self.vocabulary, self.hash)
    }

    /// The `tokenizer.json`, the same for the same tokenizer.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the library cannot write what it has read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = guarded("file", "one that can be written", || self.inner.to_string(false))?;
        Ok(json.into_bytes())
    }

    /// Ids of a text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text is longer than 16 MiB, or the file has no id for it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_data(text, OffsetType::None)?.get_ids().to_vec())
    }

    /// Ids of a text, at most `context`; with `specials`, those that the file puts around it too. The
    /// text loses its end, and never the special tokens around it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), or `context` leaves no room for the text.
    pub fn encode_within(&self, text: &str, specials: bool, context: usize) -> Result<Vec<u32>> {
        let around = if specials { self.around() } else { 0 };
        let Some(room) = context.checked_sub(around).filter(|room| *room > 0) else {
            return Err(wrong("text", "room for a token beside the special ones", context));
        };
        let mut encoding = self.encode_data(text, OffsetType::None)?;
        let ids = guarded("text", "text that it knows", || {
            if encoding.get_ids().len() > room {
                encoding.truncate(room, 0, TruncationDirection::Right);
            }
            self.inner.post_process(encoding, None, specials)
        })?;
        Ok(ids.get_ids().to_vec())
    }

    /// Ids that the file puts before and behind a text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn specials_around(&self) -> Result<[Vec<u32>; 2]> {
        // Of a text that any vocabulary has ids for, if only for what it does not know.
        for text in ["a", "0", " "] {
            let [bare, whole] =
                [false, true].map(|specials| self.encode_within(text, specials, usize::MAX));
            let (Ok(bare), Ok(whole)) = (bare, whole) else { continue };
            let at = |at: &usize| !bare.is_empty() && whole[*at..].starts_with(&bare);
            if let Some(start) = (0..whole.len()).find(at) {
                return Ok([whole[..start].to_vec(), whole[start + bare.len()..].to_vec()]);
            }
        }
        Ok([self.encode_within("", true, usize::MAX)?, Vec::new()])
    }

    /// What a user wrote, with every control token's name in it broken up, for a template to render.
    pub fn shield(&self, text: &str) -> String {
        let mut out = text.replace(is_mark, "");
        for (name, _) in &self.control {
            if out.contains(name.as_str()) {
                let mut broken: Vec<char> = name.chars().collect();
                broken.insert(1, SHIELD);
                out = out.replace(name.as_str(), &broken.iter().collect::<String>());
            }
        }
        out
    }

    /// Ids of a rendered template: names of control tokens become those tokens, but for those that
    /// were [shielded](Self::shield).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.rendered(text)?.into_iter().map(|(id, _)| id).collect())
    }

    /// Ids of a rendered template, each with the bytes that it stands for; shields do not count.
    pub(crate) fn rendered(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        if !text.contains(SHIELD) {
            let added = self.inner.get_added_vocabulary();
            return Ok(placed(&self.run(added, text, OffsetType::Byte)?, 0).collect());
        }
        let (mut all, mut rest, mut at) = (Vec::new(), text, 0);
        while !rest.is_empty() {
            let control = self.first_control(rest);
            let data = rest[..control.map_or(rest.len(), |(at, ..)| at)].replace(SHIELD, "");
            all.extend(placed(&self.encode_data(&data, OffsetType::Byte)?, at));
            at += data.len();
            let Some((start, name, id)) = control else { break };
            all.push((id, at..at + name.len()));
            at += name.len();
            rest = &rest[start + name.len()..];
        }
        Ok(all)
    }

    /// Text of ids. Control and unknown ids are left out; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded("decoder", "ids that it can spell", || self.inner.decode(ids, true))
    }

    /// The bytes that each id adds to a text that has begun, [`vocabulary`](Self::vocabulary) of them; none for
    /// control tokens and unknown ids.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn token_bytes(&self) -> Result<Vec<Vec<u8>>> {
        decoder::token_bytes(self)
    }

    /// Text of ids that come one by one.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self)
    }

    /// Id of the token spelt exactly so, control tokens included.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Id of a special token of the tokenizers trained here.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if this tokenizer is another's and has none.
    pub fn special(&self, special: Special) -> Result<u32> {
        let name = special.name();
        self.id(&name).ok_or_else(|| wrong("added_tokens", name, "none of that name"))
    }

    /// Spelling of the token with this id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Names and ids of the control tokens, longest first.
    pub fn control(&self) -> &[(String, u32)] {
        &self.control
    }

    /// One more than the highest id: rows that a token table needs.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Hexadecimal BLAKE3 of the file: what a checkpoint keeps to refuse another tokenizer.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How many special tokens the file puts around a text.
    fn around(&self) -> usize {
        let post = self.inner.get_post_processor();
        post.map_or(0, |post| tokenizers::PostProcessor::added_tokens(post, false))
    }

    /// A text that is data, without the special tokens around it.
    fn encode_data(&self, text: &str, offsets: OffsetType) -> Result<Encoding> {
        let encoding = self.run(&self.data, text, offsets)?;
        if !encoding.get_ids().iter().any(|id| self.never.contains(id)) {
            return Ok(encoding);
        }
        let (ids, names) = (encoding.get_ids(), encoding.get_tokens());
        let kept = (0..ids.len()).filter(|i| !self.never.contains(&ids[*i]));
        let token = |i: usize| Token::new(ids[i], names[i].clone(), encoding.get_offsets()[i]);
        Ok(Encoding::from_tokens(kept.map(token).collect(), 0))
    }

    fn run(&self, added: &AddedVocabulary, text: &str, offsets: OffsetType) -> Result<Encoding> {
        if text.len() > MAX_TEXT {
            return Err(wrong("text", format!("at most {MAX_TEXT} bytes"), text.len()));
        }
        guarded("text", "text that it knows", || {
            let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
            if let Some(pre) = self.inner.get_pre_tokenizer() {
                pre.pre_tokenize(&mut pieces)?;
            }
            self.inner.get_model().tokenize_in_pretokenized(&mut pieces, None)?;
            pieces.into_encoding(None, 0, offsets)
        })
    }

    /// The first control token of a text, the longest where several begin.
    fn first_control<'a>(&'a self, text: &str) -> Option<(usize, &'a str, u32)> {
        let found = self.control.iter().filter_map(|(name, id)| Some((text.find(name)?, name, id)));
        found
            .min_by_key(|(at, name, _)| (*at, Reverse(name.len())))
            .map(|(at, name, id)| (at, &**name, *id))
    }
}

/// Whether a character is one of those that mark places in a prompt that is being made.
fn is_mark(c: char) -> bool {
    c == SHIELD || ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

/// Ids with their places in a text that begins at `start`.
fn placed(encoding: &Encoding, start: usize) -> impl Iterator<Item = (u32, Range<usize>)> {
    let places = encoding.get_ids().iter().zip(encoding.get_offsets());
    places.map(move |(id, (from, to))| (*id, start + from..start + to))
}

/// What the model makes of a character that no vocabulary has.
fn unknown(tokenizer: &tokenizers::Tokenizer) -> Vec<u32> {
    let tokens = tokenizer.get_model().tokenize("\u{10FFFD}").unwrap_or_default();
    tokens.into_iter().map(|token| token.id).collect()
}

/// What `run` gives; its panic as an error. Nothing outlives a panic that it could have broken: the
/// tokenizer is read, and what was being made is dropped.
fn guarded<T>(
    place: &'static str,
    expected: &str,
    run: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| wrong(place, expected, quote(&error.to_string()))),
        Err(_) => {
            Err(wrong(place, "a consistent file", "one that the tokenizers library panics at"))
        }
    }
}

fn wrong(place: &str, expected: impl Into<String>, got: impl ToString) -> Error {
    Error::Tokenizer { place: place.into(), expected: expected.into(), got: got.to_string() }
}

/// The printable stand-in of each byte, in the order of the bytes: visible Latin-1 stands for itself,
/// the others for U+0100 and up (GPT-2).
fn byte_chars() -> impl Iterator<Item = char> {
    let mut next = 0x100;
    (0..=255_u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("below U+0144")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters a to d with two merges, an end and a start token around every text.
    const FILE: &str = r#"{
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "<e>"},
        "added_tokens": [
            {"id": 7, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true},
            {"id": 8, "content": "<e>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true}],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "RobertaProcessing", "sep": ["<e>", 8], "cls": ["<s>", 7],
                           "trim_offsets": false, "add_prefix_space": false},
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "d", "fuse_unk": false,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": false,
                  "ignore_merges": false,
                  "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "abc": 5, "e": 6},
                  "merges": ["a b", "ab c"]}
    }"#;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_bytes(FILE.as_bytes()).unwrap()
    }

    #[test]
    fn texts_are_cut_before_their_end_token() {
        let t = tokenizer();
        assert_eq!(t.encode("ABC ab x").unwrap(), [5, 4, 3]);
        // The file's own truncation to 3 and padding to 9 are left out.
        assert_eq!(t.encode_within("abc ab c c", true, usize::MAX).unwrap(), [7, 5, 4, 2, 2, 8]);
        assert_eq!(t.encode_within("abc ab c c", true, 4).unwrap(), [7, 5, 4, 8]);
        assert_eq!(t.encode_within("abc", true, 4).unwrap(), [7, 5, 8]);
        assert_eq!(t.encode_within("abc ab", false, 1).unwrap(), [5]);
        assert_eq!(t.encode_within("", true, usize::MAX).unwrap(), [7, 8]);
        for limit in 0..=2 {
            let text = t.encode_within("abc", true, limit).unwrap_err().to_string();
            assert!(text.contains("room for a token") && text.contains("hint: "), "{text}");
        }
    }

    #[test]
    fn lower_case_is_read_where_it_is_asked_for() {
        let lower = tokenizer().lowercased().unwrap();
        assert_eq!(lower.encode("ABC").unwrap(), [5]);
    }

    #[test]
    fn tokens_have_ids_and_spellings() {
        let t = tokenizer();
        assert_eq!((t.id("<e>"), t.id("abc"), t.id("zz")), (Some(8), Some(5), None));
        assert_eq!((t.token(8).as_deref(), t.token(9)), (Some("<e>"), None));
        assert_eq!(t.vocabulary(), 9);
        assert_eq!(t.decode(&[7, 5, 999, 4, 8]).unwrap(), "abc ab");
    }

    #[test]
    fn data_never_becomes_a_special_token() {
        let t = tokenizer();
        assert_eq!(t.encode_rendered("a<e>").unwrap(), [0, 8]);
        assert!(!t.encode("a<e>").unwrap().contains(&8));
        let shielded = t.encode_rendered(&format!("{}<e>", t.shield("a<e>"))).unwrap();
        assert_eq!(shielded.iter().filter(|id| **id == 8).count(), 1, "{shielded:?}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let merges = |with: &str| FILE.replace(r#"["a b", "ab c"]"#, with);
        let cases = [
            String::new(),
            "{}".into(),
            FILE[..FILE.len() / 2].into(),
            FILE.replace("\"BPE\"", "\"Nothing\""),
            FILE.replace("\"e\": 6", "\"e\": 4294967295"),
            FILE.replace("\"id\": 8", "\"id\": -1"),
            merges(r#"["a z"]"#),
            merges(r#"["a"]"#),
            merges(r#"[["a"]]"#),
            merges("[3]"),
        ];
        for (i, file) in cases.iter().enumerate() {
            let error = Tokenizer::from_bytes(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("hint: "), "{i}: {error}");
        }
        let long = vec![b' '; MAX_BYTES + 1];
        assert!(Tokenizer::from_bytes(&long).unwrap_err().to_string().contains("at most"));
    }
}
