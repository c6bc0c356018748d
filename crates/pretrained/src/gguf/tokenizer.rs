//! The tokenizer that a file carries, and the ids that open and end its texts.

use sensorium_media::{Pieces, Published, Tokenizer, Vocabulary};

use serde_json::{Map, Value as Json};

use crate::chat::{Chat, Source};
use crate::error::Result;
use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Error;
use sensorium_checkpoint::gguf::{Array, Metadata, Value};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const KINDS: &str = "tokenizer.ggml.token_type";

/// Whether every text is opened.
pub const OPENS: &str = "tokenizer.ggml.add_bos_token";
/// The template of chats.
pub const TEMPLATE: &str = "tokenizer.chat_template";

/// Ids of tokens after which nothing more is to be said.
pub const ENDS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Where a text begins and ends.
pub struct SpecialIds {
    /// Put before every text.
    pub bos_token_id: Option<u32>,
    /// Ids after which nothing more is to be said.
    pub eos_token_ids: Vec<u32>,
}

/// The tokenizer. A file that does not say where texts are cut, or says it in a way that is not known
/// here, is read as others of its kind are, with a warning.
///
/// # Errors
/// It is neither a byte-level BPE nor SentencePiece's, or inconsistent.
pub fn read(metadata: &Metadata) -> Result<Tokenizer> {
    let published = published(metadata)?;
    if let Some(guess) = published.guessed() {
        let got: String = published.pre.chars().take(60).collect();
        log::warn!(
            "{PRE}: {got:?} is not known: texts are cut as for {guess:?}, and the model may answer worse"
        );
    }
    Ok(Tokenizer::from_gguf(&published)?)
}

/// What the file says of its tokens.
///
/// # Errors
/// Something is missing or of another type.
pub fn published(metadata: &Metadata) -> checkpoint::Result<Published<'_>> {
    const PREFIX: &str = "tokenizer.ggml.add_space_prefix";
    let strings = |key: &str| metadata.strings(key, None);
    let (pieces, merges) = match metadata.string(MODEL)? {
        "gpt2" => (None, strings("tokenizer.ggml.merges")?),
        "llama" => {
            let scores = metadata.f32s("tokenizer.ggml.scores", None)?;
            let space_prefix = metadata.get(PREFIX).is_none() || metadata.bool(PREFIX)?;
            (Some(Pieces { scores, space_prefix }), &[][..])
        }
        other => {
            let got: String = other.chars().take(60).collect();
            let expected = "\"gpt2\", a byte-level BPE, or \"llama\", SentencePiece's".to_owned();
            return Err(Error::Metadata { key: MODEL.into(), expected, got: format!("{got:?}") });
        }
    };
    let kinds = match metadata.get(KINDS) {
        Some(_) => Some(metadata.i32s(KINDS, None)?),
        None => None,
    };
    let pre = metadata.get(PRE).map_or(Ok(""), |_| metadata.string(PRE))?;
    Ok(Published { pre, tokens: strings("tokenizer.ggml.tokens")?, merges, kinds, pieces })
}

/// Writes what [`read`] reads.
pub fn write(metadata: &mut Metadata, vocabulary: Vocabulary) {
    let Vocabulary { pre, tokens, merges, kinds } = vocabulary;
    for (key, value) in [
        (MODEL, Value::String("gpt2".into())),
        (PRE, Value::String(pre.into())),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.merges", Value::Array(Array::String(merges))),
        (KINDS, Value::Array(Array::I32(kinds))),
    ] {
        metadata.set(key, value);
    }
}

/// The ids, each of a token.
///
/// # Errors
/// An id is of no token, or there is none where texts are to be opened.
pub fn special_ids(metadata: &Metadata, tokenizer: &Tokenizer) -> checkpoint::Result<SpecialIds> {
    let published = published(metadata)?;
    let opens = match metadata.get(OPENS) {
        Some(_) => metadata.bool(OPENS)?,
        // Files of Llama 2 and 3 leave it out and mean it.
        None => published.opens(),
    };
    let id = |key: &str| id(metadata, tokenizer, key);
    // SentencePiece's own ids, where the file does not say.
    let own = |key: &str, own: u32| {
        let is_own = published.pieces.is_some() && metadata.get(key).is_none();
        if is_own && (own as usize) < tokenizer.vocabulary() { Ok(own) } else { id(key) }
    };
    let bos_token_id = if opens { Some(own("tokenizer.ggml.bos_token_id", 1)?) } else { None };
    let mut eos_token_ids = Vec::new();
    for key in ENDS {
        if metadata.get(key).is_some() {
            eos_token_ids.push(id(key)?);
        }
    }
    if eos_token_ids.is_empty() && published.pieces.is_some() {
        eos_token_ids.push(own(ENDS[0], 2)?);
    }
    // A chat model names one of these as its end and may still say another.
    const NAMES: [&str; 6] = [
        "<|endoftext|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    ];
    eos_token_ids.extend(NAMES.iter().filter_map(|name| tokenizer.id(name)));
    eos_token_ids.sort_unstable();
    eos_token_ids.dedup();
    Ok(SpecialIds { bos_token_id, eos_token_ids })
}

/// The file's chat template, with the names of the tokens that open and end its texts.
pub fn chat(metadata: &Metadata) -> Chat {
    let tokens = metadata.strings("tokenizer.ggml.tokens", None).unwrap_or_default();
    let name = |key: &str| {
        let id = metadata.u32(&format!("tokenizer.ggml.{key}_token_id")).ok()?;
        Some((format!("{key}_token"), Json::String(tokens.get(id as usize)?.clone())))
    };
    let variables: Map<String, Json> = ["bos", "eos"].into_iter().filter_map(name).collect();
    let template = metadata.string(TEMPLATE).ok();
    Chat { template: template.map(|text| Source::Gguf(text.to_owned())), variables }
}

fn id(metadata: &Metadata, tokenizer: &Tokenizer, key: &str) -> checkpoint::Result<u32> {
    let id = metadata.u32(key)?;
    if (id as usize) < tokenizer.vocabulary() {
        return Ok(id);
    }
    let expected = format!("an id below {}", tokenizer.vocabulary());
    Err(Error::Metadata { key: key.to_owned(), expected, got: id.to_string() })
}
