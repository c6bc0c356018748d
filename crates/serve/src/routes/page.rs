//! The page: files inside the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, Result};

/// Files of the folder `page`.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../page/", $name)).as_slice())),*]
    };
}

const FILES: &[(&str, &[u8])] = files![
    "api.js",
    "capture.js",
    "chat.js",
    "composer.js",
    "dom.js",
    "examples.js",
    "export.js",
    "history.js",
    "icon.svg",
    "index.html",
    "main.js",
    "markdown.js",
    "media.js",
    "models.js",
    "players.js",
    "render.js",
    "settings.js",
    "store.js",
    "style.css",
    "tree.js",
];

/// Nothing but what comes from here is loaded or asked.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The page itself.
pub async fn index() -> Result<Response> {
    file("index.html")
}

/// A part of it.
pub async fn part(Path(name): Path<String>) -> Result<Response> {
    file(&name)
}

fn file(name: &str) -> Result<Response> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (_, bytes) = found.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", "the page has no such part")
    })?;
    let mime = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, mime),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, *bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_all_of_its_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let entries = std::fs::read_dir(folder).expect("the page");
        let mut there: Vec<String> = entries
            .map(|entry| entry.expect("a file").file_name().into_string().expect("text"))
            .collect();
        there.sort();
        assert_eq!(there, FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }
}
