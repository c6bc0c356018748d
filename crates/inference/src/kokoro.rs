//! Kokoro that runs: phonemes as speech, sentence by sentence.
//!
//! ```text
//! sentence ──letters──▶ ids ──Kokoro, a style of the voice for such a length, noise of a seed──▶ samples
//! ```

use std::time::Instant;

use sensorium_nn::prelude::{Pack, pack};
use sensorium_pretrained::families::kokoro::KokoroParts;

use crate::TextToSpeech;
use crate::error::{Error, Result};
use crate::sentences::{sentences, shown};
use crate::speech::{SpeakOptions, Spoken};

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct KokoroModel {
    /// Shape, phonemes, model, voices.
    pub parts: KokoroParts,
}

/// What stands before a text's phonemes, and behind them.
const EDGE: u32 = 0;

impl KokoroModel {
    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.parts.model.pack_as(format);
    }

    /// Ids of phonemes, those around them apart.
    ///
    /// # Errors
    /// Phonemes that the model does not know, each once.
    pub fn ids(&self, phonemes: &str) -> Result<Vec<u32>> {
        let vocabulary = &self.parts.vocabulary;
        let mut letters = String::new();
        for c in phonemes.chars().filter(|c| !vocabulary.contains_key(c)) {
            if !letters.contains(c) {
                letters.push(c);
            }
        }
        match letters.is_empty() {
            true => Ok(phonemes.chars().filter_map(|c| vocabulary.get(&c).copied()).collect()),
            false => Err(Error::Letters { letters, text: shown(phonemes) }),
        }
    }

    /// The style in which a voice says so many phonemes.
    pub fn style(&self, voice: usize, phonemes: usize) -> &[f32] {
        let styles = &self.parts.styles[voice];
        &styles[phonemes.clamp(1, styles.len()) - 1]
    }

    /// Sentences with their ids, around which the model's edges stand.
    fn sentences<'a>(&self, text: &'a str) -> Result<Vec<(&'a str, Vec<u32>)>> {
        let longest = self.parts.config.albert.positions.saturating_sub(2).max(1);
        let ids = |text: &'a str| Ok((text, self.ids(text)?));
        let all = sentences(text, longest).into_iter().map(ids).collect::<Result<Vec<_>>>()?;
        match all.is_empty() {
            true => Err(Error::NoLetters { text: shown(text) }),
            false => Ok(all),
        }
    }
}

/// Ids with what stands around a text.
pub(crate) fn edged(ids: &[u32]) -> Vec<u32> {
    [&[EDGE][..], ids, &[EDGE]].concat()
}

impl TextToSpeech for KokoroModel {
    fn voices(&self) -> &[String] {
        &self.parts.voices
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        let speed = f64::from(options.checked_speed()?);
        options.own_voices()?;
        if !options.phonemes {
            return Err(Error::NeedsPhonemes);
        }
        let parts = &self.parts;
        let voice = options.voice_of(&parts.voices)?;
        let sentences = self.sentences(text)?;
        let mut spoken = Spoken::new(parts.sampling_rate, parts.voices[voice].clone());
        let all = sentences.len();
        for (i, (text, ids)) in sentences.into_iter().enumerate() {
            let begun = Instant::now();
            let (style, seed) = (self.style(voice, ids.len()), options.seed.wrapping_add(i as u64));
            let samples = parts.model.speak(&edged(&ids), style, speed, seed);
            let samples = samples.ok_or(Error::NoSpectrogram)?;
            spoken.talk += begun.elapsed().as_secs_f64();
            spoken.add(text.to_owned(), text.chars().map(String::from).collect(), samples);
            progress(i + 1, all);
        }
        Ok(spoken)
    }
}
