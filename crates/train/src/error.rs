//! What can go wrong while training, each with what to do about it.

use std::path::{Path, PathBuf};

/// The result of a training operation.
pub type Result<T> = std::result::Result<T, TrainError>;

/// An error of this crate. Every message says what was expected, what was found, where, and a
/// `hint:` line with the next thing to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A part to train does not exist in the model.
    #[error(
        "expected the name of a part of the model, got {part:?}, which matches no parameter\nhint: `sensorium info` lists the parts"
    )]
    Part {
        /// The name.
        part: String,
    },

    /// A model that is trained as it answers cannot.
    #[error(transparent)]
    Inference(Box<sensorium_inference::Error>),

    /// An example's pictures take more tokens than the model reads.
    #[error(
        "expected pictures of at most {limit} tokens, all that the model reads, got {got}\nhint: take a data set with fewer or smaller pictures, or a model with a longer context"
    )]
    TooLong {
        /// Tokens up to the last picture's end.
        got: usize,
        /// The model's context.
        limit: usize,
    },

    /// A run was told to end before its last step.
    #[error("stopped after step {step} of {steps}, which is saved in {}\nhint: the same command with --resume goes on from there", dir.display())]
    Stopped {
        /// The last step.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// The run's directory.
        dir: PathBuf,
    },

    /// A run would take more memory than there is.
    #[error("expected a run that fits into {available} of memory beside its weights, got one of at least {needed}: {} for gradients and moments, {} for activations\nhint: {hint}", of[0], of[1])]
    Memory {
        /// What there is.
        available: String,
        /// What it takes.
        needed: String,
        /// Of that, gradients with moments, and activations.
        of: [String; 2],
        /// What would fit.
        hint: String,
    },

    /// A frozen tensor changed during a training.
    #[error("expected frozen tensors to stay as they were, {} changed: {}\nhint: this is a mistake in the recipe; nothing was written", tensors.len(), tensors.join(", "))]
    Moved {
        /// Their names.
        tensors: Vec<String>,
    },

    /// A resumed run starts from other weights.
    #[error("expected the frozen tensors that the run began with, {} are others: {}\nhint: the files that the recipe starts from have changed; resume with those it began with", tensors.len(), tensors.join(", "))]
    OtherStart {
        /// Their names.
        tensors: Vec<String>,
    },

    /// A resumed run has another configuration.
    #[error("{}: a run is resumed with the configuration it began with, but these differ:\n  {}\nhint: resume without --set, or start a new run with --out", path.display(), changed.join("\n  "))]
    Changed {
        /// The saved configuration.
        path: PathBuf,
        /// `key: old -> new`.
        changed: Vec<String>,
    },

    /// A checkpoint's `state.json` cannot be read.
    #[error("{}: expected the state of a run, got: {message}\nhint: resume from an older checkpoint", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// Weights could not be read or written.
    #[error(transparent)]
    Checkpoint(Box<sensorium_checkpoint::Error>),

    /// A published model could not be opened.
    #[error(transparent)]
    Pretrained(Box<sensorium_pretrained::Error>),

    /// A published model could not be found.
    #[error(transparent)]
    Hub(#[from] sensorium_hub::Error),

    /// A medium or a tokenizer could not be read.
    #[error(transparent)]
    Media(#[from] sensorium_media::Error),

    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] sensorium_data::Error),

    /// A backward pass left a trainable parameter without a gradient.
    #[error(transparent)]
    Gradients(#[from] sensorium_nn::params::MissingGradients),

    /// The file system refused an operation.
    #[error("could not {doing} {}: {source}\nhint: check that the path exists, is writable and that the disk has room", path.display())]
    Io {
        /// What was tried, as a verb: "read", "create".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },

    /// A configuration file or a `--set` override is not acceptable.
    #[error("{place}: {key}: {message}\nhint: {hint}")]
    Config {
        /// `file:line`, or the text of the `--set` argument.
        place: String,
        /// Dotted key at fault, such as `align.steps`.
        key: String,
        /// What was expected and what was found.
        message: String,
        /// What to write instead.
        hint: String,
    },

    /// Several steps in a row had a loss or a gradient that is not a number.
    #[error(
        "step {step}: loss {loss}, gradient norm {grad_norm}: not finite {count} times in a row\nhint: lower the learning rate, lengthen the warm-up, or resume from an earlier checkpoint"
    )]
    NotFinite {
        /// The last of the failing steps.
        step: u64,
        /// Steps in a row that were not finite.
        count: u32,
        /// Loss of the last one.
        loss: f64,
        /// Gradient norm of the last one.
        grad_norm: f64,
    },

    /// A line in the middle of `metrics.jsonl` is not what a run writes.
    #[error("{}:{line}: expected a JSON object with a growing \"step\", got: {message}\nhint: remove the line, or move the file away to start a new log", path.display())]
    Metrics {
        /// The log file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },

    /// Another process is writing to this run directory.
    #[error("run directory {} is in use by another training process\nhint: stop the other one, or choose another directory", path.display())]
    RunInUse {
        /// The run directory.
        path: PathBuf,
    },

    /// A new run was started where a run already is.
    #[error("expected an empty run directory, but {} already holds a run\nhint: resume it, or choose another directory", path.display())]
    RunExists {
        /// The run directory.
        path: PathBuf,
    },

    /// There is nothing to draw.
    #[error("no steps to plot in {}\nhint: train first, or give run directories that hold a metrics.jsonl", path.display())]
    NothingToPlot {
        /// The run directory.
        path: PathBuf,
    },

    /// A chart could not be drawn.
    #[error("could not draw {}: {message}\nhint: look at the values of this metric in metrics.jsonl", path.display())]
    Plot {
        /// The picture.
        path: PathBuf,
        /// The reason given by the plotter.
        message: String,
    },

    /// A value cannot be written down as TOML or JSON.
    #[error("could not write down {what}: {message}\nhint: {hint}")]
    Encode {
        /// What was being written.
        what: &'static str,
        /// What is in the way.
        message: String,
        /// What to change.
        hint: &'static str,
    },
}

impl From<sensorium_checkpoint::Error> for TrainError {
    fn from(error: sensorium_checkpoint::Error) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

impl From<sensorium_inference::Error> for TrainError {
    fn from(error: sensorium_inference::Error) -> Self {
        Self::Inference(Box::new(error))
    }
}

impl From<sensorium_pretrained::Error> for TrainError {
    fn from(error: sensorium_pretrained::Error) -> Self {
        Self::Pretrained(Box::new(error))
    }
}

impl TrainError {
    /// For `map_err`: names the operation and the path of a failed file operation.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// A value that the encoder of a text format refused.
    pub(crate) fn encode(what: &'static str, error: impl std::fmt::Display) -> Self {
        let hint = "integers must fit in 63 bits, and TOML has no null";
        Self::Encode { what, message: error.to_string(), hint }
    }
}
