//! Whisper as transformers publishes it (`WhisperForConditionalGeneration`).

use std::collections::BTreeMap;

use sensorium_backbone::WhisperDecoderConfig;
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_media::Tokenizer;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, WHISPER};
use crate::plan::{Plan, strays};
use crate::{text, vision};
use sensorium_checkpoint::{Tensors, strict_shapes};
use sensorium_model::whisper::{Rules, Tasks, Whisper, WhisperConfig};

const GENERATION: &str = "generation_config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// Vocabularies of at least so many tokens are those of many languages.
const MULTILINGUAL: u64 = 51_865;
/// Tokens before the first word, and one word.
const LEAST_CONTEXT: usize = 5;

/// What settings that would change the computation mean.
const FOREIGN: &str = "this model is not supported";

/// A model that hears, and what makes its inputs.
#[derive(Debug)]
pub struct WhisperParts {
    /// Its shape.
    pub config: WhisperConfig,
    /// Ids with a meaning.
    pub rules: Rules,
    /// Ids to text.
    pub tokenizer: Tokenizer,
    /// The model.
    pub model: Whisper,
    /// Where it computes.
    pub device: Device,
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or of a model that is not supported.
pub fn open(directory: &Directory, device: &Device) -> Result<WhisperParts> {
    trainable(directory, &mut Init::empty(device))
}

/// As [`open`], with `init` for its layers: to be trained.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<WhisperParts> {
    let config = config(&directory.config())?;
    check_preprocessor(directory, config.encoder.bands)?;
    let tokenizer = text::tokenizer(directory)?;
    text::tell_ignored(directory, &tokenizer, 0)?;
    let rules = rules(directory, &config, &tokenizer)?;
    directory.tell(&directory.config())?;
    let mut tensors = directory.tensors()?;
    rename(&mut tensors);
    let strays = strays(directory, &wanted(&config, &tensors)?, &found(&tensors))?;
    tensors.tensors.retain(|name, _| !strays.contains(name));
    let model = load(&config, tensors, init)?;
    Ok(WhisperParts { config, rules, tokenizer, model, device: init.device().clone() })
}

/// A model's weights from its tensors.
///
/// # Errors
/// Lists every tensor that is missing, left over or of another shape.
pub fn load(config: &WhisperConfig, mut tensors: Tensors, init: &mut Init) -> Result<Whisper> {
    rename(&mut tensors);
    strict_shapes(&wanted(config, &tensors)?, &found(&tensors))?;
    // Only then is memory taken: as much as the file's own tensors hold.
    let model = Whisper::init(config, init);
    Ok(names::take(model, tensors, &WHISPER)?)
}

/// Published names and shapes of the model's tensors, no more than there are.
fn wanted(config: &WhisperConfig, tensors: &Tensors) -> Result<Vec<(String, Vec<usize>)>> {
    let deepest = config.encoder.n_layers.max(config.decoder.n_layers);
    if deepest > tensors.tensors.len() {
        let expected =
            format!("at most as many layers as there are tensors, {}", tensors.tensors.len());
        return Err(Error::Setting {
            file: "config.json".into(),
            key: "encoder_layers or decoder_layers".into(),
            expected,
            got: deepest.to_string(),
            hint: FOREIGN,
        });
    }
    let wanted = config.parameters().into_iter().map(|(name, shape)| (WHISPER.to_hf(&name), shape));
    Ok(wanted.collect())
}

/// Names and shapes of the tensors that a model is made of.
fn found(tensors: &Tensors) -> BTreeMap<&str, &[usize]> {
    let found = tensors.tensors.iter().filter(|(name, _)| !WHISPER.is_ignorable(name));
    found.map(|(name, tensor)| (name.as_str(), tensor.shape())).collect()
}

