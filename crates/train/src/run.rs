//! A training run on disk: opened or resumed, logged step by step, saved and found again.
//!
//! ```text
//! runs/clip/
//! ├── config.toml  metrics.jsonl  events.out.tfevents...
//! ├── step-000000500/  weights.safetensors  optimizer.safetensors  state.json  manifest.json
//! ├── best/            the model as it was when its loss on other data was lowest
//! └── final/           the model, and provenance.json
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sensorium_checkpoint::directory::{self, save_dir, step_dir};
use sensorium_checkpoint::file::{Disk, FileSystem};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_media::MediaDecoder;
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use sensorium_pretrained::Provenance;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Result, TrainError};
use crate::feed::BAD_SAMPLES;
use crate::freeze::Proof;
use crate::guard::{Guard, Verdict};
use crate::log::{Metrics, RunLog};
use crate::model::{Files, pretty};
use crate::optim::{self, AdamW, Gradients};
use crate::progress::Steps;
use crate::provenance;

/// Where a run lives and how it starts.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Run directory.
    pub dir: PathBuf,
    /// Go on from the newest checkpoint that verifies.
    pub resume: bool,
    /// A published model to go on from must hold nothing that is not heeded.
    pub strict: bool,
    /// Decodes the pictures of data sets.
    pub decoder: MediaDecoder,
    /// Set, the run ends with its next step, which is saved.
    pub stop: Arc<AtomicBool>,
}

/// That what is frozen, which no checkpoint holds, is what the run began with.
fn unchanged(model: &impl Module, frozen: &Proof) -> Result<()> {
    crate::freeze::verify(model, frozen).map_err(|error| match error {
        TrainError::Moved { tensors } => TrainError::OtherStart { tensors },
        other => other,
    })
}

impl RunOptions {
    /// A new run in `dir`, pictures decoded in this process.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let (dir, decoder, stop) = (dir.into(), MediaDecoder::here(), Arc::default());
        Self { dir, resume: false, strict: false, decoder, stop }
    }
}

/// When a run does what, and what is known of its weights before.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in all.
    pub steps: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Steps between measurements on other data; 0 measures nothing.
    pub eval_every: u64,
    /// Measurements without a lower loss after which the run ends early.
    pub patience: Option<u64>,
    /// As [`provenance::begin`] tells it.
    pub provenance: Provenance,
}

impl Plan {
    /// Whether the run ends early once `steps` are done and `best` is still the lowest loss.
    fn is_over(&self, steps: u64, best: Option<Best>) -> bool {
        let waited = best.map_or(0, |best| steps.saturating_sub(best.step));
        self.patience.is_some_and(|patience| waited >= patience.max(1) * self.eval_every.max(1))
    }
}

/// The lowest loss on other data, and the step after which it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    step: u64,
    val_loss: f64,
}

/// What a checkpoint holds beside weights and moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    step: u64,
    seconds: f64,
    guard: Guard,
    frozen: Proof,
    #[serde(default)]
    best: Option<Best>,
    #[serde(default)]
    losses: Losses,
}

/// The last losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Losses {
    train: Option<f64>,
    val: Option<f64>,
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    log: RunLog,
    guard: Guard,
    progress: Steps,
    start: u64,
    /// The steps that the run has in all: those of the plan, unless it ends early.
    end: u64,
    plan: Plan,
    seconds: f64,
    clock: Instant,
    frozen: Proof,
    trainable: usize,
    best: Option<Best>,
    losses: Losses,
    stop: Arc<AtomicBool>,
}

/// The numbers of one step that only the recipe knows.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Step, from 0.
    pub step: u64,
    /// Loss.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Samples of the step.
    pub samples: usize,
    /// Floating-point operations of the step.
    pub flops: f64,
    /// Other scalars by name.
    pub extra: BTreeMap<String, f64>,
}

