//! A model's files into the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use serde::Deserialize;

use crate::cache::is_commit;
use crate::choice::{Choice, is_model, part};
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

/// What a pull is going to bring.
#[derive(Clone, Debug)]
pub struct Plan {
    name: Name,
    commit: String,
    files: Vec<String>,
    /// Bytes of all of them, where the hub tells.
    pub bytes: Option<u64>,
}

impl Plan {
    /// How many files.
    pub fn files(&self) -> usize {
        self.files.len()
    }
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
    size: Option<u64>,
}

/// Which files hold which tensors.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Hub {
    /// A hub by its settings.
    pub fn new(settings: Settings) -> Self {
        let agent = Agent::new(&settings);
        Self { settings, agent }
    }

    /// Brings what was planned into the cache. What is there is not fetched again; what was cut off goes
    /// on where it stopped. The revision leads to the new files only when all of them are there.
    ///
    /// # Errors
    /// The hub does not answer or refuses; a file's checksum is another; the cache cannot be written.
    pub fn pull(&self, plan: &Plan, mut on_progress: impl FnMut(Progress<'_>)) -> Result<Pulled> {
        let Plan { name, commit, files, .. } = plan;
        let folder = self.settings.cache().folder(name);
        let _lock = lock(&self.settings.cache.join(".locks").join(name.folder()))?;
        let snapshot = folder.join("snapshots").join(commit);
        for file in files {
            let url = self.url(name, commit, file);
            let blob =
                download::blob(&self.agent, &url, file, &folder.join("blobs"), &mut on_progress)?;
            link(&blob, &snapshot.join(file), file.split('/').count() + 1)?;
        }
        write(&folder.join("refs").join(name.revision()), commit)?;
        Ok(Pulled { path: snapshot, commit: commit.clone(), files: files.clone() })
    }

    /// The commit of a revision, and which of its files to fetch: those named `only`, the GGUF file that
    /// was chosen, or what is needed to run the model: JSON, templates, vocabularies, and the
    /// safetensors that its index names, or its only GGUF file.
    ///
    /// # Errors
    /// Offline mode is on; the hub does not answer, refuses, or has no such name or file; there are
    /// pickles only, or several GGUF files.
    pub fn plan(&self, choice: &Choice, only: &[String]) -> Result<Plan> {
        let name = &choice.name;
        let Settings { endpoint, offline, .. } = &self.settings;
        if *offline {
            return Err(Error::Offline { name: name.to_string() });
        }
        let revision = name.revision().replace('/', "%2F");
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", name.repo());
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
        let sizes: BTreeMap<&str, Option<u64>> =
            siblings.iter().map(|file| (file.rfilename.as_str(), file.size)).collect();
        let all: Vec<String> = sizes.keys().map(|file| (*file).to_owned()).collect();
        if let Some(missing) = only.iter().find(|file| !all.contains(file)) {
            return Err(Error::NotFound { url: self.url(name, &sha, missing) });
        }
        let files = match choice.file {
            _ if !only.is_empty() => only.to_vec(),
            Some(_) => parts_of(choice.pick(&all)?, &all),
            None => self.needed(choice, &sha, &all)?,
        };
        if let Some(file) = files.iter().find(|file| !is_plain(file)) {
            return Err(wrong("names of files below the model's directory", format!("{file:?}")));
        }
        if files.is_empty() {
            return Err(wrong(
                "files that a model is run from (.safetensors, .json)",
                "none".into(),
            ));
        }
        if files.len() > MAX_FILES {
            return Err(wrong("at most 2,000 files", files.len().to_string()));
        }
        let bytes = files.iter().map(|file| sizes.get(file.as_str()).copied().flatten()).sum();
        Ok(Plan { name: name.clone(), commit: sha, files, bytes })
    }

    /// What a model is run from, of all its files.
    fn needed(&self, choice: &Choice, commit: &str, all: &[String]) -> Result<Vec<String>> {
        let mut files: Vec<String> = all.iter().filter(|file| is_needed(file)).cloned().collect();
        if !files.iter().any(|file| is_safetensors(file)) {
            let is_pickle = |file: &&String| PICKLES.iter().any(|end| file.ends_with(end));
            let pickles: Vec<String> = all.iter().filter(is_pickle).take(5).cloned().collect();
            if all.iter().any(|file| is_model(file)) {
                files.extend(parts_of(choice.pick(all)?, all));
            } else if !pickles.is_empty() {
                let name = choice.name.to_string();
                return Err(Error::OnlyPickles { name, files: pickles });
            }
        }
        let indexed = match files.iter().any(|file| file == INDEX) {
            true => self.index(&choice.name, commit)?,
            false => vec![MODEL.to_owned()],
        };
        // Weights of other programs, or in other numbers, beside the model's own.
        let has_own = files.iter().any(|file| indexed.contains(file));
        let own = |file: &String| file.contains('/') || indexed.contains(file);
        let open_clip = |file: &str| file.starts_with("open_clip_model");
        let variant = |file: &String| {
            let whole = file.strip_suffix(".safetensors").and_then(|stem| stem.rsplit_once('.'));
            whole.is_some_and(|(stem, _)| all.contains(&format!("{stem}.safetensors")))
        };
        // Parts of a model that draws have folders of their own; beside them lie copies of all in one file, and one that
        // judges what is drawn, which is not run here.
        let in_parts = all.iter().any(|file| file == PARTS);
        let part = |file: &str| file.contains('/') && !file.starts_with("safety_checker/");
        files.retain(|file| {
            let other = has_own && !own(file) && !open_clip(file) || in_parts && !part(file);
            !is_safetensors(file) || !(other || variant(file))
        });
        Ok(files)
    }

    /// The files that the model's index names.
    fn index(&self, name: &Name, commit: &str) -> Result<Vec<String>> {
        let url = self.url(name, commit, INDEX);
        let Answer { body, .. } = self.agent.get(&url)?;
        let bytes = download::read(body, MAX_ANSWER, &url)?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| Error::Answer {
            url,
            expected: "JSON with \"weight_map\"",
            got: error.to_string(),
            hint: "the model's index is damaged; name its files with --file",
        })?;
        Ok(index.weight_map.into_values().collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn url(&self, name: &Name, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{file}", self.settings.endpoint, name.repo())
    }
}

/// A GGUF file with its later parts, if it was split.
fn parts_of(file: &str, all: &[String]) -> Vec<String> {
    let Some((first, count)) = part(file) else { return vec![file.to_owned()] };
    let rest = format!("-{first:05}-of-{count:05}.gguf");
    let stem = file.strip_suffix(&rest).unwrap_or(file);
    let parts = (1..=count).map(|n| format!("{stem}-{n:05}-of-{count:05}.gguf"));
    parts.filter(|part| all.contains(part)).collect()
}

const MODEL: &str = "model.safetensors";

const INDEX: &str = "model.safetensors.index.json";

/// What lists the parts of a model in diffusers' layout.
const PARTS: &str = "model_index.json";

const PICKLES: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];

fn is_safetensors(file: &str) -> bool {
    file.ends_with(".safetensors")
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
