//! `tokenizer.json`: read strictly, written in a fixed order.
//!
//! Other libraries read these files too, but only files of our own shape come
//! in: a foreign library never sees a document that was not checked here.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::special::Special;
use crate::{Error, Result};

/// Largest `tokenizer.json`, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Ids stay below this.
const MAX_ID: u32 = 1 << 24;

/// Text tokens by id, and the merges that make them in order of rank. Both
/// are in the byte-level alphabet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) tokens: Vec<String>,
    pub(crate) merges: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: String,
    truncation: Option<Step>,
    padding: Option<Step>,
    added_tokens: Vec<Added>,
    normalizer: Option<Step>,
    pre_tokenizer: Option<Step>,
    post_processor: Option<Step>,
    decoder: Option<Step>,
    model: Model,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Added {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

/// Any step of the pipeline, with the settings that ours use.
#[derive(Serialize, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields)]
struct Step {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pretokenizers: Option<Vec<Step>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    individual_digits: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_prefix_space: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trim_offsets: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_regex: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Model {
    r#type: String,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: Vec<(String, String)>,
}

/// The vocabulary in the order of its ids.
#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'static str>,
    continuing_subword_prefix: Option<&'static str>,
    end_of_word_suffix: Option<&'static str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: BTreeMap<&'a str, usize>,
    merges: &'a [(String, String)],
}

impl Table {
    /// Reads and checks a document.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Table> {
        if bytes.len() > MAX_BYTES {
            let expected = format!("at most {MAX_BYTES} bytes");
            return Err(wrong("file", expected, format!("{} bytes", bytes.len())));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| {
            wrong("file", "the JSON of a byte-level BPE tokenizer", error.to_string())
        })?;
        check_steps(&document)?;
        check_model(&document.model)?;
        let tokens = in_order(document.model.vocab)?;
        check_specials(&document.added_tokens, tokens.len())?;
        let table = Table { tokens, merges: document.model.merges };
        table.check_tokens()?;
        table.check_merges()?;
        Ok(table)
    }

    /// The document, byte for byte the same for the same table.
    pub(crate) fn write(&self) -> Vec<u8> {
        let vocab = self.tokens.iter().enumerate();
        let model = Written {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: vocab.map(|(id, token)| (token.as_str(), id)).collect(),
            merges: &self.merges,
        };
        let document = serde_json::json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added_tokens(self.tokens.len()),
            "normalizer": normalizer(),
            "pre_tokenizer": pre_tokenizer(),
            "post_processor": null,
            "decoder": byte_level(),
            "model": model,
        });
        serde_json::to_vec(&document).expect("a document of strings and numbers serialises")
    }

    fn check_tokens(&self) -> Result<()> {
        let alphabet: HashMap<char, u8> = byte_chars().zip(0..=255).collect();
        let single: usize = self.tokens.iter().filter(|token| token.chars().count() == 1).count();
        if single != 256 {
            return Err(wrong("vocab", "one token for each of 256 bytes", format!("{single}")));
        }
        let foreign =
            |token: &&String| token.is_empty() || token.chars().any(|c| !alphabet.contains_key(&c));
        match self.tokens.iter().find(foreign) {
            Some(token) => Err(wrong("vocab", "tokens in the byte-level alphabet", quote(token))),
            None => Ok(()),
        }
    }

    fn check_merges(&self) -> Result<()> {
        let known: std::collections::HashSet<&str> =
            self.tokens.iter().map(String::as_str).collect();
        for (left, right) in &self.merges {
            let joined = format!("{left}{right}");
            for token in [left, right, &joined] {
                if !known.contains(token.as_str()) {
                    return Err(wrong("merges", "merges of known tokens", quote(token)));
                }
            }
        }
        Ok(())
    }
}

/// Tokens by id; ids must be 0, 1, 2, ... without a gap.
fn in_order(vocab: HashMap<String, u32>) -> Result<Vec<String>> {
    let entries = vocab.len();
    let mut tokens = vec![None; entries];
    for (token, id) in vocab {
        match tokens.get_mut(id as usize) {
            Some(slot @ None) if id < MAX_ID => *slot = Some(token),
            _ => {
                let expected = format!("each id from 0 to {} once", entries.saturating_sub(1));
                return Err(wrong("vocab", expected, format!("id {id} for {}", quote(&token))));
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

fn check_steps(document: &Document) -> Result<()> {
    let steps = [
        ("normalizer", &document.normalizer, Some(normalizer())),
        ("pre_tokenizer", &document.pre_tokenizer, Some(pre_tokenizer())),
        ("post_processor", &document.post_processor, None),
        ("decoder", &document.decoder, Some(byte_level())),
    ];
    for (place, got, expected) in steps {
        if *got != expected {
            let written = |step: &Option<Step>| serde_json::to_string(step).unwrap_or_default();
            return Err(wrong(place, written(&expected), quote(&written(got))));
        }
    }
    Ok(())
}

fn check_model(model: &Model) -> Result<()> {
    let plain = model.dropout.is_none()
        && model.unk_token.is_none()
        && model.continuing_subword_prefix.is_none()
        && model.end_of_word_suffix.is_none()
        && !(model.fuse_unk || model.byte_fallback || model.ignore_merges);
    if model.r#type != "BPE" || !plain {
        let got = format!("{} with other options", quote(&model.r#type));
        return Err(wrong("model", "\"BPE\" without options", got));
    }
    Ok(())
}

fn check_specials(got: &[Added], first: usize) -> Result<()> {
    let expected = added_tokens(first);
    if got.len() != expected.len() {
        let expected = format!("{} special tokens", expected.len());
        return Err(wrong("added_tokens", expected, got.len().to_string()));
    }
    match got.iter().zip(&expected).find(|(got, expected)| got != expected) {
        Some((got, expected)) => Err(wrong(
            "added_tokens",
            format!("{} with id {}", expected.content, expected.id),
            format!("{} with id {}", quote(&got.content), got.id),
        )),
        None => Ok(()),
    }
}

/// The special tokens, after `first` text tokens.
fn added_tokens(first: usize) -> Vec<Added> {
    let added = |special: Special| Added {
        id: (first + special.index()) as u32,
        content: special.name(),
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
    };
    Special::all().map(added).collect()
}

fn normalizer() -> Step {
    Step { r#type: "Lowercase".into(), ..Step::default() }
}

fn byte_level() -> Step {
    Step {
        r#type: "ByteLevel".into(),
        add_prefix_space: Some(false),
        trim_offsets: Some(false),
        use_regex: Some(true),
        ..Step::default()
    }
}

fn pre_tokenizer() -> Step {
    let digits = Step { r#type: "Digits".into(), individual_digits: Some(true), ..Step::default() };
    Step {
        r#type: "Sequence".into(),
        pretokenizers: Some(vec![digits, byte_level()]),
        ..Step::default()
    }
}

/// The printable stand-in of each byte, in the order of the bytes: visible
/// Latin-1 stands for itself, the others for U+0100 and up (GPT-2).
pub(crate) fn byte_chars() -> impl Iterator<Item = char> {
    let mut next = 0x100;
    (0..=255_u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("below U+0144")
        }
    })
}

fn wrong(place: &'static str, expected: impl Into<String>, got: String) -> Error {
    Error::Tokenizer { place, expected: expected.into(), got }
}

/// Foreign text in an error: short and without control characters.
pub(crate) fn quote(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    format!("{head:?}")
}
