//! A file mapped into memory: opening a large one reads no more than its header.

use super::super::error::{Error, Result};
use super::read::Gguf;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A mapped file, to which a [`Gguf`] and its tensors belong.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// It is missing, unreadable or no regular file.
    #[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let is_file = file.metadata().map_err(Error::io("open", path))?.is_file();
        if !is_file {
            let source = std::io::Error::other("it is no regular file");
            return Err(Error::Io { action: "map", path: path.to_path_buf(), source });
        }
        // SAFETY: the mapping is private and only read, as bytes, of which all values are valid.
        // What no program can rule out is that another one changes or cuts the file meanwhile: the
        // first gives wrong numbers, the second ends this process with SIGBUS. Sensorium itself
        // never writes over a file in place: `write_atomic` renames a new one to its name.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Ok(Self { path: path.to_path_buf(), map })
    }

    /// The checked file; its tensors stay packed.
    ///
    /// # Errors
    /// As [`Gguf::parse`], with the path.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        Gguf::parse(&self.map).map_err(|error| error.in_file(&self.path))
    }
}
