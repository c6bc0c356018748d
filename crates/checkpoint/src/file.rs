//! The one small layer through which checkpoints are written, so that faults can be injected under it.

use super::error::{Error, Result};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What a file is made of, in order.
pub type Pieces<'a> = &'a mut dyn Iterator<Item = Result<Vec<u8>>>;

/// The file operations that a checkpoint needs; [`Disk`] does them, the failing disk of the tests fails them.
///
/// A change to a directory (a new, renamed or removed entry) survives a power loss only after
/// [`sync_dir`](Self::sync_dir) of that directory.
pub trait FileSystem {
    /// Makes one directory; an error if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a whole file, over an older one if there is one, and syncs its contents.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// As [`write`](Self::write), from pieces that are made one after another: a file larger than
    /// memory. A piece that cannot be made leaves the file unfinished.
    fn write_pieces(&self, path: &Path, pieces: Pieces<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend(piece?);
        }
        self.write(path, &bytes).map_err(Error::io("write", path))
    }
    /// Syncs the entries of a directory.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory; a file replaces a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes one file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; names that are not UTF-8 are left out, for they are not ours.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn write_pieces(&self, path: &Path, pieces: Pieces<'_>) -> Result<()> {
        let mut file = fs::File::create(path).map_err(Error::io("create", path))?;
        for piece in pieces {
            file.write_all(&piece?).map_err(Error::io("write", path))?;
        }
        file.sync_all().map_err(Error::io("sync", path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Only Unix can open a directory; elsewhere the rename itself is all there is.
        if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(fs::File::open(path)?))
    }
}

/// Writes `bytes` to `path` so that after a crash the file is the old one or the new one, whole.
///
/// Temporary file in the same directory, sync, rename, sync of the directory. On failure the temporary
/// file is removed and the old file is untouched; only if that last sync fails may the new one be there.
pub fn write_atomic(fs: &impl FileSystem, path: &Path, bytes: &[u8]) -> Result<()> {
    replace(fs, path, |temp| fs.write(temp, bytes).map_err(Error::io("write", temp)))
}

/// As [`write_atomic`], from pieces that are made one after another.
pub fn write_atomic_pieces(fs: &impl FileSystem, path: &Path, pieces: Pieces<'_>) -> Result<()> {
    replace(fs, path, |temp| fs.write_pieces(temp, pieces))
}

fn replace(
    fs: &impl FileSystem,
    path: &Path,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let temp = temp_of(path)?;
    let replaced =
        write(&temp).and_then(|()| fs.rename(&temp, path).map_err(Error::io("rename to", path)));
    if let Err(error) = replaced {
        // The first error is the one to report; what stays behind is overwritten next time.
        let _ = fs.remove_file(&temp);
        return Err(error);
    }
    let parent = parent_of(path);
    fs.sync_dir(parent).map_err(Error::io("sync", parent))
}

/// The hidden neighbour under which `path` is written before it gets its name.
pub(super) fn temp_of(path: &Path) -> Result<PathBuf> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(path.with_file_name(format!(".{name}.tmp"))),
        None => Err(Error::Unwritable {
            what: path.display().to_string(),
            expected: "a path that ends in a UTF-8 file name".into(),
            got: "none".into(),
            hint: "name the file or directory to write",
        }),
    }
}

/// The directory that holds `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
