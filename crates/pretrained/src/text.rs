//! What makes ids of texts and messages, and text of ids: a directory's tokenizer, template and marks.

use sensorium_media::chat_template::special_tokens;
use sensorium_media::{Files, Tokenizer, VocabularyFile};
use serde_json::{Map, Value};

use crate::chat::{Chat, Source};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::generation::GenerationConfig;

/// All of a language model but its backbone.
#[derive(Clone, Debug)]
pub struct TextProcessor {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Put before every text, if the model was trained so.
    pub bos_token_id: Option<u32>,
    /// Put behind every text that no template has written.
    pub suffix: Vec<u32>,
    /// Ids after which nothing more is to be said.
    pub eos_token_ids: Vec<u32>,
    /// Messages to text.
    pub chat: Chat,
    /// What is done to the logits of every text.
    pub generation: GenerationConfig,
}

impl TextProcessor {
    /// From the files of a directory.
    ///
    /// # Errors
    /// One of them is missing or damaged.
    pub fn read(directory: &Directory) -> Result<Self> {
        let tokenizer = self::tokenizer(directory)?;
        tell_ignored(directory, &tokenizer, 0)?;
        let [prefix, suffix] = tokenizer.specials_around()?;
        let bos_token_id = prefix.first().copied();
        let (eos_token_ids, chat) = (eos_token_ids(directory)?, chat(directory)?);
        let generation = GenerationConfig::read(directory)?;
        Ok(Self { tokenizer, bos_token_id, suffix, eos_token_ids, chat, generation })
    }

    /// The spelling of the token that opens every text, if the model has one.
    pub fn bos_token(&self) -> Option<&str> {
        self.chat.variables.get("bos_token").and_then(Value::as_str)
    }

    /// With the ends that these settings name, if they name any.
    ///
    /// # Errors
    /// They are no ids.
    pub fn ending_as(self, config: &Config<'_>) -> Result<Self> {
        let ids = config.ids("eos_token_id")?;
        Ok(Self { eos_token_ids: ids.unwrap_or(self.eos_token_ids), ..self })
    }
}

/// mistral-common's tokens.
pub(crate) const TEKKEN: &str = "tekken.json";

/// The tokenizer: that of `tokenizer.json` or of `tekken.json`, or what is made of the files that were published
/// before there was one.
///
/// # Errors
/// None of them is there, or one is damaged.
pub fn tokenizer(directory: &Directory) -> Result<Tokenizer> {
    const FILE: &str = "tokenizer.json";
    let of = |file: &str, tokenizer: sensorium_media::Result<Tokenizer>| {
        tokenizer.map_err(|source| Error::Media { path: directory.path().join(file), source })
    };
    if let Some(bytes) = directory.bytes(FILE)? {
        return of(FILE, Tokenizer::from_bytes(&bytes));
    }
    if let Some(bytes) = directory.bytes(TEKKEN)? {
        return of(TEKKEN, Tokenizer::from_tekken(&bytes));
    }
    for name in ["tokenizer.model", "spiece.model", "spm_char.model"] {
        if let Some(bytes) = directory.bytes(name)? {
            return of(name, older(directory, VocabularyFile::SentencePiece(&bytes))?);
        }
    }
    if let (Some(vocab), Some(merges)) =
        (directory.bytes("vocab.json")?, directory.bytes("merges.txt")?)
    {
        let vocabulary = VocabularyFile::Bpe { vocab: &vocab, merges: &merges };
        return of("vocab.json", older(directory, vocabulary)?);
    }
    if let Some(bytes) = directory.bytes("vocab.txt")? {
        return of("vocab.txt", older(directory, VocabularyFile::WordPiece(&bytes))?);
    }
    let files = "tokenizer.json, tekken.json, tokenizer.model, spiece.model, spm_char.model, vocab.txt, or vocab.json with merges.txt";
    Err(directory.missing(files, "download it too, or make it once with Python: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"))
}

