//! What a recipe's steps learn from and are measured on: batches of a recipe's own kind, prepared ahead.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use sensorium_data::{BadSamples, Config, Example, Examples, Loader, Mixture, Threads};

use crate::error::Result;
use crate::model;
use crate::run::RunOptions;
use crate::schedule;

/// Threads that compute for each one that prepares batches. With fewer, batches are made between the
/// steps: one thread too many holds up a step by more than that takes.
const THREADS_PER_WORKER: usize = 4;

/// The most batches that are in the making at once.
const MOST_WORKERS: usize = 4;

/// Makes the batch of a step, from examples after so much (0 to 1) of the curriculum.
type Make<T> = dyn Fn(&Examples, u64, f32) -> Result<T> + Send + Sync;

/// Batches of `T`.
pub struct Feed<T> {
    train: Arc<Mixture>,
    val: Option<Arc<Mixture>>,
    make: Arc<Make<T>>,
    curriculum: [f32; 2],
    steps: u64,
    max_bad: f64,
    bad_samples: PathBuf,
}

/// The file in a run's directory that names the examples that could not be read.
pub const BAD_SAMPLES: &str = "bad_samples.jsonl";

/// The steps of a run on `data`: those that are given, or as many as `epochs` over all its examples take.
///
/// # Errors
/// Neither or both are given, or no sensible number; a data set of which there is always more.
pub fn steps(
    steps: u64,
    epochs: Option<f64>,
    batch_size: usize,
    data: &Config,
    options: &RunOptions,
) -> Result<u64> {
    let wrong = |key, message: String, hint| Err(model::config(key, &message, hint));
    if batch_size == 0 {
        return wrong("batch_size", "expected 1 or more, got 0".into(), "a batch of 8 is usual");
    }
    let Some(epochs) = epochs else {
        let hint = "steps = 1000, or epochs = 3 of data that have an end";
        return match steps {
            0 => wrong("steps", "expected 1 or more, got 0".into(), hint),
            steps => Ok(steps),
        };
    };
    if steps > 0 || !(epochs > 0.0 && epochs.is_finite()) {
        let got = format!("expected epochs above 0 and no steps, got {epochs} and {steps} steps");
        return wrong("epochs", got, "give one of the two");
    }
    let Some(all) = data.open_train(0, 1, &options.decoder)?.examples() else {
        let got = "expected data sets that have an end, got one that is drawn without".to_owned();
        return wrong("epochs", got, "give steps instead");
    };
    Ok(((epochs * all as f64) / batch_size as f64).ceil().max(1.0) as u64)
}

impl<T: Send + 'static> Feed<T> {
    /// Opens the data sets for a run of `steps`; drawn pictures are of `picture_size` pixels.
    /// `lacks` names what the recipe needs and an example has not.
    ///
    /// # Errors
    /// A data set that does not open, or lacks something.
    pub fn open(
        config: &Config,
        [seed, steps]: [u64; 2],
        picture_size: u32,
        options: &RunOptions,
        lacks: impl Fn(&Example) -> Option<&'static str>,
        make: impl Fn(&Examples, u64, f32) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let train = config.open_train(seed, picture_size, &options.decoder)?;
        let val = config.open_val(seed, picture_size, &options.decoder)?;
        for data in [Some(&train), val.as_ref()].into_iter().flatten() {
            data.check(&lacks)?;
        }
        Ok(Self {
            train: Arc::new(train),
            val: val.map(Arc::new),
            make: Arc::new(make),
            curriculum: config.curriculum,
            steps,
            max_bad: config.max_bad,
            bad_samples: options.dir.join(BAD_SAMPLES),
        })
    }

    /// The batches of `steps`: the same for the same step, whatever came before.
    pub fn train(&self, steps: Range<u64>) -> impl Iterator<Item = Result<T>> + use<T> {
        self.load(&self.train, steps, self.curriculum)
    }

    /// So many batches to measure on, the same each time, as hard as the run's last; nothing without a
    /// data set for it.
    pub fn val(&self, batches: u64) -> Option<impl Iterator<Item = Result<T>> + use<T>> {
        let [_, end] = self.curriculum;
        Some(self.load(self.val.as_ref()?, 0..batches, [end; 2]))
    }

    fn load(
        &self,
        data: &Arc<Mixture>,
        steps: Range<u64>,
        curriculum: [f32; 2],
    ) -> impl Iterator<Item = Result<T>> + use<T> {
        let (make, all) = (self.make.clone(), self.steps);
        let bad_samples = BadSamples::new(&self.bad_samples, self.max_bad);
        let make = move |examples: &Examples, step| {
            let progress = schedule::progress(curriculum, step, all);
            Ok(make(examples, step, progress))
        };
        let all = rayon::current_num_threads();
        let threads = match all / THREADS_PER_WORKER {
            0 => Threads::Between(all),
            spare => Threads::Ahead(spare.min(MOST_WORKERS)),
        };
        Loader::new(data.clone(), steps, threads, bad_samples, make).map(|made| made?)
    }
}