impl Run {
    /// Opens `options.dir` for a run, resuming model and optimiser if asked.
    ///
    /// # Errors
    /// A run that exists and is not resumed, a configuration that differs from the resumed one, or
    /// no checkpoint that verifies.
    pub fn open<M: Module>(
        name: &str,
        options: &RunOptions,
        resolved: &str,
        plan: Plan,
        model: M,
        optim: &mut AdamW,
    ) -> Result<(Self, M)> {
        let dir = options.dir.clone();
        let found = match options.resume && dir.is_dir() {
            true => directory::latest(&Disk, &dir)?,
            false => None,
        };
        let mut guard = Guard::new(crate::guard::GuardConfig::default());
        let (mut start, mut seconds, mut best, mut losses) = (0, 0.0, None, Losses::default());
        let trainable =
            params::list(&model).iter().filter(|p| p.trainable).map(params::Parameter::count).sum();
        let (mut model, mut frozen) = (model, None);
        let log = match found {
            Some(latest) => {
                for skipped in &latest.skipped {
                    eprintln!("{skipped}");
                }
                same_config(&dir, resolved)?;
                let file = |name: &str| safetensors::load(&latest.dir.join(name));
                model = weights::load_trained(model, &file("weights.safetensors")?)?;
                optim.restore(file("optimizer.safetensors")?);
                let state = read_state(&latest.dir.join("state.json"))?;
                (start, seconds, guard) = (state.step, state.seconds, state.guard);
                (best, losses) = (state.best, state.losses);
                let began = state.frozen.into_iter().map(|(k, v)| (weights::plain(&k), v));
                let began = began.collect();
                unchanged(&model, &began)?;
                frozen = Some(began);
                let (log, resumed) = RunLog::resume(&dir, start)?;
                eprintln!(
                    "resumed at step {start} from {} ({} later log lines cut)",
                    latest.dir.display(),
                    resumed.cut
                );
                log
            }
            // Killed before its first checkpoint: from the start, in the same log.
            None if options.resume && dir.join("config.toml").is_file() => {
                same_config(&dir, resolved)?;
                RunLog::resume(&dir, 0)?.0
            }
            None => RunLog::create(&dir, resolved)?,
        };
        let frozen = frozen.unwrap_or_else(|| crate::freeze::proof(&model));
        let end = if plan.is_over(start, best) { start } else { plan.steps };
        let progress = Steps::new(name, start, end);
        let clock = Instant::now();
        let run = Self {
            dir,
            log,
            guard,
            progress,
            start,
            end,
            plan,
            seconds,
            clock,
            frozen,
            trainable,
            best,
            losses,
            stop: options.stop.clone(),
        };
        Ok((run, model))
    }

    /// The steps still to do.
    pub fn steps(&self) -> std::ops::Range<u64> {
        self.start..self.end
    }

    /// Whether `step` is the last one: that of the plan, or one after which the loss on other data has not
    /// fallen for long enough.
    pub fn ends_after(&self, step: u64) -> bool {
        step + 1 >= self.end
    }

    /// Applies `gradients` unless the guard sees a bad step; returns the norm before clipping.
    ///
    /// # Errors
    /// Too many steps in a row that are not finite.
    pub fn update<M: Module>(
        &mut self,
        model: M,
        optim: &mut AdamW,
        gradients: &Gradients,
        step: u64,
        loss: f64,
        rate: impl Fn(&str) -> f64,
    ) -> Result<(M, f64)> {
        self.losses.train = Some(loss);
        let norm = optim::norm(gradients);
        Ok(match self.guard.check(step, loss, norm)? {
            Verdict::Apply => (optim.step(model, gradients, norm, rate), norm),
            Verdict::NotFinite | Verdict::Spike => (model, norm),
        })
    }

    /// Whether the model is to be measured after `step`.
    pub fn validates_after(&self, step: u64) -> bool {
        let Plan { steps, eval_every, .. } = self.plan;
        eval_every > 0 && ((step + 1).is_multiple_of(eval_every) || step + 1 == steps)
    }

