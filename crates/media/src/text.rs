//! Byte-level byte-pair encoding: any text in, exact text out.
//!
//! Sennrich et al. 2016 <https://arxiv.org/abs/1508.07909>; on bytes as GPT-2.
//!
//! ```text
//! text ──lower case──▶ words and single digits ──bytes──▶ merges ──▶ ids 0..n
//! special tokens: ids n..n+240, never made from text
//! ```

use std::collections::{BTreeMap, HashMap};

use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer};

use crate::tokenizer_json::{Table, byte_chars};
use crate::{Error, Result};

pub use crate::special::Special;

/// Fewest entries: every byte and every special token.
const SMALLEST: usize = 256 + Special::COUNT;
/// Most entries; an embedding table of more would not be a small model's.
const LARGEST: usize = 1 << 20;

/// A byte-level BPE with [`Special::COUNT`] special tokens at the last ids.
#[derive(Clone)]
pub struct Tokenizer {
    bpe: BPE,
    table: Table,
    /// The bytes behind each text token.
    bytes: Vec<Vec<u8>>,
    hash: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary", &self.vocabulary())
            .field("hash", &self.hash)
            .finish()
    }
}

impl Tokenizer {
    /// Learns merges from `texts` until there are `vocabulary` entries: 256
    /// bytes, merges, special tokens. The same texts in any order give the
    /// same tokenizer. Texts with too few repeated pairs give fewer entries.
    ///
    /// # Errors
    /// [`Error::Training`] if `vocabulary` is below 496 or above 2^20.
    pub fn train(texts: impl Iterator<Item = String>, vocabulary: usize) -> Result<Tokenizer> {
        if !(SMALLEST..=LARGEST).contains(&vocabulary) {
            return Err(Error::Training {
                expected: format!("a vocabulary of {SMALLEST} to {LARGEST} entries"),
                got: vocabulary.to_string(),
            });
        }
        let table = learn(texts, vocabulary - Special::COUNT).map_err(|error| Error::Training {
            expected: "text with repeated pairs of letters".into(),
            got: error.to_string(),
        })?;
        Tokenizer::from_table(table)
    }

    /// Reads a `tokenizer.json` written by [`Tokenizer::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is larger than 16 MiB, of another kind, or
    /// inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tokenizer> {
        Tokenizer::from_table(Table::parse(bytes)?)
    }

    /// A `tokenizer.json`, byte for byte the same for the same tokenizer;
    /// the `tokenizers` libraries read it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.table.write()
    }

    fn from_table(table: Table) -> Result<Tokenizer> {
        let ids = table.tokens.iter().cloned().zip(0_u32..);
        let bpe = BPE::builder()
            .vocab_and_merges(ids.collect::<Vocab>(), table.merges.clone())
            .build()
            .map_err(|error| Error::Tokenizer {
                place: "model",
                expected: "a consistent BPE".into(),
                got: error.to_string(),
            })?;
        let byte_of: HashMap<char, u8> = byte_chars().zip(0..=255).collect();
        let spell = |token: &String| -> Vec<u8> {
            token.chars().filter_map(|c| byte_of.get(&c).copied()).collect()
        };
        let bytes = table.tokens.iter().map(spell).collect();
        let hash = blake3::hash(&table.write()).to_hex().to_string();
        Ok(Tokenizer { bpe, table, bytes, hash })
    }

    /// Ids of text. The text is data: a special token's name in it is encoded
    /// as letters, never as the special token.
    pub fn encode(&self, user_text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for word in words(user_text) {
            let tokens = self.bpe.tokenize(&word).expect("every byte has a token");
            ids.extend(tokens.into_iter().map(|token| token.id));
        }
        ids
    }

    /// Text of ids. Special and unknown ids are left out; bytes that are not
    /// UTF-8 become U+FFFD. `decode(encode(t)) == t` for lower-case `t`.
    pub fn decode(&self, ids: &[u32]) -> String {
        let known = ids.iter().filter_map(|id| self.bytes.get(*id as usize));
        let bytes: Vec<u8> = known.flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Id of a special token.
    pub fn special(&self, special: Special) -> u32 {
        (self.bytes.len() + special.index()) as u32
    }

    /// The special token behind an id, if it is one.
    pub fn as_special(&self, id: u32) -> Option<Special> {
        let index = (id as usize).checked_sub(self.bytes.len())?;
        Special::all().nth(index)
    }

    /// Number of ids, special tokens included.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len() + Special::COUNT
    }

    /// Hexadecimal BLAKE3 of [`Tokenizer::to_bytes`]: what a checkpoint keeps
    /// to refuse another tokenizer.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// Text in lower case, split into words with their leading space, single
/// digits and punctuation, in the byte-level alphabet.
fn words(text: &str) -> Vec<String> {
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    let mut pieces = PreTokenizedString::from(lower);
    Digits::new(true)
        .pre_tokenize(&mut pieces)
        .and_then(|()| ByteLevel::new(false, false, true).pre_tokenize(&mut pieces))
        .expect("splitting valid text cannot fail");
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
    splits.into_iter().map(|(word, ..)| word.to_owned()).collect()
}

/// Trains the merges and reads the table back out.
fn learn(
    texts: impl Iterator<Item = String>,
    entries: usize,
) -> std::result::Result<Table, Box<dyn std::error::Error + Send + Sync>> {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(entries)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(byte_chars().collect())
        .build();
    // Collected because the trainer counts words on several threads.
    let texts: Vec<String> = texts.collect();
    trainer.feed(texts.into_iter(), |text| Ok(words(text)))?;
    let mut bpe = BPE::default();
    trainer.train(&mut bpe)?;

    let by_id: BTreeMap<u32, String> =
        bpe.get_vocab().into_iter().map(|(token, id)| (id, token)).collect();
    // The merges in order of rank are only in the serialised form.
    let mut model = serde_json::to_value(&bpe)?;
    let merges = serde_json::from_value(model["merges"].take())?;
    Ok(Table { tokens: by_id.into_values().collect(), merges })
}
