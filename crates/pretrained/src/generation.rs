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

/// Read here, or where the tokenizer is.
const READ: [&str; 6] = [
    "eos_token_id",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
];

/// Change no text: names, memory, what else a program gives back, which model helps.
const WITHOUT_EFFECT: [&str; 35] = [
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_lookbehind",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "chat_format",
    "compile_config",
    "continuous_batching_config",
    "custom_generate",
    "decoder_start_token_id",
    "disable_compile",
    "generation_kwargs",
    "is_assistant",
    "low_memory",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_length",
    "max_window_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "return_dict_in_generate",
    "return_legacy_cache",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
    "use_model_defaults",
];

/// What a key says that changes nothing: transformers' defaults.
fn is_neutral(key: &str, value: &Value) -> bool {
    let number = value.as_f64();
    let list = value.as_array().is_some_and(Vec::is_empty);
    value.is_null()
        || list
        || match key {
            "num_beams"
            | "num_beam_groups"
            | "num_return_sequences"
            | "temperature"
            | "top_p"
            | "typical_p"
            | "length_penalty"
            | "encoder_repetition_penalty"
            | "guidance_scale" => number == Some(1.0),
            _ => value == &Value::Bool(false) || number == Some(0.0),
        }
}

/// Whether a key only says how tokens are drawn, where they are drawn at all.
fn is_of_sampling(key: &str) -> bool {
    ["temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h"]
        .contains(&key)
}

impl GenerationConfig {
    /// That of a directory; what of it is not done is told.
    ///
    /// # Errors
    /// A setting is of another type or out of range.
    pub fn read(directory: &Directory) -> Result<Self> {
        let settings = directory.json(FILE)?.unwrap_or_default();
        let config = Config::new(FILE, &settings);
        let samples = config.flag_or("do_sample", false)?;
        let ignored: Vec<&str> = config
            .keys()
            .filter(|key| !READ.contains(key) && !WITHOUT_EFFECT.contains(key))
            .filter(|key| samples || !is_of_sampling(key))
            .filter(|key| config.get(key).is_some_and(|value| !is_neutral(key, value)))
            .collect();
        if !ignored.is_empty() {
            let path = directory.path().display();
            log::warn!("{path}: ignored: {FILE}: {}", ignored.join(", "));
        }
        let penalty = config.get("repetition_penalty").is_some();
        Ok(Self {
            repetition_penalty: penalty
                .then(|| config.positive_or("repetition_penalty", 1.0).map(|x| x as f32))
                .transpose()?,
            no_repeat_ngram_size: match config.get("no_repeat_ngram_size") {
                Some(value) if value != &Value::from(0) => {
                    Some(config.size("no_repeat_ngram_size")?)
                }
                _ => None,
            },
            suppress_tokens: ids(&config, "suppress_tokens")?,
            begin_suppress_tokens: ids(&config, "begin_suppress_tokens")?,
            bad_words_ids: match config.get("bad_words_ids") {
                None => Vec::new(),
                Some(value) => serde_json::from_value(value.clone()).map_err(|_| {
                    config.wrong("bad_words_ids", "lists of token ids", "the file may be damaged")
                })?,
            },
        })
    }
}

/// A list of ids; -1 stands for none (Whisper's fine-tuners).
fn ids(config: &Config<'_>, key: &str) -> Result<Vec<u32>> {
    let Some(value) = config.get(key) else { return Ok(Vec::new()) };
    let wrong = || config.wrong(key, "a list of token ids", "the file may be damaged");
    let list: Vec<i64> = serde_json::from_value(value.clone()).map_err(|_| wrong())?;
    let ids = list.into_iter().filter(|&id| id != -1);
    ids.map(|id| u32::try_from(id).map_err(|_| wrong())).collect()
}
