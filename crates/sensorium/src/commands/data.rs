//! `data`: look at what models are trained on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use sensorium_data::check::{Check, check, kind_of};
use sensorium_data::preview::sheet;
use sensorium_data::scene::Split;
use sensorium_data::{DatasetConfig, OpenOptions};
use sensorium_train::preview;
use sensorium_train::progress::Progress;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{open, print};

/// Look at what models are trained on.
#[derive(Args, Debug)]
pub struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(CheckCommand),
    Preview(Preview),
}

/// Read all of a data set: what it is, how much it holds, and what of it is broken.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium data check photos/\n  sensorium data check train.csv --set separator=,\n  sensorium data check \"shards/photos-{000..123}.tar\" --json"
)]
struct CheckCommand {
    /// A folder, a file, or a pattern of shards.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Its kind, as a recipe names it [default: guessed from the path].
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Another key of the data set in a recipe, as images=DIR. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON: what it holds, and every example that cannot be read.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked {
    kind: String,
    #[serde(flatten)]
    found: Check,
}

/// Share of broken examples that a training passes over unless it says otherwise.
const MAX_BAD: f64 = 0.05;

/// Broken examples that are listed.
const LISTED: usize = 20;

/// Draw a contact sheet of a recipe's samples with their texts.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium data preview recipes/clip/tiny.toml --out sheet.png --count 24"
)]
struct Preview {
    /// The recipe, a TOML file.
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// The picture to write, PNG.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Samples to show.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Override a key of the recipe. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Samples in a row of the sheet.
const COLUMNS: usize = 8;

impl Data {
    pub fn run(&self) -> Result<()> {
        match &self.action {
            Action::Check(check) => check.run(),
            Action::Preview(preview) => preview.run(),
        }
    }
}

impl CheckCommand {
    fn run(&self) -> Result<()> {
        let config = config(Some(&self.path), self.kind.as_deref(), &self.set)?;
        let options =
            OpenOptions { seed: 0, split: Split::Train, val_share: 0.0, picture_size: 64 };
        let dataset = config.open(&options, &open::decoder())?;
        let Some(all) = dataset.len() else {
            bail!(
                "expected a data set with an end, got {}, which is drawn without one\nhint: `sensorium data preview` shows some of it",
                dataset.name()
            );
        };
        let bar = Progress::items("examples");
        let found = check(&*dataset, &|done| bar.set(done as usize, all as usize));
        bar.finish();
        let share = found.bad.len() as f64 / all as f64;
        let checked = Checked { kind: config.kind().to_owned(), found };
        if self.json {
            print::json(&checked)?
        } else {
            table(&checked)?
        }
        if share > MAX_BAD {
            bail!(
                "expected at most {:.0} % of the examples broken, got {:.1} %\nhint: mend them, or raise max_bad of [data] in the recipe",
                100.0 * MAX_BAD,
                100.0 * share
            );
        }
        Ok(())
    }
}

/// The data set at `path` as a recipe would have it; without a `kind`, of the one that the path most likely
/// is. `set` holds further keys, as `images=photos`.
pub fn config(path: Option<&Path>, kind: Option<&str>, set: &[String]) -> Result<DatasetConfig> {
    let kind = kind.or_else(|| path.map(kind_of)).unwrap_or_default();
    let mut settings = serde_json::json!({ "kind": kind });
    if let Some(path) = path {
        settings["path"] = serde_json::json!(path);
    }
    for set in set {
        let (key, value) = set.split_once('=').with_context(|| {
            format!("expected KEY=VALUE, got {set}\nhint: as --set images=photos")
        })?;
        settings[key] = value.into();
    }
    let hint = "docs/data.md lists the kinds and their keys";
    // A value that is a number or true to one key is a text to another.
    let typed = serde_json::from_value(with_numbers(&settings));
    typed
        .or_else(|_| serde_json::from_value(settings))
        .map_err(|error| anyhow!("--kind, --set: {error}\nhint: {hint}"))
}

/// The same settings with numbers, true and false where texts spell them.
fn with_numbers(settings: &Value) -> Value {
    let typed = |(key, value): (&String, &Value)| {
        let text = value.as_str().unwrap_or_default();
        let plain =
            serde_json::from_str(text).ok().filter(|v: &Value| v.is_number() || v.is_boolean());
        (key.clone(), plain.unwrap_or_else(|| value.clone()))
    };
    settings.as_object().into_iter().flatten().map(typed).collect::<Map<_, _>>().into()
}

fn table(Checked { kind, found }: &Checked) -> Result<()> {
    let Check { examples, pictures, sounds, captions, conversations, sizes, bad } = found;
    print::line(format!("{kind}: {examples} examples"))?;
    print::line(format!(
        "{pictures} pictures, {sounds} sounds, {captions} captions, {conversations} conversations"
    ))?;
    if let Some([[w, h], [wide, high]]) = sizes {
        print::line(format!("pictures of {w} to {wide} by {h} to {high}"))?;
    }
    print::line(format!("broken: {}", bad.len()))?;
    for (index, reason) in bad.iter().take(LISTED) {
        print::line(format!("  example {index}: {reason}"))?;
    }
    if bad.len() > LISTED {
        print::line(format!("  and {} more: --json lists them", bad.len() - LISTED))?;
    }
    Ok(())
}

impl Preview {
    fn run(&self) -> Result<()> {
        let samples =
            preview::preview(&self.recipe, &self.set, self.count as usize, &open::decoder())?;
        std::fs::write(&self.out, sheet(&samples, COLUMNS).to_png()).with_context(|| {
            format!("could not write {}\nhint: check that its directory exists", self.out.display())
        })?;
        print::line(self.out.display())
    }
}
