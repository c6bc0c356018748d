//! `eval`: figures beside chance and prior.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sensorium_checkpoint::file::{Disk, write_atomic};
use sensorium_eval::card::{About, card};
use sensorium_eval::{EvalError, Evaluation, Report, Settings, measure};
use sensorium_inference::{Error, Model};
use sensorium_media::MediaDecoder;

use sensorium_pretrained::Provenance;

use crate::commands::precision::Precision;
use crate::commands::{Global, info, perplexity};
use crate::{open, print};
use sensorium_train::progress::Progress;

/// Measure a model; every figure stands beside chance, prior and its 95 % interval.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium eval easy-vqa\n  sensorium eval retrieval --samples 200 --json\n  sensorium eval all --card models/nano/MODEL_CARD.md\n  sensorium eval perplexity --model FILE.gguf --text FILE"
)]
pub struct Eval {
    /// What to measure.
    name: Name,
    /// Items to measure on [default: each evaluation's own number].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: Option<u32>,
    /// Folder of the data sets that `cargo xtask data` fetches.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// How matrices are kept and multiplied; auto: `perplexity` as the file stores them, others in f32.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    /// The text of `perplexity`.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a window of `perplexity`, whose second half is scored.
    #[arg(long, value_name = "N", default_value_t = 512)]
    context: usize,
    /// Side of drawn pictures in pixels.
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: u32,
    /// Also write the model card.
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Print JSON: the report, of `all` a list of reports.
    #[arg(long)]
    json: bool,
}

/// The evaluations by name.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Name {
    All,
    ZeroShot,
    Icons,
    Retrieval,
    EasyVqa,
    Scenes,
    Perplexity,
}

impl Name {
    fn evaluations(self) -> &'static [Evaluation] {
        match self {
            Self::All => &Evaluation::ALL,
            Self::ZeroShot => &[Evaluation::ZeroShot],
            Self::Icons => &[Evaluation::Icons],
            Self::Retrieval => &[Evaluation::Retrieval],
            Self::EasyVqa => &[Evaluation::EasyVqa],
            Self::Scenes => &[Evaluation::Scenes],
            // Of another kind of model, so without a report: see `perplexity`.
            Self::Perplexity => &[],
        }
    }
}

impl Eval {
    pub fn run(&self, global: &Global) -> Result<()> {
        if self.name == Name::Perplexity {
            if self.samples.is_some() || self.card.is_some() {
                bail!(
                    "expected perplexity without --samples and --card, got one of them\nhint: it reads the whole of --text and prints one figure"
                );
            }
            return perplexity::run(
                global,
                self.precision,
                self.text.as_deref(),
                self.context,
                self.json,
            );
        }
        let (model, _) = open::open(global, self.precision)?;
        let (mut reports, decoder) = (Vec::new(), open::decoder());
        for &which in self.name.evaluations() {
            let report = self.one(which, &model, &decoder, global.seed())?;
            if !self.json {
                print::line(&report)?;
            }
            reports.push(report);
        }
        if let Some(path) = &self.card {
            self.write_card(path, &reports, global)?;
        }
        match (self.json, reports.as_slice()) {
            (false, _) => Ok(()),
            (true, [only]) if self.name != Name::All => print::json(only),
            (true, all) => print::json(&all),
        }
    }

    /// Among all evaluations, one without its data set, or of what the model was not made for, is
    /// reported as not measured.
    fn one(
        &self,
        which: Evaluation,
        model: &Model,
        decoder: &MediaDecoder,
        seed: u64,
    ) -> Result<Report> {
        let progress = Progress::items(which.name());
        let samples = self.samples.map(|n| n as usize);
        let show = |done, all| progress.set(done, all);
        let settings =
            Settings { samples, seed, data: &self.data, decoder, size: self.size, progress: &show };
        let measured = measure(which, model, &settings);
        progress.finish();
        match measured {
            Err(error @ (EvalError::Data(_) | EvalError::Model(Error::Cannot { .. })))
                if self.name == Name::All =>
            {
                Ok(Report::not_measured(which.name(), seed, &error.to_string()))
            }
            measured => Ok(measured?),
        }
    }

    fn write_card(&self, path: &Path, reports: &[Report], global: &Global) -> Result<()> {
        let name = self.name.to_possible_value();
        let name = name.as_ref().map_or("all", |value| value.get_name());
        let samples = self.samples.map_or(String::new(), |n| format!(" --samples {n}"));
        let directory = open::directory(&global.model)?;
        let about = About {
            command: format!("sensorium eval {name}{samples} --seed {}", global.seed()),
            components: info::components(&directory)?
                .into_iter()
                .map(|component| (component.name, component.parameters, component.blake3))
                .collect(),
            provenance: Provenance::read(&directory)?.unwrap_or_default(),
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| {
                format!(
                    "could not create {}\nhint: check that its parent is a writable directory",
                    parent.display()
                )
            })?;
        }
        write_atomic(&Disk, path, card(&about, reports).as_bytes())?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }
}
