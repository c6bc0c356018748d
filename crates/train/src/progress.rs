//! What a person watching a training run sees: a bar in a terminal, else a plain line now and then.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::log::Metrics;

/// Time between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);

/// The progress of one stage, on standard error.
#[derive(Debug)]
pub struct Progress {
    stage: String,
    /// Steps that were done before this process started.
    first: u64,
    steps: u64,
    started: Instant,
    view: View,
}

#[derive(Debug)]
enum View {
    Bar(ProgressBar),
    /// With the time of the last line.
    Lines(Option<Instant>),
}

impl Progress {
    /// Progress of a stage of `steps` steps of which `first` are already done.
    pub fn new(stage: &str, first: u64, steps: u64) -> Self {
        let view = if stderr().is_terminal() {
            View::Bar(bar(stage, first, steps))
        } else {
            View::Lines(None)
        };
        Self { stage: stage.to_owned(), first, steps, started: Instant::now(), view }
    }

    /// Shows that `done` steps of the stage are done, the last of them with these metrics.
    pub fn step(&mut self, done: u64, metrics: &Metrics) {
        let now = Instant::now();
        let (last, status) = (done >= self.steps, self.status(done, now, metrics));
        match &mut self.view {
            View::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(status);
            }
            View::Lines(shown) => {
                if last || due(*shown, now) {
                    *shown = Some(now);
                    print(&format!("{}: step {done}/{}, {status}", self.stage, self.steps));
                }
            }
        }
    }

    /// Prints a line, such as a skipped step or an evaluation, above the bar.
    pub fn note(&self, text: &str) {
        match &self.view {
            View::Bar(bar) => bar.println(text),
            View::Lines(_) => print(text),
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(self) {
        if let View::Bar(bar) = self.view {
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

fn bar(stage: &str, first: u64, steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    // The default style stands in if the template were ever wrong.
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(stage.to_owned());
    bar.set_position(first);
    bar
}

fn due(shown: Option<Instant>, now: Instant) -> bool {
    shown.is_none_or(|shown| now - shown >= PAUSE)
}

/// A closed standard error must not end the training.
fn print(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Three digits or all of the whole number.
fn short(value: f64) -> String {
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
fn duration(seconds: f64) -> String {
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
        let mut progress = Progress::new("align", 100, 300);
        progress.started -= Duration::from_secs(50);
        let status = progress.status(150, progress.started + Duration::from_secs(50), &metrics());
        assert!(status.ends_with("2m 30s left"), "{status}");
        progress.step(300, &metrics());
        progress.note("evaluated");
        progress.finish();
    }

    #[test]
    fn lines_come_at_intervals() {
        let now = Instant::now();
        assert!(due(None, now));
        assert!(!due(Some(now), now + Duration::from_secs(9)));
        assert!(due(Some(now), now + Duration::from_secs(10)));
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
