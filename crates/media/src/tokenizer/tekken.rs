//! mistral-common's `tekken.json`: tokens as bytes by rank, behind a row of special ones.
//!
//! <https://github.com/mistralai/mistral-common>. A text is cut by the file's own pattern; in a piece of it, those
//! two parts are joined first that make the token of the lowest rank, as in tiktoken.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokenizers::PreTokenizerWrapper;

use super::files::{constant, template};
use super::gguf::{self, CONTROL, MAX_TOKENS, NORMAL, Published};
use super::steps::{byte_level, split};
use super::{MAX_BYTES, Tokenizer, byte_chars, guarded, wrong};
use crate::error::quote;
use crate::{Error, Result};

/// Where errors lie.
const FILE: &str = "tekken.json";

/// Opens every text.
const OPENING: &str = "<s>";

/// Longest token in bytes; the published ones have up to 128.
const MAX_TOKEN: usize = 512;

#[derive(Deserialize)]
struct Tekken {
    config: TekkenConfig,
    vocab: Vec<TokenInfo>,
    special_tokens: Option<Vec<SpecialToken>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct TokenInfo {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct SpecialToken {
    rank: usize,
    token_str: String,
}

impl Tokenizer {
    /// Reads a `tekken.json`, whose texts begin with `<s>`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is longer than 64 MiB, damaged or inconsistent, or does not list its special
    /// tokens, as files of before 2025 do not.
    pub fn from_tekken(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(wrong(FILE, format!("at most {MAX_BYTES} bytes"), bytes.len()));
        }
        let tekken: Tekken = serde_json::from_slice(bytes).map_err(|error| {
            wrong(FILE, "config, vocab and special_tokens", quote(&error.to_string()))
        })?;
        let special = tekken.special()?;
        let ranked = tekken.ranked()?;
        let spelt: Vec<String> = {
            let letters: Vec<char> = byte_chars().collect();
            let spell =
                |token: &Vec<u8>| token.iter().map(|&byte| letters[byte as usize]).collect();
            ranked.iter().map(spell).collect()
        };
        let merges = merges(&ranked, &spelt);
        let kinds = [vec![CONTROL; special.len()], vec![NORMAL; spelt.len()]].concat();
        let tokens = [special, spelt].concat();
        let published = Published {
            pre: "tekken",
            tokens: &tokens,
            merges: &merges,
            kinds: Some(&kinds),
            pieces: None,
        };
        // Of the same checks as a GGUF file's, and another file.
        let here = |error| match error {
            Error::Vocabulary { expected, got, .. } => wrong(FILE, expected, got),
            other => other,
        };
        gguf::check_tokens(&tokens).map_err(here)?;
        let mut inner = gguf::byte_level(&published).map_err(here)?;
        inner.with_pre_tokenizer(Some(tekken.pre_tokenizer()?));
        guarded(FILE, "special tokens", || inner.add_tokens(published.added()).map(drop))?;
        let opening = inner.token_to_id(OPENING).filter(|&id| kinds[id as usize] == CONTROL);
        let opening =
            opening.ok_or_else(|| wrong(FILE, format!("the special token {OPENING}"), "none"))?;
        inner.with_post_processor(Some(template(&[(OPENING.to_owned(), opening)], &[])));
        Self::new(inner, tokens.len(), blake3::hash(bytes).to_hex().to_string())
    }
}

impl Tekken {
    /// The special tokens by id: what the list leaves of them has no meaning yet.
    fn special(&self) -> Result<Vec<String>> {
        let all = self.config.default_num_special_tokens;
        let listed = self.special_tokens.as_deref().ok_or_else(|| {
            wrong(FILE, "special_tokens, the list of them", "an older file without it")
        })?;
        if all > MAX_TOKENS || listed.len() > all {
            let expected = format!("at most {} special tokens", all.min(MAX_TOKENS));
            return Err(wrong(FILE, expected, listed.len().max(all)));
        }
        if let Some((i, token)) = listed.iter().enumerate().find(|(i, token)| token.rank != *i) {
            return Err(wrong(FILE, format!("special tokens by rank, {i} next"), token.rank));
        }
        let names = listed.iter().map(|token| token.token_str.clone());
        Ok(names.chain((listed.len()..all).map(|i| format!("<SPECIAL_{i}>"))).collect())
    }

    /// The bytes of the tokens by rank, as many of them as the model knows.
    fn ranked(&self) -> Result<Vec<Vec<u8>>> {
        let TekkenConfig { default_vocab_size, default_num_special_tokens, .. } = &self.config;
        let count = default_vocab_size.checked_sub(*default_num_special_tokens);
        let Some(count) = count.filter(|count| (256..=self.vocab.len()).contains(count)) else {
            let expected = format!("256 to {} tokens beside the special ones", self.vocab.len());
            let got = format!("{default_vocab_size} with {default_num_special_tokens} special");
            return Err(wrong(FILE, expected, got));
        };
        let token = |(rank, token): (usize, &TokenInfo)| {
            let bytes = STANDARD.decode(&token.token_bytes).unwrap_or_default();
            let fits = token.rank == rank && (1..=MAX_TOKEN).contains(&bytes.len());
            match fits && (rank > 255 || bytes == [rank as u8]) {
                true => Ok(bytes),
                false => {
                    let expected = format!("the bytes of the token of rank {rank}");
                    let got = format!("rank {} and {}", token.rank, quote(&token.token_bytes));
                    Err(wrong(FILE, expected, got))
                }
            }
        };
        self.vocab[..count].iter().enumerate().map(token).collect()
    }

    fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper> {
        let split = split(&self.config.pattern);
        guarded(FILE, "a pattern that cuts texts", || {
            // Read alone first: of the two in a row the library would not say what is wrong.
            let _: PreTokenizerWrapper = serde_json::from_value(split.clone())?;
            Ok(())
        })?;
        Ok(constant(json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})))
    }
}

/// Each way to make a token of two that are spelt `spelt`, those of the lowest rank first: which parts are joined
/// follows from what they become alone.
fn merges(ranked: &[Vec<u8>], spelt: &[String]) -> Vec<String> {
    let ranks: HashMap<&[u8], usize> =
        ranked.iter().enumerate().map(|(rank, token)| (&**token, rank)).collect();
    let ways = |token: &Vec<u8>| {
        let parts = (1..token.len()).filter_map(|at| {
            let (left, right) = token.split_at(at);
            Some([*ranks.get(left)?, *ranks.get(right)?])
        });
        let mut parts: Vec<[usize; 2]> = parts.collect();
        parts.sort_unstable();
        parts
    };
    let pairs = ranked.iter().flat_map(ways);
    pairs.map(|[left, right]| format!("{} {}", spelt[left], spelt[right])).collect()
}
