//! `data`: look at what models are trained on.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use sensorium_data::preview::sheet;
use sensorium_train::preview;

use crate::{open, print};

/// Look at what a recipe trains on.
#[derive(Args, Debug)]
pub struct Data {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Preview(Preview),
}

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
        let Action::Preview(preview) = &self.action;
        preview.run()
    }
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
