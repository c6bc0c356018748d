//! A published `tokenizer.json`, run by the library that wrote it.
//!
//! <https://github.com/huggingface/tokenizers>. That library was made for files its user trusts:
//! some crafted ones make it panic. Its panics end here, as errors.
//!
//! ```text
//! text ──normalise, split──▶ pieces ──BPE, Unigram or WordPiece──▶ ids ──cut──▶ + special tokens
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{Tokenizer, TruncationDirection};

use crate::tokenizer_json::quote;
use crate::{Error, Result};

/// Largest `tokenizer.json`, in bytes: 256,000 pieces with their merges take 33 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// Ids stay below this.
const MAX_ID: u32 = 1 << 24;
/// Longest text in bytes that is encoded at once: a thousand times any context here.
const MAX_TEXT: usize = 16 << 20;

/// Text to ids and back as a published file says.
#[derive(Clone)]
pub struct HubTokenizer {
    inner: Tokenizer,
    vocabulary: usize,
}

impl std::fmt::Debug for HubTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubTokenizer").field("vocabulary", &self.vocabulary).finish()
    }
}

impl HubTokenizer {
    /// Reads a `tokenizer.json`. Its own truncation and padding are left out: who encodes says how
    /// long a text may be.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is longer than 64 MiB, no tokenizer, or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(wrong("file", format!("at most {MAX_BYTES} bytes"), bytes.len()));
        }
        // `parse` was compiled with the library; `Tokenizer::from_bytes` would be again, here.
        let parsed = guarded("file", || str::from_utf8(bytes)?.parse::<Tokenizer>())?;
        let mut inner = parsed.map_err(|error| {
            wrong("file", "a tokenizer.json of the tokenizers library", quote(&error.to_string()))
        })?;
        inner.with_padding(None);
        guarded("truncation", || inner.with_truncation(None).map(|_| ()))?
            .map_err(|error| wrong("truncation", "none", quote(&error.to_string())))?;
        let vocab = guarded("model", || inner.get_vocab(true))?;
        let highest = vocab.into_values().max();
        match highest {
            Some(id) if id < MAX_ID => Ok(Self { inner, vocabulary: id as usize + 1 }),
            Some(id) => Err(wrong("model", format!("ids below {MAX_ID}"), id)),
            None => Err(wrong("model", "at least one token", "none")),
        }
    }

    /// The same tokenizer for texts that are data, as what a user wrote: a special token's name in
    /// them is encoded as letters.
    pub fn for_data(mut self) -> Self {
        self.inner.set_encode_special_tokens(true);
        self
    }

    /// The same tokenizer, which reads every text in lower case.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if one of the file's added tokens cannot be spelt so.
    pub fn lowercased(mut self) -> Result<Self> {
        let own = self.inner.get_normalizer().cloned();
        let all = std::iter::once(Lowercase.into()).chain(own).collect();
        guarded("normalizer", || self.inner.with_normalizer(Some(Sequence::new(all))).map(|_| ()))?
            .map_err(|error| wrong("normalizer", "lower case", quote(&error.to_string())))?;
        Ok(self)
    }

    /// Ids of `text`; with `special`, those that the file puts around it too. Names of special
    /// tokens in the text become those tokens, as in transformers, unless it is
    /// [`for_data`](Self::for_data).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text is too long, or the file has no id for it.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        self.encode_within(text, special, usize::MAX)
    }

    /// As [`encode`](Self::encode), at most `limit` ids: the text loses its end, and never the
    /// special tokens around it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), or `limit` leaves no room for the text.
    pub fn encode_within(&self, text: &str, special: bool, limit: usize) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT {
            return Err(wrong("text", format!("at most {MAX_TEXT} bytes"), text.len()));
        }
        let run = || -> tokenizers::Result<Option<Vec<u32>>> {
            let mut encoding = self.inner.encode_fast(text, false)?;
            let around = if special { self.around() } else { 0 };
            let Some(room) = limit.checked_sub(around).filter(|room| *room > 0) else {
                return Ok(None);
            };
            if encoding.get_ids().len() > room {
                encoding.truncate(room, 0, TruncationDirection::Right);
            }
            let encoding = self.inner.post_process(encoding, None, special)?;
            Ok(Some(encoding.get_ids().to_vec()))
        };
        match guarded("text", run)? {
            Ok(Some(ids)) => Ok(ids),
            Ok(None) => Err(wrong("text", "room for a token beside the special ones", limit)),
            Err(error) => Err(wrong("text", "text that it knows", quote(&error.to_string()))),
        }
    }

    /// Text of ids; without `special`, the special tokens are left out. Unknown ids are left out;
    /// bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file's decoder fails.
    pub fn decode(&self, ids: &[u32], special: bool) -> Result<String> {
        guarded("decoder", || self.inner.decode(ids, !special))?
            .map_err(|error| wrong("decoder", "ids that it can spell", quote(&error.to_string())))
    }

    /// Id of the token spelt exactly so, special or not.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Spelling of the token with this id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether this id is a special token: left out by [`decode`](Self::decode) unless asked for.
    pub fn is_special(&self, id: u32) -> bool {
        self.added(id) == Some(true)
    }

    /// Whether the token with this id was added beside the model's, and then whether as a special one.
    pub fn added(&self, id: u32) -> Option<bool> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).map(|token| token.special)
    }

    /// Spellings and ids of the special tokens.
    pub fn special(&self) -> Vec<(String, u32)> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().iter();
        let special = added.filter(|(_, token)| token.special);
        special.map(|(id, token)| (token.content.clone(), *id)).collect()
    }

    /// One more than the highest id: rows that a token table needs.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// How many special tokens the file puts around a text.
    fn around(&self) -> usize {
        let post = self.inner.get_post_processor();
        post.map_or(0, |post| tokenizers::PostProcessor::added_tokens(post, false))
    }
}

