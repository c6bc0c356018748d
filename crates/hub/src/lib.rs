//! Names to files: a path as it is, a name in the hub's cache, a download into that cache.
//!
//! ```text
//! "org/name@revision" ──Name──▶ Cache::snapshot ──▶ models--org--name/snapshots/<commit>/
//!                                     ▲
//!                         Hub::pull ──┘  blobs/<etag>, refs/<revision>
//! ```
//! The cache is the one that Python's `huggingface_hub` keeps, so that what is there is found and what
//! is pulled serves both. This is the only crate that opens outgoing connections; [`Fetcher`] opens them for
//! media that a server's clients name, to hosts that were allowed.

mod cache;
mod choice;
mod download;
mod error;
mod fetch;
mod folder;
mod name;
mod pull;
mod settings;
mod verify;

pub use cache::{Cache, Cached};
pub use choice::{Choice, GgufFile};
pub use error::{Error, Result};
pub use fetch::{FetchError, Fetcher};
pub use name::Name;
pub use pull::{Hub, Plan, Progress, Pulled};
pub use settings::Settings;

use std::path::{Path, PathBuf};

/// Where the model that `choice` names lies: a path that exists, or a name whose snapshot the cache
/// holds. With a file of it (`NAME:Q8_0`, `NAME/model.gguf`), or where it holds one GGUF file and
/// nothing else to run, that file.
///
/// # Errors
/// It is neither, the error says what to run; several files may be meant.
pub fn find(choice: &str, settings: &Settings) -> Result<PathBuf> {
    if Path::new(choice).exists() {
        return Ok(choice.into());
    }
    let choice = Choice::parse(choice).map_err(|_| Error::NoModel { choice: choice.into() })?;
    match settings.cache().snapshot(&choice.name) {
        Some(snapshot) => choice.of(&snapshot),
        None => Err(Error::NotCached {
            name: choice.name.to_string(),
            cache: settings.cache.clone(),
            offline: settings.offline,
        }),
    }
}
