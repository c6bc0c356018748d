//! `transcribe`: what was said in a sound.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use sensorium_inference::whisper::subtitles::{self, clock};
use sensorium_inference::whisper::{
    self, Confidence, Fallback, Segment, TranscribeOptions, Transcript, Word,
};
use sensorium_inference::{Error, SpeechToText};
use sensorium_media::MediaDecoder;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::number;
use crate::{open, print};
use sensorium_train::progress::Progress;

/// Write down what was said in sounds.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium transcribe talk.mp3 --model whisper-base\n  sensorium transcribe talk.wav --model whisper-base --language de --task translate --format srt\n\nReads Whisper's, wav2vec 2.0's, HuBERT's and Voxtral's published checkpoints and what the recipe `ctc` leaves, and sounds of any length in the formats that FILE names."
)]
pub struct Transcribe {
    /// Sounds: WAV, AIFF, AU, CAF, FLAC, MP3, Ogg, Opus, AAC, MP4, WebM or Matroska.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Language spoken, such as de, pt-BR or German; heard in the first 30 seconds if not given.
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// Write in the language spoken, or in English.
    #[arg(long, value_enum, default_value_t)]
    task: Task,
    /// Say when each segment begins and ends; sounds longer than 30 seconds always have such segments.
    #[arg(long)]
    timestamps: bool,
    /// How the text is printed; srt and vtt are subtitles and have timestamps.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    hearing: Hearing,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON, as --format json: text, segments, words where the model tells them, language, seconds.
    #[arg(long)]
    json: bool,
}

/// How sure the model must be, under the names of Whisper's own command, and as there.
#[derive(Args, Debug)]
struct Hearing {
    /// Randomness of the first attempt at a window: 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// Added to it while an attempt fails, up to 1; none: one attempt only.
    #[arg(long, value_name = "T", default_value = "0.2", value_parser = increment)]
    temperature_increment_on_fallback: Limit,
    /// An attempt whose text compresses better than this has failed, or none.
    #[arg(long, value_name = "X", default_value = "2.4", value_parser = limit)]
    compression_ratio_threshold: Limit,
    /// An attempt with a mean log probability below this has failed, or none.
    #[arg(long, value_name = "X", default_value = "-1.0", value_parser = limit, allow_hyphen_values = true)]
    logprob_threshold: Limit,
    /// An attempt that failed so is silence with more than this probability of it, or none.
    #[arg(long, value_name = "P", default_value = "0.6", value_parser = limit)]
    no_speech_threshold: Limit,
    /// Whether a window is told what was said before it.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    condition_on_previous_text: bool,
    /// What the first window is told was said before it, such as names.
    #[arg(long, value_name = "TEXT")]
    initial_prompt: Option<String>,
}

/// A number, or none.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<f64>);

fn limit(text: &str) -> Result<Limit, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Limit(None));
    }
    let number = text.parse().ok().filter(|x: &f64| x.is_finite());
    number.map(|x| Limit(Some(x))).ok_or_else(|| "expected a number, or none".to_owned())
}

fn increment(text: &str) -> Result<Limit, String> {
    let Limit(step) = limit(text)?;
    match step {
        Some(step) if !(0.01..=1.0).contains(&step) => {
            Err("expected 0.01 to 1, or none".to_owned())
        }
        step => Ok(Limit(step)),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| (0.0..=1.0).contains(&t)).ok_or_else(|| "expected 0 to 1".to_owned())
}

