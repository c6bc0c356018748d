//! SpeechT5 that runs: a text as speech, sentence by sentence, in the voice of a vector.
//!
//! ```text
//! sentence ──characters──▶ ids ──SpeechT5, dropout of a seed──▶ log-mel [1, F, bands] ──HiFi-GAN──▶ samples
//! ```

use std::time::Instant;

use sensorium_nn::params::read;
use sensorium_nn::prelude::{Pack, pack};
use sensorium_nn::rng::Rng;
use sensorium_pretrained::families::speecht5::SpeechT5Parts;

use crate::TextToSpeech;
use crate::error::{Error, Result};
use crate::sentences::{sentences, shown};
use crate::speech::{SpeakOptions, Spoken};

/// A loaded model and all that is needed to speak with it.
#[derive(Debug)]
pub struct SpeechT5Model {
    /// Shape, characters, model, vocoder.
    pub parts: SpeechT5Parts,
}

/// What stands for a character that the model does not know.
const UNKNOWN: &str = "<unk>";

impl SpeechT5Model {
    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.parts.model.pack_as(format);
        self.parts.vocoder.pack_as(format);
    }

    /// The name and the vector of the voice that is asked for.
    fn speaker<'a>(&'a self, options: &'a SpeakOptions) -> Result<(String, &'a [f32])> {
        let (parts, expected) = (&self.parts, self.parts.config.speaker);
        let lacks = |got: String| Error::Speaker { expected, got };
        match &options.speaker {
            Some(vector) if vector.len() != expected || vector.iter().any(|x| !x.is_finite()) => {
                Err(lacks(format!("{} numbers", vector.len())))
            }
            Some(vector) => Ok((options.voice.clone().unwrap_or_default(), vector)),
            None if parts.voices.is_empty() => Err(lacks("none".into())),
            None => {
                let number = options.voice_of(&parts.voices)?;
                Ok((parts.voices[number].clone(), &parts.speakers[number]))
            }
        }
    }

    /// Ids of a sentence, all of whose characters the model knows.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let (tokenizer, limit) = (&self.parts.tokenizer, self.parts.config.max_text);
        let ids = tokenizer.encode_within(text, true, usize::MAX)?;
        if ids.len() > limit {
            return Err(Error::TooLong { limit, got: ids.len() });
        }
        let unknown = tokenizer.id(UNKNOWN);
        let lacks = |ids: &[u32]| ids.iter().any(|id| Some(*id) == unknown);
        if !lacks(&ids) {
            return Ok(ids);
        }
        let mut letters = String::new();
        for c in text.chars().filter(|c| !c.is_whitespace()) {
            let ids = tokenizer.encode_within(&c.to_string(), false, usize::MAX)?;
            if lacks(&ids) && !letters.contains(c) {
                letters.push(c);
            }
        }
        Err(Error::Letters { letters, text: shown(text) })
    }

    /// Ids of each sentence.
    fn sentences<'a>(&self, text: &'a str) -> Result<Vec<(&'a str, Vec<u32>)>> {
        let longest = self.parts.config.max_text;
        // Two more than its letters: the space in front, and the end.
        let sentences = sentences(text, longest.saturating_sub(2).max(1)).into_iter();
        let ids = |text: &'a str| Ok((text, self.ids(text)?));
        let all = sentences.map(ids).collect::<Result<Vec<_>>>()?;
        match all.is_empty() {
            true => Err(Error::NoLetters { text: shown(text) }),
            false => Ok(all),
        }
    }
}

impl TextToSpeech for SpeechT5Model {
    fn voices(&self) -> &[String] {
        &self.parts.voices
    }

    fn speak(
        &self,
        text: &str,
        options: &SpeakOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Spoken> {
        if options.speed != 1.0 {
            return Err(Error::OwnSpeed { got: options.speed });
        }
        if options.phonemes {
            return Err(Error::Phonemes);
        }
        let parts = &self.parts;
        let (voice, speaker) = self.speaker(options)?;
        let sentences = self.sentences(text)?;
        let (all, mut spoken) = (sentences.len(), Spoken::new(parts.sampling_rate, voice));
        for (i, (text, ids)) in sentences.into_iter().enumerate() {
            let begun = Instant::now();
            let mut rng = Rng::new(options.seed.wrapping_add(i as u64));
            let share = parts.config.prenet_dropout;
            let mut kept = |n| (0..n).map(|_| rng.uniform() < share).collect();
            let made = parts.model.frames(&ids, speaker, &mut kept);
            if !read(made.log_mel.clone()).iter().all(|x| x.is_finite()) {
                return Err(Error::NoSpectrogram);
            }
            spoken.talk += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let samples = parts.vocoder.samples(made.log_mel);
            spoken.vocode += begun.elapsed().as_secs_f64();
            if !made.ended {
                let seconds = samples.len() as f64 / f64::from(parts.sampling_rate);
                return Err(Error::NoEnd { seconds, text: shown(text) });
            }
            spoken.add(text.to_owned(), text.chars().map(String::from).collect(), samples);
            progress(i + 1, all);
        }
        Ok(spoken)
    }
}
