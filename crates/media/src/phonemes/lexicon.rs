//! Words to phonemes: a lexicon of what the rules of spelling do not tell, and those rules.
//!
//! Rules from the smallest context of a letter that tells how it is said: van den Bosch and Daelemans 1993,
//! <https://aclanthology.org/E93-1007>. `reference/lexicon.py` makes the file.

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

use super::{PAUSE, PHONEMES};

/// The contexts of a letter, the largest first: letters to its left and to its right.
const CONTEXTS: [(usize, usize); 9] =
    [(4, 4), (3, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0)];
/// Most letters of a context on either side.
const REACH: usize = 4;

static ENGLISH: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut text = String::new();
    // A file of the program: a test reads it.
    let _ = GzDecoder::new(&include_bytes!("english.txt.gz")[..]).read_to_string(&mut text);
    Lexicon::new(&text)
});

type Phonemes = Box<[&'static str]>;

#[derive(Default)]
struct Lexicon {
    words: HashMap<String, Phonemes>,
    /// By what stands to the left, the letter, and what stands to the right.
    rules: HashMap<(String, String, String), Phonemes>,
}

impl Lexicon {
    fn new(text: &str) -> Self {
        let mut lexicon = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                [word, phonemes] => {
                    lexicon.words.insert(word.to_owned(), known(phonemes));
                }
                [left, letter, right, phonemes] => {
                    let key = (left.to_owned(), letter.to_owned(), right.to_owned());
                    lexicon.rules.insert(key, known(phonemes));
                }
                _ => {}
            }
        }
        lexicon
    }

    fn phonemes(&self, word: &str) -> Vec<&'static str> {
        if let Some(phonemes) = self.words.get(word) {
            return phonemes.to_vec();
        }
        match word.rsplit_once('\'') {
            Some((stem, ending)) => self.with_ending(stem, ending),
            None => self.spelt(word),
        }
    }

    /// A word before an apostrophe, and what is behind that.
    fn with_ending(&self, stem: &str, ending: &str) -> Vec<&'static str> {
        let mut phonemes = self.phonemes(stem);
        match (ending, phonemes.last()) {
            ("s", Some(&("s" | "z" | "sh" | "zh" | "ch" | "jh"))) => phonemes.extend(["ax", "z"]),
            ("s", Some(&("p" | "t" | "k" | "f" | "th"))) => phonemes.push("s"),
            ("s", _) => phonemes.push("z"),
            ("t", _) => phonemes.push("t"),
            ("d", _) => phonemes.push("d"),
            ("m", _) => phonemes.push("m"),
            ("ll", _) => phonemes.extend(["ax", "l"]),
            ("re", _) => phonemes.push("er"),
            ("ve", _) => phonemes.extend(["ax", "v"]),
            _ => phonemes.extend(self.spelt(ending)),
        }
        phonemes
    }

    /// By the rules.
    fn spelt(&self, word: &str) -> Vec<&'static str> {
        let ends = "#".repeat(REACH);
        let letters = format!("{ends}{word}{ends}");
        let rule = |at: usize| {
            let key = |(left, right): (usize, usize)| {
                let part = |range: std::ops::Range<usize>| {
                    letters.get(range).unwrap_or_default().to_owned()
                };
                (part(at - left..at), part(at..at + 1), part(at + 1..at + 1 + right))
            };
            CONTEXTS.into_iter().find_map(|sizes| self.rules.get(&key(sizes)))
        };
        (REACH..REACH + word.len())
            .filter_map(rule)
            .flat_map(|phonemes| phonemes.to_vec())
            .collect()
    }
}

fn known(phonemes: &str) -> Phonemes {
    let known = |name: &str| PHONEMES.into_iter().find(|known| *known == name);
    phonemes.split(' ').filter_map(known).collect()
}

/// What words sound like one by one.
pub fn phonemes(words: &[String]) -> Vec<&'static str> {
    words.iter().flat_map(|word| ENGLISH.phonemes(word)).collect()
}

/// Whether a phoneme is a vowel.
fn is_vowel(phoneme: &str) -> bool {
    phoneme != PAUSE && phoneme.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// "the" before a vowel.
pub fn join(phonemes: &mut [&'static str]) {
    for at in 2..phonemes.len() {
        if phonemes[at - 2..at] == ["dh", "ax"] && is_vowel(phonemes[at]) {
            phonemes[at - 1] = "iy";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        assert!(ENGLISH.rules.len() > 1000 && ENGLISH.words.len() > 1000);
        for letter in 'a'..='z' {
            let key = (String::new(), letter.to_string(), String::new());
            assert!(ENGLISH.rules.contains_key(&key), "{letter}");
        }
        assert!(ENGLISH.words.values().all(|phonemes| !phonemes.is_empty()));
    }

    #[test]
    fn endings_are_said_as_what_is_before_them_asks() {
        for (word, want) in [
            ("circle's", "s er k ax l z"),
            ("cat's", "k ae t s"),
            ("bus's", "b ah s ax z"),
            ("don't", "d ow n t"),
        ] {
            assert_eq!(ENGLISH.phonemes(word).join(" "), want, "{word}");
        }
    }
}
