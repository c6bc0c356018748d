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
}