    /// Notes the loss on other data after `step`, and keeps the model in `best/` if there was none
    /// lower.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn keep_best(
        &mut self,
        step: u64,
        val_loss: f64,
        files: impl FnOnce() -> Result<Files>,
    ) -> Result<()> {
        self.losses.val = Some(val_loss);
        if self.plan.is_over(
            step + 1,
            self.best.filter(|best| val_loss.is_nan() || best.val_loss <= val_loss),
        ) {
            self.end = step + 1;
        }
        if !val_loss.is_finite() || self.best.is_some_and(|best| best.val_loss <= val_loss) {
            return Ok(());
        }
        let (new, dir) = (self.dir.join(".best.new"), self.dir.join("best"));
        // Written whole before the older one goes.
        remove(&new)?;
        self.save(&new, files()?, step + 1)?;
        remove(&dir)?;
        Disk.rename(&new, &dir).map_err(TrainError::io("rename", &new))?;
        self.best = Some(Best { step: step + 1, val_loss });
        Ok(())
    }

    /// Logs a step and moves the bar.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn log(&mut self, step: Step, norm: f64) -> Result<()> {
        let took = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.seconds += took;
        let mut extra = step.extra;
        extra.insert("skipped".into(), self.skipped() as f64);
        extra.insert("trainable".into(), self.trainable as f64);
        if let Some(loss) = self.losses.val.filter(|_| self.validates_after(step.step)) {
            extra.insert("val_loss".into(), loss);
        }
        let metrics = Metrics {
            step: step.step,
            loss: step.loss,
            learning_rate: step.learning_rate,
            grad_norm: norm,
            samples_per_second: step.samples as f64 / took,
            gflops: step.flops / took / 1e9,
            seconds: self.seconds,
            extra,
        };
        self.progress.set(step.step + 1, &metrics);
        self.log.write(&metrics)
    }

    fn skipped(&self) -> u64 {
        self.guard.not_finite_steps() + self.guard.spike_steps()
    }

    /// Saves after `step` if it is time to, or the run is to end, and thins out older checkpoints.
    ///
    /// # Errors
    /// The save failed, and the last good checkpoint is untouched; or the run was to end before its last
    /// step.
    pub fn checkpoint<M: Module>(&mut self, step: u64, model: &M, optim: &AdamW) -> Result<()> {
        let done = step + 1;
        let stops = done != self.end && self.stop.load(Ordering::Relaxed);
        if !done.is_multiple_of(self.plan.save_every) && done != self.end && !stops {
            return Ok(());
        }
        self.log.sync()?;
        let state = State {
            step: done,
            seconds: self.seconds,
            guard: self.guard.clone(),
            frozen: self.frozen.clone(),
            best: self.best,
            losses: self.losses,
        };
        let state = pretty(&state)?;
        let weights = safetensors::write(&weights::trained(model)?, Dtype::F32)?;
        let moments = safetensors::write(&optim.state()?, Dtype::F32)?;
        let files: [(&str, &[u8]); 3] = [
            ("weights.safetensors", &weights),
            ("optimizer.safetensors", &moments),
            ("state.json", &state),
        ];
        save_dir(&Disk, &step_dir(&self.dir, done), &files)?;
        directory::retain(&Disk, &self.dir, done, 2)?;
        if stops {
            let (dir, steps) = (self.dir.clone(), self.plan.steps);
            return Err(TrainError::Stopped { step: done, steps, dir });
        }
        Ok(())
    }

    /// Writes a model's files with where they come from after `steps`.
    fn save(&self, dir: &Path, mut files: Files, steps: u64) -> Result<()> {
        let Losses { train, val } = self.losses;
        let provenance = provenance::end(self.plan.provenance.clone(), steps, [train, val]);
        files.push(("provenance.json".into(), pretty(&provenance)?));
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        Ok(save_dir(&Disk, dir, &files)?)
    }

    /// Writes a model that the run ends with to its directory `name`; a recipe may leave others beside `final`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn keep(&self, name: &str, files: Files) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if self.start < self.end && dir.is_dir() {
            // A run that was prolonged: what it once ended with stays, under its step.
            let older = self.dir.join(format!("{name}-{:09}", self.start));
            Disk.rename(&dir, &older).map_err(TrainError::io("rename", &dir))?;
        }
        // A run that was finished before stays as it is, its date too.
        if directory::verify(&Disk, &dir).is_err() {
            self.save(&dir, files, self.end)?;
        }
        Ok(dir)
    }

    /// Ends the run: proves that what was frozen did not move, and writes the model to `final/` with
    /// where it comes from.
    ///
    /// # Errors
    /// A frozen tensor moved, or the files cannot be written.
    pub fn finish<M: Module>(self, model: &M, files: Files) -> Result<()> {
        crate::freeze::verify(model, &self.frozen)?;
        self.progress.finish();
        let dir = self.keep("final", files)?;
        if self.end < self.plan.steps {
            eprintln!("ended after step {} of {}: no lower val_loss", self.end, self.plan.steps);
        }
        if let Some(Best { step, val_loss }) = self.best {
            eprintln!(
                "lowest val_loss {val_loss:.4} after step {step}, kept in {}",
                self.dir.join("best").display()
            );
        }
        let bad_samples = self.dir.join(BAD_SAMPLES);
        if let Ok(bad) = std::fs::read_to_string(&bad_samples) {
            eprintln!(
                "{} examples could not be read: see {}",
                bad.lines().count(),
                bad_samples.display()
            );
        }
        eprintln!("frozen tensors unchanged: {}; wrote {}", self.frozen.len(), dir.display());
        Ok(())
    }
}

