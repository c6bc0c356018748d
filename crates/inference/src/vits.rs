//! A published voice that runs: a text as speech, sentence by sentence.
//!
//! ```text
//! sentence ──letters──▶ ids ──Vits, noise of a seed──▶ samples
//! ```

use std::time::Instant;

use sensorium_nn::prelude::{Pack, pack};
use sensorium_pretrained::families::vits::VitsParts;

use crate::TextToSpeech;
use crate::error::{Error, Result};
use crate::speech::{SPEEDS, SpeakOptions, Spoken, SpokenSentence};

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct VitsModel {
    /// Shape, letters, model.
    pub parts: VitsParts,
}

/// Letters that are spoken at once: the work grows with the square of them.
const LONGEST: usize = 400;

impl VitsModel {
    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.parts.model.pack_as(format);
    }

    /// Letters of each sentence that says anything.
    fn sentences<'a>(&self, text: &'a str) -> Result<Vec<(&'a str, String)>> {
        let spoken = |text: &'a str| match self.parts.letters.spoken(text) {
            Ok(letters) => Ok((text, letters)),
            Err(letters) => Err(Error::Letters { letters, text: shown(text) }),
        };
        let all = sentences(text).into_iter().map(spoken).collect::<Result<Vec<_>>>()?;
        let all: Vec<_> = all.into_iter().filter(|(_, letters)| !letters.is_empty()).collect();
        match all.is_empty() {
            true => Err(Error::NoLetters { text: shown(text) }),
            false => Ok(all),
        }
    }

    /// The voice's number; the first without a name.
    fn voice(&self, name: Option<&String>) -> Result<usize> {
        let voices = &self.parts.voices;
        let Some(name) = name else { return Ok(0) };
        let unknown = || Error::Voice { got: name.clone(), known: voices.clone() };
        voices.iter().position(|known| known == name).ok_or_else(unknown)
    }
}

impl TextToSpeech for VitsModel {
    fn voices(&self) -> &[String] {
        &self.parts.voices
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        let [least, most] = SPEEDS;
        if !(least..=most).contains(&options.speed) {
            return Err(Error::Speed { got: options.speed });
        }
        let parts = &self.parts;
        let number = self.voice(options.voice.as_ref())?;
        let voice = parts.config.speakers.map(|_| number as u32);
        let sentences = self.sentences(text)?;
        let mut spoken = Spoken {
            samples: Vec::new(),
            rate: parts.sampling_rate,
            voice: parts.voices[number].clone(),
            sentences: Vec::with_capacity(sentences.len()),
            talk: 0.0,
            vocode: 0.0,
        };
        let (all, speed) = (sentences.len(), parts.speaking_rate * f64::from(options.speed));
        for (i, (text, letters)) in sentences.into_iter().enumerate() {
            let (begun, start) = (Instant::now(), spoken.seconds());
            let (ids, seed) = (parts.letters.ids(&letters), options.seed.wrapping_add(i as u64));
            let samples = parts.model.speak(&ids, voice, parts.noise, speed, seed);
            spoken.samples.extend(samples.ok_or(Error::NoSpectrogram)?);
            spoken.talk += begun.elapsed().as_secs_f64();
            let (text, end) = (text.to_owned(), spoken.seconds());
            let phonemes = letters.chars().map(String::from).collect();
            spoken.sentences.push(SpokenSentence { text, phonemes, start, end });
            progress(i + 1, all);
        }
        Ok(spoken)
    }
}

/// The sentences of a text; of one that is too long, parts of it, between words where there are any.
fn sentences(text: &str) -> Vec<&str> {
    let ends = |c: char| matches!(c, '.' | '!' | '?' | '\u{2026}' | '\u{3002}' | '\n');
    let sentences = text.split_inclusive(ends).map(str::trim).filter(|text| !text.is_empty());
    sentences.flat_map(parted).collect()
}

fn parted(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((end, _)) = text.char_indices().nth(LONGEST) {
        let end = text[..end].rfind(char::is_whitespace).filter(|&at| at > 0).unwrap_or(end);
        parts.push(text[..end].trim());
        text = text[end..].trim();
    }
    parts.push(text);
    parts
}

/// The beginning of a text, for an error.
fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spoken_sentence_by_sentence_and_nothing_is_lost() {
        assert_eq!(sentences("One. Two?  \n three"), ["One.", "Two?", "three"]);
        assert_eq!(sentences(" \n "), [""; 0]);
        let long = "a word ".repeat(300);
        let parts = sentences(&long);
        assert!(parts.len() > 4 && parts.iter().all(|part| part.chars().count() <= LONGEST));
        assert_eq!(parts.join(" "), long.trim());
        let unbroken = "x".repeat(1000);
        assert_eq!(sentences(&unbroken).concat(), unbroken);
    }
}
