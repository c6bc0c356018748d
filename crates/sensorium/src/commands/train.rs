//! `train`: run a recipe.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::commands::Global;
use crate::open;

/// Train what a recipe says.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium train recipes/clip/tiny.toml --set steps=50\n  sensorium train recipes/clip/tiny.toml --resume"
)]
pub struct Train {
    /// The recipe, a TOML file.
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Override a key of the recipe. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on from the newest checkpoint that is whole.
    #[arg(long)]
    resume: bool,
    /// Only tell what would be trained: parameters by part, memory, steps. Nothing is downloaded.
    #[arg(long)]
    dry_run: bool,
    /// Run directory [default: runs/ and the name of the recipe's folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Train {
    pub fn run(&self, global: &Global) -> Result<()> {
        if self.dry_run {
            for stage in recipes::dry_run(&self.recipe, &self.set)? {
                print!("{stage}");
            }
            return Ok(());
        }
        let dir = self.out.clone().unwrap_or_else(|| default_dir(&self.recipe));
        let mut sets = self.set.clone();
        sets.extend(global.seed.map(|seed| format!("seed={seed}")));
        sets.extend(
            global.device.map(|device| format!("device={device:?}", device = device.to_string())),
        );
        let options = RunOptions {
            dir,
            resume: self.resume,
            strict: global.strict,
            decoder: open::decoder(),
            stop: signalled()?,
        };
        Ok(recipes::train(&self.recipe, &sets, &options)?)
    }
}

/// Is set by SIGINT (Ctrl-C) or SIGTERM; a second one ends the program at once.
fn signalled() -> Result<Arc<AtomicBool>> {
    let stop = Arc::<AtomicBool>::default();
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// `recipes/clip/tiny.toml` runs in `runs/clip`.
fn default_dir(recipe: &Path) -> PathBuf {
    let folder = recipe.parent().and_then(Path::file_name);
    Path::new("runs").join(folder.unwrap_or("run".as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_after_the_recipes_folder() {
        assert_eq!(default_dir("recipes/clip/tiny.toml".as_ref()), Path::new("runs/clip"));
        assert_eq!(default_dir("tiny.toml".as_ref()), Path::new("runs/run"));
    }
}
