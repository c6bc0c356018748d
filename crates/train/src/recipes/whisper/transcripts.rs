//! Sounds and their transcripts to what the model hears and says.

use sensorium_data::{Example, Examples, Media};
use sensorium_media::mel::{HOP, Mel, RATE};
use sensorium_media::{Sound, Tokenizer};
use sensorium_model::prompt::IGNORED;
use sensorium_model::whisper::{Task, WhisperError};
use sensorium_pretrained::families::whisper::WhisperParts;

use crate::error::Result;
use crate::model;

/// Languages that are written without spaces: in all others a transcript begins with one.
const UNSPACED: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];

/// Sounds of a step and what is said in them.
pub struct Transcribed {
    /// `[B, bands, frames]`
    pub mel: Vec<f32>,
    /// Bands of the spectrogram.
    pub bands: usize,
    /// `[B, T]`, filled up behind the end.
    pub ids: Vec<u32>,
    /// The token after each; [`IGNORED`] behind the end.
    pub labels: Vec<i32>,
    /// B and T.
    pub shape: [usize; 2],
}

impl Transcribed {
    /// Tokens that are learned.
    pub fn learned(&self) -> usize {
        self.labels.iter().filter(|label| **label != IGNORED).count()
    }
}

/// What an example has not.
pub fn lacks(example: &Example) -> Option<&'static str> {
    let sounds = example.media.iter().filter_map(Media::sound).count();
    match example.text {
        None => Some("transcripts"),
        Some(_) if sounds != 1 => Some("one sound each"),
        Some(_) => None,
    }
}

/// What makes a step's batch.
pub struct Transcripts {
    tokenizer: Tokenizer,
    /// What stands before a transcript, and what ends it.
    prompt: Vec<u32>,
    end: u32,
    /// What its text begins with.
    space: &'static str,
    batch: usize,
    bands: usize,
    frames: usize,
    context: usize,
}

impl Transcripts {
    /// So many a step for a model, in the language with this code.
    ///
    /// # Errors
    /// It does not know the language or the task.
    pub fn new(language: &str, task: Task, batch: usize, parts: &WhisperParts) -> Result<Self> {
        let unknown = |key| {
            move |error: WhisperError| {
                let text = error.to_string();
                let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
                model::config(key, message, hint)
            }
        };
        let WhisperParts { config, rules, tokenizer, .. } = parts;
        let token = rules.language(language).map_err(unknown("language"))?;
        Ok(Self {
            tokenizer: tokenizer.clone(),
            prompt: rules.prompt(token, task, false).map_err(unknown("task"))?,
            end: rules.end,
            space: if UNSPACED.contains(&language) { "" } else { " " },
            batch,
            bands: config.encoder.bands,
            frames: config.frames(),
            context: config.decoder.context,
        })
    }

    /// The batch of a step.
    ///
    /// # Errors
    /// Nearly nothing of a data set can be learned from, or the tokenizer fails.
    pub fn make(&self, examples: &Examples, step: u64) -> Result<Transcribed> {
        let first = step * self.batch as u64;
        let (mut rows, mut mel) = (Vec::new(), Vec::new());
        for index in first..first + self.batch as u64 {
            let example = examples.draw_fitting(index, 1.0, |example| self.fits(example))?;
            let sound = example.media.iter().find_map(Media::sound).cloned();
            let samples = sound.map(|sound| sound.at_rate(RATE).samples).unwrap_or_default();
            mel.extend(Mel::new(&samples, self.bands).window(0, self.frames));
            rows.push(self.tokens(&example.text.unwrap_or_default())?);
        }
        let t = rows.iter().map(Vec::len).max().unwrap_or(1) - 1;
        let (mut ids, mut labels) = (Vec::new(), Vec::new());
        for (row, said) in rows.iter().enumerate() {
            ids.extend(&said[..said.len() - 1]);
            ids.resize((row + 1) * t, self.end);
            labels.extend(said[1..].iter().map(|id| *id as i32));
            labels.resize((row + 1) * t, IGNORED);
        }
        Ok(Transcribed { mel, bands: self.bands, ids, labels, shape: [rows.len(), t] })
    }

    /// Why an example cannot be learned from whole.
    fn fits(&self, example: &Example) -> std::result::Result<(), String> {
        if let Some(lacks) = lacks(example) {
            return Err(format!("it has not {lacks}"));
        }
        let most = (self.frames * HOP) as f64 / f64::from(RATE);
        let seconds = example.media.iter().find_map(Media::sound).map_or(0.0, Sound::seconds);
        if seconds > most {
            return Err(format!("expected a sound of at most {most} s, got {seconds:.1} s"));
        }
        let said = self.tokens(example.text.as_deref().unwrap_or_default());
        let (said, most) = (said.map_err(|error| error.to_string())?.len(), self.context + 1);
        match said > most {
            true => Err(format!("expected a transcript of at most {most} tokens, got {said}")),
            false => Ok(()),
        }
    }

    /// A transcript with all that stands around it.
    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let said = self.tokenizer.encode(&format!("{}{}", self.space, text.trim()))?;
        Ok([&self.prompt[..], &said, &[self.end]].concat())
    }
}
