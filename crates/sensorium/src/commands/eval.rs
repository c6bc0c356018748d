//! `eval`: figures beside chance and prior.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sensorium_eval::card::{About, card};
use sensorium_eval::own::Task;
use sensorium_eval::{EvalError, Evaluation, Report, Settings, measure};
use sensorium_inference::{Error, Model};
use sensorium_media::MediaDecoder;

use sensorium_pretrained::Provenance;

use crate::commands::own::{OwnData, OwnOptions, compare_reports, write};
use crate::commands::precision::Precision;
use crate::commands::{Global, info, perplexity};
use crate::{open, print};
use sensorium_train::progress::Progress;

/// Measure a model; every figure stands beside chance, prior and its 95 % interval.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium eval zero-shot --data photos/ --model clip-vit-base-patch32 --templates imagenet\n  sensorium eval probe --data photos/ --model runs/masked/final --labels 100,1000\n  sensorium eval retrieval --data dataset_flickr8k.json --set images=Images --limit 1000\n  sensorium eval vqa --data questions.jsonl --model SmolVLM-256M-Instruct --out a.json --failures 20\n  sensorium eval vqa --data test.jsonl --model runs/flamingo/final --shots 0,4,8 --exemplars train.jsonl\n  sensorium eval retrieval --kind sounds --samples 1000\n  sensorium eval --compare a.json b.json\n  sensorium eval easy-vqa\n  sensorium eval all --card models/nano/MODEL_CARD.md\n  sensorium eval perplexity --model FILE.gguf --text FILE"
)]
pub struct Eval {
    /// What to measure. On your own data (--data): zero-shot, probe, retrieval, caption, vqa, grounding, transcribe,
    /// perplexity, domain, draw, animate; on drawn or fetched data: all, zero-shot, icons, retrieval, easy-vqa, scenes; on one text:
    /// perplexity.
    #[arg(required_unless_present = "compare")]
    name: Option<Name>,
    /// Items to measure on [default: all of your own data; else each evaluation's own number].
    #[arg(long, visible_alias = "limit", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: Option<u32>,
    /// Your own data: a folder, a file or a pattern of shards. Of all, icons and easy-vqa, the folder that
    /// `cargo xtask data` fills [default: data].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// How matrices are kept and multiplied; auto: `perplexity` as the file stores them, others in f32.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    /// The text of `perplexity`.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a window of `perplexity`; of --text, its second half is scored.
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
    #[command(flatten)]
    own: OwnOptions,
}

/// The evaluations by name.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Name {
    All,
    ZeroShot,
    Probe,
    Icons,
    Retrieval,
    EasyVqa,
    Scenes,
    Caption,
    Vqa,
    Grounding,
    Transcribe,
    Perplexity,
    Domain,
    Draw,
    Animate,
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
            // Of one text, so without a report: see `perplexity`; the others are of one's own data.
            Self::Perplexity
            | Self::Domain
            | Self::Draw
            | Self::Animate
            | Self::Probe
            | Self::Caption
            | Self::Vqa
            | Self::Grounding
            | Self::Transcribe => &[],
        }
    }

    /// What it is on one's own data.
    fn task(self) -> Option<Task> {
        Some(match self {
            Self::ZeroShot => Task::ZeroShot,
            Self::Probe => Task::Probe,
            Self::Retrieval => Task::Retrieval,
            Self::Caption => Task::Caption,
            Self::Vqa => Task::Vqa,
            Self::Grounding => Task::Grounding,
            Self::Transcribe => Task::Transcribe,
            Self::Perplexity => Task::Perplexity,
            Self::Domain => Task::Domain,
            Self::Draw => Task::Draw,
            Self::Animate => Task::Animate,
            Self::All | Self::Icons | Self::EasyVqa | Self::Scenes => return None,
        })
    }
}

impl Eval {
    pub fn run(&self, global: &Global) -> Result<()> {
        let Some(name) = self.name else {
            return compare_reports(&self.own.compare, global.seed(), self.json);
        };
        match (name.task(), &self.data) {
            (Some(task), path) if path.is_some() || self.own.kind.is_some() => {
                self.on_own_data(task, path.as_deref()).run(global, self.json)
            }
            (Some(Task::Perplexity), None) => self.perplexity(global),
            (Some(task), None) if name.evaluations().is_empty() => bail!(
                "expected --data PATH, got none\nhint: sensorium eval {} --data PATH measures on your own data; docs/eval.md lists what it may be",
                task.name()
            ),
            _ => self.on_drawn_data(name, global),
        }
    }

    fn on_own_data<'a>(&'a self, task: Task, path: Option<&'a Path>) -> OwnData<'a> {
        let (limit, context) = (self.samples.map(|n| n as usize), self.context);
        OwnData { task, path, limit, context, precision: self.precision, options: &self.own }
    }

    fn perplexity(&self, global: &Global) -> Result<()> {
        if self.samples.is_some() || self.card.is_some() {
            bail!(
                "expected perplexity without --samples and --card, got one of them\nhint: it reads the whole of --text and prints one figure"
            );
        }
        perplexity::run(global, self.precision, self.text.as_deref(), self.context, self.json)
    }

    fn on_drawn_data(&self, name: Name, global: &Global) -> Result<()> {
        let (model, _) = open::open(global, self.precision)?;
        let (mut reports, decoder) = (Vec::new(), open::decoder());
        for &which in name.evaluations() {
            let report = self.one(which, &model, &decoder, global.seed(), name == Name::All)?;
            if !self.json {
                print::line(&report)?;
            }
            reports.push(report);
        }
        if let Some(path) = &self.card {
            self.write_card(path, name, &reports, global)?;
        }
        match (self.json, reports.as_slice()) {
            (false, _) => Ok(()),
            (true, [only]) if name != Name::All => print::json(only),
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
        among_all: bool,
    ) -> Result<Report> {
        let progress = Progress::items(which.name());
        let samples = self.samples.map(|n| n as usize);
        let show = |done, all| progress.set(done, all);
        let data = self.data.as_deref().unwrap_or(Path::new("data"));
        let settings = Settings { samples, seed, data, decoder, size: self.size, progress: &show };
        let measured = measure(which, model, &settings);
        progress.finish();
        match measured {
            Err(error @ (EvalError::Data(_) | EvalError::Model(Error::Cannot { .. })))
                if among_all =>
            {
                Ok(Report::not_measured(which.name(), seed, &error.to_string()))
            }
            measured => Ok(measured?),
        }
    }

    fn write_card(
        &self,
        path: &Path,
        name: Name,
        reports: &[Report],
        global: &Global,
    ) -> Result<()> {
        let name = name.to_possible_value();
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
        write(path, card(&about, reports).as_bytes())
    }
}
