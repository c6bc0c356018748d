//! What steps learn from, prepared on threads of its own: ahead of the steps, or, where no core is spare,
//! between them.
//!
//! ```text
//! worker 0: steps 0, 3, 6 ──▶ ┐
//! worker 1: steps 1, 4, 7 ──▶ ├ one channel each, read in turn: 0 1 2 3 4 5 ...
//! worker 2: steps 2, 5, 8 ──▶ ┘
//! ```

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sensorium_media::chat_template::on_deep_stack;
use serde::Deserialize;

use crate::{At, Dataset, Error, Example, Result};

/// An iterator over what `make` makes for each step, in order. Dropped, it ends its threads.
pub struct Loader<T> {
    workers: Vec<Worker<T>>,
    threads: Threads,
    steps: Range<u64>,
    /// The first step that no worker was asked for.
    ahead: u64,
    bad_samples: BadSamples,
}

/// How many threads prepare, at least one, and when.
#[derive(Clone, Copy, Debug)]
pub enum Threads {
    /// All the time, each two steps ahead of what it has delivered.
    Ahead(usize),
    /// While the next step is waited for; each then makes one.
    Between(usize),
}

struct Worker<T> {
    wanted: Sender<u64>,
    made: Receiver<(Result<T>, Report)>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Loader<T> {
    /// Starts threads that make what each of `steps` needs from examples of `dataset`. As `make`
    /// depends on its step alone, a loader of `5..` goes on where one of `0..5` ended.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        steps: Range<u64>,
        threads: Threads,
        bad_samples: BadSamples,
        make: impl Fn(&Examples, u64) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(move |step| {
            let examples = Examples::new(&*dataset);
            let made = make(&examples, step);
            (made, examples.report())
        });
        let (Threads::Ahead(n) | Threads::Between(n)) = threads;
        let workers = (0..n.max(1)).map(|_| Worker::start(make.clone())).collect();
        Self { workers, threads, ahead: steps.start, steps, bad_samples }
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(make: Arc<impl Fn(u64) -> (Result<T>, Report) + Send + Sync + 'static>) -> Self {
        let (wanted, steps) = channel();
        let (sender, made) = channel();
        // Until nobody asks, or nobody receives.
        let work = move || {
            for step in steps {
                if sender.send(make(step)).is_err() {
                    break;
                }
            }
        };
        // Examples may be conversations.
        let thread = thread::spawn(|| {
            // Only a machine without threads refuses it: then this worker has nothing to give.
            let _ = on_deep_stack(work);
        });
        Self { wanted, made, thread }
    }
}

impl<T> Loader<T> {
    /// Asks for what is to be prepared when `step` is waited for.
    fn ask(&mut self, step: u64) {
        let n = self.workers.len() as u64;
        let until = match self.threads {
            Threads::Ahead(_) => step + 2 * n,
            Threads::Between(_) if self.ahead > step => return,
            Threads::Between(_) => step + n,
        };
        for step in self.ahead..until.min(self.steps.end) {
            // Whoever does not listen any more has panicked, which is heard when its step is due.
            let _ = self.workers[(step % n) as usize].wanted.send(step);
            self.ahead = step + 1;
        }
    }
}

impl<T> Iterator for Loader<T> {
    type Item = Result<T>;

    /// What the next step learns from, or why there is nothing: too many bad examples, or an error of
    /// `make`.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.start;
        self.ask(step);
        self.steps.next()?;
        let turn = (step % self.workers.len() as u64) as usize;
        match self.workers[turn].made.recv() {
            Ok((made, report)) => Some(self.bad_samples.note(step, report).and(made)),
            // A worker that ends early has panicked: so does the one who waits for it.
            Err(_) => match self.workers.swap_remove(turn).thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => None,
            },
        }
    }
}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        // A worker ends when nobody asks and nobody receives: first all channels go, then we wait.
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // A panic of a worker that nobody asked any more changes nothing.
            let _ = thread.join();
        }
    }
}

/// A data set as the loader's workers see it: examples that cannot be read are noted and left out.
pub struct Examples<'a> {
    dataset: &'a dyn Dataset,
    report: Mutex<Report>,
}

/// What was asked for in one step.
#[derive(Default)]
struct Report {
    seen: u64,
    bad: Vec<(u64, Error)>,
}

/// What is wrong with an example that was read.
type Fits<'a> = dyn Fn(&Example) -> std::result::Result<(), String> + 'a;

