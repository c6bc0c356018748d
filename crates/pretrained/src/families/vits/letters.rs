//! Texts as a voice reads them: `VitsTokenizer`, letter by letter.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;

const VOCABULARY: &str = "vocab.json";
const TOKENIZER: &str = "tokenizer_config.json";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// What stands between letters, and in front of them and behind them.
const BLANK: u32 = 0;

/// What makes ids of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letters {
    ids: BTreeMap<char, u32>,
    /// Blanks stand between letters.
    add_blank: bool,
    /// Letters are made small, and what is no letter is left out.
    normalize: bool,
    /// The language's code, if it is said.
    pub language: Option<String>,
}

impl Letters {
    /// Of a directory whose model knows so many letters.
    ///
    /// # Errors
    /// The vocabulary is missing or damaged, or of a model that knows more letters.
    pub(super) fn read(directory: &Directory, known: usize) -> Result<Self> {
        let hint = "download it too: it says which letters the voice knows";
        let vocabulary = directory.json(VOCABULARY)?;
        let vocabulary = vocabulary.ok_or_else(|| directory.missing(VOCABULARY, hint))?;
        let letters = Config::new(VOCABULARY, &vocabulary);
        let mut ids = BTreeMap::new();
        for name in letters.keys() {
            let id = letters.id_or(name, 0)?;
            if id as usize >= known {
                let expected = format!("an id below {known}, the vocab_size of config.json");
                return Err(letters.wrong(name, &expected, FOREIGN));
            }
            let mut chars = name.chars();
            // Names of tokens that are no letters stand in no text.
            if let (Some(letter), None) = (chars.next(), chars.next()) {
                ids.insert(letter, id);
            }
        }
        let settings = directory.json(TOKENIZER)?.unwrap_or_default();
        let config = Config::new(TOKENIZER, &settings);
        let tokens = config.keys().filter(|key| key.ends_with("_token"));
        config.without_effect(&tokens.collect::<Vec<_>>());
        // A letter in a script that the voice does not know is named when it is met.
        config.without_effect(&["is_uroman", "verbose"]);
        let phonemes = config.flag_or("phonemize", true)?;
        if phonemes {
            // No program that writes phonemes is built in: texts are read as if they were written so.
            directory.tell_ignored(TOKENIZER, &["phonemize".to_owned()])?;
        }
        let language = config.text_or("language", "")?;
        let read = Self {
            ids,
            add_blank: config.flag_or("add_blank", true)?,
            normalize: config.flag_or("normalize", true)? && !phonemes,
            language: (!language.is_empty()).then(|| language.to_owned()),
        };
        directory.tell(&config)?;
        Ok(read)
    }

    /// The letters of a text that are spoken.
    ///
    /// # Errors
    /// Letters and digits that the voice does not know, each once.
    pub fn spoken(&self, text: &str) -> std::result::Result<String, String> {
        let text = match self.language.as_deref() {
            // Two ways to write the same letter, of which its texts had one.
            Some("ron") => text.replace('\u{21b}', "\u{163}"),
            _ => text.to_owned(),
        };
        let (mut spoken, mut unknown) = (String::new(), String::new());
        for c in text.chars().flat_map(|c| self.written(c)) {
            if self.ids.contains_key(&c) {
                spoken.push(c);
            } else if (c.is_alphanumeric() || !self.normalize && !c.is_whitespace())
                && !unknown.contains(c)
            {
                unknown.push(c);
            }
        }
        if unknown.is_empty() { Ok(spoken.trim().to_owned()) } else { Err(unknown) }
    }

    /// Ids of letters that are [`spoken`](Self::spoken).
    pub fn ids(&self, spoken: &str) -> Vec<u32> {
        let letters = spoken.chars().filter_map(|c| self.ids.get(&c).copied());
        match self.add_blank {
            true => letters.flat_map(|id| [BLANK, id]).chain([BLANK]).collect(),
            false => letters.collect(),
        }
    }

    /// A letter as it is read: small, unless the voice knows it as it is.
    fn written(&self, c: char) -> Vec<char> {
        match self.normalize && !self.ids.contains_key(&c) {
            true => c.to_lowercase().collect(),
            false => vec![c],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_made_small_and_what_is_unknown_is_named() {
        let ids = "-abI \u{163}".chars().zip(0..).collect();
        let usual = Letters { ids, add_blank: true, normalize: true, language: None };
        assert_eq!(usual.spoken(" Ab, I -"), Ok("ab I -".into()));
        assert_eq!(usual.ids("ab"), [0, 1, 0, 2, 0]);
        assert_eq!(usual.spoken("a4 \u{436}\u{436}x!"), Err("4\u{436}x".into()));
        assert_eq!(usual.spoken("...!"), Ok(String::new()));
        let plain = Letters { add_blank: false, normalize: false, ..usual.clone() };
        assert_eq!((plain.spoken("ab"), plain.ids("ab")), (Ok("ab".into()), vec![1, 2]));
        assert_eq!(plain.spoken("A,b"), Err("A,".into()));
        let romanian = Letters { language: Some("ron".into()), ..usual };
        assert_eq!(romanian.spoken("a\u{21b}"), Ok("a\u{163}".into()));
    }
}
