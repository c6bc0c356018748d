//! A text as speech, sentence by sentence.
//!
//! ```text
//! sentence ──lexicon──▶ phonemes ──Talker──▶ log-mel [F, 80] ──Vocoder, or Griffin-Lim──▶ 256 F samples
//! ```

use std::sync::Arc;
use std::time::Instant;

use sensorium_generator::audio::{self, talker};
use sensorium_media::phonemes::{self, Sentence};
use sensorium_media::stft::{BANDS, RATE, Stft};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::talker::Voices;

use crate::TextToSpeech;
use crate::error::{Error, Result};

/// How a text is spoken.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakOptions {
    /// The voice; without it, the model's first.
    pub voice: Option<String>,
    /// How many times faster than usual, [`SPEEDS`].
    pub speed: f32,
    /// Seed of what a model leaves to chance.
    pub seed: u64,
    /// The text is written in the phonemes that the model reads.
    pub phonemes: bool,
    /// The vector of a voice that the model was not published with, where it speaks in any.
    pub speaker: Option<Vec<f32>>,
    /// What the model thought while it said the text, where its voice reads that.
    pub thoughts: Option<Thoughts>,
}

/// What a model thought of a prompt and of its own answer, as its voice reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Thoughts {
    /// Of each token of the prompt, then of each of the answer that was read, row-major `[T, E]`.
    pub rows: Vec<f32>,
    /// Where the prompt's tokens stand in time, height and width.
    pub positions: Arc<[[u32; 3]]>,
}

/// The slowest and the fastest speed.
pub const SPEEDS: [f32; 2] = [0.25, 4.0];

impl SpeakOptions {
    /// The speed, if it is one at which anybody speaks.
    pub(crate) fn checked_speed(&self) -> Result<f32> {
        let [least, most] = SPEEDS;
        match (least..=most).contains(&self.speed) {
            true => Ok(self.speed),
            false => Err(Error::Speed { got: self.speed }),
        }
    }

    /// The number of the voice among those that are `known`; the first without a name.
    pub(crate) fn voice_of(&self, known: &[String]) -> Result<usize> {
        let Some(name) = &self.voice else { return Ok(0) };
        let unknown = || Error::Voice { got: name.clone(), known: known.to_vec() };
        known.iter().position(|known| known == name).ok_or_else(unknown)
    }

    /// That no vector of a voice is given to a model that has its own.
    pub(crate) fn own_voices(&self) -> Result<()> {
        if self.speaker.is_some() { Err(Error::OwnVoices) } else { Ok(()) }
    }
}

impl Default for SpeakOptions {
    fn default() -> Self {
        let (speaker, thoughts) = (None, None);
        Self { voice: None, speed: 1.0, seed: 0, phonemes: false, speaker, thoughts }
    }
}

/// A text that was spoken.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Samples of one channel, -1 to 1.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub rate: u32,
    /// The voice.
    pub voice: String,
    /// Its sentences.
    pub sentences: Vec<SpokenSentence>,
    /// Seconds that spectrograms took.
    pub talk: f64,
    /// Seconds that samples of them took.
    pub vocode: f64,
}

/// A sentence and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct SpokenSentence {
    /// As it was written.
    pub text: String,
    /// What was said: phonemes, or letters of a model that reads these.
    pub phonemes: Vec<String>,
    /// Second in which it begins.
    pub start: f64,
    /// Second in which it ends.
    pub end: f64,
}

/// Rounds in which phases are found.
const ROUNDS: usize = 60;

impl TextToSpeech for Voices {
    fn voices(&self) -> &[String] {
        &self.config.voices
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        let speed = options.checked_speed()?;
        options.own_voices()?;
        if options.phonemes {
            return Err(Error::Phonemes);
        }
        let named = options.voice.as_ref().or(self.config.voices.first());
        let unknown = || Error::Voice {
            got: named.cloned().unwrap_or_default(),
            known: self.config.voices.clone(),
        };
        let voice = named.and_then(|name| self.config.voice(name)).ok_or_else(unknown)?;
        let sentences = phonemes::sentences(text)?;
        let (stft, all) = (Stft::default(), sentences.len());
        let mut spoken = Spoken::new(RATE, self.config.voices[voice as usize].clone());
        for (done, Sentence { text, phonemes }) in sentences.into_iter().enumerate() {
            let begun = Instant::now();
            let mel = spectrogram(self, &phonemes, voice, speed)?;
            spoken.talk += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let samples = samples(self, &mel, &stft);
            spoken.vocode += begun.elapsed().as_secs_f64();
            spoken.add(text, phonemes.into_iter().map(str::to_owned).collect(), samples);
            progress(done + 1, all);
        }
        Ok(spoken)
    }
}

impl Spoken {
    /// Of a voice that has said nothing yet.
    pub(crate) fn new(rate: u32, voice: String) -> Self {
        let (samples, sentences) = (Vec::new(), Vec::new());
        Self { samples, rate, voice, sentences, talk: 0.0, vocode: 0.0 }
    }

    /// Adds a sentence, what was said of it, and its samples.
    pub(crate) fn add(&mut self, text: String, phonemes: Vec<String>, samples: Vec<f32>) {
        let start = self.seconds();
        self.samples.extend(samples);
        let end = self.seconds();
        self.sentences.push(SpokenSentence { text, phonemes, start, end });
    }

    /// Its length.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

/// Log-mel features `[F, bands]` of a sentence.
fn spectrogram(voices: &Voices, phonemes: &[&str], voice: u32, speed: f32) -> Result<Vec<f32>> {
    let ids: Vec<u32> =
        phonemes.iter().filter_map(|phoneme| voices.config.phoneme(phoneme)).collect();
    let lengths = vec![ids.len()];
    let speech = audio::Speech { phonemes: ids, lengths, voices: vec![voice] };
    let (x, logs) = voices.talker.read(&speech);
    let frames = talker::durations(&read(logs), speed);
    let mel = read(voices.talker.speak(x, &[frames]));
    match mel.iter().all(|x| x.is_finite()) {
        true => Ok(mel),
        false => Err(Error::NoSpectrogram),
    }
}

/// Samples of log-mel features `[F, bands]`.
fn samples(voices: &Voices, mel: &[f32], stft: &Stft) -> Vec<f32> {
    let Some((vocoder, transform)) = &voices.vocoder else { return stft.griffin_lim(mel, ROUNDS) };
    let shape = [1, mel.len() / BANDS, BANDS];
    let mel = TensorData::new(mel.to_vec(), shape);
    read(vocoder.forward(Tensor::from_data(mel, &voices.device), transform))
}
