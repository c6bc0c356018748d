//! A published voice that runs: a text as speech, sentence by sentence.
//!
//! ```text
//! sentence ──letters, or phonemes by espeak-ng──▶ ids ──Vits, noise of a seed──▶ samples
//! ```

use std::time::Instant;

use sensorium_media::phonemes::Espeak;
use sensorium_nn::prelude::{Pack, pack};
use sensorium_pretrained::families::vits::VitsParts;

use crate::TextToSpeech;
use crate::error::{Error, Result};
use crate::sentences::{sentences, shown};
use crate::speech::{SpeakOptions, Spoken};

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
    fn sentences<'a>(&self, text: &'a str, phonemes: bool) -> Result<Vec<(&'a str, String)>> {
        let letters = &self.parts.letters;
        let espeak = match &letters.phonemes {
            Some(voice) if !phonemes => Some(Espeak::open(voice)?),
            None if phonemes => return Err(Error::Phonemes),
            _ => None,
        };
        let spoken = |text: &'a str| {
            let written = match &espeak {
                Some(espeak) => espeak.phonemes(text, |mark| letters.knows(mark))?,
                None => text.to_owned(),
            };
            let unknown = |letters| Error::Letters { letters, text: shown(text) };
            Ok((text, letters.spoken(&written).map_err(unknown)?))
        };
        let all = sentences(text, LONGEST).into_iter().map(spoken).collect::<Result<Vec<_>>>()?;
        let all: Vec<_> = all.into_iter().filter(|(_, letters)| !letters.is_empty()).collect();
        match all.is_empty() {
            true => Err(Error::NoLetters { text: shown(text) }),
            false => Ok(all),
        }
    }
}

impl TextToSpeech for VitsModel {
    fn voices(&self) -> &[String] {
        &self.parts.manner.voices
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        let speed = f64::from(options.checked_speed()?);
        options.own_voices()?;
        let (parts, manner) = (&self.parts, &self.parts.manner);
        let number = options.voice_of(&manner.voices)?;
        let voice = parts.config.speakers.map(|_| number as u32);
        let sentences = self.sentences(text, options.phonemes)?;
        let mut spoken = Spoken::new(manner.sampling_rate, manner.voices[number].clone());
        let (all, speed) = (sentences.len(), manner.speaking_rate * speed);
        for (i, (text, letters)) in sentences.into_iter().enumerate() {
            let begun = Instant::now();
            let (ids, seed) = (parts.letters.ids(&letters), options.seed.wrapping_add(i as u64));
            let samples = parts.model.speak(&ids, voice, manner.noise, speed, seed);
            let samples = samples.ok_or(Error::NoSpectrogram)?;
            spoken.talk += begun.elapsed().as_secs_f64();
            spoken.add(text.to_owned(), letters.chars().map(String::from).collect(), samples);
            progress(i + 1, all);
        }
        Ok(spoken)
    }
}
