//! `eval` on one's own data, and two models beside each other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use sensorium_checkpoint::file::{Disk, write_atomic};
use sensorium_data::scene::Split;
use sensorium_data::{At, DatasetConfig, OpenOptions};
use sensorium_eval::compare::compare;
use sensorium_eval::own::{Choose, Own, OwnReport, Shots, Task, measure, templates};
use sensorium_eval::page::page;
use sensorium_inference::whisper::TranscribeOptions;
use sensorium_media::{Media, MediaDecoder, Picture};
use sensorium_train::progress::Progress;

use crate::commands::make::MediaSampling;
use crate::commands::precision::Precision;
use crate::commands::{Global, data};
use crate::{open, print};

/// Options of evaluations on one's own data.
#[derive(Args, Debug)]
#[command(next_help_heading = "Your own data")]
pub struct OwnOptions {
    /// The data's kind, as a recipe names it; of what is drawn (sounds, clips, records, their -conversations,
    /// clinic) without --data [default: guessed from the path; of `perplexity`, text].
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Another key of the data set in a recipe, as images=DIR. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which part, of data that say it themselves (Karpathy's splits).
    #[arg(long, value_enum, default_value_t)]
    split: Part,
    /// What is asked: {} stands for the class (`zero-shot`, may be repeated, then averaged) or the question
    /// (`vqa`, `grounding`); of `caption`, the request [default: what suits the model].
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Published sentences around a class: CLIP's eighty, or the seven best of them.
    #[arg(long, value_enum, conflicts_with = "prompt")]
    templates: Option<Templates>,
    /// Most tokens of an answer [default: 30 of `caption`, 10 of `vqa`, 48 of `grounding`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// The only answers of `vqa`, as yes,no: the likeliest counts; of two, the AUC of the first is told.
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    choices: Vec<String>,
    /// Exemplars shown before each question of `caption` or `vqa`, one figure for each number; 0 shows two
    /// without their pictures.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', requires = "exemplars", value_parser = clap::value_parser!(u32).range(..=64))]
    shots: Vec<u32>,
    /// What exemplars are taken from: the training part of such data.
    #[arg(long, value_name = "PATH", requires = "shots")]
    exemplars: Option<PathBuf>,
    /// As --set, of --exemplars [default: those of --set]. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "exemplars")]
    exemplars_set: Vec<String>,
    /// Which exemplars: any; those whose pictures are most like the question's; any with each other's
    /// answers, a control.
    #[arg(long, value_enum, default_value_t, requires = "exemplars")]
    choose: ChooseBy,
    #[command(flatten)]
    making: MediaSampling,
    /// Labels that `probe` learns from, as 100,1000 [default: four fifths of the data].
    #[arg(long, value_name = "N", value_delimiter = ',')]
    labels: Vec<usize>,
    /// How many of the best `retrieval` looks at again, with a model that matches (BLIP-2).
    #[arg(long, value_name = "K", default_value_t = 128)]
    rerank: usize,
    /// Language spoken, of `transcribe`; heard if not given.
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// Share of the examples that may be broken, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    max_bad: f64,
    /// Show the N worst examples: with --out as a page beside it, with their pictures.
    #[arg(long, value_name = "N", default_value_t = 0)]
    failures: usize,
    /// Also write the report, which holds every example and is what --compare reads.
    #[arg(long, value_name = "FILE.json", conflicts_with = "compare")]
    out: Option<PathBuf>,
    /// Tell whether B is better than A: two reports, or with --data two models.
    #[arg(long, value_names = ["A", "B"], num_args = 2)]
    pub compare: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Part {
    Train,
    Val,
    #[default]
    Test,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ChooseBy {
    #[default]
    Random,
    Rices,
    Shuffled,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Templates {
    Imagenet,
    Simple,
}

impl From<ChooseBy> for Choose {
    fn from(choose: ChooseBy) -> Self {
        match choose {
            ChooseBy::Random => Self::Random,
            ChooseBy::Rices => Self::Rices,
            ChooseBy::Shuffled => Self::Shuffled,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected 0 to 1".to_owned())
}

/// Of one run.
pub struct OwnData<'a> {
    pub task: Task,
    /// Nothing of what is drawn.
    pub path: Option<&'a Path>,
    pub limit: Option<usize>,
    pub context: usize,
    pub precision: Precision,
    pub options: &'a OwnOptions,
}

impl OwnData<'_> {
    /// Measures one model, or two that are to be compared.
    pub fn run(&self, global: &Global, json: bool) -> Result<()> {
        let config = self.config()?;
        if let [a, b] = self.options.compare.as_slice() {
            let report = |model: &String| {
                let global = Global { model: model.clone(), ..global.clone() }.found()?;
                self.measure(&config, &global)
            };
            return tell(&report(a)?, &report(b)?, global.seed(), json);
        }
        let report = self.measure(&config, global)?;
        if let Some(path) = &self.options.out {
            write(path, serde_json::to_string_pretty(&report)?.as_bytes())?;
        }
        if json {
            print::json(&report)?
        } else {
            print::line(&report.report)?
        }
        self.show_failures(&report, &config, json)
    }

    fn config(&self) -> Result<DatasetConfig> {
        let kind = self.options.kind.as_deref();
        let kind = kind.or_else(|| (self.task == Task::Perplexity).then_some("text"));
        data::config(self.path, kind, &self.options.set)
    }

    /// The data set that exemplars are taken from, where any are shown.
    fn exemplars(&self) -> Result<Option<DatasetConfig>> {
        let OwnOptions { kind, set, exemplars_set, .. } = self.options;
        let set = if exemplars_set.is_empty() { set } else { exemplars_set };
        let path = self.options.exemplars.as_ref();
        path.map(|path| data::config(Some(path), kind.as_deref(), set)).transpose()
    }

    fn measure(&self, config: &DatasetConfig, global: &Global) -> Result<OwnReport> {
        let (model, _) = open::open(global, self.precision)?;
        let counts: Vec<usize> = self.options.shots.iter().map(|n| *n as usize).collect();
        let exemplars = self.exemplars()?;
        let shots = exemplars.as_ref().map(|exemplars| Shots {
            counts: &counts,
            exemplars,
            choose: self.options.choose.into(),
        });
        let name = match &global.adapter {
            Some(adapter) => format!("{} with {}", global.model, adapter.display()),
            None => global.model.clone(),
        };
        let options = self.options;
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        let prompts: Vec<String> = match options.templates {
            Some(Templates::Imagenet) => owned(&templates::IMAGENET),
            Some(Templates::Simple) => owned(&templates::SIMPLE),
            None => options.prompt.clone(),
        };
        let progress = Progress::items(self.task.name());
        let decoder = open::decoder();
        let own = Own {
            config,
            split: self.split(),
            decoder: &decoder,
            model: &name,
            limit: self.limit,
            max_bad: options.max_bad,
            prompts: &prompts,
            max_tokens: options.max_tokens.map(|n| n as usize),
            choices: &options.choices,
            shots,
            labels: &options.labels,
            rerank: options.rerank,
            context: self.context,
            sampler: options.making.sampler(global.seed()),
            best_of: options.making.best_of(),
            speech: TranscribeOptions {
                language: options.language.clone(),
                condition_on_previous_text: true,
                seed: global.seed(),
                ..TranscribeOptions::default()
            },
            seed: global.seed(),
            progress: &|done, all| progress.set(done, all),
        };
        let measured = measure(self.task, &model, &own);
        progress.finish();
        Ok(measured?)
    }

    fn split(&self) -> Split {
        match self.options.split {
            Part::Train => Split::Train,
            Part::Val => Split::Val,
            Part::Test => Split::HeldOut,
        }
    }

    fn show_failures(&self, report: &OwnReport, config: &DatasetConfig, json: bool) -> Result<()> {
        let failures = report.failures(self.options.failures);
        if failures.is_empty() {
            return Ok(());
        }
        let Some(out) = &self.options.out else {
            if json {
                return Ok(());
            }
            return failures.iter().try_for_each(|failure| {
                let (expected, got) = (&failure.expected, &failure.got);
                print::line(format!("{}\n  expected: {expected}\n  got: {got}", failure.id))
            });
        };
        let picture = self.pictures(config, &open::decoder())?;
        let path = out.with_extension("html");
        write(&path, page(report, &failures, &picture).as_bytes())
    }

    /// The picture of an example by its number.
    fn pictures(
        &self,
        config: &DatasetConfig,
        decoder: &MediaDecoder,
    ) -> Result<impl Fn(u64) -> Option<Picture> + use<>> {
        let options =
            OpenOptions { seed: 0, split: self.split(), val_share: 0.0, picture_size: 96 };
        let dataset = config.open(&options, decoder)?;
        Ok(move |index| {
            let example = dataset.example(At { epoch: 0, index, progress: 1.0 }).ok()?;
            example.media.iter().flat_map(Media::pictures).next().cloned()
        })
    }
}

/// Compares two reports that were written before.
pub fn compare_reports(reports: &[String], seed: u64, json: bool) -> Result<()> {
    let read = |path: &String| -> Result<OwnReport> {
        let hint = "--compare reads what `sensorium eval ... --data PATH --out FILE.json` wrote; for two models, name what to measure and --data";
        let bytes = std::fs::read(path)
            .map_err(|error| anyhow!("could not read {path}: {error}\nhint: {hint}"))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| anyhow!("expected a report in {path}, got: {error}\nhint: {hint}"))
    };
    match reports {
        [a, b] => tell(&read(a)?, &read(b)?, seed, json),
        _ => bail!("expected what to measure, or --compare A B\nhint: sensorium eval --help"),
    }
}

fn tell(a: &OwnReport, b: &OwnReport, seed: u64, json: bool) -> Result<()> {
    let comparison = compare(a, b, seed)?;
    if json { print::json(&comparison) } else { print::line(&comparison) }
}

/// Writes a file, whose folder is made.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| {
            format!(
                "could not create {}\nhint: check that its parent is a writable directory",
                parent.display()
            )
        })?;
    }
    write_atomic(&Disk, path, bytes)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
