//! What a person sees of what takes longer than a second: a bar in a terminal, else a line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::log::Metrics;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of one piece of work, on standard error: a bar, or lines where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    started: Instant,
    next: Instant,
    any: bool,
}

impl Progress {
    /// At its start, of items.
    pub fn items(name: &str) -> Self {
        Self::styled(name, "{prefix} {bar:24} {pos}/{len}  {per_sec}  {eta} left")
    }

    /// At its start, of bytes.
    pub fn bytes(name: &str) -> Self {
        Self::styled(name, "{prefix} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
    }

    fn styled(name: &str, style: &str) -> Self {
        let bar = stderr().is_terminal().then(|| bar(name, style));
        let started = Instant::now();
        let lines = Lines { started, next: started + PAUSE, any: false };
        Self { name: name.to_owned(), bar, lines: Mutex::new(lines) }
    }

    /// Shows that `done` of `all` are done.
    pub fn set(&self, done: usize, all: usize) {
        self.show(done as u64, all as u64, String::new());
    }

    fn show(&self, done: u64, all: u64, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(message);
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if lines.due(now, done >= all) {
            let message = if message.is_empty() { lines.speed(now, done, all) } else { message };
            print(&format!("{}: {done}/{all}, {message}", self.name));
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The progress of one stage of a training.
#[derive(Debug)]
pub(crate) struct Steps {
    progress: Progress,
    /// Steps that were done before this process started.
    first: u64,
    steps: u64,
    started: Instant,
}

impl Steps {
    /// Progress of a stage of `steps` steps of which `first` are already done.
    pub fn new(stage: &str, first: u64, steps: u64) -> Self {
        let started = Instant::now();
        let bar = Progress::styled(stage, "{prefix} {bar:24} {pos}/{len}  {msg}");
        // The first step is worth a line: it shows that all is well.
        let lines = Mutex::new(Lines { started, next: started, any: false });
        Self { progress: Progress { lines, ..bar }, first, steps, started }
    }

    /// Shows that `done` steps of the stage are done, the last of them with these metrics.
    pub fn set(&self, done: u64, metrics: &Metrics) {
        self.progress.show(done, self.steps, self.status(done, Instant::now(), metrics));
    }

    /// Leaves the bar as it stands.
    pub fn finish(&self) {
        if let Some(bar) = &self.progress.bar {
            bar.abandon();
        }
    }

    fn status(&self, done: u64, now: Instant, metrics: &Metrics) -> String {
        let here = done.saturating_sub(self.first).max(1) as f64;
        let left = self.steps.saturating_sub(done) as f64;
        let eta = (now - self.started).as_secs_f64() / here * left;
        status(metrics, eta)
    }
}

fn status(metrics: &Metrics, eta: f64) -> String {
    format!(
        "loss {:.4}, {} samples/s, {} GFLOP/s, {} left",
        metrics.loss,
        short(metrics.samples_per_second),
        short(metrics.gflops),
        duration(eta)
    )
}

fn bar(name: &str, style: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // The default style stands in if the template were ever wrong.
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(name.to_owned());
    bar
}

impl Lines {
    /// How fast it goes, and how long it still takes.
    fn speed(&self, now: Instant, done: u64, all: u64) -> String {
        let per_second = done as f64 / (now - self.started).as_secs_f64().max(1e-9);
        let left = all.saturating_sub(done) as f64 / per_second.max(1e-9);
        format!("{}/s, {} left", short(per_second), duration(left))
    }

    /// Whether it is time for a line; one that was begun is ended.
    fn due(&mut self, now: Instant, last: bool) -> bool {
        let due = now >= self.next || (last && self.any);
        if due {
            (self.next, self.any) = (now + PAUSE, true);
        }
        due
    }
}

/// A closed standard error must not end the training.
fn print(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Three digits or all of the whole number.
pub fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

/// `59s`, `3m 05s`, `2h 07m`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics { loss: 2.31449, samples_per_second: 512.4, gflops: 61.26, ..Metrics::default() }
    }

    #[test]
    fn the_status_says_what_one_wants_to_know() {
        assert_eq!(
            status(&metrics(), 185.2),
            "loss 2.3145, 512 samples/s, 61.3 GFLOP/s, 3m 05s left"
        );
    }

    #[test]
    fn time_left_counts_only_the_steps_of_this_process() {
        let mut progress = Steps::new("align", 100, 300);
        progress.started -= Duration::from_secs(50);
        let status = progress.status(150, progress.started + Duration::from_secs(50), &metrics());
        assert!(status.ends_with("2m 30s left"), "{status}");
        progress.set(300, &metrics());
        progress.finish();
    }

    #[test]
    fn lines_come_at_intervals() {
        let now = Instant::now();
        let mut lines = Lines { started: now, next: now, any: false };
        assert!(lines.due(now, false));
        assert!(!lines.due(now + Duration::from_secs(9), false));
        assert!(lines.due(now + Duration::from_secs(9), true));
        assert!(!Lines { started: now, next: now + PAUSE, any: false }.due(now, true));
        assert_eq!(lines.speed(now + Duration::from_secs(10), 25, 100), "2.50/s, 30s left");
    }

    #[test]
    fn durations_and_odd_numbers_are_readable() {
        for (seconds, text) in [(0.2, "0s"), (59.9, "1m 00s"), (7620.0, "2h 07m"), (f64::NAN, "0s")]
        {
            assert_eq!(duration(seconds), text);
        }
        assert!(duration(f64::INFINITY).contains('h'));
        assert_eq!((short(7.123), short(f64::NAN)), ("7.12".to_owned(), "NaN".to_owned()));
    }
}