/// How often another example is tried in place of a bad one.
const TRIES: u64 = 100;

impl<'a> Examples<'a> {
    fn new(dataset: &'a dyn Dataset) -> Self {
        Self { dataset, report: Mutex::default() }
    }

    /// Example `index` after `progress` (0 to 1) of a run; nothing where it cannot be read.
    pub fn get(&self, index: u64, progress: f32) -> Option<Example> {
        self.get_fitting(index, progress, &|_| Ok(()))
    }

    fn get_fitting(&self, index: u64, progress: f32, fits: &Fits<'_>) -> Option<Example> {
        let example = self.dataset.example(At { epoch: 0, index, progress });
        let dataset = || self.dataset.name().to_owned();
        let bad = |reason| Error::Example { dataset: dataset(), index, reason };
        let example = example.and_then(|example| fits(&example).map_err(bad).map(|()| example));
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.seen += 1;
        example.map_err(|error| report.bad.push((index, error))).ok()
    }

    /// Example `index` of a [`crate::Mixture`] or, where it cannot be read, another: the same one each
    /// time.
    ///
    /// # Errors
    /// A hundred in a row cannot be read.
    pub fn draw(&self, index: u64, progress: f32) -> Result<Example> {
        self.draw_fitting(index, progress, |_| Ok(()))
    }

    /// As [`draw`](Self::draw); what `fits` finds wrong with an example counts as if it could not be read.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_fitting(
        &self,
        index: u64,
        progress: f32,
        fits: impl Fn(&Example) -> std::result::Result<(), String>,
    ) -> Result<Example> {
        // From so far ahead that no run gets there; the distance is odd lest all be bad alike.
        let others = (0..TRIES).map(|n| index.wrapping_add(n * ((1 << 40) + 1)));
        let dataset = || self.dataset.name().to_owned();
        let reason = || format!("{TRIES} unreadable examples in a row");
        let bad = || Error::Example { dataset: dataset(), index, reason: reason() };
        others
            .into_iter()
            .find_map(|index| self.get_fitting(index, progress, &fits))
            .ok_or_else(bad)
    }

    /// In the order of their indices, whichever thread found them.
    fn report(self) -> Report {
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.bad.sort_by_key(|(index, _)| *index);
        report
    }
}

/// Keeps count of examples that cannot be read, and names each once in a file.
pub struct BadSamples {
    path: PathBuf,
    max_bad: f64,
    seen: u64,
    bad: u64,
    named: HashSet<String>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Named {
    error: String,
}

/// Below so many examples, a few bad ones say nothing of their share.
const FEW: u64 = 200;

impl BadSamples {
    /// They are named in the file at `path`, which is made for the first; what it names already, it
    /// does not name again. A share (0 to 1) of `max_bad` may be bad, of 200 examples at the beginning.
    pub fn new(path: impl Into<PathBuf>, max_bad: f64) -> Self {
        let path = path.into();
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let error = |line: &str| serde_json::from_str::<Named>(line).ok().map(|named| named.error);
        let named = before.lines().filter_map(error).collect();
        Self { path, max_bad, seen: 0, bad: 0, named }
    }

    fn note(&mut self, step: u64, report: Report) -> Result<()> {
        self.seen += report.seen;
        for (_, error) in report.bad {
            self.bad += 1;
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default();
            if self.named.insert(text.to_owned()) {
                self.write(step, text)?;
            }
            if self.bad as f64 > self.max_bad * self.seen.max(FEW) as f64 {
                let (bad, seen, max_bad) = (self.bad, self.seen, self.max_bad);
                let (last, path) = (text.to_owned(), self.path.clone());
                return Err(Error::TooManyBad { bad, seen, max_bad, last, path });
            }
        }
        Ok(())
    }

