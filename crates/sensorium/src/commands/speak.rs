//! `speak`: a text as speech.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sensorium_inference::TextToSpeech;
use sensorium_inference::speech::{SPEEDS, SpeakOptions, Spoken};
use sensorium_media::write::{self, Kind};
use sensorium_media::{Media, Modality, Sound};
use sensorium_train::progress::Progress;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::number;
use crate::commands::speaker;
use crate::{open, print};

/// Speak a text, in English or in the language of a published voice.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium speak \"hello world\" --out hello.wav --voice slt --speed 1.2\n  sensorium speak - < story.txt > story.wav\n\nThe voices are synthetic, and the file says so."
)]
pub struct Speak {
    /// What to say; `-` reads standard input.
    #[arg(value_name = "TEXT", required_unless_present = "list_voices")]
    text: Option<String>,
    /// WAV file to write; without it, the file goes to standard output, unless that is a terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Who speaks [default: the model's first voice].
    #[arg(long, value_name = "NAME")]
    voice: Option<String>,
    /// How many times faster than usual, 0.25 to 4.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f32,
    /// TEXT is written in the phonemes that the voice reads, and not in words: for voices that would ask `espeak-ng`.
    #[arg(long)]
    phonemes: bool,
    /// The vector of a voice, for models that speak in any: an .npy file, or a .json with a list of numbers.
    #[arg(long, value_name = "FILE", conflicts_with = "voice")]
    speaker: Option<PathBuf>,
    /// List the model's voices.
    #[arg(long)]
    list_voices: bool,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: file, voice, seconds, sentences with their times and phonemes.
    #[arg(long)]
    json: bool,
}

/// A speed that is typed.
pub fn speed(text: &str) -> Result<f32, String> {
    let [least, most] = SPEEDS;
    number(text, |x| (least..=most).contains(&x)).ok_or_else(|| "expected 0.25 to 4".to_owned())
}

#[derive(Serialize)]
struct Output {
    file: Option<String>,
    voice: String,
    speed: f32,
    sampling_rate: u32,
    duration: f64,
    sentences: Vec<Item>,
    seconds: Seconds,
    /// Seconds of speech in a second of work, without loading the model.
    realtime_factor: f64,
}

#[derive(Serialize)]
struct Item {
    start: f64,
    end: f64,
    text: String,
    phonemes: String,
}

#[derive(Serialize)]
struct Seconds {
    load: f64,
    talk: f64,
    vocode: f64,
}

/// The sound, which leaves `spoken`.
pub fn sound(spoken: &mut Spoken) -> Media {
    let samples = std::mem::take(&mut spoken.samples).into_iter().map(|x| x.clamp(-1.0, 1.0));
    Media::Audio(Sound { rate: spoken.rate, samples: samples.collect(), warning: None })
}

/// What is said of it in its file.
pub fn notes(spoken: &Spoken, text: &str) -> [(&'static str, String); 3] {
    let version = concat!("Sensorium ", env!("CARGO_PKG_VERSION"));
    [
        ("Title", text.to_owned()),
        ("Software", version.to_owned()),
        ("Voice", format!("{}, synthetic speech", spoken.voice)),
    ]
}

impl Speak {
    pub fn run(&self, global: &Global) -> Result<()> {
        let is_piped = self.out.is_none() && !self.list_voices;
        if let Some(path) = &self.out {
            write::check(path, Modality::Audio)?;
        } else if is_piped && (self.json || std::io::stdout().is_terminal()) {
            let got = if self.json { "JSON" } else { "a terminal" };
            return Err(anyhow!(
                "expected a file for the sound, got standard output that is {got}\nhint: add --out FILE.wav"
            ));
        }
        let (model, load) = open::open(global, self.packing.precision)?;
        let voices = model.voices()?;
        if self.list_voices {
            return self.list(voices);
        }
        let text = self.text()?;
        let (voice, speed, seed) = (self.voice.clone(), self.speed, global.seed());
        let speaker = self.speaker.as_deref().map(speaker::read).transpose()?;
        let (phonemes, thoughts) = (self.phonemes, None);
        let options = SpeakOptions { voice, speed, seed, phonemes, speaker, thoughts };
        let progress = Progress::items("speak");
        let spoken = voices.speak(&text, &options, &mut |done, all| progress.set(done, all));
        progress.finish();
        let mut spoken = spoken?;
        self.write(&mut spoken, &text)?;
        match self.json {
            true => print::json(&self.output(spoken, load)),
            false => Ok(()),
        }
    }

    fn list(&self, voices: &dyn TextToSpeech) -> Result<()> {
        match self.json {
            true => print::json(&serde_json::json!({ "voices": voices.voices() })),
            false => voices.voices().iter().try_for_each(print::line),
        }
    }

    fn text(&self) -> Result<String> {
        let text = self.text.clone().unwrap_or_default();
        if text != "-" {
            return Ok(text);
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context(
            "expected text on standard input\nhint: it must be UTF-8, as of `cat story.txt`",
        )?;
        Ok(text)
    }

    /// Writes the sound, which leaves `spoken`, with what it is.
    fn write(&self, spoken: &mut Spoken, text: &str) -> Result<()> {
        let notes = notes(spoken, text);
        let media = sound(spoken);
        if let Some(path) = &self.out {
            return Ok(write::write(&media, path, &notes)?);
        }
        Ok(std::io::stdout().lock().write_all(&write::encode(&media, Kind::Wav, &notes)?)?)
    }

    fn output(&self, spoken: Spoken, load: f64) -> Output {
        let Spoken { rate, voice, sentences, talk, vocode, .. } = spoken;
        let duration = sentences.last().map_or(0.0, |last| last.end);
        let item = |sentence: sensorium_inference::speech::SpokenSentence| Item {
            start: sentence.start,
            end: sentence.end,
            text: sentence.text,
            phonemes: sentence.phonemes.join(" "),
        };
        Output {
            file: self.out.as_ref().map(|path| path.display().to_string()),
            voice,
            speed: self.speed,
            sampling_rate: rate,
            duration,
            sentences: sentences.into_iter().map(item).collect(),
            seconds: Seconds { load, talk, vocode },
            realtime_factor: duration / (talk + vocode),
        }
    }
}
