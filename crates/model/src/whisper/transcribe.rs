//! Long sounds, window by window.

use std::time::Instant;

use sensorium_backbone::{Heard, Sampler, Sampling};
use sensorium_flow::Hidden;
use sensorium_media::mel::{HOP, Mel, RATE};
use sensorium_media::{HubTokenizer, Sound};
use sensorium_nn::params::read;

use super::segments::cut;
use super::{Rules, Segment, Task, Whisper, WhisperConfig, WhisperError};

/// Windows that are probably silent and were written down without conviction count as silent
/// (Radford et al. 2022, section 4.5).
const NO_SPEECH: f64 = 0.6;
/// Mean logarithm of the tokens' probabilities below which there is no conviction.
const CONVICTION: f64 = -1.0;

type Result<T> = std::result::Result<T, WhisperError>;

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct Transcriber {
    /// Its shape.
    pub config: WhisperConfig,
    /// Ids with a meaning.
    pub rules: Rules,
    /// Ids to text.
    pub tokenizer: HubTokenizer,
    pub(crate) model: Whisper,
}

/// How a sound is to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Code of the language, such as `en`; heard if not given.
    pub language: Option<String>,
    /// What is written down.
    pub task: Task,
    /// Whether segments have times. Those of sounds longer than a window always do.
    pub timestamps: bool,
}

/// What was said, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// All of it.
    pub text: String,
    /// Stretches of it.
    pub segments: Vec<Segment>,
    /// Code of the language.
    pub language: String,
    /// Length of the sound in seconds.
    pub duration: f64,
    /// Seconds of the spectrogram.
    pub mel: f64,
    /// Seconds of the encoder.
    pub encode: f64,
    /// Seconds of the decoder.
    pub decode: f64,
}

/// One window's tokens.
struct Said {
    /// Without the end.
    tokens: Vec<u32>,
    silent: bool,
}

impl Transcriber {
    /// Writes a sound down; `progress` sees how many of how many seconds are done.
    ///
    /// # Errors
    /// The model does not know the language or the task, or computes no numbers.
    pub fn transcribe(
        &self,
        sound: Sound,
        options: &Options,
        mut progress: impl FnMut(f64, f64),
    ) -> Result<Transcript> {
        let asked =
            options.language.as_deref().map(|code| self.rules.language(code)).transpose()?;
        // Refused before anything is heard.
        self.rules.prompt(None, options.task, false)?;
        let begun = Instant::now();
        let samples = sound.at_rate(RATE).samples;
        let duration = samples.len() as f64 / f64::from(RATE);
        let mel = Mel::new(&samples, self.config.encoder.bands);
        let mut job = Job {
            whole: self,
            timestamps: options.timestamps || samples.len() > self.config.frames() * HOP,
            transcript: Transcript {
                text: String::new(),
                segments: Vec::new(),
                language: options.language.as_deref().unwrap_or("en").to_lowercase(),
                duration,
                mel: begun.elapsed().as_secs_f64(),
                encode: 0.0,
                decode: 0.0,
            },
        };
        job.run(&mel, samples.len().div_ceil(HOP), options.task, asked, &mut progress)?;
        Ok(job.transcript)
    }

    /// The likeliest tokens of one window of the spectrogram, `[bands, frames]` row-major, without
    /// the end.
    ///
    /// # Errors
    /// The model computes no numbers.
    pub fn window(&self, mel: Vec<f32>, prompt: &[u32], timestamps: bool) -> Result<Vec<u32>> {
        let heard = self.model.hear(mel, self.config.encoder.bands);
        Ok(self.say(prompt, heard, timestamps, 0)?.tokens)
    }

    /// Code and id of the language of one window; nothing in a model of English.
    ///
    /// # Errors
    /// The model computes no numbers.
    pub fn detect(&self, mel: Vec<f32>) -> Result<Option<(String, u32)>> {
        self.language(self.model.hear(mel, self.config.encoder.bands))
    }

    fn language(&self, mut heard: Heard) -> Result<Option<(String, u32)>> {
        if self.rules.languages.is_empty() {
            return Ok(None);
        }
        let [logits, _] = self.next(&[self.rules.start], &mut heard);
        finite(&logits, 0)?;
        Ok(self.rules.heard_language(&logits).map(|(code, id)| (code.to_owned(), id)))
    }

