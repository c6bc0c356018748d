//! A model's files into the cache.

use std::fs::{self, File};
use std::path::Path;

use serde::Deserialize;

use crate::cache::is_commit;
use crate::download::{self, Agent, Answer};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::settings::Settings;

/// Longest answer of the hub about a model.
const MAX_ANSWER: u64 = 16 << 20;

/// Most files of a model that are pulled.
const MAX_FILES: usize = 2_000;

/// A hub that is asked.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    agent: Agent,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file that is written.
    pub file: &'a str,
    /// Bytes of it that are there.
    pub done: u64,
    /// Its length.
    pub total: u64,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Where the files are.
    pub path: std::path::PathBuf,
    /// The commit.
    pub commit: String,
    /// Their names.
    pub files: Vec<String>,
}

/// What the hub says of a revision.
#[derive(Deserialize)]
struct Revision {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// A hub by its settings.
    pub fn new(settings: Settings) -> Self {
        let agent = Agent::new(&settings);
        Self { settings, agent }
    }

    /// Brings a model's files into the cache: those named `only`, or all that are needed to run it
    /// (JSON, safetensors, templates, vocabularies; GGUF files only by name, for a model may have
    /// twenty). What is there is not fetched again; what was cut off goes on where it stopped. The
    /// revision leads to the new files only when all of them are there.
    ///
    /// # Errors
    /// Offline mode is on; the hub does not answer, refuses, or has no such name; a file's checksum is
    /// another; the cache cannot be written.
    pub fn pull(
        &self,
        name: &Name,
        only: &[String],
        mut on_progress: impl FnMut(Progress<'_>),
    ) -> Result<Pulled> {
        if self.settings.offline {
            return Err(Error::Offline { name: name.to_string() });
        }
        let folder = self.settings.cache().folder(name);
        let _lock = lock(&self.settings.cache.join(".locks").join(name.folder()))?;
        let (commit, files) = self.files(name, only)?;
        let snapshot = folder.join("snapshots").join(&commit);
        for file in &files {
            let url = format!("{}/{}/resolve/{commit}/{file}", self.settings.endpoint, name.repo());
            let blob =
                download::blob(&self.agent, &url, file, &folder.join("blobs"), &mut on_progress)?;
            link(&blob, &snapshot.join(file), file.split('/').count() + 1)?;
        }
        write(&folder.join("refs").join(name.revision()), &commit)?;
        Ok(Pulled { path: snapshot, commit, files })
    }

    /// The commit of a revision, and which of its files to fetch.
    fn files(&self, name: &Name, only: &[String]) -> Result<(String, Vec<String>)> {
        let Settings { endpoint, .. } = &self.settings;
        let revision = name.revision().replace('/', "%2F");
        let url = format!("{endpoint}/api/models/{}/revision/{revision}", name.repo());
        let Answer { body, .. } = self.agent.get(&url)?;
        let wrong = |expected, got: String| Error::Answer {
            url: url.clone(),
            expected,
            got,
            hint: FOREIGN,
        };
        let bytes = download::read(body, MAX_ANSWER, &url)?;
        let Revision { sha, siblings } = serde_json::from_slice(&bytes)
            .map_err(|error| wrong("JSON with \"sha\" and \"siblings\"", error.to_string()))?;
        if !is_commit(&sha) {
            return Err(wrong("a commit", sha.chars().take(80).collect()));
        }
        let mut files: Vec<String> = siblings.into_iter().map(|file| file.rfilename).collect();
        if let Some(missing) = only.iter().find(|file| !files.contains(file)) {
            return Err(Error::NotFound {
                url: format!("{endpoint}/{}/resolve/{sha}/{missing}", name.repo()),
            });
        }
        files.retain(|file| if only.is_empty() { is_needed(file) } else { only.contains(file) });
        if let Some(file) = files.iter().find(|file| !is_plain(file)) {
            return Err(wrong("names of files below the model's directory", format!("{file:?}")));
        }
        if files.is_empty() {
            return Err(wrong(
                "files that a model is run from (.safetensors, .json)",
                "none; GGUF files are pulled by name, with --file".into(),
            ));
        }
        if files.len() > MAX_FILES {
            return Err(wrong("at most 2,000 files", files.len().to_string()));
        }
        Ok((sha, files))
    }
}

const FOREIGN: &str = "is HF_ENDPOINT a mirror of the hub?";

fn is_needed(file: &str) -> bool {
    let ends = [".safetensors", ".json", ".jinja", ".txt", ".model", "README.md"];
    ends.iter().any(|end| file.ends_with(end))
        // Copies for other programs.
        && !["onnx/", "openvino/", "coreml/", "original/"].iter().any(|dir| file.starts_with(dir))
}

/// A relative path without a way up, of names that every system can write.
fn is_plain(file: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !matches!(part, "." | "..")
            && !part.contains(|c: char| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    file.len() <= 512 && file.split('/').count() <= 8 && file.split('/').all(part)
}

/// Only one process writes a model's directory at a time.
fn lock(path: &Path) -> Result<File> {
    make_dir(path)?;
    let path = path.join("pull.lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// `to`, which lies `depth` directories below the model's, as a link to `blob`; a copy where links
/// cannot be made.
fn link(blob: &Path, to: &Path, depth: usize) -> Result<()> {
    make_dir(to.parent().unwrap_or(to))?;
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to).map_err(Error::io("replace", to))?;
    }
    #[cfg(unix)]
    if let Some(blob) = blob.file_name() {
        let up = "../".repeat(depth);
        let relative = Path::new(&up).join("blobs").join(blob);
        if std::os::unix::fs::symlink(relative, to).is_ok() {
            return Ok(());
        }
    }
    let _ = depth;
    fs::copy(blob, to).map(drop).map_err(Error::io("write", to))
}

/// A small file, whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    make_dir(path.parent().unwrap_or(path))?;
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(Error::io("write", &new))?;
    fs::rename(&new, path).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_below_the_models_directory() {
        for file in ["config.json", "1_Pooling/config.json", "model-00001-of-00002.safetensors"] {
            assert!(is_plain(file) && is_needed(file), "{file}");
        }
        for file in
            ["../x.json", "/x.json", "a//b.json", "a/./b.json", "c:\\x.json", "a\nb.json", ""]
        {
            assert!(!is_plain(file), "{file:?}");
        }
        for file in
            ["pytorch_model.bin", "x.gguf", "onnx/config.json", ".gitattributes", "tf_model.h5"]
        {
            assert!(!is_needed(file), "{file}");
        }
    }
}