/// Removes a directory, if it is there.
fn remove(dir: &Path) -> Result<()> {
    match dir.is_dir() {
        true => Disk.remove_dir_all(dir).map_err(TrainError::io("remove", dir)),
        false => Ok(()),
    }
}

/// What may change between the parts of a run.
const FREE: [&str; 7] =
    ["save_every", "eval_every", "eval_batches", "patience", "precision", "recompute", "device"];

fn same_config(dir: &Path, resolved: &str) -> Result<()> {
    let path = dir.join("config.toml");
    let old = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
    // The precision may change: the next machine may lack it. And activations that are made again
    // are the same.
    let values = config::leaves(resolved, "new configuration")?;
    let free = |change: &String| {
        let key = change.split(':').next().unwrap_or_default();
        match key.strip_suffix("steps") {
            Some(stage) => may_be_prolonged(stage, &values),
            None => FREE.iter().any(|free| key.ends_with(free)),
        }
    };
    let mut changed = config::differences(&old, resolved)?;
    changed.retain(|change| !free(change));
    if changed.is_empty() { Ok(()) } else { Err(TrainError::Changed { path, changed }) }
}

/// A warm-up-stable-decay schedule is meant to be stopped or prolonged anywhere before its decay. A
/// cosine is another curve, from the first step on, when its end moves.
fn may_be_prolonged(stage: &str, values: &BTreeMap<String, String>) -> bool {
    values.get(&format!("{stage}schedule.kind")).is_none_or(|kind| kind != "\"cosine\"")
}

fn read_state(path: &Path) -> Result<State> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| TrainError::State { path: path.to_path_buf(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose shortest spelling a careless reader takes for their neighbour.
    #[test]
    fn a_state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for loss in [10.004870414733887, 0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX] {
            let state = State {
                step: 1,
                seconds: loss,
                guard: Guard::new(crate::guard::GuardConfig::default()),
                frozen: Proof::new(),
                best: Some(Best { step: 1, val_loss: loss }),
                losses: Losses { train: Some(loss), val: Some(loss) },
            };
            std::fs::write(&path, pretty(&state).unwrap()).unwrap();
            let read = read_state(&path).unwrap();
            assert_eq!((read.best, read.losses, read.seconds), (state.best, state.losses, loss));
        }
    }
}