    /// The likeliest tokens, one after the other.
    fn say(
        &self,
        prompt: &[u32],
        mut heard: Heard,
        timestamps: bool,
        first: usize,
    ) -> Result<Said> {
        let room = self.config.decoder.context.saturating_sub(prompt.len());
        let mut sampler = Sampler::new(Sampling::default());
        let [mut logits, opening] = self.next(prompt, &mut heard);
        finite(&logits, first)?;
        let no_speech = if opening.is_empty() { &logits } else { &opening };
        let no_speech = probability(no_speech, self.rules.no_speech()).exp();
        let (mut tokens, mut conviction) = (Vec::new(), 0.0);
        while tokens.len() < room {
            self.rules.apply(&mut logits, &tokens, timestamps);
            let best = sampler.pick(&logits);
            conviction += probability(&logits, best);
            if best == self.rules.end {
                break;
            }
            tokens.push(best);
            if tokens.len() < room {
                [logits, _] = self.next(&[best], &mut heard);
                finite(&logits, first)?;
            }
        }
        let conviction = conviction / (tokens.len() + 1) as f64;
        let silent = no_speech > NO_SPEECH && conviction < CONVICTION;
        Ok(Said { tokens, silent })
    }

    /// Logits `[V]` after `ids`, and those after the first of them.
    fn next(&self, ids: &[u32], heard: &mut Heard) -> [Vec<f32>; 2] {
        let Hidden(hidden) = self.model.decoder.extend(ids, [1, ids.len()], heard);
        let [_, t, d] = hidden.dims();
        let row = |at| {
            let row = hidden.clone().narrow(1, at, 1).reshape([1, d]);
            read(self.model.decoder.logits(row))
        };
        [row(t - 1), if t > 1 { row(0) } else { Vec::new() }]
    }
}

/// A sound that is being written down.
struct Job<'a> {
    whole: &'a Transcriber,
    timestamps: bool,
    transcript: Transcript,
}

impl Job<'_> {
    fn run(
        &mut self,
        mel: &Mel,
        frames: usize,
        task: Task,
        asked: Option<Option<u32>>,
        progress: &mut impl FnMut(f64, f64),
    ) -> Result<()> {
        let rules = &self.whole.rules;
        let window = self.whole.config.frames();
        let (mut first, mut prompt, mut spoken) = (0, None, Vec::new());
        while first < frames {
            let begun = Instant::now();
            let heard = self.whole.model.hear(mel.window(first, window), mel.bands);
            self.transcript.encode += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let prompt = match &prompt {
                Some(prompt) => prompt,
                None => {
                    let language = match asked {
                        Some(language) => language,
                        None => self.hear_language(&heard)?,
                    };
                    prompt.insert(rules.prompt(language, task, self.timestamps)?)
                }
            };
            let said = self.whole.say(prompt, heard, self.timestamps, first)?;
            let count = window.min(frames - first);
            first += if said.silent { count } else { self.keep(&said, first, count, &mut spoken)? };
            self.transcript.decode += begun.elapsed().as_secs_f64();
            let seconds = |frames: usize| (frames * HOP) as f64 / f64::from(RATE);
            progress(seconds(first.min(frames)), seconds(frames));
        }
        self.transcript.text = self.text(&spoken)?;
        Ok(())
    }

    /// The language of the first window.
    fn hear_language(&mut self, heard: &Heard) -> Result<Option<u32>> {
        let found = self.whole.language(heard.clone())?;
        Ok(found.map(|(code, id)| {
            self.transcript.language = code;
            id
        }))
    }

    /// Adds a window's segments; says how many frames further the next window begins.
    fn keep(
        &mut self,
        said: &Said,
        first: usize,
        frames: usize,
        spoken: &mut Vec<u32>,
    ) -> Result<usize> {
        let (stretches, step) = cut(&self.whole.rules, &said.tokens, first, frames);
        for stretch in stretches {
            let text = self.text(&stretch.tokens)?;
            spoken.extend_from_slice(&stretch.tokens);
            // Two times with nothing between them.
            if text.is_empty() {
                continue;
            }
            let end = stretch.end.min(self.transcript.duration).max(stretch.start);
            let segment = Segment { start: stretch.start, end, text, tokens: stretch.tokens };
            self.transcript.segments.push(segment);
        }
        Ok(step)
    }

    /// The text of the tokens that are text.
    fn text(&self, tokens: &[u32]) -> Result<String> {
        let words = tokens.iter().copied().filter(|&id| id < self.whole.rules.end);
        let text = self.whole.tokenizer.decode(&words.collect::<Vec<_>>(), false)?;
        Ok(text.trim().to_owned())
    }
}

fn finite(logits: &[f32], first: usize) -> Result<()> {
    if logits.iter().all(|logit| logit.is_finite()) {
        return Ok(());
    }
    Err(WhisperError::NotFinite { seconds: (first * HOP) as f64 / f64::from(RATE) })
}

/// Logarithm of the probability of `id`.
fn probability(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
    f64::from(logit - most) - sum.ln()
}
