//! Files mapped into memory: opening large ones reads no more than their headers.

use super::super::error::{Error, Result};
use super::read::Gguf;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A mapped file, or all those that a model was split into, to which a [`Gguf`] and its tensors belong.
#[derive(Debug)]
pub struct Mapped {
    first: Part,
    others: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    /// Maps the file at `path`; of a name such as `model-00001-of-00003.gguf`, all parts beside it.
    ///
    /// # Errors
    /// One is missing, unreadable or no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let Some((stem, parts)) = split(path) else {
            return Ok(Self { first: Part::open(path)?, others: Vec::new() });
        };
        let part = |i: u32| {
            let path = path.with_file_name(format!("{stem}-{i:05}-of-{parts:05}.gguf"));
            if path.exists() { Part::open(&path) } else { Err(Error::MissingPart { path, parts }) }
        };
        Ok(Self { first: part(1)?, others: (2..=parts).map(part).collect::<Result<_>>()? })
    }

    /// The checked file, its parts put together; the tensors stay packed.
    ///
    /// # Errors
    /// As [`Gguf::parse`], with the path.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        let mut gguf = self.first.gguf()?;
        for part in &self.others {
            gguf.join(part.gguf()?).map_err(|error| error.in_file(&part.path))?;
        }
        Ok(gguf)
    }
}

impl Part {
    #[allow(unsafe_code, reason = "mapping a file is unsafe by nature")]
    fn open(path: &Path) -> Result<Self> {
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

    fn gguf(&self) -> Result<Gguf<'_>> {
        Gguf::parse(&self.map).map_err(|error| error.in_file(&self.path))
    }
}

/// What the parts of a split model are called, and how many there are, where `path` is one of them.
fn split(path: &Path) -> Option<(&str, u32)> {
    let (rest, parts) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = parts.parse().ok().filter(|n| *n > 0 && digits(parts) && digits(number))?;
    Some((stem, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let of = |name: &str| split(Path::new(name)).map(|(stem, n)| (stem.to_owned(), n));
        assert_eq!(of("/a/b-q4-00002-of-00003.gguf"), Some(("b-q4".into(), 3)));
        for name in ["model.gguf", "a-1-of-3.gguf", "a-00001-of-00000.gguf", "a-00001-of-00003"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