impl Hearing {
    fn fallback(&self) -> Fallback {
        Fallback {
            temperature: self.temperature,
            increment: self.temperature_increment_on_fallback.0.map(|step| step as f32),
            compression_ratio: self.compression_ratio_threshold.0,
            logprob: self.logprob_threshold.0,
            no_speech: self.no_speech_threshold.0,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Task {
    #[default]
    Transcribe,
    Translate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Srt,
    Vtt,
    Json,
}

#[derive(Serialize)]
struct Output {
    transcripts: Vec<Item>,
    /// Files that could not be written down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    file: String,
    error: String,
}

#[derive(Serialize)]
struct Item {
    file: String,
    text: String,
    language: String,
    duration: f64,
    segments: Vec<Stretch>,
    /// That the file was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    seconds: Seconds,
    /// Seconds of sound in a second of work, without loading the model.
    realtime_factor: f64,
}

#[derive(Serialize)]
struct Stretch {
    start: f64,
    end: f64,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    words: Vec<Said>,
    token_ids: Vec<u32>,
    // Of the window that it is of.
    temperature: f32,
    avg_logprob: f64,
    compression_ratio: f64,
    no_speech_prob: f64,
}

/// A word, under the names of Whisper's own output.
#[derive(Serialize)]
struct Said {
    word: String,
    start: f64,
    end: f64,
    probability: f64,
}

#[derive(Serialize)]
struct Seconds {
    load: f64,
    read: f64,
    mel: f64,
    encode: f64,
    decode: f64,
}

impl Transcribe {
    pub fn run(&self, global: &Global) -> Result<()> {
        let format = if self.json { Format::Json } else { self.format };
        if self.files.len() > 1 && [Format::Srt, Format::Vtt].contains(&format) {
            return Err(anyhow!(
                "expected one FILE for subtitles, got {}\nhint: run the command once for each, or use --format json",
                self.files.len()
            ));
        }
        let (model, load) = open::open(global, self.packing.precision)?;
        let model = model.speech()?;
        let options = TranscribeOptions {
            language: self.language.clone(),
            task: match self.task {
                Task::Transcribe => whisper::Task::Transcribe,
                Task::Translate => whisper::Task::Translate,
            },
            timestamps: self.timestamps || [Format::Srt, Format::Vtt].contains(&format),
            fallback: self.hearing.fallback(),
            condition_on_previous_text: self.hearing.condition_on_previous_text,
            initial_prompt: self.hearing.initial_prompt.clone(),
            seed: global.seed(),
        };
        let (mut transcripts, mut errors) = (Vec::new(), Vec::new());
        let decoder = open::decoder();
        for path in &self.files {
            let item = match hear(model, path, &decoder, &options, load) {
                Ok(item) => item,
                // The others' transcripts are worth having.
                Err(error) if self.files.len() > 1 && is_of_sound(&error) => {
                    print::error(&error.to_string());
                    let file = path.display().to_string();
                    errors.push(Failure { file, error: error.to_string() });
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match format {
                Format::Json => transcripts.push(item),
                Format::Srt => print::piece(&subtitles::srt(cues(&item.segments)))?,
                Format::Vtt => print::piece(&subtitles::vtt(cues(&item.segments)))?,
                Format::Text => self.print(&item)?,
            }
        }
        let failed: Vec<String> = errors.iter().map(|failure| failure.file.clone()).collect();
        if format == Format::Json {
            print::json(&Output { transcripts, errors })?;
        }
        match failed.len() {
            0 => Ok(()),
            n => Err(anyhow!(
                "expected {} sounds, got {n} that cannot be written down: {}\nhint: see above; the other transcripts are complete",
                self.files.len(),
                failed.join(", ")
            )),
        }
    }

    fn print(&self, item: &Item) -> Result<()> {
        let name = if self.files.len() > 1 { format!("{}: ", item.file) } else { String::new() };
        if !self.timestamps {
            return print::line(format!("{name}{}", item.text));
        }
        item.segments.iter().try_for_each(|segment| {
            let (start, end) = (clock(segment.start, '.'), clock(segment.end, '.'));
            print::line(format!("{name}[{start} --> {end}] {}", segment.text))
        })
    }
}

/// Whether an error is one of a file, not of the model or of what is asked for.
fn is_of_sound(error: &Error) -> bool {
    use sensorium_media::Error::Sound;
    matches!(error, Error::Text(Sound(_)) | Error::NotFiniteAt { .. })
}

fn hear(
    model: &dyn SpeechToText,
    path: &Path,
    decoder: &MediaDecoder,
    options: &TranscribeOptions,
    load: f64,
) -> sensorium_inference::Result<Item> {
    let progress = Progress::items("transcribe");
    let heard = model.transcribe(path, decoder, options, &mut |done, all| {
        progress.set(done as usize, all.ceil() as usize);
    });
    progress.finish();
    let heard = heard?;
    if let Some(warning) = &heard.warning {
        print::warning(warning);
    }
    let Transcript { text, segments, language, duration, warning, read, mel, encode, decode } =
        heard;
    let seconds = Seconds { load, read, mel, encode, decode };
    let stretch = |segment: Segment| {
        let Segment { start, end, text, words, tokens: token_ids, confidence } = segment;
        let said =
            |Word { start, end, text: word, probability }| Said { word, start, end, probability };
        let Confidence { temperature, avg_logprob, compression_ratio, no_speech_prob } = confidence;
        Stretch {
            start,
            end,
            text,
            words: words.into_iter().map(said).collect(),
            token_ids,
            temperature,
            avg_logprob,
            compression_ratio,
            no_speech_prob,
        }
    };
    Ok(Item {
        file: path.display().to_string(),
        text,
        language,
        duration,
        segments: segments.into_iter().map(stretch).collect(),
        warning,
        realtime_factor: duration / (read + mel + encode + decode),
        seconds,
    })
}

fn cues(segments: &[Stretch]) -> impl Iterator<Item = subtitles::Cue<'_>> {
    segments.iter().map(|segment| (segment.start, segment.end, &*segment.text))
}