/// Published names for those of a model that was saved without its head (`encoder.`), or inside of
/// something else (`module.model.encoder.`).
fn rename(tensors: &mut Tensors) {
    const PREFIX: &str = "model.";
    const FIRST: &str = "encoder.conv1.weight";
    let prefix = tensors.tensors.keys().find_map(|name| name.strip_suffix(FIRST));
    let Some(prefix) = prefix.filter(|prefix| *prefix != PREFIX).map(str::to_owned) else { return };
    let whole = std::mem::take(&mut tensors.tensors).into_iter();
    tensors.tensors = whole
        .map(|(name, tensor)| match name.strip_prefix(&prefix) {
            Some(rest) => (format!("{PREFIX}{rest}"), tensor),
            None => (name, tensor),
        })
        .collect();
}

/// What the weights in a directory must be.
///
/// # Errors
/// As [`config`].
pub fn plan(directory: &Directory) -> Result<Plan> {
    let settings = directory.config();
    let config = config(&settings)?;
    // Before a list is made that is as long as a file says.
    for key in ["encoder_layers", "decoder_layers"] {
        vision::layers(&settings, key, 1)?;
    }
    Ok(Plan::new("whisper", "decoder", WHISPER, config.parameters()))
}

/// The shape from `config.json`; what would change the computation is refused.
///
/// # Errors
/// A setting is missing, out of range or not supported.
pub fn config(config: &Config<'_>) -> Result<WhisperConfig> {
    config.only("model_type", &json!("whisper"))?;
    config.only("activation_function", &json!("gelu"))?;
    config.only("scale_embedding", &json!(false))?;
    config.only("tie_word_embeddings", &json!(true))?;
    // The first is `encoder_layers` again; the others are read by `rules` where no other file says them.
    config.without_effect(&["num_hidden_layers", "suppress_tokens", "begin_suppress_tokens"]);
    let width = config.size("d_model")?;
    let heads = |key: &str| {
        let n = config.size(key)?;
        if width.is_multiple_of(n) {
            return Ok(n);
        }
        Err(config.wrong(key, &format!("a divisor of d_model, {width}"), FOREIGN))
    };
    let context = config.size("max_target_positions")?;
    if context < LEAST_CONTEXT {
        let expected = format!("at least {LEAST_CONTEXT}");
        return Err(config.wrong("max_target_positions", &expected, FOREIGN));
    }
    Ok(WhisperConfig {
        encoder: WhisperEncoderConfig {
            bands: config.size("num_mel_bins")?,
            positions: config.size("max_source_positions")?,
            hidden_size: width,
            n_layers: config.size("encoder_layers")?,
            n_heads: heads("encoder_attention_heads")?,
            intermediate_size: config.size("encoder_ffn_dim")?,
        },
        decoder: WhisperDecoderConfig {
            vocab_size: config.size("vocab_size")?,
            context,
            hidden_size: width,
            n_layers: config.size("decoder_layers")?,
            n_heads: heads("decoder_attention_heads")?,
            intermediate_size: config.size("decoder_ffn_dim")?,
        },
    })
}

/// That the features are those that are made here.
fn check_preprocessor(directory: &Directory, bands: usize) -> Result<()> {
    let Some(value) = directory.json(PREPROCESSOR)? else { return Ok(()) };
    let config = Config::new(PREPROCESSOR, &value);
    for (key, want) in
        [("sampling_rate", 16_000), ("hop_length", 160), ("n_fft", 400), ("feature_size", bands)]
    {
        config.only(key, &json!(want))?;
    }
    directory.tell(&config)?;
    Ok(())
}

