//! What a model is called on the hub.

use std::fmt;

use crate::error::{Error, Result};

/// The revision of a name that says none.
const MAIN: &str = "main";

/// `org/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    repo: String,
    revision: String,
}

impl Name {
    /// Reads `name`, `org/name`, or either with `@revision` (a branch, a tag or a commit).
    ///
    /// # Errors
    /// No hub allows such a name; nothing that passes leads out of the cache's directory.
    pub fn parse(text: &str) -> Result<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let parts: Vec<&str> = repo.split('/').collect();
        let fits = parts.len() <= 2 && parts.iter().all(|part| is_part(part));
        let revised = revision.len() <= 200 && revision.split('/').all(is_part);
        if fits && revised {
            Ok(Self { repo: repo.into(), revision: revision.into() })
        } else {
            Err(Error::Name { got: text.chars().take(120).collect() })
        }
    }

    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// A branch, a tag or a commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The directory in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.repo.replace('/', "--"))
    }

    /// The name whose directory is `folder`, at a revision.
    pub(crate) fn of_folder(folder: &str, revision: &str) -> Option<Self> {
        let repo = folder.strip_prefix("models--")?.replacen("--", "/", 1);
        Self::parse(&format!("{repo}@{revision}")).ok()
    }
}

/// As the hub rules: no leading or trailing `-` or `.`, neither of them twice.
fn is_part(part: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=96).contains(&part.len())
        && part.chars().all(letter)
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, folder, revision) in [
            ("gpt2", "models--gpt2", "main"),
            ("openai/whisper-tiny.en", "models--openai--whisper-tiny.en", "main"),
            ("a/b@v1.0", "models--a--b", "v1.0"),
            ("a/b@refs/pr/3", "models--a--b", "refs/pr/3"),
        ] {
            let name = Name::parse(text).expect("a name");
            assert_eq!((name.folder().as_str(), name.revision()), (folder, revision));
            assert_eq!(name.to_string(), text);
            assert_eq!(Name::of_folder(folder, revision), Some(name));
        }
    }

    #[test]
    fn what_could_lead_out_of_the_cache_is_refused() {
        for text in [
            "",
            "/",
            "a/b/c",
            "../x",
            "a/..",
            ".a/b",
            "a/b.",
            "-a",
            "a--b/c",
            "a b",
            "a/b@",
            "a/b@../../x",
            "a/b@x//y",
            "a\\b",
            "ä/b",
            "a/b@.git",
        ] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains("\nhint: "), "{text:?}");
        }
    }
}
