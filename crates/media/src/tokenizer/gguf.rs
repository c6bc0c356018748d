//! A byte-level byte-pair encoding with the vocabulary that a GGUF file carries.
//!
//! Radford et al. 2019 (GPT-2). What differs between models is where a text may be cut before merging;
//! a file has no place for those steps, it names the model family whose steps they are.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::Tokenizer;
use crate::error::quote;
use crate::{Error, Result};

/// Most tokens; published vocabularies have up to 262,144.
const MAX_TOKENS: usize = 1 << 20;

/// What a token is, by GGUF's numbers.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;

/// What a file says about a tokenizer, as GGUF spells it (`tokenizer.ggml.*`).
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Name of the pre-tokeniser.
    pub pre: &'a str,
    /// Tokens by id, normal ones in the byte-level alphabet.
    pub tokens: &'a [String],
    /// `left right`, best first.
    pub merges: &'a [String],
    /// What each token is: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused. All normal if absent.
    pub kinds: Option<&'a [i32]>,
}

impl Tokenizer {
    /// Checks a file's fields and builds the tokenizer. Bytes that the vocabulary has no token for are
    /// left out of texts, as the published tokenizers do.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] names the field: an unknown pre-tokeniser, a token twice, a merge of or
    /// into what is no token.
    pub fn from_gguf(published: &Published<'_>) -> Result<Self> {
        let steps = Steps::named(published.pre)?;
        check_kinds(published)?;
        check_tokens(published.tokens)?;
        let of = |wanted: fn(i32) -> bool| {
            let tokens = published.tokens.iter().zip(0_u32..);
            tokens.filter(move |(_, id)| wanted(published.kind(*id as usize)))
        };
        let normal: HashMap<&str, u32> =
            of(|kind| kind == NORMAL).map(|(token, id)| (&**token, id)).collect();
        let merges = merges(published.merges, &normal)?;
        // Added tokens too: one that the model lacks would get another id.
        let vocab: Vocab =
            of(|kind| kind != UNUSED).map(|(token, id)| (token.clone(), id)).collect();
        let inconsistent =
            |error: tokenizers::Error| wrong("merges", "a consistent BPE", error.to_string());
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(steps.ignore_merges)
            .build()
            .map_err(inconsistent)?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        let (normalizer, pre_tokenizer) = steps.build();
        inner.with_normalizer(normalizer).map_err(inconsistent)?;
        inner.with_pre_tokenizer(Some(pre_tokenizer));
        inner.with_decoder(Some(ByteLevel::default()));
        let added = of(|kind| matches!(kind, UNKNOWN | CONTROL | USER_DEFINED));
        let added = added.map(|(token, id)| {
            let special = published.kind(id as usize) != USER_DEFINED;
            AddedToken::from(token.clone(), special).normalized(false)
        });
        inner.add_tokens(added.collect::<Vec<_>>()).map_err(inconsistent)?;
        Self::new(inner, published.tokens.len(), published.hash())
    }
}

impl Published<'_> {
    /// What the token with this id is.
    pub(super) fn kind(&self, id: usize) -> i32 {
        self.kinds.and_then(|kinds| kinds.get(id)).copied().unwrap_or(NORMAL)
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
        hasher.finalize().to_hex().to_string()
    }
}

/// What a `tokenizer.json` does before the merges.
#[derive(PartialEq)]
pub(super) struct Steps {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizers: Vec<Value>,
    /// A word that is a token is not merged.
    pub(super) ignore_merges: bool,
}

impl Steps {
    /// By GGUF's names: GPT-2's words with their leading space, runs of digits, of other marks, of
    /// spaces; SmolLM's with each digit alone; Qwen2's contractions in any case and line ends with what
    /// is before them; Llama 3's with digits in threes.
    pub(super) const NAMES: [&'static str; 5] = ["gpt-2", "smollm", "qwen2", "llama-bpe", "llama3"];

    /// As the models' own files have them.
    pub(super) fn named(name: &str) -> Result<Self> {
        /// What Qwen2's and Llama 3's expressions share before and after their digits.
        const LETTERS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
        const MARKS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let split = |digits: &str| {
            let pattern = json!({"Regex": format!("{LETTERS}|{digits}|{MARKS}")});
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
        };
        let byte_level = |use_regex: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                   "use_regex": use_regex})
        };
        let digits = json!({"type": "Digits", "individual_digits": true});
        let (normalizer, pre_tokenizers, ignore_merges) = match name {
            "gpt-2" => (Value::Null, vec![byte_level(true)], false),
            "smollm" => (Value::Null, vec![digits, byte_level(true)], false),
            "qwen2" => (json!({"type": "NFC"}), vec![split(r"\p{N}"), byte_level(false)], false),
            "llama-bpe" | "llama3" => {
                (Value::Null, vec![split(r"\p{N}{1,3}"), byte_level(false)], true)
            }
            _ => {
                let expected = format!("one of {}", Self::NAMES.join(", "));
                return Err(wrong("pre", expected, quote(name)));
            }
        };
        Ok(Self { normalizer, pre_tokenizers, ignore_merges })
    }

    fn build(self) -> (Option<NormalizerWrapper>, PreTokenizerWrapper) {
        const CONSTANT: &str = "the steps are constants";
        let all = json!({"type": "Sequence", "pretokenizers": self.pre_tokenizers});
        let normalizer = serde_json::from_value(self.normalizer).expect(CONSTANT);
        (normalizer, serde_json::from_value(all).expect(CONSTANT))
    }
}

fn check_kinds(published: &Published<'_>) -> Result<()> {
    let (n, Some(kinds)) = (published.tokens.len(), published.kinds) else { return Ok(()) };
    if kinds.len() != n {
        let expected = format!("one for each of {n} tokens");
        return Err(wrong("token_type", expected, kinds.len().to_string()));
    }
    match kinds.iter().find(|kind| !(NORMAL..=UNUSED).contains(*kind)) {
        Some(kind) => {
            Err(wrong("token_type", "1 to 5, as byte-level tokenizers have", kind.to_string()))
        }
        None => Ok(()),
    }
}

fn check_tokens(tokens: &[String]) -> Result<()> {
    const FIELD: &str = "tokens";
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        let got = tokens.len().to_string();
        return Err(wrong(FIELD, format!("1 to {MAX_TOKENS} tokens"), got));
    }
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if token.is_empty() {
            return Err(wrong(FIELD, "tokens of at least a byte", format!("none for id {id}")));
        }
        if let Some(first) = ids.insert(token, id) {
            let got = format!("{} for ids {first} and {id}", quote(token));
            return Err(wrong(FIELD, "each token once", got));
        }
    }
    Ok(())
}

/// Pairs whose parts and whole are tokens: the library that merges them trusts that they are.
fn merges(lines: &[String], normal: &HashMap<&str, u32>) -> Result<Vec<(String, String)>> {
    let pair = |(i, line): (usize, &String)| {
        let wrong = |expected: &str| {
            let got = format!("{} at {i}", quote(line));
            Err(wrong("merges", expected, got))
        };
        let Some((left, right)) = line.split_once(' ') else {
            return wrong("two tokens with a space between");
        };
        let known = |token: &str| normal.contains_key(token);
        if !(known(left) && known(right) && known(&format!("{left}{right}"))) {
            return wrong("two tokens that make a third");
        }
        Ok((left.to_owned(), right.to_owned()))
    };
    lines.iter().enumerate().map(pair).collect()
}

fn wrong(field: &str, expected: impl Into<String>, got: String) -> Error {
    Error::Vocabulary { field: format!("tokenizer.ggml.{field}"), expected: expected.into(), got }
}
