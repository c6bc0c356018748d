//! `plot`: the curves of runs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::print;

/// Draw the curves of runs as SVG, one picture a metric, one colour a run.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium plot runs/clip runs/clip-2")]
pub struct Plot {
    /// Run directories; the pictures go to `plots/` of the first.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print JSON: the pictures.
    #[arg(long)]
    json: bool,
}

impl Plot {
    pub fn run(&self) -> Result<()> {
        let pictures = sensorium_train::plot::plot(&self.runs)?;
        if self.json {
            return print::json(&serde_json::json!({ "pictures": pictures }));
        }
        pictures.iter().try_for_each(|path| print::line(path.display()))
    }
}
