//! What a rule of the map says when it is broken.

use std::fmt;

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// A file, with a line where there is one, or a folder.
    pub place: String,
    pub expected: String,
    pub got: String,
    pub hint: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, expected, got, hint } = self;
        write!(f, "{place}: expected {expected}, got {got}\n  hint: {hint}")
    }
}
