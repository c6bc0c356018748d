//! Whisper that runs: long sounds, window by window.
//!
//! Radford et al. 2022, <https://arxiv.org/abs/2212.04356>
//!
//! ```text
//! samples ──log-mel──▶ [bands, frames] ──30 s at a time, encoder──▶ features ──hear──▶ keys, values
//! <|startoftranscript|> language task ──decoder──▶ rules ──best──▶ tokens, times ──▶ segments
//! ```

mod fallback;
mod languages;
mod segments;
pub mod subtitles;

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use sensorium_backbone::{CrossCache, Sampling};
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_media::mel::{HOP, RATE};
use sensorium_media::{MediaDecoder, compression_ratio};
use sensorium_nn::params::read;
use sensorium_nn::rng::Rng;

use sensorium_pretrained::families::whisper::WhisperParts;

use crate::SpeechToText;
use crate::error::{Error, Result};
use crate::generate::{Drawing, Drawn};
use crate::spectrogram::Spectrogram;
use segments::cut;

pub use fallback::{Confidence, Fallback};
pub(crate) use languages::code;
pub use segments::{Segment, Word};
pub use sensorium_model::whisper::Task;

/// A loaded model and all that is needed to listen with it.
#[derive(Debug)]
pub struct WhisperModel {
    /// Shape, rules, tokenizer, model.
    pub parts: WhisperParts,
}

/// Opens what was said before.
const BEFORE: &str = "<|startofprev|>";
/// A window that was heard at a higher temperature does not lead the next one.
const LEADING: f32 = 0.5;

/// How a sound is to be written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscribeOptions {
    /// The language's code, such as `en` or `zh-CN`, or its English name; heard if not given.
    pub language: Option<String>,
    /// What is written down.
    pub task: Task,
    /// Whether segments have times. Those of sounds longer than a window always do.
    pub timestamps: bool,
    /// When a window is heard again.
    pub fallback: Fallback,
    /// Whether a window is told what the windows before it said.
    pub condition_on_previous_text: bool,
    /// What the first window is told was said before it: names, a style.
    pub initial_prompt: Option<String>,
    /// Seed of the draws at temperatures above 0.
    pub seed: u64,
}

impl TranscribeOptions {
    /// That nothing is asked for which only a model can do that hears window by window, as Whisper does.
    ///
    /// # Errors
    /// Something is; another model, of this family, does something else.
    pub(crate) fn refuse_windows(&self, family: &'static str, does: &'static str) -> Result<()> {
        for (asked, expected, hint) in [
            (self.task == Task::Translate, "translates", "leave --task out, or take Whisper"),
            (
                self.initial_prompt.is_some(),
                "is told what was said before",
                "leave --initial-prompt out, or take Whisper",
            ),
            (
                self.fallback != Fallback::default(),
                "hears a window again",
                "leave --temperature and the thresholds of attempts out, or take Whisper",
            ),
        ] {
            if asked {
                return Err(Error::Cannot { expected, family, does, hint });
            }
        }
        Ok(())
    }
}

/// What was said, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// All of it.
    pub text: String,
    /// Stretches of it.
    pub segments: Vec<Segment>,
    /// Code of the language; `und` where the model does not tell.
    pub language: String,
    /// Length of the sound in seconds.
    pub duration: f64,
    /// That the file was cut, if it was.
    pub warning: Option<String>,
    /// Seconds of reading and decoding the file.
    pub read: f64,
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
    confidence: Confidence,
}

impl WhisperModel {
    /// The likeliest tokens of one window of the spectrogram, `[bands, frames]` row-major, without
    /// the end.
    ///
    /// # Errors
    /// The model computes no numbers.
    pub fn window(&self, mel: Vec<f32>, prompt: &[u32], timestamps: bool) -> Result<Vec<u32>> {
        let cache = self.cross_keys(mel);
        Ok(self.say(prompt, cache, timestamps, 0, Sampling::default())?.tokens)
    }

    /// Code and id of the language of one window; nothing in a model of English.
    ///
    /// # Errors
    /// The model computes no numbers.
    pub fn detect(&self, mel: Vec<f32>) -> Result<Option<(String, u32)>> {
        self.language(self.cross_keys(mel))
    }

    fn cross_keys(&self, mel: Vec<f32>) -> CrossCache {
        let WhisperParts { config, model, device, .. } = &self.parts;
        model.cross_keys(mel, config.encoder.bands, device)
    }

