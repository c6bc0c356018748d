//! Sentence encoders from a directory: BERT, a pooling, and unit length where `modules.json` asks for
//! it, as sentence-transformers lays them out.
//!
//! ```text
//! text ──tokenizer──▶ ids ──Bert──▶ [T, E] ──pool──▶ [E] ──normalise──▶ [E]
//! ```

use sensorium_encoder::text::Texts;
use sensorium_encoder::text::bert::{Bert, BertConfig, Pooling};
use sensorium_media::Tokenizer;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, BERT, BERT_NESTED};
use crate::plan::Plan;
use crate::{text, vision};

const FOREIGN: &str = "the directory is of another kind of model, or of one that is not supported";

/// Texts that are read at once.
const BATCH: usize = 32;

/// Texts to vectors.
#[derive(Debug)]
pub struct SentenceEncoder {
    /// Shape of the encoder.
    pub config: BertConfig,
    /// How positions become one vector.
    pub pooling: Pooling,
    /// Vectors are made of unit length.
    pub unit: bool,
    /// Longest text in tokens; what is longer loses its end.
    pub longest: usize,
    /// Stands before every text.
    pub prompt: String,
    tokenizer: Tokenizer,
    bert: Bert,
}

impl SentenceEncoder {
    /// The encoder in a directory.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not supported.
    pub fn open(directory: &Directory, device: &Device) -> Result<Self> {
        let config = config(&directory.config())?;
        let tokenizer = text::tokenizer(directory)?;
        let (lowers, longest) = sentences(directory, config.context)?;
        let tokenizer = if lowers { tokenizer.lowercased()? } else { tokenizer };
        text::tell_ignored(directory, &tokenizer, longest)?;
        let prompt = default_prompt(directory)?;
        let (pooling, unit) = modules(directory)?;
        let bert = load(directory, &config, device)?;
        Ok(Self { config, pooling, unit, longest, prompt, tokenizer, bert })
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        self.bert.pack_as(format);
    }

    /// One vector a text.
    ///
    /// # Errors
    /// The tokenizer has no ids for a text, or the model no row for an id.
    pub fn embed(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>> {
        let ids = texts.iter().map(|text| self.ids(text.as_ref())).collect::<Result<Vec<_>>>()?;
        let mut rows = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let vectors = read(self.bert.embed(&Texts::pad(batch, 0), self.pooling));
            rows.extend(vectors.chunks(self.config.hidden_size).map(|row| self.finished(row)));
        }
        Ok(rows)
    }

    /// Ids of a text as the model reads it.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let text = format!("{}{text}", self.prompt);
        vision::ids(&self.tokenizer, &text, self.longest, self.config.vocab_size)
    }

    fn finished(&self, row: &[f32]) -> Vec<f32> {
        // The least length that PyTorch divides by.
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        let by = if self.unit { length } else { 1.0 };
        row.iter().map(|x| x / by).collect()
    }
}

/// The shape that `config.json` describes, <https://huggingface.co/docs/transformers/model_doc/bert>.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn config(config: &Config<'_>) -> Result<BertConfig> {
    if config.text_or("model_type", "")? != "bert" {
        return Err(config.wrong("model_type", "\"bert\"", FOREIGN));
    }
    config.only("position_embedding_type", &json!("absolute"))?;
    config.only("is_decoder", &json!(false))?;
    let activation = match config.text_or("hidden_act", "gelu")? {
        "gelu" => Activation::Gelu,
        "gelu_new" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        _ => return Err(config.wrong("hidden_act", "\"gelu\", \"gelu_new\" or \"relu\"", FOREIGN)),
    };
    let (width, n_heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    if width % n_heads != 0 {
        let expected = format!("a divisor of {width}");
        return Err(config.wrong("num_attention_heads", &expected, FOREIGN));
    }
    Ok(BertConfig {
        vocab_size: config.size("vocab_size")?,
        context: config.size_or("max_position_embeddings", 512)?,
        first: 0,
        types: config.size_or("type_vocab_size", 2)?,
        hidden_size: width,
        n_layers: vision::layers(config, "num_hidden_layers", 12)?,
        n_heads,
        intermediate_size: config.size("intermediate_size")?,
        activation,
        eps: config.positive_or("layer_norm_eps", 1e-12)?,
    })
}

/// What the weights must be. Some files have the outer prefix.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let nested = directory.shapes().is_ok_and(|all| all.keys().any(|n| n.starts_with("bert.")));
    let layout = if nested { BERT_NESTED } else { BERT };
    Ok(Plan::new("bert", "text", layout, config(&directory.config())?.parameters()))
}

