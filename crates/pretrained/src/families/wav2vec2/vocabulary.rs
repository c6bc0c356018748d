//! What the classes of a head spell: `vocab.json` as `Wav2Vec2CTCTokenizer` reads it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ctc::labels;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};

const VOCABULARY: &str = "vocab.json";
const TOKENIZER: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// What each class spells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// By number; one that no token has is spelt as the unknown one.
    pub classes: Vec<String>,
    /// The class that says nothing.
    pub blank: u32,
}

impl Vocabulary {
    /// Of a directory whose head has so many classes.
    ///
    /// # Errors
    /// A file is missing or damaged, or none of the classes is the blank.
    pub(super) fn read(directory: &Directory, classes: usize) -> Result<Self> {
        let hint = "download it too: it says which letter each of the model's classes is";
        let tokens = directory.json(VOCABULARY)?;
        let tokens = tokens.ok_or_else(|| directory.missing(VOCABULARY, hint))?;
        let added = directory.json(ADDED)?.unwrap_or_default();
        let [settings, special] = [TOKENIZER, SPECIAL]
            .map(|file| Ok::<_, Error>(directory.json(file)?.unwrap_or_default()));
        let (settings, special) = (settings?, special?);
        let [settings, special] =
            [Config::new(TOKENIZER, &settings), Config::new(SPECIAL, &special)];
        // A model of many languages, whose adapters are not built.
        settings.only_null("target_lang")?;
        let token = |key: &str, default| named(&settings, &special, key, default);
        let (pad, unknown) = (token("pad_token", "<pad>")?, token("unk_token", "<unk>")?);
        let delimiter = token("word_delimiter_token", "|")?;
        let space = settings.text_or("replace_word_delimiter_char", " ")?;
        let lowers = settings.flag_or("do_lower_case", false)?;

        let mut spelt: BTreeMap<u32, String> = BTreeMap::new();
        for (file, tokens) in [(ADDED, &added), (VOCABULARY, &tokens)] {
            let tokens = Config::new(file, tokens);
            for name in tokens.keys() {
                spelt.insert(tokens.id_or(name, 0)?, name.to_owned());
            }
        }
        let class = |i: u32| match spelt.get(&i).unwrap_or(&unknown) {
            token if *token == delimiter => space.to_owned(),
            token if lowers => token.to_lowercase(),
            token => token.clone(),
        };
        let blank = spelt.iter().find(|(_, token)| **token == pad).map(|(&id, _)| id);
        let blank = blank.filter(|&id| (id as usize) < classes).ok_or_else(|| {
            let expected = format!("a class below {classes}, that which stands for no letter");
            Config::new(VOCABULARY, &tokens).wrong(&pad, &expected, FOREIGN)
        })?;
        tell(directory, [&settings, &special])?;
        Ok(Self { classes: (0..classes as u32).map(class).collect(), blank })
    }
}

impl Vocabulary {
    /// The classes of what is said, as those of a [`CtcConfig`](super::super::ctc::CtcConfig): a letter that none spells
    /// in its case in the other.
    ///
    /// # Errors
    /// A letter or digit that no class spells.
    pub fn labels(&self, text: &str) -> std::result::Result<Vec<u32>, char> {
        let mut labels = labels(&self.classes, text)?;
        labels.retain(|&label| label != self.blank);
        Ok(labels)
    }
}

/// A token that settings name as a text, or as an object with its `content`.
fn named(settings: &Config<'_>, special: &Config<'_>, key: &str, default: &str) -> Result<String> {
    for config in [settings, special] {
        match config.get(key) {
            None => {}
            Some(Value::String(token)) => return Ok(token.clone()),
            Some(Value::Object(token)) if token.get("content").is_some_and(Value::is_string) => {
                let content = token.get("content").and_then(Value::as_str);
                return Ok(content.unwrap_or_default().to_owned());
            }
            Some(_) => return Err(config.wrong(key, "a token", FOREIGN)),
        }
    }
    Ok(default.to_owned())
}

/// Tells of the tokenizer's settings that are not heeded. Texts are written, never read: what stands around
/// them, and what of the feature extractor is said here again, changes nothing.
fn tell(directory: &Directory, files: [&Config<'_>; 2]) -> Result<()> {
    for config in files {
        let tokens = config.keys().filter(|key| key.ends_with("_token"));
        config.without_effect(&tokens.collect::<Vec<_>>());
        config.without_effect(&["do_normalize", "return_attention_mask", "padding_side"]);
        directory.tell(config)?;
    }
    Ok(())
}