    fn write(&self, step: u64, error: &str) -> Result<()> {
        let line = serde_json::json!({ "step": step, "error": error });
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Examples whose group is their index; one in `bad` cannot be read.
    struct Numbers {
        bad: u64,
        read: AtomicU64,
    }

    impl Dataset for Numbers {
        fn name(&self) -> &str {
            "numbers"
        }

        fn len(&self) -> Option<u64> {
            None
        }

        fn example(&self, at: At) -> Result<Example> {
            self.read.fetch_add(1, Ordering::Relaxed);
            if at.index % self.bad == self.bad - 1 {
                let (dataset, reason) = ("numbers".into(), "bad".into());
                return Err(Error::Example { dataset, index: at.index, reason });
            }
            Ok(Example { group: at.index, ..Example::default() })
        }
    }

    fn numbers(bad: u64) -> Arc<Numbers> {
        Arc::new(Numbers { bad, read: AtomicU64::new(0) })
    }

    /// Steps of four numbers each.
    fn loader(
        data: Arc<Numbers>,
        steps: Range<u64>,
        threads: Threads,
        dir: &Path,
    ) -> Loader<Vec<u64>> {
        let bad_samples = BadSamples::new(dir.join("bad_samples.jsonl"), 1.0);
        Loader::new(data, steps, threads, bad_samples, |examples, step| {
            let draw = |i| examples.draw(4 * step + i, 0.0).map(|example| example.group);
            (0..4).map(draw).collect()
        })
    }

    proptest! {
        #[test]
        fn steps_come_in_order_and_resume_exactly(
            start in 0u64..20,
            steps in 0u64..20,
            workers in 0usize..6,
            bad in 2u64..9,
        ) {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let loader = |steps, threads| loader(numbers(bad), steps, threads, dir.path());
            let all = |first, threads| -> Vec<_> {
                loader(first..40, threads).filter_map(Result::ok).collect()
            };
            let whole = all(0, Threads::Ahead(1));
            prop_assert_eq!(whole.len(), 40);
            for threads in [Threads::Ahead(workers), Threads::Between(workers)] {
                prop_assert_eq!(&all(start, threads)[..], &whole[start as usize..]);
                let mut cut = loader(0..40, threads);
                let first = cut.by_ref().take(steps as usize).filter_map(Result::ok);
                prop_assert_eq!(&first.collect::<Vec<_>>()[..], &whole[..steps as usize]);
            }
        }
    }

    #[test]
    fn no_more_is_prepared_than_fits() {
        for (threads, most) in [(Threads::Ahead(2), 4), (Threads::Between(2), 2)] {
            let data = numbers(u64::MAX);
            let mut loader = loader(data.clone(), 0..1_000, threads, Path::new("unused"));
            assert_eq!(loader.next().and_then(Result::ok), Some(vec![0, 1, 2, 3]));
            drop(loader);
            assert!(data.read.load(Ordering::Relaxed) <= 4 * most);
        }
    }

    #[test]
    fn bad_examples_are_named_once_and_stop_a_run_above_their_share() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bad_samples.jsonl");
        let outcome = |max_bad| -> Vec<_> {
            let bad_samples = BadSamples::new(&path, max_bad);
            let make = |examples: &Examples, step| {
                Ok((0..4).filter_map(|i| examples.get((4 * step + i) % 100, 0.0)).count())
            };
            Loader::new(numbers(10), 0..100, Threads::Ahead(3), bad_samples, make).collect()
        };
        let counts: usize = outcome(0.1).into_iter().map(|made| made.expect("few are bad")).sum();
        assert_eq!(counts, 360);
        let text = std::fs::read_to_string(&path).expect("written");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[1]["step"], 4);
        assert!(lines[1]["error"].as_str().is_some_and(|e| e.contains("example 19 of numbers")));

        let strict = outcome(0.05);
        let first_error = strict.iter().position(Result::is_err).expect("it stops");
        let error = strict[first_error].as_ref().err().map(ToString::to_string).unwrap_or_default();
        // The eleventh bad one of at least 200.
        assert_eq!(first_error, 109 / 4);
        assert!(error.contains("5 %") && error.contains("bad_samples.jsonl"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("written"), text, "each is named once");
    }

    #[test]
    fn errors_come_in_their_place() {
        let bad_samples = BadSamples::new("unused", 1.0);
        let make = |_: &Examples, step| match step {
            3 => Err(Error::Config { key: "step", expected: "another", got: "3".into() }),
            step => Ok(step),
        };
        let made: Vec<_> =
            Loader::new(numbers(2), 0..6, Threads::Ahead(2), bad_samples, make).collect();
        let ok: Vec<_> = made.into_iter().map(Result::ok).collect();
        assert_eq!(ok, [Some(0), Some(1), Some(2), None, Some(4), Some(5)]);
    }

    #[test]
    #[should_panic(expected = "made in vain")]
    fn a_worker_that_panics_is_heard() {
        let make = |_: &Examples, step| match step {
            2 => panic!("made in vain"),
            step => Ok(step),
        };
        let loader =
            Loader::new(numbers(2), 0..6, Threads::Ahead(2), BadSamples::new("unused", 1.0), make);
        assert!(loader.count() < 6);
    }
}
