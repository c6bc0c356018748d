//! The hub's cache on disk, as `huggingface_hub` lays it out.
//!
//! ```text
//! models--org--name/  refs/<revision>        the commit, as text
//!                     blobs/<etag>           contents
//!                     snapshots/<commit>/... links to them, under their names
//! ```

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::name::Name;

/// A cache's directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// One snapshot that a cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The name, with the revision that leads to it.
    pub name: Name,
    /// The commit.
    pub commit: String,
    /// Where its files are.
    pub path: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether a download into this model's directory was not finished.
    pub partial: bool,
}

impl Cache {
    /// The cache in `root`, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of a name.
    pub(crate) fn folder(&self, name: &Name) -> PathBuf {
        self.root.join(name.folder())
    }

    /// The files of a name, if a download of it was finished.
    pub fn snapshot(&self, name: &Name) -> Option<PathBuf> {
        let folder = self.folder(name);
        let commit = commit(&folder.join("refs").join(name.revision()))
            .unwrap_or_else(|| name.revision().to_owned());
        Some(folder.join("snapshots").join(commit)).filter(|path| path.is_dir())
    }

    /// All snapshots, by name: under each revision that leads to one, or else under its commit.
    pub fn list(&self) -> Vec<Cached> {
        let mut all: Vec<Cached> = entries(&self.root).iter().flat_map(|f| snapshots(f)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

fn snapshots(folder: &Path) -> Vec<Cached> {
    let file_name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let refs = folder.join("refs");
    let partial = entries(&folder.join("blobs"))
        .iter()
        .any(|blob| blob.extension().is_some_and(|end| end == "incomplete"));
    let cached = |revision: &str, commit: String| {
        let name = Name::of_folder(file_name, revision)?;
        let path = folder.join("snapshots").join(&commit);
        let files = files(&path, 8);
        path.is_dir().then(|| Cached {
            name,
            bytes: files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum(),
            commit,
            path,
            partial,
        })
    };
    let by_revision = files(&refs, 4).into_iter().filter_map(|at| {
        let revision = at.strip_prefix(&refs).ok()?.to_str()?.to_owned();
        cached(&revision, commit(&at)?)
    });
    let mut all: Vec<Cached> = by_revision.collect();
    for path in entries(&folder.join("snapshots")) {
        let commit = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_commit(commit) && !all.iter().any(|known| known.commit == commit) {
            all.extend(cached(commit, commit.to_owned()));
        }
    }
    all
}

/// The commit that a file of `refs` holds.
fn commit(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(100).read_to_string(&mut text).ok()?;
    let text = text.trim();
    is_commit(text).then(|| text.to_owned())
}

/// Hexadecimal, and so no path.
pub(crate) fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Files under `dir`, links among them, at most `depth` directories down.
pub(crate) fn files(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in entries(dir) {
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        match is_dir {
            true if depth > 0 => all.extend(files(&path, depth - 1)),
            true => {}
            false => all.push(path),
        }
    }
    all
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
