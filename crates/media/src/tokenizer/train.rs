//! A tokenizer of one's own: byte-level byte-pair encoding of lower-case text.
//!
//! Sennrich et al. 2016 <https://arxiv.org/abs/1508.07909>; on bytes as GPT-2.
//!
//! ```text
//! text ──lower case──▶ words and single digits ──bytes──▶ merges ──▶ ids 0..n
//! special tokens: ids n..n+240, never made from text
//! ```

use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::{Special, Tokenizer, byte_chars};
use crate::{Error, Result};

/// Fewest entries: every byte and every special token.
const SMALLEST: usize = 256 + Special::COUNT;
/// Most entries; an embedding table of more would not be a small model's.
const LARGEST: usize = 1 << 20;

impl Tokenizer {
    /// Learns merges from `texts` until there are `vocabulary` entries: 256 bytes, merges, and the
    /// [`Special`] tokens at the last ids. The same texts in any order give the same tokenizer. Texts
    /// with too few repeated pairs give fewer entries.
    ///
    /// # Errors
    /// [`Error::Training`] if `vocabulary` is below 496 or above 2^20.
    pub fn train(texts: impl Iterator<Item = String>, vocabulary: usize) -> Result<Self> {
        if !(SMALLEST..=LARGEST).contains(&vocabulary) {
            return Err(Error::Training {
                expected: format!("a vocabulary of {SMALLEST} to {LARGEST} entries"),
                got: vocabulary.to_string(),
            });
        }
        let trained =
            learn(texts, vocabulary - Special::COUNT).map_err(|error| Error::Training {
                expected: "text with repeated pairs of letters".into(),
                got: error.to_string(),
            })?;
        Self::from_bytes(trained.as_bytes())
    }
}

/// The `tokenizer.json` of `entries` bytes and merges, with the special tokens after them.
fn learn(texts: impl Iterator<Item = String>, entries: usize) -> tokenizers::Result<String> {
    let byte_level = ByteLevel::new(false, false, true);
    let steps = vec![Digits::new(true).into(), byte_level.into()];
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_normalizer(Some(Lowercase))?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(byte_level));
    let trainer = BpeTrainer::builder()
        .vocab_size(entries)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(byte_chars().collect())
        .build();
    // Collected because the trainer counts words on several threads.
    let texts: Vec<String> = texts.collect();
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts.into_iter())?;
    tokenizer.add_special_tokens(Special::all().map(|s| AddedToken::from(s.name(), true)))?;
    tokenizer.to_string(false)
}
