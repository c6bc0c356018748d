//! What can be wrong with a golden on disk.

use std::path::PathBuf;

/// Why a golden could not be read. The hint is the command that makes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there.
    #[error(
        "expected the golden file {path}, got: {source}\n\
         hint: make it with `python reference/all.py` (see reference/README.md)"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file is there but does not hold what it should.
    #[error(
        "expected {expected} in {path}, got: {got}\n\
         hint: make it anew with `python reference/all.py` (see reference/README.md)"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: String,
        /// What is in it.
        got: String,
    },
}
