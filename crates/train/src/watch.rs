//! A run as it stands: its last numbers, how long it will take, and its curves in characters.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config;
use crate::error::{Result, TrainError};
use crate::log::{self, Metrics};

/// Steps from which the speed is told.
const RECENT: usize = 20;

/// A run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watch {
    /// Its directory.
    pub run: PathBuf,
    /// Whether a process trains in it.
    pub running: bool,
    /// Steps that are done, and those of the recipe, where it tells them.
    pub done: u64,
    /// See `done`.
    pub steps: Option<u64>,
    /// Seconds to the last step at the speed of the last ones.
    pub seconds_left: Option<f64>,
    /// The numbers of the last step.
    pub last: Metrics,
    /// The loss on other data, lowest and last.
    pub val_loss: Option<[f64; 2]>,
    /// Every step.
    #[serde(skip)]
    pub all: Vec<Metrics>,
}

/// The run in `dir`, or in the newest stage below it.
///
/// # Errors
/// There is no log, or no step in it yet.
pub fn watch(dir: &Path) -> Result<Watch> {
    let run = stage(dir);
    let all = log::read(&run)?;
    let Some(last) = all.last().cloned() else {
        return Err(TrainError::NothingToPlot { path: run });
    };
    let (done, steps) = (last.step + 1, steps(&run));
    let recent = &all[all.len().saturating_sub(RECENT + 1)..];
    let took = (last.seconds - recent[0].seconds) / (recent.len() - 1) as f64;
    let left = steps.map(|steps| steps.saturating_sub(done) as f64 * took);
    let measured: Vec<f64> = curve(&all, "val_loss").into_iter().map(|(_, loss)| loss).collect();
    let lowest = measured.iter().copied().reduce(f64::min);
    Ok(Watch {
        running: log::is_running(&run),
        run,
        done,
        steps,
        seconds_left: left.filter(|left| left.is_finite()),
        last,
        val_loss: lowest.zip(measured.last().copied()).map(<[f64; 2]>::from),
        all,
    })
}

/// The directory itself, or that of its stages that was written to last.
fn stage(dir: &Path) -> PathBuf {
    let logged = |dir: &Path| dir.join(log::METRICS).metadata().and_then(|log| log.modified()).ok();
    if logged(dir).is_some() {
        return dir.to_owned();
    }
    let within = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = within.filter(|path| logged(path).is_some()).max_by_key(|path| logged(path));
    newest.unwrap_or_else(|| dir.to_owned())
}

/// The steps of a run, or of a stage by its directory's name.
fn steps(run: &Path) -> Option<u64> {
    let text = config::read(&run.join("config.toml")).ok()?;
    let values = config::leaves(&text, "config.toml").ok()?;
    let stage = run.file_name().unwrap_or_default().to_string_lossy();
    let steps = values.get(&format!("{stage}.steps")).or(values.get("steps"));
    steps?.parse().ok()
}

/// The finite values of a metric with their steps.
pub fn curve(all: &[Metrics], metric: &str) -> Vec<(f64, f64)> {
    let value = |step: &Metrics| {
        let value = step.scalars().find(|(name, _)| *name == metric)?.1;
        value.is_finite().then_some((step.step as f64, value))
    };
    all.iter().filter_map(value).collect()
}

/// A curve in `height` lines of `width` characters, of two by four dots each, with its highest and lowest value
/// beside it; nothing where there are no points.
pub fn chart(points: &[(f64, f64)], [width, height]: [usize; 2]) -> Vec<String> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let ends = |(low, high): (f64, f64), (_, y): &(f64, f64)| (low.min(*y), high.max(*y));
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    let place = |value: f64, from: f64, to: f64, n: usize| {
        let share = if to > from { (value - from) / (to - from) } else { 0.5 };
        ((share * n as f64) as i64).min(n as i64 - 1)
    };
    let place = |(x, y): (f64, f64)| {
        let row = place(y, low, high, 4 * height);
        [place(x, first.0, last.0, 2 * width), 4 * height as i64 - 1 - row]
    };
    let mut dots = vec![vec![0u32; width]; height];
    let mut before = place(*first);
    for now in points.iter().map(|point| place(*point)) {
        // A line of dots from point to point.
        let steps = (0..2).map(|axis| (now[axis] - before[axis]).abs()).max().unwrap_or(0).max(1);
        for step in 0..=steps {
            let [column, row] = [0, 1].map(|axis| {
                let way = (now[axis] - before[axis]) * step / steps;
                (before[axis] + way) as usize
            });
            // Braille's dots, by column and row.
            let bit = [[0, 1, 2, 6], [3, 4, 5, 7]][column % 2][row % 4];
            dots[row / 4][column / 2] |= 1 << bit;
        }
        before = now;
    }
    let line = |(n, row): (usize, Vec<u32>)| {
        let value = match n {
            0 => format!("{high:.4}"),
            n if n + 1 == height => format!("{low:.4}"),
            _ => String::new(),
        };
        let drawn: String =
            row.into_iter().filter_map(|dots| char::from_u32(0x2800 + dots)).collect();
        format!("{value:>10} ┤{drawn}")
    };
    dots.into_iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RunLog;
    use std::collections::BTreeMap;

    fn step(step: u64) -> Metrics {
        let val = (step % 4 == 3).then(|| ("val_loss".to_owned(), 3.0 - 0.1 * step as f64));
        let (loss, seconds) = (4.0 - 0.1 * step as f64, 2.0 * step as f64);
        Metrics { step, loss, seconds, extra: BTreeMap::from_iter(val), ..Metrics::default() }
    }

    #[test]
    fn a_run_is_seen_while_it_is_written_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let stage = dir.path().join("instruct");
        let mut log = RunLog::create(&stage, "seed = 1\n[instruct]\nsteps = 20\n").unwrap();
        assert!(matches!(watch(dir.path()), Err(TrainError::NothingToPlot { .. })));
        (0..10).for_each(|n| log.write(&step(n)).unwrap());
        let seen = watch(dir.path()).unwrap();
        assert_eq!((seen.running, seen.done, seen.steps), (true, 10, Some(20)));
        assert_eq!(seen.seconds_left, Some(20.0));
        assert_eq!(seen.val_loss, Some([2.3, 2.3]));
        drop(log);
        assert!(!watch(&stage).unwrap().running);
        assert!(watch(&dir.path().join("gone")).is_err());
        assert!(!serde_json::to_string(&seen).unwrap().contains("all"));
    }

    #[test]
    fn curves_go_from_corner_to_corner() {
        let falling: Vec<(f64, f64)> = (0..8).map(|x| (f64::from(x), 7.0 - f64::from(x))).collect();
        assert_eq!(chart(&falling, [4, 2]), ["    7.0000 ┤⠑⢄⠀⠀", "    0.0000 ┤⠀⠀⠑⢄"]);
        assert_eq!(chart(&[(0.0, 1.0)], [2, 1]), ["    1.0000 ┤⠀⠂"]);
        assert!(chart(&[], [4, 2]).is_empty());
    }
}
