//! Texts as a voice reads them: `VitsTokenizer`, letter by letter or phoneme by phoneme.

use std::collections::BTreeMap;

use sensorium_media::phonemes::decomposed;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;

const VOCABULARY: &str = "vocab.json";
const TOKENIZER: &str = "tokenizer_config.json";

/// The language that `VitsTokenizer` writes all phonemes of.
const PHONEMIZED: &str = "en-us";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// What stands between letters, and in front of them and behind them.
const BLANK: u32 = 0;

/// What makes ids of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letters {
    pub(super) ids: BTreeMap<char, Vec<u32>>,
    /// Ids before the first letter, behind each, and behind all that.
    pub(super) around: [Vec<u32>; 3],
    /// Letters are made small, and what is no letter is left out.
    pub(super) normalize: bool,
    /// Letters are taken apart from their signs.
    pub(super) decompose: bool,
    /// The language's code, if it is said.
    pub language: Option<String>,
    /// Where the letters are phonemes, espeak-ng's name of the voice that writes texts in them.
    pub phonemes: Option<String>,
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
                ids.insert(letter, vec![id]);
            }
        }
        let settings = directory.json(TOKENIZER)?.unwrap_or_default();
        let config = Config::new(TOKENIZER, &settings);
        let tokens = config.keys().filter(|key| key.ends_with("_token"));
        config.without_effect(&tokens.collect::<Vec<_>>());
        // A letter in a script that the voice does not know is named when it is met.
        config.without_effect(&["is_uroman", "verbose"]);
        let phonemes = config.flag_or("phonemize", true)?;
        let language = config.text_or("language", "")?;
        let blank = if config.flag_or("add_blank", true)? { vec![BLANK] } else { Vec::new() };
        let read = Self {
            ids,
            around: [blank.clone(), blank, Vec::new()],
            normalize: config.flag_or("normalize", true)? && !phonemes,
            decompose: false,
            language: (!language.is_empty()).then(|| language.to_owned()),
            phonemes: phonemes.then(|| PHONEMIZED.to_owned()),
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
            _ if self.decompose => decomposed(text),
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
        let [before, behind, last] = &self.around;
        let letters = spoken.chars().filter_map(|c| self.ids.get(&c));
        let letters = letters.flat_map(|ids| ids.iter().chain(behind));
        before.iter().chain(letters).chain(last).copied().collect()
    }

    /// Whether the voice knows a letter.
    pub fn knows(&self, letter: char) -> bool {
        self.ids.contains_key(&letter)
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
        let ids = "-abI \u{163}".chars().zip((0..).map(|id| vec![id])).collect();
        let around = [vec![0], vec![0], Vec::new()];
        let (language, phonemes, decompose) = (None, None, false);
        let usual = Letters { ids, around, normalize: true, decompose, language, phonemes };
        assert_eq!(usual.spoken(" Ab, I -"), Ok("ab I -".into()));
        assert_eq!(usual.ids("ab"), [0, 1, 0, 2, 0]);
        assert_eq!(usual.spoken("a4 \u{436}\u{436}x!"), Err("4\u{436}x".into()));
        assert_eq!(usual.spoken("...!"), Ok(String::new()));
        let plain = Letters { around: Default::default(), normalize: false, ..usual.clone() };
        assert_eq!((plain.spoken("ab"), plain.ids("ab")), (Ok("ab".into()), vec![1, 2]));
        assert_eq!(plain.spoken("A,b"), Err("A,".into()));
        let romanian = Letters { language: Some("ron".into()), ..usual };
        assert_eq!(romanian.spoken("a\u{21b}"), Ok("a\u{163}".into()));
    }
}
