//! Checkpoint directories: saved whole or not at all, found by verifying, thinned out with care.
//!
//! ```text
//! run/
//! ├── step-000000080/   weights.safetensors  optimizer.safetensors  state.json  manifest.json
//! ├── step-000000120/   ...
//! └── .step-000000160.tmp/    a save that a crash cut short: ignored, and removed by `retain`
//! ```
//!
//! There is no file that says which checkpoint is the latest: that is found out by reading them.

use super::error::{Error, Result};
use super::file::{FileSystem, parent_of, temp_of};
use super::manifest::{Entry, FILE_NAME, Manifest};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The directory of the checkpoint taken after `step` steps of the run in `run_dir`.
pub fn step_dir(run_dir: &Path, step: u64) -> PathBuf {
    run_dir.join(format!("step-{step:09}"))
}

/// The step of a directory name that [`step_dir`] made.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    let plain = digits.len() >= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Writes `files` (name, contents) and their manifest as the directory `dir`, whole or not at all.
///
/// Into a temporary neighbour, each file synced, then the manifest, then the directory; rename; sync of the
/// parent, which must exist. On failure the temporary directory is removed and older checkpoints are untouched.
/// If `dir` is there already it is replaced when it is corrupt, and kept when it verifies: then the same
/// files are a success (a resumed run that repeats a step) and other files an error.
pub fn save_dir(fs: &impl FileSystem, dir: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    check_names(files)?;
    let manifest = Manifest::of(files);
    if keep_existing(fs, dir, &manifest)? {
        return Ok(());
    }
    create_whole(fs, dir, |temp| fill(fs, temp, files, &manifest))
}

/// A new directory `dir`, whole or not at all: `fill` makes and writes a temporary neighbour, which
/// then gets the name. The parent must exist; on failure the neighbour is removed.
pub fn create_whole(
    fs: &impl FileSystem,
    dir: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let temp = temp_of(dir)?;
    remove_if_there(fs, &temp)?;
    let renamed =
        fill(&temp).and_then(|()| fs.rename(&temp, dir).map_err(Error::io("rename to", dir)));
    if let Err(error) = renamed {
        // The first error is the one to report; what stays behind is removed by `retain`.
        let _ = fs.remove_dir_all(&temp);
        return Err(error);
    }
    let parent = parent_of(dir);
    fs.sync_dir(parent).map_err(Error::io("sync", parent))
}

/// Refuses names that would leave the directory, hide the manifest, or overwrite one another.
fn check_names(files: &[(&str, &[u8])]) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (name, _) in files {
        if !is_plain(name) || !seen.insert(*name) {
            return Err(Error::Unwritable {
                what: format!("the checkpoint file {name:?}"),
                expected: format!("a name used once, without directories, that is not {FILE_NAME}"),
                got: format!("{name:?}"),
                hint: "rename it",
            });
        }
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && name != FILE_NAME
}

/// Looks at what already stands at `dir`: true if it is this very checkpoint, false if the place is (now) free.
fn keep_existing(fs: &impl FileSystem, dir: &Path, manifest: &Manifest) -> Result<bool> {
    if let Err(error) = fs.list(dir) {
        let free = error.kind() == io::ErrorKind::NotFound;
        return if free { Ok(false) } else { Err(Error::io("list", dir)(error)) };
    }
    match verify(fs, dir) {
        Ok(there) if there == *manifest => {
            let parent = parent_of(dir);
            fs.sync_dir(parent).map_err(Error::io("sync", parent))?;
            Ok(true)
        }
        Ok(_) => Err(Error::Unwritable {
            what: dir.display().to_string(),
            expected: "no checkpoint there, or the same one".into(),
            got: "a valid one with other contents".into(),
            hint: "use another run directory, or move the old checkpoint away",
        }),
        Err(Error::Corrupt { .. }) => remove_if_there(fs, dir).map(|()| false),
        // Not readable now is not the same as corrupt: nothing is deleted on a guess.
        Err(error) => Err(error),
    }
}

fn remove_if_there(fs: &impl FileSystem, dir: &Path) -> Result<()> {
    match fs.remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Makes `temp` and writes and syncs everything in it.
fn fill(
    fs: &impl FileSystem,
    temp: &Path,
    files: &[(&str, &[u8])],
    manifest: &Manifest,
) -> Result<()> {
    fs.create_dir(temp).map_err(Error::io("create", temp))?;
    let bytes = manifest.to_bytes();
    // The manifest comes last: if it is there, what it lists was written before it.
    for (name, bytes) in files.iter().copied().chain([(FILE_NAME, bytes.as_slice())]) {
        let path = temp.join(name);
        fs.write(&path, bytes).map_err(Error::io("write", &path))?;
    }
    fs.sync_dir(temp).map_err(Error::io("sync", temp))
}

/// Reads every file of the checkpoint `dir` again and compares size and hash with the manifest.
///
/// [`Error::Corrupt`] names the first file that differs; [`Error::Io`] means that one could not be read.
pub fn verify(fs: &impl FileSystem, dir: &Path) -> Result<Manifest> {
    let corrupt = |file: &str, expected: String, got: String| {
        let (path, file) = (dir.to_path_buf(), file.to_owned());
        Error::Corrupt { path, file, expected, got }
    };
    let path = dir.join(FILE_NAME);
    let bytes = match read_manifest(fs, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(corrupt(FILE_NAME, "a manifest".into(), "no such file".into()));
        }
        other => other.map_err(Error::io("read", &path))?,
    };
    let manifest = Manifest::from_bytes(&bytes).map_err(|error| {
        let text = error.to_string();
        corrupt(
            FILE_NAME,
            "the bytes written".into(),
            text.lines().next().unwrap_or_default().to_owned(),
        )
    })?;
    for entry in &manifest.files {
        check_file(fs, dir, entry)?
            .map_err(|(expected, got)| corrupt(&entry.name, expected, got))?;
    }
    Ok(manifest)
}

