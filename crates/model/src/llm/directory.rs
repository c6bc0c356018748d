//! A language model from a directory, as the hub lays it out.

use std::path::Path;

use sensorium_media::HubTokenizer;
use sensorium_media::chat_template::special_tokens;
use sensorium_nn::prelude::pack;
use serde_json::{Map, Value};

use super::chat::{Chat, Source};
use super::tokenizer::Tokenizer;
use super::{Llm, Result};
use crate::published::{Config, Directory, Error, language};

/// The model in `path`, its matrices in `format`, or, without one, in f32.
pub fn open(path: &Path, format: Option<pack::Format>) -> Result<Llm> {
    let directory = Directory::open(path)?;
    let tokenizer = HubTokenizer::from_bytes(&tokenizer(&directory)?)?;
    let opening = tokenizer.encode("", true).unwrap_or_default().first().copied();
    let ends = ends(&directory)?;
    let chat = chat(&directory)?;
    let (config, backbone) = language::load(&directory, format.unwrap_or(pack::Format::F32))?;
    let tokenizer = Tokenizer::from(tokenizer);
    Ok(Llm { tokenizer, config, opening, ends, chat, backbone })
}

/// `tokenizer.json`.
pub fn tokenizer(directory: &Directory) -> Result<Vec<u8>> {
    let bytes = directory.bytes("tokenizer.json")?.ok_or_else(|| Error::Missing {
        file: "tokenizer.json".into(),
        path: directory.path().into(),
        found: "a checkpoint without it".into(),
        hint: "save it once with Python: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
    })?;
    Ok(bytes)
}

/// The ids of `generation_config.json`, or else of `config.json`.
pub fn ends(directory: &Directory) -> Result<Vec<u32>> {
    const FILE: &str = "generation_config.json";
    let generation = directory.json(FILE)?.unwrap_or_default();
    let generation = Config::new(FILE, &generation);
    let ends = read_ids(&generation, "eos_token_id")?;
    Ok(match ends {
        Some(ends) => ends,
        None => read_ids(&directory.config(), "eos_token_id")?.unwrap_or_default(),
    })
}

/// One id or a list of them.
fn read_ids(config: &Config<'_>, key: &str) -> Result<Option<Vec<u32>>> {
    const HINT: &str = "the file may be damaged";
    let Some(value) = config.get(key) else { return Ok(None) };
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = list.iter().map(id).collect();
    let ids = ids.ok_or_else(|| config.wrong(key, "a token id, or a list of them", HINT))?;
    Ok(Some(ids))
}

/// The template's files, and the special tokens that it may name.
pub fn chat(directory: &Directory) -> Result<Chat> {
    let config = directory.json("tokenizer_config.json")?;
    let mut variables: Map<String, Value> =
        directory.json("special_tokens_map.json")?.as_ref().map(special_tokens).unwrap_or_default();
    variables.extend(config.as_ref().map(special_tokens).unwrap_or_default());
    let template = Source::Directory {
        jinja: directory.bytes("chat_template.jinja")?,
        json: directory.json("chat_template.json")?,
        config,
    };
    Ok(Chat { template: Some(template), variables })
}
