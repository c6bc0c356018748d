//! Kinds of media.

use serde::{Deserialize, Serialize};

/// A kind of medium. A variant more is a compile error at every match that must learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Words.
    Text,
    /// A still picture.
    Image,
    /// Sound, speech among it.
    Audio,
    /// Pictures in time, and their sound.
    Video,
    /// Rows and columns.
    Table,
}