/// A manifest's bytes; cut at a size that no real one reaches, so that the parse fails instead of the memory.
fn read_manifest(fs: &impl FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    fs.open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Compares one file with its entry, in pieces: (expected, got) if it differs.
fn check_file(
    fs: &impl FileSystem,
    dir: &Path,
    entry: &Entry,
) -> Result<std::result::Result<(), (String, String)>> {
    let path = dir.join(&entry.name);
    if !is_plain(&entry.name) {
        return Ok(Err(("a plain file name".into(), "a path".into())));
    }
    let reader = match fs.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err((format!("{} bytes", entry.size), "no such file".into())));
        }
        other => other.map_err(Error::io("open", &path))?,
    };
    let mut hasher = blake3::Hasher::new();
    // One byte more than listed is enough to know that the file is too long.
    hasher
        .update_reader(reader.take(entry.size.saturating_add(1)))
        .map_err(Error::io("read", &path))?;
    let hash = hasher.finalize().to_hex().to_string();
    if hasher.count() != entry.size {
        let more = if hasher.count() > entry.size { " or more" } else { "" };
        return Ok(Err((format!("{} bytes", entry.size), format!("{}{more}", hasher.count()))));
    }
    if hash != entry.blake3 {
        return Ok(Err((format!("BLAKE3 {}", entry.blake3), hash)));
    }
    Ok(Ok(()))
}

/// The newest checkpoint that verifies.
#[derive(Debug)]
pub struct Latest {
    /// Its directory.
    pub dir: PathBuf,
    /// The steps behind it.
    pub step: u64,
    /// What it holds.
    pub manifest: Manifest,
    /// Newer ones that do not verify, newest first; show this to the user.
    pub skipped: Vec<Skipped>,
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct Skipped {
    /// Its directory.
    pub dir: PathBuf,
    /// Why.
    pub error: Error,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        write!(f, "passed over {}: {}", self.dir.display(), text.lines().next().unwrap_or_default())
    }
}

/// The newest checkpoint in `run_dir` that verifies, and those passed over on the way.
///
/// `None` if there is no checkpoint at all; [`Error::AllCorrupt`] lists them if there are some and none verifies:
/// a run never starts from scratch silently.
pub fn latest(fs: &impl FileSystem, run_dir: &Path) -> Result<Option<Latest>> {
    let mut skipped = Vec::new();
    for step in steps(fs, run_dir)? {
        let dir = step_dir(run_dir, step);
        match verify(fs, &dir) {
            Ok(manifest) => return Ok(Some(Latest { dir, step, manifest, skipped })),
            Err(error) => skipped.push(Skipped { dir, error }),
        }
    }
    if skipped.is_empty() {
        return Ok(None);
    }
    let list = skipped.iter().map(|one| format!("  {one}\n")).collect();
    Err(Error::AllCorrupt { path: run_dir.to_path_buf(), list })
}

/// Steps of the checkpoints in `run_dir`, newest first.
fn steps(fs: &impl FileSystem, run_dir: &Path) -> Result<Vec<u64>> {
    let names = fs.list(run_dir).map_err(Error::io("list", run_dir))?;
    let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of(name)).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// Deletes old checkpoints after `new_step` was saved; returns the directories deleted.
///
/// First the new one is read again: if it does not verify, nothing is deleted and that is the error. Then the
/// newest `keep` (at least 2) that verify stay, as does everything newer than the oldest of those; with fewer
/// than that, nothing is deleted. What crashes left of unfinished saves and deletions goes too.
pub fn retain(
    fs: &impl FileSystem,
    run_dir: &Path,
    new_step: u64,
    keep: usize,
) -> Result<Vec<PathBuf>> {
    verify(fs, &step_dir(run_dir, new_step))?;
    let mut verified = 0;
    let mut deleted = Vec::new();
    for step in steps(fs, run_dir)? {
        let dir = step_dir(run_dir, step);
        if verified < keep.max(2) {
            let good = step == new_step || verify(fs, &dir).is_ok();
            verified = verified.saturating_add(usize::from(good));
        } else if step != new_step {
            delete(fs, &dir)?;
            deleted.push(dir);
        }
    }
    sweep(fs, run_dir)?;
    Ok(deleted)
}

/// Removes the hidden directories of saves and deletions that did not finish.
fn sweep(fs: &impl FileSystem, run_dir: &Path) -> Result<()> {
    for name in fs.list(run_dir).map_err(Error::io("list", run_dir))? {
        let step = name.strip_prefix('.').and_then(|name| step_of(name.strip_suffix(".tmp")?));
        if step.is_some() {
            remove_if_there(fs, &run_dir.join(&name))?;
        }
    }
    Ok(())
}

/// Takes a checkpoint out of sight before deleting it, so that a crash leaves no half of one.
fn delete(fs: &impl FileSystem, dir: &Path) -> Result<()> {
    let temp = temp_of(dir)?;
    remove_if_there(fs, &temp)?;
    fs.rename(dir, &temp).map_err(Error::io("rename", dir))?;
    remove_if_there(fs, &temp)
}
