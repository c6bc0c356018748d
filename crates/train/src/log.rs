//! The run directory: what a training run leaves behind to be read, plotted and resumed.
//!
//! ```text
//! run/
//! ├── config.toml            resolved configuration
//! ├── metrics.jsonl          one JSON object per step
//! └── events.out.tfevents.*  the same numbers for TensorBoard
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Result, TrainError};
use crate::tensorboard::Events;

const CONFIG: &str = "config.toml";
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The numbers of one training step. Numbers that are not finite are written as `null`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Step, from 0, counted over all stages of the run.
    pub step: u64,
    /// Training loss.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Learning rate.
    #[serde(alias = "rate", deserialize_with = "null_is_nan")]
    pub learning_rate: f64,
    /// Gradient norm before clipping.
    #[serde(deserialize_with = "null_is_nan")]
    pub grad_norm: f64,
    /// Training samples per second of this step.
    #[serde(deserialize_with = "null_is_nan")]
    pub samples_per_second: f64,
    /// Speed in 10⁹ floating-point operations per second.
    #[serde(deserialize_with = "null_is_nan")]
    pub gflops: f64,
    /// Wall-clock seconds of training so far.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
    /// Any other scalars, such as `accuracy` or `logit_scale`, under names of their own.
    #[serde(flatten, deserialize_with = "scalars")]
    pub extra: BTreeMap<String, f64>,
}

