//! English text to phonemes, a sentence at a time; other languages' by another program ([`Espeak`]).
//!
//! ```text
//! text ──sentences──▶ tokens ──numbers, signs, abbreviations──▶ words ──lexicon, rules──▶ phonemes
//! ```
//! Phonemes are those of flite's American English, in lower case; [`PAUSE`] stands at both ends of a sentence and
//! where punctuation parts it.

mod espeak;
mod lexicon;
mod words;

pub use espeak::Espeak;

use crate::error::{Error, Result};

/// What is not said.
pub const PAUSE: &str = "pau";

/// Every phoneme that texts are made of, in a fixed order.
pub const PHONEMES: [&str; 41] = [
    PAUSE, "aa", "ae", "ah", "ao", "aw", "ax", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f",
    "g", "hh", "ih", "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t",
    "th", "uh", "uw", "v", "w", "y", "z", "zh",
];

/// The most phonemes of a sentence; a longer one is parted between words.
const LONGEST: usize = 300;

/// A sentence, and how it is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// As it is written.
    pub text: String,
    /// Of [`PHONEMES`].
    pub phonemes: Vec<&'static str>,
}

/// The sentences of a text, at least one.
///
/// # Errors
/// No word in it; characters of a script that the lexicon is not in.
pub fn sentences(text: &str) -> Result<Vec<Sentence>> {
    let foreign = words::foreign(text);
    if !foreign.is_empty() {
        return Err(Error::UnknownScript { characters: foreign });
    }
    let mut sentences = Vec::new();
    for text in words::sentences(text) {
        sentences.extend(said(text));
    }
    match sentences.is_empty() {
        true => Err(Error::NoWords { got: text.chars().take(40).collect() }),
        false => Ok(sentences),
    }
}

/// Letters apart from their signs (Unicode's NFD), as some voices read phonemes.
pub fn decomposed(text: &str) -> String {
    let mut text = tokenizers::NormalizedString::from(text);
    text.nfd();
    text.get().to_owned()
}

/// A sentence, in parts where it is too long.
fn said(text: &str) -> Vec<Sentence> {
    let mut parts = vec![Sentence { text: String::new(), phonemes: vec![PAUSE] }];
    for token in text.split_whitespace() {
        let phonemes = lexicon::phonemes(&words::words(token));
        let mut at = parts.len() - 1;
        if parts[at].phonemes.len() + phonemes.len() >= LONGEST && parts[at].phonemes.len() > 1 {
            parts.push(Sentence { text: String::new(), phonemes: vec![PAUSE] });
            at += 1;
        }
        let Sentence { text, phonemes: before } = &mut parts[at];
        let gap = if text.is_empty() { "" } else { " " };
        text.push_str(gap);
        text.push_str(token);
        before.extend(phonemes);
        if words::pauses(token) && before.last() != Some(&PAUSE) {
            before.push(PAUSE);
        }
    }
    for part in &mut parts {
        lexicon::join(&mut part.phonemes);
        if part.phonemes.last() != Some(&PAUSE) {
            part.phonemes.push(PAUSE);
        }
    }
    parts.retain(|part| part.phonemes.len() > 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phonemes(text: &str) -> String {
        let all = sentences(text).expect("it can be said");
        let said = all.iter().map(|sentence| sentence.phonemes.join(" "));
        said.collect::<Vec<_>>().join(" | ")
    }

    /// What flite says of them.
    #[test]
    fn sentences_are_said_as_the_teacher_says_them() {
        for (text, want) in [
            ("Hello world.", "pau hh ax l ow w er l d pau"),
            (
                "A red circle, and twelve squares!",
                "pau ax r eh d s er k ax l pau ae n d t w eh l v s k w eh r z pau",
            ),
            ("the apple, the dog", "pau dh iy ae p ax l pau dh ax d ao g pau"),
            ("i'm here", "pau ay m hh ih r pau"),
            ("One. Two?", "pau w ah n pau | pau t uw pau"),
        ] {
            assert_eq!(phonemes(text), want, "{text}");
        }
    }

    #[test]
    fn every_word_is_said_in_known_phonemes() {
        for text in
            ["zxqv wqrtp", "sensorium", "O'Brien's", "caf\u{e9} na\u{ef}ve", "x", "1e9", "a-b/c"]
        {
            for sentence in sentences(text).expect("it can be said") {
                assert!(sentence.phonemes.len() > 2, "{text}");
                assert!(sentence.phonemes.iter().all(|p| PHONEMES.contains(p)), "{sentence:?}");
            }
        }
    }

    #[test]
    fn long_sentences_are_parted_and_nothing_is_lost() {
        let text = "a red circle ".repeat(200);
        let parts = sentences(&text).expect("it can be said");
        assert!(parts.len() > 3 && parts.iter().all(|part| part.phonemes.len() <= LONGEST + 1));
        let words: usize = parts.iter().map(|part| part.text.split(' ').count()).sum();
        assert_eq!(words, 600);
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        for (text, says) in [
            ("", "got nothing"),
            (" \n", "got nothing"),
            ("... !?", "... !?"),
            ("\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} you", "\u{43f}\u{440}\u{438}"),
            ("\u{4f60}\u{597d}", "\u{4f60}\u{597d}"),
        ] {
            let error = sentences(text).expect_err("it cannot be said").to_string();
            assert!(error.contains(says) && error.contains("hint:"), "{text}: {error}");
        }
    }
}
