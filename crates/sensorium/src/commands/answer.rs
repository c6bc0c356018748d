//! Answers that are no text: what commands that talk have in common.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use sensorium_inference::speech::{SpeakOptions, Thoughts};
use sensorium_inference::{Model, Wanted};
use sensorium_media::{Modality, write};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::make::{Gallery, MediaSampling, keep, writable};
use crate::commands::speak::{self, speed};

/// A medium that was made.
#[derive(Serialize)]
pub struct Medium {
    modality: Modality,
    file: Option<PathBuf>,
    /// Of what was made of noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// The file that it was found in, if it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieved: Option<PathBuf>,
}

/// What an answer was given to, and where it goes if it is no text.
pub struct Told<'a> {
    /// What makes it.
    pub model: &'a Model,
    /// What was asked for.
    pub prompt: &'a str,
    /// The file.
    pub out: Option<&'a Path>,
    /// Options of every command.
    pub global: &'a Global,
}

/// What an answer may be, and where one that is no text goes.
#[derive(Args, Debug)]
pub struct AnswerOptions {
    /// The file for an answer that is a picture, a clip, a sound or, with --columns, a table; its ending says the kind.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What the answer may be, separated by commas: text, image, video, audio [default: what the model decides].
    /// With one other than text, it is that.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = modality)]
    pub modalities: Vec<Modality>,
    #[command(flatten)]
    sampling: MediaSampling,
    #[command(flatten)]
    gallery: Gallery,
    /// Who speaks an answer in words, where --out is a WAV file [default: the model's first voice].
    #[arg(long, value_name = "NAME", requires = "out")]
    voice: Option<String>,
    /// How many times faster than usual it is spoken, 0.25 to 4.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed, requires = "out")]
    speed: f32,
}

impl AnswerOptions {
    /// That the file can be written, if one is named: a table, or whatever the model decides.
    pub fn check(&self, is_table: bool) -> Result<()> {
        match &self.out {
            Some(path) if is_table => Ok(write::check(path, Modality::Table).map(drop)?),
            Some(path) => writable(path),
            None => Ok(()),
        }
    }

    /// Whether an answer in words is to be spoken.
    pub fn speaks(&self) -> bool {
        self.out.as_ref().is_some_and(|path| write::check(path, Modality::Audio).is_ok())
    }

    /// Makes the medium that the answer ends with, if it does; what was said is spoken where a sound is to be
    /// written, by a voice of the model's own as it thought. A file that was to be written is then there.
    ///
    /// # Errors
    /// A file was to be written, and the answer is nothing for it.
    pub fn finished(
        &self,
        told: &Told<'_>,
        said: &str,
        wanted: Option<&Wanted>,
        thoughts: Option<Thoughts>,
    ) -> Result<Option<Medium>> {
        match (wanted, told.out) {
            (Some(wanted), _) => self.made(told, wanted).map(Some),
            (None, None) => Ok(None),
            (None, Some(path)) if write::check(path, Modality::Audio).is_ok() => {
                self.spoken(told, said, thoughts, path).map(Some)
            }
            (None, Some(path)) => Err(anyhow!(
                "expected an answer for {}, got one in words alone\nhint: say what is to be made, as in \"draw a red circle\", or pass --modalities image",
                path.display()
            )),
        }
    }

    /// Speaks what was said.
    fn spoken(
        &self,
        told: &Told<'_>,
        said: &str,
        thoughts: Option<Thoughts>,
        path: &Path,
    ) -> Result<Medium> {
        let (voice, speed, seed) = (self.voice.clone(), self.speed, told.global.seed());
        let options = SpeakOptions { voice, speed, seed, thoughts, ..SpeakOptions::default() };
        let mut spoken = told.model.voices()?.speak(said, &options, &mut |_, _| ())?;
        let notes = speak::notes(&spoken, said);
        write::write(&speak::sound(&mut spoken), path, &notes)?;
        Ok(Medium {
            modality: Modality::Audio,
            file: Some(path.to_owned()),
            seed: None,
            retrieved: None,
        })
    }

    /// Makes what a language model wants, and keeps it.
    ///
    /// # Errors
    /// The model does not make such media, or the file cannot hold them.
    pub fn made(&self, told: &Told<'_>, wanted: &Wanted) -> Result<Medium> {
        let (modality, Told { model, prompt, out, global }) = (wanted.modality, told);
        if let Some(path) = out {
            write::check(path, modality)?;
        }
        let sampling = &self.sampling;
        let about = (*prompt, &self.gallery);
        let made = sampling.best(model, about, global.seed(), |maker, count, sampler| {
            Ok(maker.make(wanted, count, sampler)?)
        })?;
        keep(&made, *out, &sampling.notes(&global.model, prompt, &made))?;
        Ok(Medium {
            modality,
            file: out.map(Path::to_owned),
            seed: Some(made.seed),
            retrieved: made.retrieved,
        })
    }
}

fn modality(text: &str) -> Result<Modality, String> {
    Modality::named(text)
        .ok_or_else(|| format!("expected text, image, video, audio or table, got {text:?}"))
}
