//! A training run on disk: opened or resumed, logged step by step, saved and found again.
//!
//! ```text
//! runs/clip/
//! ├── config.toml  metrics.jsonl  events.out.tfevents...
//! ├── step-000000500/  weights.safetensors  optimizer.safetensors  state.json  manifest.json
//! └── final/           one file for each component
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::directory::{self, save_dir, step_dir};
use sensorium_checkpoint::file::{Disk, FileSystem};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Result, TrainError};
use crate::freeze::Proof;
use crate::guard::{Guard, Verdict};
use crate::log::{Metrics, RunLog};
use crate::optim::{self, AdamW, Gradients};
use crate::progress::Progress;

/// Where a run lives and how it starts.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Run directory.
    pub dir: PathBuf,
    /// Go on from the newest checkpoint that verifies.
    pub resume: bool,
}

/// What a checkpoint holds beside weights and moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    step: u64,
    seconds: f64,
    guard: Guard,
    frozen: Proof,
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    log: RunLog,
    guard: Guard,
    progress: Progress,
    start: u64,
    steps: u64,
    save_every: u64,
    seconds: f64,
    clock: Instant,
    frozen: Proof,
    trainable: usize,
}

/// The numbers of one step that only the recipe knows.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Step, from 0.
    pub step: u64,
    /// Loss.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Samples of the step.
    pub samples: usize,
    /// Floating-point operations of the step.
    pub flops: f64,
    /// Other scalars by name.
    pub extra: BTreeMap<String, f64>,
}

impl Run {
    /// Opens `options.dir` for a run of `steps` steps, resuming model and optimiser if asked.
    ///
    /// # Errors
    /// A run that exists and is not resumed, a configuration that differs from the resumed one, or
    /// no checkpoint that verifies.
    pub fn open<M: Module>(
        name: &str,
        options: &RunOptions,
        resolved: &str,
        [steps, save_every]: [u64; 2],
        model: M,
        optim: &mut AdamW,
    ) -> Result<(Self, M)> {
        let dir = options.dir.clone();
        let found = match options.resume && dir.is_dir() {
            true => directory::latest(&Disk, &dir)?,
            false => None,
        };
        let mut guard = Guard::new(crate::guard::GuardConfig::default());
        let (mut start, mut seconds) = (0, 0.0);
        let trainable =
            params::list(&model).iter().filter(|p| p.trainable).map(params::Parameter::count).sum();
        let mut frozen = crate::freeze::proof(&model);
        let mut model = model;
        let log = match found {
            Some(latest) => {
                for skipped in &latest.skipped {
                    eprintln!("{skipped}");
                }
                same_config(&dir, resolved)?;
                let file = |name: &str| safetensors::load(&latest.dir.join(name));
                model = weights::load(model, &file("weights.safetensors")?)?;
                optim.restore(file("optimizer.safetensors")?);
                let state = read_state(&latest.dir.join("state.json"))?;
                (start, seconds, guard) = (state.step, state.seconds, state.guard);
                frozen = state.frozen.iter().map(|(k, v)| (weights::plain(k), v.clone())).collect();
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
        let progress = Progress::new(name, start, steps);
        let clock = Instant::now();
        let run = Self {
            dir,
            log,
            guard,
            progress,
            start,
            steps,
            save_every,
            seconds,
            clock,
            frozen,
            trainable,
        };
        Ok((run, model))
    }

    /// The steps still to do.
    pub fn steps(&self) -> std::ops::Range<u64> {
        self.start..self.steps
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
        let norm = optim::norm(gradients);
        Ok(match self.guard.check(step, loss, norm)? {
            Verdict::Apply => (optim.step(model, gradients, norm, rate), norm),
            Verdict::NotFinite | Verdict::Spike => (model, norm),
        })
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
        let metrics = Metrics {
            step: step.step,
            loss: step.loss,
            rate: step.rate,
            grad_norm: norm,
            samples_per_second: step.samples as f64 / took,
            gflops: step.flops / took / 1e9,
            seconds: self.seconds,
            extra,
        };
        self.progress.step(step.step + 1, &metrics);
        self.log.write(&metrics)
    }

    fn skipped(&self) -> u64 {
        self.guard.not_finite_steps() + self.guard.spike_steps()
    }

    /// Saves after `step` if it is time to, and thins out older checkpoints.
    ///
    /// # Errors
    /// The save failed; the last good checkpoint is untouched.
    pub fn checkpoint<M: Module>(&mut self, step: u64, model: &M, optim: &AdamW) -> Result<()> {
        let done = step + 1;
        if !done.is_multiple_of(self.save_every) && done != self.steps {
            return Ok(());
        }
        self.log.sync()?;
        let state = State {
            step: done,
            seconds: self.seconds,
            guard: self.guard.clone(),
            frozen: self.frozen.clone(),
        };
        let state = serde_json::to_vec_pretty(&state)
            .map_err(|error| TrainError::encode("the run's state", error))?;
        let weights = safetensors::write(&weights::tensors(model)?, Dtype::F32)?;
        let moments = safetensors::write(&optim.state()?, Dtype::F32)?;
        let files: [(&str, &[u8]); 3] = [
            ("weights.safetensors", &weights),
            ("optimizer.safetensors", &moments),
            ("state.json", &state),
        ];
        save_dir(&Disk, &step_dir(&self.dir, done), &files)?;
        directory::retain(&Disk, &self.dir, done, 2)?;
        Ok(())
    }

    /// Ends the run: proves that what was frozen did not move, and writes `final/` with one file
    /// for each named component.
    ///
    /// # Errors
    /// A frozen tensor moved, or the files cannot be written.
    pub fn finish<M: Module>(self, model: &M, components: &[(&str, Tensors)]) -> Result<()> {
        crate::freeze::verify(model, &self.frozen)?;
        self.progress.finish();
        let mut files = Vec::new();
        for (name, tensors) in components {
            files.push((format!("{name}.safetensors"), safetensors::write(tensors, Dtype::F32)?));
        }
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let dir = self.dir.join("final");
        if self.start < self.steps && dir.is_dir() {
            // A run that was prolonged: what it once ended with stays, under its step.
            let older = self.dir.join(format!("final-{:09}", self.start));
            Disk.rename(&dir, &older).map_err(TrainError::io("rename", &dir))?;
        }
        save_dir(&Disk, &dir, &files)?;
        eprintln!("frozen tensors unchanged: {}; wrote {}", self.frozen.len(), dir.display());
        Ok(())
    }
}

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
            None => ["save_every", "precision", "recompute"].iter().any(|free| key.ends_with(free)),
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