    fn language(&self, mut cache: CrossCache) -> Result<Option<(String, u32)>> {
        if self.parts.rules.languages.is_empty() {
            return Ok(None);
        }
        let [logits, _] = self.next(&[self.parts.rules.start], &mut cache, 0);
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(Error::NotFiniteAt { seconds: 0.0 });
        }
        Ok(self.parts.rules.detected_language(&logits).map(|(code, id)| (code.to_owned(), id)))
    }

    /// Tokens one after the other, the likeliest ones or drawn.
    fn say(
        &self,
        prompt: &[u32],
        mut cache: CrossCache,
        timestamps: bool,
        first: usize,
        sampling: Sampling,
    ) -> Result<Said> {
        let rules = &self.parts.rules;
        let room = self.parts.config.decoder.context.saturating_sub(prompt.len());
        let start = prompt.iter().position(|id| *id == rules.start).unwrap_or_default();
        let (mut no_speech_prob, mut logprob) = (0.0, 0.0);
        let mut next = |id: Option<u32>| {
            let Some(id) = id else {
                let [logits, opening] = self.next(prompt, &mut cache, start);
                let no_speech = if opening.is_empty() { &logits } else { &opening };
                no_speech_prob = probability(no_speech, rules.no_speech()).exp();
                return Ok(logits);
            };
            let [logits, _] = self.next(&[id], &mut cache, 0);
            Ok(logits)
        };
        let process = |logits: &mut Cow<'_, [f32]>, said: &[u32]| {
            rules.apply(logits.to_mut(), said, timestamps);
        };
        let mut on_draw = |_: &[u32], drawn: Drawn<'_>| {
            logprob += probability(drawn.processed, drawn.id);
            Ok(None)
        };
        let ends = [rules.end];
        let mut drawing = Drawing::new(sampling, &ends, room);
        if room > 0 {
            let run = drawing.run(&mut next, &process, &mut on_draw);
            run.map_err(|error| at(error, first))?;
        }
        let tokens = drawing.ids;
        let confidence = Confidence {
            temperature: sampling.temperature,
            avg_logprob: logprob / (tokens.len() + 1) as f64,
            compression_ratio: compression_ratio(&self.text(&tokens)?),
            no_speech_prob,
        };
        Ok(Said { tokens, confidence })
    }

    /// The text of the tokens that are text.
    fn text(&self, tokens: &[u32]) -> Result<String> {
        let words = tokens.iter().copied().filter(|&id| id < self.parts.rules.end);
        let text = self.parts.tokenizer.decode(&words.collect::<Vec<_>>())?;
        Ok(text.trim().to_owned())
    }

    /// What was said before the sound.
    fn before(&self, options: &TranscribeOptions) -> Result<Vec<u32>> {
        let Some(text) = &options.initial_prompt else { return Ok(Vec::new()) };
        // Words have their space in front.
        let ids = self.parts.tokenizer.encode(&format!(" {}", text.trim()))?;
        Ok(ids.into_iter().filter(|id| *id < self.parts.rules.end).collect())
    }

    /// `prompt` behind as much of the end of `before` as the decoder has room for: half of it at most
    /// (Radford et al. 2022, section 3.8).
    fn led(&self, before: &[u32], prompt: &[u32]) -> Vec<u32> {
        let context = self.parts.config.decoder.context;
        // Two ids more have to fit: what opens it, and one that is said.
        let room = context.saturating_sub(prompt.len() + 2);
        let kept = before.len().min((context / 2).saturating_sub(1)).min(room);
        let opens = self.parts.tokenizer.id(BEFORE).filter(|_| kept > 0);
        let opens = opens.filter(|id| (*id as usize) < self.parts.config.decoder.vocab_size);
        let Some(opens) = opens else { return prompt.to_vec() };
        let before = &before[before.len() - kept..];
        [opens].into_iter().chain(before.iter().chain(prompt).copied()).collect()
    }

    /// Logits `[V]` after `ids`, and those after the one at `place` if that is not the last.
    fn next(&self, ids: &[u32], cache: &mut CrossCache, place: usize) -> [Vec<f32>; 2] {
        let decoder = &self.parts.model.decoder;
        let embeds = decoder.embed(ids, [1, ids.len()]);
        let Hidden(hidden) = decoder.forward(embeds, &Sequence::default(), Some(cache));
        let [_, t, d] = hidden.dims();
        let row = |at| {
            let row = hidden.clone().narrow(1, at, 1).reshape([1, d]);
            read(decoder.logits(row))
        };
        [row(t - 1), if place + 1 < t { row(place) } else { Vec::new() }]
    }
}

