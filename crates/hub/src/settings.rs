//! Where the cache is, which hub is asked, and as whom: from the variables that the hub's own tools
//! read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Cache;

/// The public hub.
const ENDPOINT: &str = "https://huggingface.co";

/// Waits that are longer than this are given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How names become files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cache's directory: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// The hub, or a mirror of it: `HF_ENDPOINT`.
    pub endpoint: String,
    /// Who asks: `HF_TOKEN`, or the file `HF_TOKEN_PATH`, or `token` in `HF_HOME`.
    pub token: Option<String>,
    /// Whether downloads are forbidden: `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`.
    pub offline: bool,
    /// Longest wait for a connection, for headers, and for the next bytes: `HF_HUB_DOWNLOAD_TIMEOUT`,
    /// in seconds.
    pub timeout: Duration,
}

impl Settings {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self::from(|name| std::env::var(name).ok())
    }

    /// As `get` says of each variable; empty ones count as absent.
    pub fn from(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let user = get("HOME").or_else(|| get("USERPROFILE")).unwrap_or_default();
        let path = |name: &str| get(name).map(|path| PathBuf::from(expanded(&path, &user, get)));
        let home = path("HF_HOME").unwrap_or_else(|| {
            let cache = path("XDG_CACHE_HOME");
            cache.unwrap_or_else(|| Path::new(&user).join(".cache")).join("huggingface")
        });
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token = get("HF_TOKEN").or_else(|| {
            let path = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            std::fs::read_to_string(path).ok()
        });
        let is_on = |name: &str| {
            get(name).is_some_and(|value| {
                matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            })
        };
        let seconds = get("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<u16>().ok());
        Self {
            cache: cache.unwrap_or_else(|| home.join("hub")),
            endpoint: get("HF_ENDPOINT")
                .unwrap_or_else(|| ENDPOINT.into())
                .trim_end_matches('/')
                .into(),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            timeout: seconds.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.max(1).into())),
        }
    }

    /// The cache.
    pub fn cache(&self) -> Cache {
        Cache::new(self.cache.clone())
    }
}

/// A path with `~` and `$NAME` or `${NAME}` in it, which a shell leaves as they are behind `=` in a
/// file of settings. What is not set stays.
fn expanded(path: &str, user: &str, get: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '\\']) => (user.to_owned(), rest),
        _ => (String::new(), path),
    };
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        let braced = behind.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, next) = braced.unwrap_or_else(|| behind.split_at(end.unwrap_or(behind.len())));
        match get(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[before.len()..rest.len() - next.len()]),
        }
        rest = next;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_are_weighed_as_the_hub_weighs_them() {
        let cache = |variables| settings(variables).cache;
        assert_eq!(cache(&[("HOME", "/u")]), PathBuf::from("/u/.cache/huggingface/hub"));
        assert_eq!(
            cache(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/x")]),
            PathBuf::from("/x/huggingface/hub")
        );
        assert_eq!(cache(&[("HF_HOME", "/h")]), PathBuf::from("/h/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/c")]),
            PathBuf::from("/c")
        );
        assert_eq!(
            cache(&[("HUGGINGFACE_HUB_CACHE", "/c"), ("HF_HUB_CACHE", "/d")]),
            PathBuf::from("/d")
        );
        for (path, want) in [
            ("~/x", "/u/x"),
            ("~", "/u"),
            ("$HOME/hub", "/u/hub"),
            ("${HOME}hub", "/uhub"),
            ("~u/x", "~u/x"),
            ("/a~/$NONE/${NONE", "/a~/$NONE/${NONE"),
            ("a$", "a$"),
        ] {
            for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
                let got = settings(&[("HOME", "/u"), (name, path)]).cache;
                assert_eq!(got, PathBuf::from(want));
            }
            let home = PathBuf::from(want).join("hub");
            assert_eq!(settings(&[("HOME", "/u"), ("HF_HOME", path)]).cache, home);
        }
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror/")]).endpoint, "http://mirror");
        assert_eq!(settings(&[("HF_TOKEN", " t\n")]).token.as_deref(), Some("t"));
        assert_eq!(settings(&[("HF_HOME", "/nowhere")]).token, None);
        for (value, on) in [("1", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, on, "{value:?}");
        }
    }
}