/// What `run` gives; its panic as an error. Nothing outlives a panic that it could have broken: the
/// tokenizer is read, and what was being made is dropped.
fn guarded<T>(place: &'static str, run: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|_| wrong(place, "a consistent file", "one that the tokenizers library panics at"))
}

fn wrong(place: &'static str, expected: impl Into<String>, got: impl ToString) -> Error {
    Error::Tokenizer { place, expected: expected.into(), got: got.to_string() }
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

    fn tokenizer() -> HubTokenizer {
        HubTokenizer::from_bytes(FILE.as_bytes()).unwrap()
    }

    #[test]
    fn texts_are_cut_before_their_end_token() {
        let t = tokenizer();
        assert_eq!(t.encode("ABC ab x", false).unwrap(), [5, 4, 3]);
        // The file's own truncation to 3 and padding to 9 are left out.
        assert_eq!(t.encode("abc ab c c", true).unwrap(), [7, 5, 4, 2, 2, 8]);
        assert_eq!(t.encode_within("abc ab c c", true, 4).unwrap(), [7, 5, 4, 8]);
        assert_eq!(t.encode_within("abc", true, 4).unwrap(), [7, 5, 8]);
        assert_eq!(t.encode_within("abc ab", false, 1).unwrap(), [5]);
        assert_eq!(t.encode("", true).unwrap(), [7, 8]);
        for limit in 0..=2 {
            let text = t.encode_within("abc", true, limit).unwrap_err().to_string();
            assert!(text.contains("room for a token") && text.contains("hint: "), "{text}");
        }
    }

    #[test]
    fn lower_case_is_read_where_it_is_asked_for() {
        let lower = tokenizer().lowercased().unwrap();
        assert_eq!(lower.encode("ABC", false).unwrap(), [5]);
        assert_eq!(lower.decode(&[7, 5, 8], true).unwrap(), "<s> abc <e>");
    }

    #[test]
    fn tokens_have_ids_and_spellings() {
        let t = tokenizer();
        assert_eq!((t.id("<e>"), t.id("abc"), t.id("zz")), (Some(8), Some(5), None));
        assert_eq!((t.token(8).as_deref(), t.token(9)), (Some("<e>"), None));
        assert_eq!((t.is_special(7), t.is_special(5), t.vocabulary()), (true, false, 9));
        assert_eq!(t.decode(&[7, 5, 999, 4, 8], false).unwrap(), "abc ab");
        assert_eq!(t.decode(&[7, 5, 8], true).unwrap(), "<s> abc <e>");
    }

    #[test]
    fn data_never_becomes_a_special_token() {
        assert_eq!(tokenizer().encode("a<e>", false).unwrap(), [0, 8]);
        let ids = tokenizer().for_data().encode("a<e>", false).unwrap();
        assert!(!ids.contains(&8), "{ids:?}");
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
            let error = HubTokenizer::from_bytes(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("hint: "), "{i}: {error}");
        }
        let long = vec![b' '; MAX_BYTES + 1];
        assert!(HubTokenizer::from_bytes(&long).unwrap_err().to_string().contains("at most"));
    }
}
