//! What can go wrong while reading data sets. Drawing never fails.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure names the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read.
    #[error(
        "expected {what} at {path}, got: {source}\nhint: fetch the data sets with `cargo xtask data`"
    )]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error(
        "expected {what} in {path}, got: {source}\nhint: the file is damaged or of another version; fetch it again with `cargo xtask data`"
    )]
    Json {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A record is well-formed but makes no sense.
    #[error(
        "expected {expected} in record {record} of {path}, got {got}\nhint: the file is damaged; fetch it again with `cargo xtask data`"
    )]
    Record {
        /// Where.
        path: PathBuf,
        /// Which record, counted from 0.
        record: usize,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        got: String,
    },
    /// A picture cannot be decoded.
    #[error(
        "expected a picture at {path}, got: {reason}\nhint: the file is damaged; fetch it again with `cargo xtask data`"
    )]
    Picture {
        /// Where.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A folder holds nothing that can be used.
    #[error(
        "expected {what} in {path}, got none\nhint: fetch the data sets with `cargo xtask data`"
    )]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A user's data set does not open.
    #[error("expected {expected} in {path}, got {got}\nhint: {hint}")]
    Format {
        /// Where.
        path: PathBuf,
        /// What was sought.
        expected: &'static str,
        /// What was found.
        got: String,
        /// What can be done.
        hint: &'static str,
    },
    /// One example of a data set cannot be read; others may be.
    #[error(
        "expected a readable example {index} of {dataset}, got: {reason}\nhint: mend it or take it out of the data set"
    )]
    Example {
        /// The data set's name.
        dataset: String,
        /// Which of its examples, from 0.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many examples cannot be read.
    #[error(
        "expected at most {} % of the examples to be bad, got {bad} bad ones among {seen}; the last: {last}\nhint: all are named in {path}; mend them, or raise `max_bad`", max_bad * 100.0
    )]
    TooManyBad {
        /// How many were bad.
        bad: u64,
        /// How many were read, the bad ones included.
        seen: u64,
        /// The share that may be bad.
        max_bad: f64,
        /// What was wrong with the last.
        last: String,
        /// Where all are named.
        path: PathBuf,
    },
    /// The list of bad examples cannot be written.
    #[error("expected to write {path}, got: {source}\nhint: check the disk and its permissions")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data set lacks what a recipe asks of it.
    #[error(
        "expected examples with {lacks}, got {dataset}, which has none\nhint: take another data set, or leave out what needs {lacks}; docs/data.md tells where each kind of data has them"
    )]
    Lacks {
        /// The data set's name.
        dataset: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// A setting makes no sense.
    #[error("expected {expected} as {key}, got {got}\nhint: correct the recipe's [data]")]
    Config {
        /// The setting.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}
