//! What `--model` may say: a path, a name, or a name with one of its GGUF files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::name::Name;

/// A model on the hub, or one GGUF file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The model.
    pub name: Name,
    /// Which of its files, if not all that it is run from.
    pub file: Option<GgufFile>,
}

/// One of several GGUF files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GgufFile {
    /// By its path below the model, as in `org/name/model-q8_0.gguf`.
    Path(String),
    /// By how it is quantised, as in `org/name:Q8_0`.
    Tag(String),
}

impl Choice {
    /// Reads `NAME`, `NAME:TAG` or `NAME/FILE.gguf`; the name may have its `@REVISION`.
    ///
    /// # Errors
    /// No hub allows such a name.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((name, tag)) = text.rsplit_once(':') {
            let file = Some(GgufFile::Tag(tag.to_owned()));
            return Ok(Self { name: Name::parse(name)?, file });
        }
        let slashes: Vec<usize> = text.match_indices('/').map(|(at, _)| at).collect();
        match slashes.get(1).filter(|_| is_gguf(text) && !text.contains('@')) {
            Some(&at) => {
                let file = Some(GgufFile::Path(text[at + 1..].to_owned()));
                Ok(Self { name: Name::parse(&text[..at])?, file })
            }
            None => Ok(Self { name: Name::parse(text)?, file: None }),
        }
    }

    /// What of a snapshot is meant: a file that was named, its only GGUF file if it holds nothing else
    /// to run, or all of it.
    ///
    /// # Errors
    /// There is none of that kind, or there are several.
    pub fn of(&self, snapshot: &Path) -> Result<PathBuf> {
        let files = gguf_files(snapshot);
        if self.file.is_none() && (files.is_empty() || has_weights(snapshot)) {
            return Ok(snapshot.to_owned());
        }
        let file = self.pick(&files)?;
        Ok(snapshot.join(file))
    }

    /// The one of a model's files that is meant.
    ///
    /// # Errors
    /// None is, or several are.
    pub fn pick<'f>(&self, files: &'f [String]) -> Result<&'f str> {
        let meant = |file: &&String| match &self.file {
            Some(GgufFile::Path(path)) => *file == path,
            Some(GgufFile::Tag(tag)) => has_tag(file, tag),
            None => true,
        };
        // The first part of a file that was split stands for all of it.
        let first = |file: &&String| !is_later_part(file);
        let mut found = files.iter().filter(|file| is_model(file)).filter(first).filter(meant);
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file),
            (none_or_first, _) => Err(Error::Choose {
                name: self.name.to_string(),
                wanted: match &self.file {
                    Some(GgufFile::Path(path)) => path.clone(),
                    Some(GgufFile::Tag(tag)) => format!("a file of {tag}"),
                    None => "one GGUF file".into(),
                },
                found: if none_or_first.is_some() { "several" } else { "none" },
                files: files.iter().filter(|file| is_model(file)).cloned().collect(),
            }),
        }
    }
}

/// A file of weights: what a projector of pictures needs beside them is not.
pub(crate) fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    is_gguf(&name) && !name.starts_with("mmproj") && !name.starts_with("imatrix")
}

fn is_gguf(file: &str) -> bool {
    file.to_ascii_lowercase().ends_with(".gguf")
}

/// `...-00002-of-00003.gguf`
fn is_later_part(file: &str) -> bool {
    part(file).is_some_and(|(number, _)| number > 1)
}

/// The number of a part, and how many there are.
pub(crate) fn part(file: &str) -> Option<(u32, u32)> {
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (_, number) = rest.rsplit_once('-')?;
    Some((number.parse().ok()?, count.parse().ok()?))
}

/// Whether a name says so of its numbers, at its end or between signs.
fn has_tag(file: &str, tag: &str) -> bool {
    let (file, tag) = (file.to_ascii_lowercase(), tag.to_ascii_lowercase());
    let name = file.rsplit('/').next().unwrap_or(&file);
    let sign = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    name.match_indices(&tag).any(|(at, _)| {
        sign(name[..at].chars().next_back()) && sign(name[at + tag.len()..].chars().next())
    })
}

/// Paths of the GGUF files of a snapshot, in order, its directories among them.
fn gguf_files(snapshot: &Path) -> Vec<String> {
    let files = crate::cache::files(snapshot, 3).into_iter();
    let relative = files.filter_map(|file| Some(file.strip_prefix(snapshot).ok()?.to_owned()));
    let names = relative.map(|file| file.to_string_lossy().replace('\\', "/"));
    let mut files: Vec<String> = names.filter(|file| is_model(file)).collect();
    files.sort();
    files
}

/// Whether there is a model beside GGUF files.
fn has_weights(snapshot: &Path) -> bool {
    let is_weights = |file: &PathBuf| file.extension().is_some_and(|end| end == "safetensors");
    crate::cache::files(snapshot, 1).iter().any(is_weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> Choice {
        Choice::parse(text).expect("a choice")
    }

    #[test]
    fn names_may_choose_a_file() {
        let path = |path: &str| Some(GgufFile::Path(path.into()));
        for (text, name, file) in [
            ("gpt2", "gpt2", None),
            ("a/b@v1", "a/b@v1", None),
            ("a/b:Q8_0", "a/b", Some(GgufFile::Tag("Q8_0".into()))),
            ("a/b@v1:q4", "a/b@v1", Some(GgufFile::Tag("q4".into()))),
            ("a/b/c.gguf", "a/b", path("c.gguf")),
            ("a/b/dir/c.GGUF", "a/b", path("dir/c.GGUF")),
        ] {
            assert_eq!(choice(text), Choice { name: Name::parse(name).unwrap(), file });
        }
        for text in ["a/b/c", "a:b:c", "../x:y", "a/b.."] {
            assert!(Choice::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_file_that_is_meant_is_the_only_one() {
        let files =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let several = files(&[
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "m.Q8_0.gguf",
            "mmproj-m-Q8_0.gguf",
            "big/m-f16-00001-of-00002.gguf",
            "big/m-f16-00002-of-00002.gguf",
        ]);
        for (text, want) in [
            ("a/b:Q8_0", "m.Q8_0.gguf"),
            ("a/b:q4_k_m", "m-Q4_K_M.gguf"),
            ("a/b:f16", "big/m-f16-00001-of-00002.gguf"),
            ("a/b/m-Q4_K_S.gguf", "m-Q4_K_S.gguf"),
        ] {
            assert_eq!(choice(text).pick(&several).expect("one"), want);
        }
        for (text, found) in [("a/b:Q4", "none"), ("a/b", "several"), ("a/b/x.gguf", "none")] {
            let error = choice(text).pick(&several).unwrap_err().to_string();
            assert!(error.contains(found) && error.contains("m.Q8_0.gguf"), "{error}");
        }
        assert_eq!(choice("a/b").pick(&files(&["x.gguf"])).expect("one"), "x.gguf");
    }
}