impl SpeechToText for WhisperModel {
    fn transcribe(
        &self,
        sound: &Path,
        decoder: &MediaDecoder,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<Transcript> {
        let language = options.language.as_deref().map(code);
        let asked = language.as_deref().map(|code| self.parts.rules.language(code)).transpose()?;
        // Refused before anything is heard.
        self.parts.rules.prompt(None, options.task, false)?;
        let mut spectrogram = Spectrogram::open(sound, decoder, self.parts.config.encoder.bands)?;
        let (samples, [read, mel]) = (spectrogram.samples, spectrogram.seconds);
        let mut job = Job {
            whole: self,
            options,
            before: self.before(options)?,
            timestamps: options.timestamps || samples > self.parts.config.frames() * HOP,
            transcript: Transcript {
                text: String::new(),
                segments: Vec::new(),
                language: language.unwrap_or_else(|| "en".to_owned()),
                duration: samples as f64 / f64::from(RATE),
                warning: spectrogram.warning.take(),
                read,
                mel,
                encode: 0.0,
                decode: 0.0,
            },
        };
        job.run(&mut spectrogram, samples.div_ceil(HOP), asked, progress)?;
        Ok(job.transcript)
    }
}

/// A sound that is being written down.
struct Job<'a> {
    whole: &'a WhisperModel,
    options: &'a TranscribeOptions,
    /// What the next window is told.
    before: Vec<u32>,
    timestamps: bool,
    transcript: Transcript,
}

impl Job<'_> {
    fn run(
        &mut self,
        spectrogram: &mut Spectrogram,
        frames: usize,
        asked: Option<Option<u32>>,
        progress: &mut dyn FnMut(f64, f64),
    ) -> Result<()> {
        let rules = &self.whole.parts.rules;
        let window = self.whole.parts.config.frames();
        let (mut first, mut prompt, mut spoken) = (0, None, Vec::new());
        while first < frames {
            let begun = Instant::now();
            let cache = self.whole.cross_keys(spectrogram.window(first, window)?);
            self.transcript.encode += begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let prompt = match &prompt {
                Some(prompt) => prompt,
                None => {
                    let language = match asked {
                        Some(language) => language,
                        None => self.detect_language(&cache)?,
                    };
                    prompt.insert(rules.prompt(language, self.options.task, self.timestamps)?)
                }
            };
            let said = self.attempts(&self.whole.led(&self.before, prompt), &cache, first)?;
            let count = window.min(frames - first);
            let silent = self.options.fallback.is_silent(&said.confidence);
            first += if silent { count } else { self.keep(&said, first, count, &mut spoken)? };
            self.transcript.decode += begun.elapsed().as_secs_f64();
            let seconds = |frames: usize| (frames * HOP) as f64 / f64::from(RATE);
            progress(seconds(first.min(frames)), seconds(frames));
        }
        self.transcript.text = self.whole.text(&spoken)?;
        Ok(())
    }

    /// What is heard at the first temperature that gives something to believe, or at the last.
    fn attempts(&self, prompt: &[u32], cache: &CrossCache, first: usize) -> Result<Said> {
        let say = |i: usize, temperature: f32| {
            // Draws of one window tell nothing of another's.
            let seed = Rng::new(self.options.seed ^ (first as u64) << 16 ^ i as u64).next_u64();
            let sampling = Sampling { temperature, seed, ..Sampling::default() };
            self.whole.say(prompt, cache.clone(), self.timestamps, first, sampling)
        };
        let fallback = &self.options.fallback;
        let mut said = say(0, fallback.temperature)?;
        for (i, temperature) in fallback.higher().enumerate() {
            if !fallback.is_doubtful(&said.confidence) {
                break;
            }
            said = say(i + 1, temperature)?;
        }
        Ok(said)
    }

    /// The language of the first window.
    fn detect_language(&mut self, cache: &CrossCache) -> Result<Option<u32>> {
        let found = self.whole.language(cache.clone())?;
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
        let (stretches, step) = cut(&self.whole.parts.rules, &said.tokens, first, frames);
        for stretch in stretches {
            let text = self.whole.text(&stretch.tokens)?;
            spoken.extend_from_slice(&stretch.tokens);
            // Two times with nothing between them.
            if text.is_empty() {
                continue;
            }
            let end = stretch.end.min(self.transcript.duration).max(stretch.start);
            self.before.extend_from_slice(&stretch.tokens);
            let (start, tokens, confidence) = (stretch.start, stretch.tokens, said.confidence);
            let words = Vec::new();
            let segment = Segment { start, end, text, words, tokens, confidence };
            self.transcript.segments.push(segment);
        }
        let leads = said.confidence.temperature <= LEADING;
        if !(self.options.condition_on_previous_text && leads) {
            self.before.clear();
        }
        Ok(step)
    }
}

/// An error of the window that begins at frame `first`.
fn at(error: Error, first: usize) -> Error {
    match error {
        Error::NotFinite { .. } => {
            Error::NotFiniteAt { seconds: (first * HOP) as f64 / f64::from(RATE) }
        }
        error => error,
    }
}

/// Logarithm of the probability of `id`.
fn probability(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
    f64::from(logit - most) - sum.ln()
}
