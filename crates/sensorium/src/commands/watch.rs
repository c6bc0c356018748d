//! `watch`: a run while it trains.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use sensorium_train::progress::{duration, short};
use sensorium_train::watch::{self, Watch};

use crate::print;

/// Follow a run while it trains.
///
/// Its loss, rate, speed and the time left, with curves in a terminal, and a line for each look elsewhere.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium watch runs/clip\n  sensorium watch runs/llava --json"
)]
pub struct WatchCommand {
    /// The run's directory.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Print JSON: how the run stands now.
    #[arg(long)]
    json: bool,
}

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Width and height of a curve in characters.
const CHART: [usize; 2] = [64, 8];

/// What is drawn of it, where the run has it.
const CURVES: [&str; 4] = ["loss", "val_loss", "cross_gate", "mlp_gate"];

impl WatchCommand {
    pub fn run(&self) -> Result<()> {
        let mut seen = watch::watch(&self.run)?;
        if self.json {
            return print::json(&seen);
        }
        let terminal = stdout().is_terminal();
        let mut told = None;
        loop {
            if terminal {
                // From the top of a cleared screen.
                print::piece("\x1b[H\x1b[2J")?;
            }
            if terminal || !seen.running {
                curves(&seen)?;
            }
            if told != Some(seen.done) {
                print::line(status(&seen))?;
                told = (!terminal).then_some(seen.done);
            }
            if !seen.running {
                return Ok(());
            }
            sleep(PAUSE);
            seen = watch::watch(&self.run)?;
        }
    }
}

fn curves(seen: &Watch) -> Result<()> {
    for metric in CURVES {
        let points = watch::curve(&seen.all, metric);
        if points.len() > 1 {
            print::line(metric)?;
            watch::chart(&points, CHART).iter().try_for_each(print::line)?;
        }
    }
    Ok(())
}

fn status(seen: &Watch) -> String {
    let Watch { done, steps, last, .. } = seen;
    let of = steps.map_or(String::new(), |steps| format!("/{steps}"));
    let mut text = format!(
        "step {done}{of}: loss {:.4}, rate {:.2e}, {} samples/s",
        last.loss,
        last.learning_rate,
        short(last.samples_per_second)
    );
    if let Some([lowest, newest]) = seen.val_loss {
        text += &format!(", val_loss {newest:.4} (lowest {lowest:.4})");
    }
    match (seen.running, seen.seconds_left) {
        (true, Some(left)) => text + &format!(", {} left", duration(left)),
        (true, None) => text,
        (false, _) => text + ", not running",
    }
}
