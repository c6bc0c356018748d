//! Where the time goes: calls and seconds of every fused operation, for whoever asks.
//!
//! Off, it costs one relaxed load an operation. Operations run one after another, each on all
//! threads, so their seconds add up to the clock's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

static ON: AtomicBool = AtomicBool::new(false);
static ROWS: Mutex<BTreeMap<String, Row>> = Mutex::new(BTreeMap::new());

/// What all calls of one operation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// How often it ran.
    pub calls: usize,
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations of its products; 0 for loops that memory bounds.
    pub flop: f64,
}

/// Forgets everything and begins to count.
pub fn start() {
    rows().clear();
    ON.store(true, Relaxed);
}

/// Stops counting; what was counted, by operation.
pub fn stop() -> BTreeMap<String, Row> {
    ON.store(false, Relaxed);
    std::mem::take(&mut *rows())
}

/// Whether it counts.
pub(crate) fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Counts `work` that does not go through the door of fused operations.
pub fn time<T>(name: &str, work: impl FnOnce() -> T) -> T {
    count(work, |_| (name.to_owned(), 0.0))
}

/// Counts `work` as what `describe` says of its result: a name and floating-point operations.
pub(crate) fn count<T>(work: impl FnOnce() -> T, describe: impl FnOnce(&T) -> (String, f64)) -> T {
    if !is_on() {
        return work();
    }
    let start = Instant::now();
    let done = work();
    let seconds = start.elapsed().as_secs_f64();
    let (name, flop) = describe(&done);
    let mut rows = rows();
    let row = rows.entry(name).or_default();
    row.calls += 1;
    row.seconds += seconds;
    row.flop += flop;
    done
}

fn rows() -> MutexGuard<'static, BTreeMap<String, Row>> {
    // A panic elsewhere leaves the counts as they are.
    ROWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rows by falling share of `seconds`, what none of them holds last; calls and milliseconds
/// are those of one of the `repetitions`.
pub fn table(rows: &BTreeMap<String, Row>, seconds: f64, repetitions: usize) -> String {
    let mut sorted: Vec<(&str, Row)> = rows.iter().map(|(name, &row)| (&name[..], row)).collect();
    sorted.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    let counted: f64 = rows.values().map(|row| row.seconds).sum();
    sorted.push(("everything else", Row { seconds: seconds - counted, ..Row::default() }));

    let mut text =
        String::from("| operation | calls | ms | share | GFLOP/s |\n|---|---|---|---|---|\n");
    let each = repetitions as f64;
    for (name, Row { calls, seconds: spent, flop }) in sorted {
        let calls = if calls == 0 { String::new() } else { format!("{}", calls / repetitions) };
        let speed = if flop == 0.0 { String::new() } else { format!("{:.0}", flop / spent / 1e9) };
        let (ms, share) = (spent * 1e3 / each, spent / seconds * 100.0);
        let _ = writeln!(text, "| {name} | {calls} | {ms:.2} | {share:.1} % | {speed} |");
    }
    let _ = writeln!(text, "| together | | {:.2} | 100 % | |", seconds * 1e3 / each);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_between_start_and_stop_is_counted() {
        let work = || time("a test's work", || 7);
        work();
        start();
        assert_eq!([work(), work()], [7, 7]);
        let rows = stop();
        work();
        // Other tests may have run operations meanwhile.
        assert_eq!(rows["a test's work"].calls, 2);
        assert!(rows["a test's work"].seconds > 0.0);
        assert!(!stop().contains_key("a test's work"));
    }

    #[test]
    fn rows_are_sorted_and_what_is_missing_is_named() {
        let row = |seconds, flop| Row { calls: 4, seconds, flop };
        let rows = [("Gelu".to_owned(), row(0.2, 0.0)), ("Linear".to_owned(), row(0.6, 60e9))];
        let text = table(&rows.into_iter().collect(), 1.0, 2);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| Linear | 2 | 300.00 | 60.0 % | 100 |",
                "| Gelu | 2 | 100.00 | 20.0 % |  |",
                "| everything else |  | 100.00 | 20.0 % |  |",
                "| together | | 500.00 | 100 % | |",
            ]
        );
    }
}