/// The encoder's weights.
pub(crate) fn load(directory: &Directory, config: &BertConfig, device: &Device) -> Result<Bert> {
    let plan = plan(directory)?;
    // No size is believed before a tensor has it: only then is memory taken.
    let strays = plan.check(directory)?;
    let tensors = directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let bert = Bert::init(config, &mut Init::empty(device));
    Ok(names::take(bert, tensors, &plan.layout)?)
}

/// Pooling, and whether vectors are made of unit length. Without `modules.json`, what
/// sentence-transformers takes for a bare model: the mean.
fn modules(directory: &Directory) -> Result<(Pooling, bool)> {
    const FILE: &str = "modules.json";
    let Some(modules) = directory.json(FILE)? else { return Ok((Pooling::Mean, false)) };
    let wrong = |got: String| Error::Setting {
        file: FILE.into(),
        key: "type".into(),
        expected: "Transformer, Pooling, Normalize".into(),
        got,
        hint: FOREIGN,
    };
    let list = modules.as_array().ok_or_else(|| wrong("no list".into()))?;
    let (mut pooling, mut unit) = (Pooling::Mean, false);
    for module in list {
        let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Pooling" => pooling = self::pooling(directory, module)?,
            "Normalize" => unit = true,
            _ => return Err(wrong(kind.chars().take(80).collect())),
        }
    }
    Ok((pooling, unit))
}

/// The one pooling that the module's own file turns on.
fn pooling(directory: &Directory, module: &Value) -> Result<Pooling> {
    let folder = module.get("path").and_then(Value::as_str).unwrap_or("1_Pooling");
    // A name, not a path: a file does not choose which files of the machine are read.
    let plain = folder.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let file = format!("{}/config.json", if plain { folder } else { "1_Pooling" });
    let settings = directory.json(&file)?.unwrap_or_default();
    let config = Config::new(&file, &settings);
    let on = |key: &str| config.flag_or(key, false);
    // Else the prompt's own positions are left out of the mean.
    config.only("include_prompt", &json!(true))?;
    // Both spellings of it: a flag a mode, or the mode by name.
    let named = config.text_or("pooling_mode", "")?;
    let (mean, first) = (
        on("pooling_mode_mean_tokens")? || named == "mean",
        on("pooling_mode_cls_token")? || named == "cls",
    );
    let others = ["pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens"];
    for key in
        others.into_iter().chain(["pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"])
    {
        if on(key)? {
            return Err(config.wrong(key, "false", FOREIGN));
        }
    }
    // Said by the model itself.
    config.without_effect(&["word_embedding_dimension", "embedding_dimension"]);
    directory.tell(&config)?;
    match (mean, first) {
        (true, false) => Ok(Pooling::Mean),
        (false, true) => Ok(Pooling::First),
        _ => Err(config.wrong("pooling_mode_mean_tokens", "one pooling, mean or cls", FOREIGN)),
    }
}

/// Whether texts are put into lower case, whatever the tokenizer does; and the longest one that is
/// read: what the sentence encoder was trained for, else the tokenizer, at most the model's context.
fn sentences(directory: &Directory, context: usize) -> Result<(bool, usize)> {
    const FILE: &str = "sentence_bert_config.json";
    let settings = directory.json(FILE)?.unwrap_or_default();
    let config = Config::new(FILE, &settings);
    let lowers = config.flag_or("do_lower_case", false)?;
    let tokens = directory.json("tokenizer_config.json")?.unwrap_or_default();
    let longest = tokens.get("model_max_length").and_then(Value::as_u64).filter(|n| *n > 0);
    let longest = longest.map_or(context, |n| context.min(n as usize));
    let longest = config.size_or("max_seq_length", longest)?.min(context);
    directory.tell(&config)?;
    Ok((lowers, longest))
}

/// The prompt that sentence-transformers puts before every text where none is chosen.
fn default_prompt(directory: &Directory) -> Result<String> {
    const FILE: &str = "config_sentence_transformers.json";
    let settings = directory.json(FILE)?.unwrap_or_default();
    let config = Config::new(FILE, &settings);
    let name = config.text_or("default_prompt_name", "")?;
    // The version; how vectors are compared, which is up to who has them.
    config.without_effect(&["__version__", "prompts", "similarity_fn_name"]);
    directory.tell(&config)?;
    if name.is_empty() {
        return Ok(String::new());
    }
    let prompts = config.child("prompts")?;
    if prompts.get(name).is_none() {
        let known = prompts.keys().collect::<Vec<_>>().join(", ");
        return Err(config.wrong("default_prompt_name", &format!("one of {known}"), FOREIGN));
    }
    Ok(prompts.text_or(name, "")?.to_owned())
}
