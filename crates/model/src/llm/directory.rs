//! A language model from a directory, as the hub lays it out.

use std::path::Path;

use sensorium_backbone::{Backbone, BackboneConfig};
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
    let words = Words::read(&directory)?;
    let (config, backbone) = language::load(&directory, format.unwrap_or(pack::Format::F32))?;
    Ok(words.with(config, backbone))
}

/// All of a language model but its backbone.
#[derive(Debug)]
pub struct Words {
    pub(crate) tokenizer: Tokenizer,
    opening: Option<u32>,
    pub(crate) ends: Vec<u32>,
    chat: Chat,
}

impl Words {
    /// From the files of a directory.
    ///
    /// # Errors
    /// One of them is missing or damaged.
    pub fn read(directory: &Directory) -> Result<Self> {
        let tokenizer = HubTokenizer::from_bytes(&self::tokenizer(directory)?)?;
        let opening = tokenizer.encode("", true).unwrap_or_default().first().copied();
        let (ends, chat) = (ends(directory)?, chat(directory)?);
        Ok(Self { tokenizer: Tokenizer::from(tokenizer), opening, ends, chat })
    }

    /// The spelling of the token that opens every text, if the model has one.
    pub fn spelt_opening(&self) -> Option<&str> {
        self.chat.variables.get("bos_token").and_then(Value::as_str)
    }

    /// With the ends that these settings name, if they name any.
    ///
    /// # Errors
    /// They are no ids.
    pub fn ending_as(self, config: &Config<'_>) -> Result<Self> {
        let ends = read_ids(config, "eos_token_id")?;
        Ok(Self { ends: ends.unwrap_or(self.ends), ..self })
    }

    /// The model with this backbone.
    pub fn with(self, config: BackboneConfig, backbone: Backbone) -> Llm {
        let Self { tokenizer, opening, ends, chat } = self;
        Llm { tokenizer, config, opening, ends, chat, backbone }
    }
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

/// The ids of `generation_config.json`, or else of `config.json`, or of its language model's part.
pub fn ends(directory: &Directory) -> Result<Vec<u32>> {
    const FILE: &str = "generation_config.json";
    let generation = directory.json(FILE)?.unwrap_or_default();
    let generation = Config::new(FILE, &generation);
    let ends = read_ids(&generation, "eos_token_id")?;
    let config = directory.config();
    Ok(match (ends, read_ids(&config, "eos_token_id")?, config.find("text_config")?) {
        (Some(ends), _, _) | (None, Some(ends), _) => ends,
        (None, None, Some(text)) => read_ids(&text, "eos_token_id")?.unwrap_or_default(),
        (None, None, None) => Vec::new(),
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
