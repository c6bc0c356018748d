//! Names to files: a path as it is, a name in the hub's cache, a download into that cache.
//!
//! ```text
//! "org/name@revision" ──Name──▶ Cache::snapshot ──▶ models--org--name/snapshots/<commit>/
//!                                     ▲
//!                         Hub::pull ──┘  blobs/<etag>, refs/<revision>
//! ```
//! The cache is the one that Python's `huggingface_hub` keeps, so that what is there is found and what
//! is pulled serves both. This is the only crate that opens outgoing connections.

mod cache;
mod download;
mod error;
mod name;
mod pull;
mod settings;
mod verify;

pub use cache::{Cache, Cached};
pub use error::{Error, Result};
pub use name::Name;
pub use pull::{Hub, Progress, Pulled};
pub use settings::Settings;

use std::path::{Path, PathBuf};

/// Where the model that `choice` names lies: a path that exists, or a name whose snapshot the cache
/// holds. A snapshot without `config.json` that holds one GGUF file is that file.
///
/// # Errors
/// It is neither; the error says what to run.
pub fn find(choice: &str, settings: &Settings) -> Result<PathBuf> {
    if Path::new(choice).exists() {
        return Ok(choice.into());
    }
    let name = Name::parse(choice).map_err(|_| Error::NoModel { choice: choice.into() })?;
    match settings.cache().snapshot(&name) {
        Some(snapshot) => Ok(only_gguf(&snapshot).unwrap_or(snapshot)),
        None => Err(Error::NotCached {
            name: name.to_string(),
            cache: settings.cache.clone(),
            offline: settings.offline,
        }),
    }
}

fn only_gguf(snapshot: &Path) -> Option<PathBuf> {
    if snapshot.join("config.json").exists() {
        return None;
    }
    let entries = std::fs::read_dir(snapshot).ok()?.flatten().map(|entry| entry.path());
    let mut files = entries.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    let file = files.next()?;
    files.next().is_none().then_some(file)
}