/// The meaning of ids from `generation_config.json`, from `config.json` without it; what neither says,
/// the tokenizer's names tell.
///
/// # Errors
/// They name ids that the vocabulary does not have, or nothing names one that is needed.
pub fn rules(
    directory: &Directory,
    config: &WhisperConfig,
    tokenizer: &Tokenizer,
) -> Result<Rules> {
    let value = directory.json(GENERATION)?;
    let top = match &value {
        Some(value) => Config::new(GENERATION, value),
        None => directory.config(),
    };
    let vocabulary = config.decoder.vocab_size as u64;
    let ids = Ids { top: &top, tokenizer, vocabulary };
    let languages = match top.find("lang_to_id")? {
        Some(map) => ids.languages(&map)?,
        None if top.flag_or("is_multilingual", vocabulary >= MULTILINGUAL)? => {
            ids.named_languages()
        }
        None => BTreeMap::new(),
    };
    let tasks = top.find_or_empty("task_to_id")?;
    let tasks = if languages.is_empty() {
        None
    } else {
        Some(Tasks {
            transcribe: ids.of(&tasks, "transcribe", "<|transcribe|>")?,
            translate: ids.of(&tasks, "translate", "<|translate|>")?,
        })
    };
    let no_timestamps = ids.of(&top, "no_timestamps_token_id", "<|notimestamps|>")?;
    if no_timestamps == 0 || u64::from(no_timestamps) + 1 >= vocabulary {
        let expected = format!("an id between others, below {}", vocabulary - 1);
        return Err(top.wrong("no_timestamps_token_id", &expected, FOREIGN));
    }
    if value.is_some() {
        top.without_effect(&["is_multilingual", "lang_to_id", "task_to_id"]);
    }
    let rules = Rules {
        start: ids.of(&top, "decoder_start_token_id", "<|startoftranscript|>")?,
        end: ids.of(&top, "eos_token_id", "<|endoftext|>")?,
        no_timestamps,
        languages,
        tasks,
        suppressed: ids.list("suppress_tokens")?,
        suppressed_first: ids.list("begin_suppress_tokens")?,
        latest_start: match top.get("max_initial_timestamp_index") {
            Some(_) => Some(top.id_or("max_initial_timestamp_index", 0)?),
            None => None,
        },
    };
    if value.is_some() {
        directory.tell(&top)?;
    }
    Ok(rules)
}

/// Ids below the vocabulary's length.
struct Ids<'a> {
    top: &'a Config<'a>,
    tokenizer: &'a Tokenizer,
    vocabulary: u64,
}

impl Ids<'_> {
    /// What stands at `key`, or what the tokenizer calls `name`.
    fn of(&self, config: &Config<'_>, key: &str, name: &str) -> Result<u32> {
        let id = match config.get(key) {
            // Some files list several ends, the first of them the text's.
            Some(value) => self.read(value.get(0).unwrap_or(value)),
            None => self.tokenizer.id(name).filter(|id| u64::from(*id) < self.vocabulary),
        };
        id.ok_or_else(|| {
            config.wrong(key, &format!("a token id below {}", self.vocabulary), FOREIGN)
        })
    }

    fn read(&self, value: &Value) -> Option<u32> {
        value.as_u64().filter(|id| *id < self.vocabulary).map(|id| id as u32)
    }

    fn list(&self, key: &str) -> Result<Vec<u32>> {
        let ids = self.top.ids(key)?.unwrap_or_default();
        if ids.iter().all(|id| u64::from(*id) < self.vocabulary) {
            return Ok(ids);
        }
        let expected = format!("a list of token ids below {}", self.vocabulary);
        Err(self.top.wrong(key, &expected, FOREIGN))
    }

    /// `<|en|>` as `en`.
    fn languages(&self, map: &Config<'_>) -> Result<BTreeMap<String, u32>> {
        let entry = |name: &str| {
            let code = name.trim_start_matches("<|").trim_end_matches("|>").to_owned();
            Ok((code, self.of(map, name, name)?))
        };
        map.keys().map(entry).collect()
    }

    /// The tokenizer's control tokens of two or three letters.
    fn named_languages(&self) -> BTreeMap<String, u32> {
        let all =
            self.tokenizer.control().iter().filter(|(_, id)| u64::from(*id) < self.vocabulary);
        let code = |name: &str| {
            let code = name.strip_prefix("<|")?.strip_suffix("|>")?;
            let letters = code.bytes().all(|byte| byte.is_ascii_lowercase());
            (letters && (2..=3).contains(&code.len())).then(|| code.to_owned())
        };
        all.filter_map(|(name, id)| Some((code(name)?, *id))).collect()
    }
}
