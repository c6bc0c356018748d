//! How the tensors of an assistant are called where it is written.

use super::language::Place;
use crate::names::Layout;

/// How an assistant's tensors are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    /// Of all but the language model.
    pub tower: Layout,
    /// What of our names the layout leaves out: it is of that part alone.
    pub part: &'static str,
    /// Where those of the language model are.
    pub place: Place,
}

/// In its files, and in transformers' memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spellings {
    pub files: Spelling,
    pub memory: Spelling,
}
