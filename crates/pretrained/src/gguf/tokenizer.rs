//! The tokenizer that a file carries, and the ids that open and end its texts.

use sensorium_media::{Published, Tokenizer, Vocabulary};

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

/// The tokenizer.
///
/// # Errors
/// It is no byte-level BPE, or inconsistent.
pub fn read(metadata: &Metadata) -> Result<Tokenizer> {
    let model = metadata.string(MODEL)?;
    if model != "gpt2" {
        let got: String = model.chars().take(60).collect();
        let expected = "\"gpt2\", a byte-level BPE".to_owned();
        return Err(Error::Metadata { key: MODEL.into(), expected, got: format!("{got:?}") }.into());
    }
    Ok(Tokenizer::from_gguf(&published(metadata)?)?)
}

/// What the file says of its tokens.
///
/// # Errors
/// Something is missing or of another type.
pub fn published(metadata: &Metadata) -> checkpoint::Result<Published<'_>> {
    let kinds = match metadata.get(KINDS) {
        Some(_) => Some(metadata.i32s(KINDS, None)?),
        None => None,
    };
    Ok(Published {
        pre: metadata.string(PRE)?,
        tokens: metadata.strings("tokenizer.ggml.tokens", None)?,
        merges: metadata.strings("tokenizer.ggml.merges", None)?,
        kinds,
    })
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
    let opens = match metadata.get(OPENS) {
        Some(_) => metadata.bool(OPENS)?,
        // Files of Llama 3 leave it out and mean it.
        None => ["llama-bpe", "llama3"].contains(&metadata.string(PRE)?),
    };
    let id = |key: &str| id(metadata, tokenizer, key);
    let bos = id("tokenizer.ggml.bos_token_id");
    let bos_token_id = if opens { Some(bos?) } else { None };
    let mut eos_token_ids = Vec::new();
    for key in ENDS {
        if metadata.get(key).is_some() {
            eos_token_ids.push(id(key)?);
        }
    }
    // A chat model names one of these as its end and may still say another.
    eos_token_ids.extend(
        ["<|endoftext|>", "<|im_end|>", "<|eot_id|>"].iter().filter_map(|e| tokenizer.id(e)),
    );
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