/// The same tokenizer, which knows the control token `name`, and its id.
///
/// # Errors
/// The tokenizer cannot be written, or not be read with the token.
pub fn with_token(tokenizer: Tokenizer, name: &str) -> Result<(Tokenizer, u32)> {
    if let Some(id) = tokenizer.id(name) {
        return Ok((tokenizer, id));
    }
    let media = |source| Error::Media { path: "tokenizer.json".into(), source };
    let id = tokenizer.vocabulary();
    let bytes = tokenizer.to_bytes().map_err(media)?;
    let mut json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(added) = json.get_mut("added_tokens").and_then(Value::as_array_mut) {
        added.push(serde_json::json!({
            "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }));
    }
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).map_err(media)?;
    Ok((tokenizer, id as u32))
}

/// The tokenizer of a directory without a `tokenizer.json`.
fn older(
    directory: &Directory,
    vocabulary: VocabularyFile<'_>,
) -> Result<sensorium_media::Result<Tokenizer>> {
    let json = |name: &str| Ok::<_, Error>(directory.json(name)?.unwrap_or_default());
    Ok(Tokenizer::from_files(&Files {
        vocabulary,
        config: &json("tokenizer_config.json")?,
        special_tokens_map: &json("special_tokens_map.json")?,
        added_tokens: &json("added_tokens.json")?,
        model_type: directory.model_type().unwrap_or_default(),
    }))
}

/// Warns of what the tokenizer's settings ask for and the tokenizer does not do, whose texts are cut
/// at `context` unless it is 0.
pub(crate) fn tell_ignored(
    directory: &Directory,
    tokenizer: &Tokenizer,
    context: usize,
) -> Result<()> {
    const SPACES: [char; 2] = ['Ġ', '▁'];
    let [before, behind] = tokenizer.specials_around()?;
    let ids = |text| tokenizer.encode_within(text, false, usize::MAX);
    let small = ids("a")?;
    let first = small.first().and_then(|id| tokenizer.token(*id)).unwrap_or_default();
    let does = [
        ("add_bos_token", !before.is_empty()),
        ("add_eos_token", !behind.is_empty()),
        ("add_prefix_space", first.starts_with(SPACES)),
        ("do_lower_case", ids("A")? == small),
    ];
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let settings = directory.json(file)?.unwrap_or_default();
        let config = Config::new(file, &settings);
        // The tokens that a template may name; texts are not padded where that would be seen.
        let tokens = config.keys().filter(|key| key.ends_with("_token"));
        config.without_effect(&tokens.chain(["padding_side", "vocab_size"]).collect::<Vec<_>>());
        if context == 0 {
            config.without_effect(&["truncation_side"]);
        }
        // What stands around its texts is of its task.
        let of_task = config.text_or("tokenizer_class", "")?.starts_with("Whisper");
        let mut ignored = config.ignored();
        for (key, does) in does {
            let told = of_task && key.starts_with("add_");
            if !told && config.flag_or(key, does)? != does {
                ignored.push(key.to_owned());
            }
        }
        let longest = config.get("model_max_length").and_then(Value::as_f64);
        if longest.is_some_and(|longest| longest < context as f64) {
            ignored.push("model_max_length".to_owned());
        }
        directory.tell_ignored(file, &ignored)?;
    }
    Ok(())
}

/// The ids of `generation_config.json`, or else of `config.json`, or of its language model's part.
pub fn eos_token_ids(directory: &Directory) -> Result<Vec<u32>> {
    const FILE: &str = "generation_config.json";
    let generation = directory.json(FILE)?.unwrap_or_default();
    let generation = Config::new(FILE, &generation);
    let ids = generation.ids("eos_token_id")?;
    let config = directory.config();
    Ok(match (ids, config.ids("eos_token_id")?, config.find("text_config")?) {
        (Some(ids), _, _) | (None, Some(ids), _) => ids,
        (None, None, Some(text)) => text.ids("eos_token_id")?.unwrap_or_default(),
        (None, None, None) => Vec::new(),
    })
}

/// `chat_template.json`, or the processor's settings, which have held a template too.
fn chat_json(directory: &Directory) -> Result<Option<Value>> {
    let own = directory.json("chat_template.json")?;
    if own.is_some() {
        return Ok(own);
    }
    let processor = directory.json("processor_config.json")?;
    Ok(processor.filter(|settings| settings.get("chat_template").is_some()))
}

/// The template's files, and the special tokens that it may name.
pub fn chat(directory: &Directory) -> Result<Chat> {
    let config = directory.json("tokenizer_config.json")?;
    let mut variables: Map<String, Value> =
        directory.json("special_tokens_map.json")?.as_ref().map(special_tokens).unwrap_or_default();
    variables.extend(config.as_ref().map(special_tokens).unwrap_or_default());
    let template = Source::Directory {
        jinja: directory.bytes("chat_template.jinja")?,
        json: chat_json(directory)?,
        config,
    };
    Ok(Chat { template: Some(template), variables })
}