impl Metrics {
    /// Every scalar with its name: the fields in order, then the extra ones.
    pub fn scalars(&self) -> impl Iterator<Item = (&str, f64)> {
        let fields = [
            ("loss", self.loss),
            ("learning_rate", self.learning_rate),
            ("grad_norm", self.grad_norm),
            ("samples_per_second", self.samples_per_second),
            ("gflops", self.gflops),
        ];
        fields.into_iter().chain(self.extra.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

/// What [`RunLog::resume`] found in an older log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumed {
    /// Steps kept.
    pub kept: u64,
    /// Lines cut: steps that will run again, and a torn last line.
    pub cut: u64,
    /// Steps before the checkpoint that the log has lost, because it was moved or not synced.
    pub missing: u64,
}

/// The open log of a run. It holds a lock: a second trainer in the same directory is refused.
#[derive(Debug)]
pub struct RunLog {
    dir: PathBuf,
    metrics: File,
    events: Events,
}

impl RunLog {
    /// Starts a run in `dir`, which is made if needed, and saves the resolved configuration.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if steps were already logged there, [`TrainError::RunInUse`].
    pub fn create(dir: &Path, config: &str) -> Result<Self> {
        fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let metrics = open_locked(dir)?;
        let length = metrics.metadata().map_err(TrainError::io("read", &dir.join(METRICS)))?.len();
        if length > 0 {
            return Err(TrainError::RunExists { path: dir.to_owned() });
        }
        let path = dir.join(CONFIG);
        fs::write(&path, config).map_err(TrainError::io("write", &path))?;
        Ok(Self { dir: dir.to_owned(), metrics, events: Events::create(dir, now(), None)? })
    }

    /// Goes on with the run in `dir` from step `next`, the first that will run again: lines of that
    /// step and later are cut, so that no step is there twice.
    ///
    /// # Errors
    /// [`TrainError::Metrics`] if a line other than a torn last one cannot be read.
    pub fn resume(dir: &Path, next: u64) -> Result<(Self, Resumed)> {
        let metrics = open_locked(dir)?;
        let resumed = cut(&dir.join(METRICS), &metrics, next)?;
        let events = Events::create(dir, now(), Some(next))?;
        Ok((Self { dir: dir.to_owned(), metrics, events }, resumed))
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends one step. A crash leaves either the whole line or a torn one that is later dropped.
    ///
    /// # Errors
    /// [`TrainError::Encode`] if an extra scalar has the name of a field.
    pub fn write(&mut self, metrics: &Metrics) -> Result<()> {
        check_names(metrics)?;
        let mut line =
            serde_json::to_string(metrics).map_err(|error| TrainError::encode("metrics", error))?;
        line.push('\n');
        let path = self.dir.join(METRICS);
        self.metrics.write_all(line.as_bytes()).map_err(TrainError::io("append to", &path))?;
        self.events.scalars(now(), metrics.step, metrics.scalars())
    }

    /// Brings all steps so far to the disk. Call it before a checkpoint is written, so that the log
    /// is never behind the checkpoint, even after a power cut.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync_data().map_err(TrainError::io("sync", &self.dir.join(METRICS)))
    }
}

/// All steps logged in a run directory, in order; a torn last line is left out.
///
/// # Errors
/// [`TrainError::Metrics`] names the line that cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Metrics>> {
    let path = dir.join(METRICS);
    let file = File::open(&path).map_err(TrainError::io("open", &path))?;
    let mut steps = Vec::new();
    each_step(&path, &file, |metrics, _| {
        steps.push(metrics);
        true
    })?;
    Ok(steps)
}

/// Whether a process writes the log of the run in `dir`.
pub fn is_running(dir: &Path) -> bool {
    let locked = File::open(dir.join(METRICS)).map(|file| file.try_lock_shared());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

fn open_locked(dir: &Path) -> Result<File> {
    let path = dir.join(METRICS);
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .map_err(TrainError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::RunInUse { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(TrainError::io("lock", &path)(source)),
    }
}

/// A name that occurs twice would make the line unreadable.
fn check_names(metrics: &Metrics) -> Result<()> {
    let fields =
        ["step", "loss", "learning_rate", "grad_norm", "samples_per_second", "gflops", "seconds"];
    match fields.iter().find(|name| metrics.extra.contains_key(**name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("the extra scalar `{name}` has the name of a field");
            Err(TrainError::Encode { what: "metrics", message, hint: "give it another name" })
        }
    }
}

/// Shortens the log to the steps before `next`. Cutting again does nothing, so a crash in here is
/// harmless.
fn cut(path: &Path, file: &File, next: u64) -> Result<Resumed> {
    let (mut kept, mut length) = (0, 0);
    let lines = each_step(path, file, |metrics, end| {
        let keep = metrics.step < next;
        if keep {
            (kept, length) = (kept + 1, end);
        }
        keep
    })?;
    file.set_len(length).map_err(TrainError::io("shorten", path))?;
    file.sync_data().map_err(TrainError::io("sync", path))?;
    Ok(Resumed { kept, cut: lines - kept, missing: next.saturating_sub(kept) })
}

/// Calls `visit` with each step and the offset of its line's end until it answers `false`. Returns
/// the number of lines in the file, a torn one included.
fn each_step(path: &Path, file: &File, mut visit: impl FnMut(Metrics, u64) -> bool) -> Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut line, mut end, mut lines) = (Vec::new(), 0, 0);
    let (mut visiting, mut last) = (true, None);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(TrainError::io("read", path))?;
        if read == 0 {
            return Ok(lines);
        }
        (lines, end) = (lines + 1, end + read as u64);
        if !visiting {
            continue;
        }
        match parse(&line, last) {
            Ok(metrics) => {
                last = Some(metrics.step);
                visiting = visit(metrics, end);
            }
            // Only the last line can be torn by a crash.
            Err(_) if at_end(&mut reader, path)? => return Ok(lines),
            Err(message) => {
                return Err(TrainError::Metrics {
                    path: path.to_owned(),
                    line: lines as usize,
                    message,
                });
            }
        }
    }
}

fn parse(line: &[u8], last: Option<u64>) -> std::result::Result<Metrics, String> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err("a line without an end".to_owned());
    };
    let metrics: Metrics = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match last {
        Some(last) if metrics.step <= last => {
            Err(format!("step {} after step {last}", metrics.step))
        }
        _ => Ok(metrics),
    }
}

fn at_end(reader: &mut impl BufRead, path: &Path) -> Result<bool> {
    Ok(reader.fill_buf().map_err(TrainError::io("read", path))?.is_empty())
}

