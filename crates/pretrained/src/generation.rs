//! `generation_config.json`: how a model's makers want its texts made.

use serde_json::Value;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;

const FILE: &str = "generation_config.json";

/// What is done to the logits of every text of a model, whoever asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Logits of tokens that were read or said are divided by this, negative ones multiplied.
    pub repetition_penalty: Option<f32>,
    /// So many tokens in a row are never said twice.
    pub no_repeat_ngram_size: Option<usize>,
    /// Never said.
    pub suppress_tokens: Vec<u32>,
    /// Never said first.
    pub begin_suppress_tokens: Vec<u32>,
    /// Tokens that never follow each other so.
    pub bad_words_ids: Vec<Vec<u32>>,
}

impl GenerationConfig {
    /// That of a directory; what of it is not done is told.
    ///
    /// # Errors
    /// A setting is of another type or out of range.
    pub fn read(directory: &Directory) -> Result<Self> {
        let settings = directory.json(FILE)?.unwrap_or_default();
        let config = Config::new(FILE, &settings);
        let penalty = config.get("repetition_penalty").is_some();
        let read = Self {
            repetition_penalty: penalty
                .then(|| config.positive_or("repetition_penalty", 1.0).map(|x| x as f32))
                .transpose()?,
            no_repeat_ngram_size: match config.get("no_repeat_ngram_size") {
                Some(value) if value != &Value::from(0) => {
                    Some(config.size("no_repeat_ngram_size")?)
                }
                _ => None,
            },
            suppress_tokens: config.ids("suppress_tokens")?.unwrap_or_default(),
            begin_suppress_tokens: config.ids("begin_suppress_tokens")?.unwrap_or_default(),
            bad_words_ids: match config.get("bad_words_ids") {
                None => Vec::new(),
                Some(value) => serde_json::from_value(value.clone()).map_err(|_| {
                    config.wrong("bad_words_ids", "lists of token ids", "the file may be damaged")
                })?,
            },
        };
        // Of the pictures that Janus says, not of its texts.
        if directory.model_type() == Some("janus") {
            config.without_effect(&["guidance_scale"]);
        }
        directory.tell(&config)?;
        Ok(read)
    }
}
