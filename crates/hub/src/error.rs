//! What can go wrong between a name and its files.

use std::path::PathBuf;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the hub: expected, got, where, and a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that no hub has.
    #[error(
        "expected a model's name such as org/name or org/name@revision, got {got:?}\nhint: letters, digits, '-', '_' and '.', with at most one '/' before the '@'"
    )]
    Name {
        /// What was given.
        got: String,
    },

    /// A host that media are to be fetched from.
    #[error(
        "expected a host such as media.example, *.media.example or 192.0.2.7:8000, got {got:?}\nhint: no scheme, no path and no name of a user; a port only where it is not the scheme's"
    )]
    Host {
        /// What was given.
        got: String,
    },

    /// Neither a path nor a name.
    #[error(
        "expected a directory, a GGUF file or a model's name, found nothing at {choice:?}\nhint: `sensorium models` lists what the cache holds; leave --model out to use the embedded model"
    )]
    NoModel {
        /// What was given.
        choice: String,
    },

    /// A name that the cache does not hold.
    #[error("expected {name} in the cache {}, found no snapshot of it{}\nhint: {}`sensorium pull {name}`", cache.display(), if *offline { " (offline mode is on)" } else { "" }, if *offline { "unset HF_HUB_OFFLINE and run " } else { "run " })]
    NotCached {
        /// The name.
        name: String,
        /// The cache's directory.
        cache: PathBuf,
        /// Whether downloads are forbidden.
        offline: bool,
    },

    /// One of a model's files is meant, and it is not clear which.
    #[error("{name}: expected {wanted}, found {found} among {}\nhint: choose one as {name}:TAG or {name}/FILE.gguf", files.join(", "))]
    Choose {
        /// The model.
        name: String,
        /// What was looked for.
        wanted: String,
        /// How many there are.
        found: &'static str,
        /// Its files.
        files: Vec<String>,
    },

    /// Weights that only running code of theirs would read.
    #[error("{name}: expected .safetensors or .gguf files, found only pickles: {}\nhint: another revision or a copy of the model may have safetensors (the hub makes them on request, as a pull request: NAME@refs/pr/1); a pickle can run any code, so none is read", files.join(", "))]
    OnlyPickles {
        /// The model.
        name: String,
        /// Some of its files.
        files: Vec<String>,
    },

    /// A download while offline mode is on.
    #[error(
        "cannot pull {name}: offline mode is on\nhint: unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
    )]
    Offline {
        /// The name.
        name: String,
    },

    /// The hub wants to know who asks.
    #[error("{url}: access refused (status {status})\nhint: {}", if *with_token { "this token may not read it; accept the model's terms on its page, or use another token" } else { "set HF_TOKEN to a token that may read it" })]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// The hub has no such name, revision or file.
    #[error(
        "{url}: not found (status 404)\nhint: check the spelling of the name and the revision; a private model needs HF_TOKEN"
    )]
    NotFound {
        /// What was asked for.
        url: String,
    },

    /// Another answer than was asked for.
    #[error("{url}: expected {expected}, got {got}\nhint: {hint}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What a hub answers.
        expected: &'static str,
        /// What came.
        got: String,
        /// What to do.
        hint: &'static str,
    },

    /// The connection failed, again and again.
    #[error(
        "{url}: {source}\nhint: check the network (and HF_ENDPOINT, if it is set); run the command again to go on where it stopped"
    )]
    Connection {
        /// What was asked for.
        url: String,
        /// The last failure.
        source: Box<ureq::Error>,
    },

    /// Bytes that are not those the hub promised.
    #[error(
        "{file}: expected {expected}, got {got}\nhint: the download was damaged and is thrown away; run the command again"
    )]
    Checksum {
        /// The file.
        file: String,
        /// What the hub says of it.
        expected: String,
        /// What came.
        got: String,
    },

    /// The file system refused an operation.
    #[error("cannot {action} {}: {source}\nhint: check the free space and the permissions of the cache (HF_HOME chooses another)", path.display())]
    Io {
        /// Verb, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// `map_err` helper: names the verb and the path of a failed file operation.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
