//! A bar on standard error for what takes longer than a second; lines where that is no terminal.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of one piece of work.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    shown: Mutex<Instant>,
}

impl Progress {
    /// Progress at its start, of items.
    pub fn new(name: &str) -> Self {
        Self::styled(name, "{prefix} {bar:24} {pos}/{len}  {eta} left")
    }

    /// Progress at its start, of bytes.
    pub fn bytes(name: &str) -> Self {
        Self::styled(name, "{prefix} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
    }

    fn styled(name: &str, style: &str) -> Self {
        let bar = stderr().is_terminal().then(|| bar(name, style));
        Self { name: name.to_owned(), bar, shown: Mutex::new(Instant::now()) }
    }

    /// Shows that `done` of `all` items are done.
    pub fn set(&self, done: usize, all: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            return;
        }
        // A poisoned clock only means fewer lines.
        if let Ok(mut shown) = self.shown.lock()
            && shown.elapsed() >= PAUSE
        {
            *shown = Instant::now();
            eprintln!("{}: {done}/{all}", self.name);
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, style: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The default style stands in if the template were ever wrong.
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(name.to_owned());
    bar
}
