//! The tokenizer with the vocabulary that a GGUF file carries: a byte-level byte-pair encoding, or
//! SentencePiece's.
//!
//! Radford et al. 2019 (GPT-2). What differs between byte-level models is where a text may be cut before
//! merging; a file has no place for those steps, it names the model family whose steps they are.

use std::collections::HashMap;

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::Tokenizer;
use super::sentencepiece::{self, Pieces};
use super::steps::{self, Steps};
use crate::error::quote;
use crate::{Error, Result};

/// Most tokens; published vocabularies have up to 262,144.
pub(super) const MAX_TOKENS: usize = 1 << 20;

/// What a token is, by GGUF's numbers.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Qwen's vocabularies are larger than others with its marks.
const QWEN: usize = 150_000;

/// What a file says about a tokenizer, as GGUF spells it (`tokenizer.ggml.*`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Published<'a> {
    /// Name of the pre-tokeniser; empty if the file has none.
    pub pre: &'a str,
    /// Tokens by id, normal ones in the byte-level alphabet.
    pub tokens: &'a [String],
    /// `left right`, best first.
    pub merges: &'a [String],
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused. All normal if absent.
    pub kinds: Option<&'a [i32]>,
    /// Of SentencePiece, which has neither pre-tokeniser nor merges.
    pub pieces: Option<Pieces<'a>>,
}

impl Tokenizer {
    /// Checks a file's fields and builds the tokenizer. Bytes that the vocabulary has no token for are
    /// left out of texts, as the published tokenizers do. Merges that would make a control token are
    /// left out too: texts are data.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] names the field: a token twice, a merge of or into what is no token.
    pub fn from_gguf(published: &Published<'_>) -> Result<Self> {
        check_kinds(published)?;
        check_tokens(published.tokens)?;
        let inconsistent =
            |error: tokenizers::Error| wrong("tokens", "a consistent BPE", error.to_string());
        let mut inner = match &published.pieces {
            None => byte_level(published)?,
            Some(pieces) => {
                let (bpe, normalizer, decoder) = sentencepiece::build(published, pieces)?;
                let mut inner = tokenizers::Tokenizer::new(bpe);
                inner.with_normalizer(Some(normalizer)).map_err(inconsistent)?;
                inner.with_decoder(Some(decoder));
                inner
            }
        };
        inner.add_tokens(published.added()).map_err(inconsistent)?;
        Self::new(inner, published.tokens.len(), published.hash())
    }
}

/// The byte-level tokenizer without its added tokens.
pub(super) fn byte_level(published: &Published<'_>) -> Result<tokenizers::Tokenizer> {
    let inconsistent =
        |error: tokenizers::Error| wrong("merges", "a consistent BPE", error.to_string());
    let name = published.guessed().unwrap_or(published.pre);
    let steps = Steps::named(name).unwrap_or_else(|| unreachable!("guesses are known"));
    // Added tokens too: one that the model lacks would get another id.
    let vocab: Vocab =
        published.of(|kind| kind != UNUSED).map(|(token, id)| (token.clone(), id)).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges(published)?)
        .ignore_merges(steps.ignore_merges)
        .build()
        .map_err(inconsistent)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let (normalizer, pre_tokenizer) = steps.build();
    inner.with_normalizer(normalizer).map_err(inconsistent)?;
    inner.with_pre_tokenizer(Some(pre_tokenizer));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(inner)
}