/// Seconds since 1970, the wall time of TensorBoard events.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn null_is_nan<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn scalars<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<BTreeMap<String, f64>, D::Error> {
    let map = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(map.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Metrics {
        let extra = BTreeMap::from([("accuracy".to_owned(), 0.5)]);
        Metrics {
            step,
            loss: 1.0 / (step + 1) as f64,
            learning_rate: 1e-3,
            extra,
            ..Metrics::default()
        }
    }

    fn run(steps: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::create(dir.path(), "seed = 1\n").unwrap();
        for index in 0..steps {
            log.write(&step(index)).unwrap();
        }
        log.sync().unwrap();
        dir
    }

    fn steps(dir: &Path) -> Vec<u64> {
        read(dir).unwrap().iter().map(|metrics| metrics.step).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = run(5);
        assert_eq!(read(dir.path()).unwrap(), (0..5).map(step).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(dir.path().join(CONFIG)).unwrap(), "seed = 1\n");
        let first = fs::read_to_string(dir.path().join(METRICS)).unwrap();
        assert!(first.starts_with("{\"step\":0,\"loss\":1.0,\"learning_rate\":0.001,"), "{first}");
    }

    #[test]
    fn not_a_number_becomes_null_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::create(dir.path(), "").unwrap();
        let extra = BTreeMap::from([("score".to_owned(), f64::INFINITY)]);
        log.write(&Metrics { loss: f64::NAN, extra, ..step(0) }).unwrap();
        let back = read(dir.path()).unwrap();
        assert!(back[0].loss.is_nan() && back[0].extra["score"].is_nan());
    }

    #[test]
    fn an_extra_scalar_may_not_take_the_name_of_a_field() {
        let dir = run(1);
        let (mut log, _) = RunLog::resume(dir.path(), 1).unwrap();
        let extra = BTreeMap::from([("loss".to_owned(), 1.0)]);
        assert!(
            log.write(&Metrics { extra, ..step(1) }).unwrap_err().to_string().contains("`loss`")
        );
        assert_eq!(steps(dir.path()), [0]);
    }

    #[test]
    fn resume_cuts_the_steps_that_run_again() {
        let dir = run(10);
        let (mut log, resumed) = RunLog::resume(dir.path(), 6).unwrap();
        assert_eq!(resumed, Resumed { kept: 6, cut: 4, missing: 0 });
        for index in 6..12 {
            log.write(&step(index)).unwrap();
        }
        assert_eq!(steps(dir.path()), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_cut_at_any_byte_is_still_read_and_resumed() {
        let dir = run(4);
        let whole = fs::read(dir.path().join(METRICS)).unwrap();
        let lines = whole.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(lines, 4);
        for length in 0..=whole.len() {
            let torn = &whole[..length];
            fs::write(dir.path().join(METRICS), torn).unwrap();
            let full = torn.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(steps(dir.path()), (0..full).collect::<Vec<_>>(), "{length} bytes");
            let (mut log, resumed) = RunLog::resume(dir.path(), 4).unwrap();
            assert_eq!((resumed.kept, resumed.missing), (full, 4 - full));
            log.write(&step(4)).unwrap();
            assert_eq!(steps(dir.path()), (0..full).chain([4]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tail_of_zeros_after_a_power_cut_is_dropped() {
        let dir = run(3);
        let mut bytes = fs::read(dir.path().join(METRICS)).unwrap();
        bytes.extend([0; 512]);
        fs::write(dir.path().join(METRICS), bytes).unwrap();
        assert_eq!(
            RunLog::resume(dir.path(), 3).unwrap().1,
            Resumed { kept: 3, cut: 1, missing: 0 }
        );
        assert_eq!(steps(dir.path()), [0, 1, 2]);
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named_and_nothing_is_lost() {
        let dir = run(4);
        let path = dir.path().join(METRICS);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [("{\"step\":1,", "what,"), ("{\"step\":1,", "{\"step\":0,")] {
            let bad = text.replace(from, to);
            fs::write(&path, &bad).unwrap();
            let error = RunLog::resume(dir.path(), 4).unwrap_err().to_string();
            assert!(error.contains("metrics.jsonl:2:") && error.contains("hint: "), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_second_trainer_and_a_second_start_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = RunLog::create(dir.path(), "").unwrap();
        assert!(matches!(RunLog::create(dir.path(), ""), Err(TrainError::RunInUse { .. })));
        assert!(matches!(RunLog::resume(dir.path(), 0), Err(TrainError::RunInUse { .. })));
        drop(log);
        let full = run(1);
        assert!(matches!(RunLog::create(full.path(), ""), Err(TrainError::RunExists { .. })));
    }
}
