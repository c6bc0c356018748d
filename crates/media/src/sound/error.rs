//! What can go wrong between bytes and samples.

use serde::{Deserialize, Serialize};

use super::{MAX_CHANNELS, MAX_RATE};

/// Every failure says what was expected, what was found and where, and ends with a hint. `origin` is
/// the name the caller gave the input.
#[derive(Debug, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum SoundError {
    /// There is no such file.
    #[error(
        "expected a sound at {origin}, got no such file\nhint: check the path; relative paths start at the working directory"
    )]
    Missing {
        /// Path as given.
        origin: String,
    },
    /// The file exists but is not a regular file, or reading it failed.
    #[error(
        "expected a readable file at {origin}, got: {reason}\nhint: check that it is a regular file and its permissions"
    )]
    Unreadable {
        /// Path as given.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// Zero bytes, or a sound without a sample.
    #[error(
        "expected a sound in {origin}, got {got}\nhint: the file may not have been written or uploaded completely"
    )]
    Empty {
        /// Name of the input.
        origin: String,
        /// `0 bytes` or `0 samples`.
        got: String,
    },
    /// The content is something else, whatever the file's name says.
    #[error(
        "expected a sound (WAV, AIFF, CAF, FLAC, MP3, Ogg, Opus, AAC, MP4, WebM) in {origin}, got {found}\nhint: the content counts, not the extension; convert it to WAV or FLAC"
    )]
    NotASound {
        /// Name of the input.
        origin: String,
        /// What the content looks like.
        found: String,
    },
    /// The container is known and what it holds is not.
    #[error(
        "expected a sound that can be decoded in {origin}, got {kind} with {found}\nhint: convert it to WAV or FLAC"
    )]
    Unsupported {
        /// Name of the input.
        origin: String,
        /// Format by content.
        kind: String,
        /// What the decoder lacks.
        found: String,
    },
    /// A limit on file size or length is exceeded.
    #[error("expected at most {limit} {what} in {origin}, got {got}\nhint: cut it into parts")]
    TooLong {
        /// Name of the input.
        origin: String,
        /// The quantity: `bytes`, `seconds`, `samples`.
        what: String,
        /// Largest value allowed.
        limit: u64,
        /// What the input holds or claims.
        got: u64,
    },
    /// A sample rate or a number of channels that no sound has.
    #[error(
        "expected 1 to {limit} {what} in {origin}, got {got}\nhint: the header is damaged; at most {MAX_CHANNELS} channels at {MAX_RATE} Hz are read"
    )]
    Spec {
        /// Name of the input.
        origin: String,
        /// `samples a second` or `channels`.
        what: String,
        /// Largest value allowed.
        limit: u64,
        /// What the header claims.
        got: u64,
    },
    /// The format is right and the data is not.
    #[error(
        "expected a valid {kind} sound in {origin}, got damaged data: {reason}\nhint: open and save it again with a sound editor"
    )]
    Damaged {
        /// Name of the input.
        origin: String,
        /// Format by content.
        kind: String,
        /// What the decoder said.
        reason: String,
    },
    /// A sample is NaN or infinite.
    #[error(
        "expected finite samples in {origin}, got NaN or infinity at sample {at}\nhint: the program that wrote it failed; write it again"
    )]
    NotFinite {
        /// Name of the input.
        origin: String,
        /// The first such sample.
        at: u64,
    },
    /// The process that was to decode it gave no answer.
    #[error(transparent)]
    Child(#[from] crate::media_decoder::ChildError),
}
