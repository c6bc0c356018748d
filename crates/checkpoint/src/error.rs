//! What can go wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Result of everything in [`checkpoint`](super).
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the checkpoint module: expected, got, where, and a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation.
    #[error("cannot {action} {}: {source}\nhint: check the free space and the permissions of that directory", path.display())]
    Io {
        /// Verb phrase, such as `write`.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// Bytes that are not what the format requires.
    #[error("{format} at byte {offset}: {field}: expected {expected}, got {got}\nhint: {hint}")]
    Malformed {
        /// `safetensors`, `GGUF` or `manifest`.
        format: &'static str,
        /// The field that is wrong, such as `tensors["a"].data_offsets`.
        field: String,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What the format requires there.
        expected: String,
        /// What stands there.
        got: String,
        /// What to do.
        hint: &'static str,
    },

    /// A part of a model that was split into several files.
    #[error("expected all {parts} parts of the model beside each other, {} is missing\nhint: download it too; parts keep the names that they were published under", path.display())]
    MissingPart {
        /// Where it should be.
        path: PathBuf,
        /// How many there are.
        parts: u32,
    },

    /// A metadata value is missing or has another type.
    #[error(
        "GGUF metadata {key:?}: expected {expected}, got {got}\nhint: the file may be for another architecture, or written by another converter"
    )]
    Metadata {
        /// The key asked for.
        key: String,
        /// The type asked for.
        expected: String,
        /// The type found, or `nothing`.
        got: String,
    },

    /// The tensors of a file are not those that the model has.
    #[error(
        "{0}\nhint: the config and the weights must be of the same model; ignorable tensors are removed by name before the check"
    )]
    Mismatch(String),

    /// No tensor of that name.
    #[error("no tensor {name:?} in the file{closest}\nhint: names are case-sensitive")]
    NoTensor {
        /// The name asked for.
        name: String,
        /// `", the closest is ..."`, or nothing.
        closest: String,
    },

    /// Something that cannot be written as asked.
    #[error("cannot write {what}: expected {expected}, got {got}\nhint: {hint}")]
    Unwritable {
        /// The tensor, key or file name.
        what: String,
        /// What can be written.
        expected: String,
        /// What was given.
        got: String,
        /// What to do.
        hint: &'static str,
    },

    /// A checkpoint whose files are not those its manifest lists.
    #[error("checkpoint {}: {file}: expected {expected}, got {got}\nhint: an older checkpoint is used if there is one; delete this directory once it is of no more use", path.display())]
    Corrupt {
        /// The checkpoint directory.
        path: PathBuf,
        /// The file inside it.
        file: String,
        /// What the manifest lists.
        expected: String,
        /// What is there.
        got: String,
    },

    /// There are checkpoints, and none of them verifies.
    #[error("none of the checkpoints in {} verifies:\n{list}hint: restore one from a backup, or start from scratch in another directory", path.display())]
    AllCorrupt {
        /// The run directory.
        path: PathBuf,
        /// One line a checkpoint: its name and what is wrong.
        list: String,
    },

    /// A problem inside a named file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file read.
        path: PathBuf,
        /// The problem.
        source: Box<Error>,
    },
}

impl Error {
    /// `map_err` helper: names the verb and the path of a failed file operation.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// Names the file in which `self` was found.
    pub fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_path_buf(), source: Box::new(self) }
    }
}

/// A name from a file, cut to 80 characters: a hostile file must not choose how long our messages are.
pub(super) fn short(name: &str) -> String {
    const LONGEST: usize = 80;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}