impl<'a> Published<'a> {
    /// The pre-tokeniser that is taken where the file names none, or one that is not known here. Texts
    /// may then be cut in other places than the model knows.
    pub fn guessed(&self) -> Option<&'static str> {
        if self.pieces.is_some() || Steps::named(self.pre).is_some() {
            return None;
        }
        let has = |name: &str| self.tokens.iter().any(|token| token == name);
        Some(match () {
            () if has("<|begin_of_text|>") => "llama-bpe",
            () if has("<|im_start|>") && self.tokens.len() > QWEN => "qwen2",
            () => "default",
        })
    }

    /// Whether every text is opened, where the file does not say.
    pub fn opens(&self) -> bool {
        self.pieces.is_some() || steps::opens(self.guessed().unwrap_or(self.pre))
    }

    /// What the token with this id is; one without a text is of no use.
    pub(super) fn kind(&self, id: usize) -> i32 {
        if self.tokens.get(id).is_none_or(String::is_empty) {
            return UNUSED;
        }
        match self.kinds.and_then(|kinds| kinds.get(id)).copied() {
            Some(kind @ UNKNOWN..=BYTE) => kind,
            _ => NORMAL,
        }
    }

    /// Tokens of some kinds, with their ids.
    pub(super) fn of(
        &self,
        wanted: fn(i32) -> bool,
    ) -> impl Iterator<Item = (&'a String, u32)> + use<'_, 'a> {
        let tokens = self.tokens.iter().zip(0_u32..);
        tokens.filter(move |(_, id)| wanted(self.kind(*id as usize)))
    }

    /// Those that are found whole in a text or not at all.
    pub(super) fn added(&self) -> Vec<AddedToken> {
        let added = self.of(|kind| matches!(kind, UNKNOWN | CONTROL | USER_DEFINED));
        let added = added.map(|(token, id)| {
            let special = self.kind(id as usize) != USER_DEFINED;
            AddedToken::from(token.clone(), special).normalized(false)
        });
        added.collect()
    }

    fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in
            [self.pre].into_iter().chain(self.tokens.iter().chain(self.merges).map(|t| &**t))
        {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        for kind in self.kinds.unwrap_or_default() {
            hasher.update(&kind.to_le_bytes());
        }
        for score in self.pieces.map_or(&[][..], |pieces| pieces.scores) {
            hasher.update(&score.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn check_kinds(published: &Published<'_>) -> Result<()> {
    let (n, Some(kinds)) = (published.tokens.len(), published.kinds) else { return Ok(()) };
    if kinds.len() != n {
        let expected = format!("one for each of {n} tokens");
        return Err(wrong("token_type", expected, kinds.len().to_string()));
    }
    Ok(())
}

pub(super) fn check_tokens(tokens: &[String]) -> Result<()> {
    const FIELD: &str = "tokens";
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        let got = tokens.len().to_string();
        return Err(wrong(FIELD, format!("1 to {MAX_TOKENS} tokens"), got));
    }
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = ids.insert(token, id).filter(|_| !token.is_empty()) {
            let got = format!("{} for ids {first} and {id}", quote(token));
            return Err(wrong(FIELD, "each token once", got));
        }
    }
    Ok(())
}

/// Pairs whose parts and whole are tokens: the library that merges them trusts that they are.
fn merges(published: &Published<'_>) -> Result<Vec<(String, String)>> {
    let kinds: HashMap<&str, i32> = published
        .of(|_| true)
        .map(|(token, id)| (token.as_str(), published.kind(id as usize)))
        .collect();
    let mut pairs = Vec::with_capacity(published.merges.len());
    for (i, line) in published.merges.iter().enumerate() {
        let wrong = |expected: &str| {
            let got = format!("{} at {i}", quote(line));
            Err(wrong("merges", expected, got))
        };
        let Some((left, right)) = line.split_once(' ') else {
            return wrong("two tokens with a space between");
        };
        let all = [left, right, &format!("{left}{right}")].map(|token| kinds.get(token));
        let [Some(a), Some(b), Some(whole)] = all else {
            return wrong("two tokens that make a third");
        };
        if [a, b, whole].iter().all(|kind| matches!(**kind, NORMAL | USER_DEFINED | BYTE)) {
            pairs.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(pairs)
}

pub(super) fn wrong(field: &str, expected: impl Into<String>, got: String) -> Error {
    Error::Vocabulary { field: format!("tokenizer.ggml.{field}"), expected: expected.into(), got }
}
