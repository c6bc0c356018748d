//! What can go wrong between a published checkpoint and a model.

use std::path::PathBuf;

use sensorium_checkpoint as checkpoint;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a published checkpoint: expected, got, where, and a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights are damaged, foreign, or not those of the model.
    #[error(transparent)]
    Weights(#[from] checkpoint::Error),

    /// The device does not hold the model.
    #[error(transparent)]
    Device(#[from] sensorium_nn::device::DeviceError),

    /// The tokenizer or the image processor is damaged, or asks for what is not done here.
    #[error("{}: {source}", path.display())]
    Media {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: sensorium_media::Error,
    },

    /// What is to learn could not be published.
    #[error(
        "expected to train {expected}, got {got}\nhint: leave it frozen, or train what a LoRA learns beside it"
    )]
    Part {
        /// What can be published.
        expected: String,
        /// The parameter.
        got: String,
    },

    /// A table is wider than its encoder reads.
    #[error(
        "expected a table of at most {limit} columns, got {got}\nhint: leave out columns that the question does not need"
    )]
    Columns {
        /// Its columns.
        got: usize,
        /// The most.
        limit: usize,
    },

    /// A sound that is shorter than what the model hears at one position.
    #[error(
        "expected a sound of at least {least} samples at {rate} Hz, got {got}\nhint: nothing is said in so short a sound; check that the file is whole"
    )]
    ShortSound {
        /// Samples that a position sees.
        least: usize,
        /// Samples of the sound.
        got: usize,
        /// Samples a second.
        rate: u32,
    },

    /// The model has no chat template.
    #[error(
        "expected a model with a chat template, got none\nhint: leave --chat out to continue the text as it is"
    )]
    NoChat,

    /// An adapter of another model.
    #[error(
        "{}: expected {expected}, got {got}\nhint: an adapter fits the model that it was trained on, which its adapter_config.json names (base_model_name_or_path)",
        path.display()
    )]
    Adapter {
        /// The adapter's directory.
        path: PathBuf,
        /// What the model should have.
        expected: String,
        /// What is there.
        got: String,
    },

    /// A model whose files an adapter cannot change.
    #[error(
        "expected a directory of safetensors for the adapter, got {}\nhint: take the safetensors that the model was published in, or `sensorium merge` the adapter into them first",
        path.display()
    )]
    NotAdaptable {
        /// The model.
        path: PathBuf,
    },

    /// A text that the tokenizer fails at.
    #[error(transparent)]
    Text(#[from] sensorium_media::Error),

    /// The tokenizer is of a model with more tokens.
    #[error(
        "expected token ids below {rows}, the vocab_size of config.json, got {id}\nhint: tokenizer.json and the weights may be of different models"
    )]
    Token {
        /// What the tokenizer gave.
        id: u32,
        /// Rows of the token table.
        rows: usize,
    },

    /// A model of texts alone was given pictures.
    #[error(
        "expected a model that sees pictures, got {family}, which reads texts alone\nhint: `sensorium embed --text TEXT` works with it; for pictures take CLIP, SigLIP or DINOv2"
    )]
    NoPictures {
        /// Its family.
        family: &'static str,
    },

    /// A model that sees was given sounds.
    #[error(
        "expected pictures, got sounds\nhint: take an encoder of sounds; `sensorium train` makes one with recipe = \"masked\""
    )]
    NoSounds,

    /// A model without a text tower was given texts.
    #[error(
        "expected a model of pictures and texts, got {family}, which reads pictures alone\nhint: `sensorium embed --image FILE` works with it; for texts take CLIP or SigLIP"
    )]
    NoTexts {
        /// Its family.
        family: &'static str,
    },

    /// A model that has no one vector for a picture, or no two towers.
    #[error(
        "expected a model with one vector for a picture, got {family}, which asks each picture many questions\nhint: `sensorium score --image FILE --text TEXT` compares them; for vectors take CLIP, SigLIP or DINOv2"
    )]
    ManyVectors {
        /// Its family.
        family: &'static str,
    },

    /// A picture is asked for that the model cannot draw.
    #[error("{what}: expected {expected}, got {got}\nhint: {hint}")]
    Sampler {
        /// What is asked for, such as `steps`.
        what: &'static str,
        /// What there is.
        expected: String,
        /// What was asked for.
        got: String,
        /// What to do.
        hint: &'static str,
    },

    /// The file system refused to read a file.
    #[error("cannot read {}: {source}\nhint: check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A file that every checkpoint of this kind has.
    #[error("expected {file} in {}, found {found}\nhint: {hint}", path.display())]
    Missing {
        /// The file sought.
        file: String,
        /// The directory.
        path: PathBuf,
        /// What is there instead.
        found: String,
        /// What to do.
        hint: &'static str,
    },

    /// What is not heeded, where nothing may be left aside.
    #[error(
        "{place}: expected nothing that is not heeded, got {got}\nhint: leave --strict out to go on without it"
    )]
    Ignored {
        /// The file.
        place: String,
        /// Keys of settings, or names of tensors.
        got: String,
    },

    /// A file that is longer than any of its kind.
    #[error("{}: expected at most {limit} bytes, got {got}\nhint: this is not the file that its name says", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        limit: u64,
        /// Its length.
        got: u64,
    },

    /// A file that is no JSON.
    #[error("{}: expected JSON, got {got}\nhint: the file is damaged; copy or download it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        got: String,
    },

    /// A setting that is missing, of another type, out of range or not supported.
    #[error("{file}: {key}: expected {expected}, got {got}\nhint: {hint}")]
    Setting {
        /// The file, such as `config.json`.
        file: String,
        /// Path of the key, such as `vision_config.hidden_size`.
        key: String,
        /// What is read.
        expected: String,
        /// What stands there.
        got: String,
        /// What to do.
        hint: &'static str,
    },
}
