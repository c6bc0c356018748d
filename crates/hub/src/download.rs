//! One file, whole: asked for, gone on with after a cut, checked, renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};

use crate::error::{Error, Result};
use crate::pull::{Progress, make_dir};
use crate::settings::Settings;
use crate::verify;

/// How often a connection may fail one after the other without a byte in between.
const TRIES: usize = 3;

/// Longest wait for a hub that asks to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Redirects that are followed.
const REDIRECTS: u32 = 5;

/// Who asks, and how long is waited. The token goes to the hub alone, never along a redirect to
/// another host.
#[derive(Debug)]
pub(crate) struct Agent {
    agent: ureq::Agent,
    token: Option<String>,
}

/// An answer that is no refusal.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ureq::Body,
}

impl Agent {
    pub fn new(settings: &Settings) -> Self {
        let agent = ureq::Agent::config_builder()
            .user_agent(concat!("sensorium/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .timeout_resolve(Some(settings.timeout))
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .build()
            .new_agent();
        Self { agent, token: settings.token.clone() }
    }

    pub fn get(&self, url: &str) -> Result<Answer> {
        self.get_from(url, 0)
    }

    /// From byte `start` on, if the server can.
    fn get_from(&self, url: &str, start: u64) -> Result<Answer> {
        self.ask(url, || {
            let mut request = self.agent.get(url);
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if start > 0 {
                request = request.header("range", format!("bytes={start}-"));
            }
            request.call()
        })
    }

    /// The headers of a file. They are those of the hub, whose redirect to where the bytes lie is not
    /// followed; one to another name on the hub itself is.
    fn head(&self, url: &str) -> Result<HeaderMap> {
        let mut at = url.to_owned();
        for _ in 0..REDIRECTS {
            let Answer { status, headers, .. } = self.ask(&at, || {
                let mut request = self.agent.head(&at);
                if let Some(token) = &self.token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let config = request.config().max_redirects(0).max_redirects_will_error(false);
                config.build().call()
            })?;
            let location = header(&headers, "location").filter(|to| to.starts_with('/'));
            match (status.is_redirection(), location) {
                (true, Some(path)) => at = format!("{}{path}", origin(&at)),
                _ => return Ok(headers),
            }
        }
        Err(answer(url, "a file", "redirects without end".into()))
    }

    /// Asks again, after a while, where the hub has no time.
    fn ask(&self, url: &str, request: impl Fn() -> Response) -> Result<Answer> {
        for tries in 1..TRIES as u64 {
            let got = request();
            match got.as_ref().ok().and_then(|response| wait(response, tries)) {
                Some(wait) if wait <= LONGEST_WAIT => std::thread::sleep(wait),
                _ => return self.accepted(url, got),
            }
        }
        self.accepted(url, request())
    }

    fn accepted(&self, url: &str, got: Response) -> Result<Answer> {
        let url = url.to_owned();
        let response = match got {
            Ok(response) => response,
            Err(source) => return Err(Error::Connection { url, source: Box::new(source) }),
        };
        let (parts, body) = response.into_parts();
        match parts.status.as_u16() {
            200..=399 => Ok(Answer { status: parts.status, headers: parts.headers, body }),
            status @ (401 | 403) => {
                Err(Error::Denied { url, status, with_token: self.token.is_some() })
            }
            404 => Err(Error::NotFound { url }),
            status => Err(answer(&url, "status 200", format!("status {status}"))),
        }
    }
}

type Response = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// How long a hub that has no time asks to wait: as it says, else as many seconds as it was asked times.
fn wait(response: &ureq::http::Response<ureq::Body>, tries: u64) -> Option<Duration> {
    let busy = matches!(response.status().as_u16(), 429 | 502 | 503 | 504);
    let asked = || header(response.headers(), "retry-after")?.trim().parse().ok();
    busy.then(|| Duration::from_secs(asked().unwrap_or(tries)))
}

fn answer(url: &str, expected: &'static str, got: String) -> Error {
    let hint = "the hub may be busy, or HF_ENDPOINT no mirror of it; try again later";
    Error::Answer { url: url.to_owned(), expected, got, hint }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme and host.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}

/// All of a body that is at most `limit` bytes long.
pub(crate) fn read(body: ureq::Body, limit: u64, url: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = body.into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::Connection { url: url.into(), source: Box::new(error.into()) })?;
    if bytes.len() as u64 > limit {
        return Err(answer(url, "a short answer", format!("more than {limit} bytes")));
    }
    Ok(bytes)
}

/// What the hub says of a file.
struct Promise {
    tag: String,
    length: u64,
}

impl Promise {
    fn of(headers: &HeaderMap, url: &str) -> Result<Self> {
        let one_of = |names: [&str; 2]| names.into_iter().find_map(|name| header(headers, name));
        let tag = one_of(["x-linked-etag", "etag"]).unwrap_or_default();
        let tag = tag.trim_start_matches("W/").trim_matches('"').to_owned();
        let length = one_of(["x-linked-size", "content-length"]).and_then(|n| n.parse().ok());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !(1..=128).contains(&tag.len()) || !tag.chars().all(plain) {
            let got = tag.chars().take(80).collect::<String>();
            return Err(answer(url, "an etag that can name a file", format!("{got:?}")));
        }
        let length = length.ok_or_else(|| answer(url, "a file's length", "none".into()))?;
        Ok(Self { tag, length })
    }
}

/// The path of a file's contents in `blobs`, fetched unless they are there.
pub(crate) fn blob(
    agent: &Agent,
    url: &str,
    file: &str,
    blobs: &Path,
    on_progress: &mut impl FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let promise = Promise::of(&agent.head(url)?, url)?;
    let blob = blobs.join(&promise.tag);
    if fs::metadata(&blob).is_ok_and(|found| found.len() == promise.length) {
        on_progress(Progress { file, done: promise.length, total: promise.length });
        return Ok(blob);
    }
    make_dir(blobs)?;
    let partial = blobs.join(format!("{}.incomplete", promise.tag));
    fill(agent, url, file, &partial, promise.length, on_progress)?;
    let differs = verify::differs(&partial, &promise.tag).map_err(Error::io("read", &partial))?;
    if let Some(got) = differs {
        fs::remove_file(&partial).map_err(Error::io("remove", &partial))?;
        return Err(Error::Checksum { file: file.into(), expected: promise.tag, got });
    }
    fs::rename(&partial, &blob).map_err(Error::io("rename", &partial))?;
    Ok(blob)
}

/// Appends to `partial` until it is `length` bytes long.
fn fill(
    agent: &Agent,
    url: &str,
    file: &str,
    partial: &Path,
    length: u64,
    on_progress: &mut impl FnMut(Progress<'_>),
) -> Result<()> {
    let open = OpenOptions::new().create(true).append(true).open(partial);
    let mut out = open.map_err(Error::io("open", partial))?;
    let size = |out: &File| out.metadata().map(|m| m.len()).map_err(Error::io("read", partial));
    let mut failures = 0;
    let mut done = size(&out)?;
    while done != length {
        let start = if done > length { 0 } else { done };
        let failed = match agent.get_from(url, start) {
            Ok(Answer { status, body, .. }) => {
                // A server that cannot go on sends all of it.
                if status != StatusCode::PARTIAL_CONTENT || start == 0 {
                    out.set_len(0).map_err(Error::io("shorten", partial))?;
                }
                append(body, &mut out, partial, length, |done| {
                    on_progress(Progress { file, done, total: length });
                })?
            }
            Err(Error::Connection { source, .. }) => Some(source),
            Err(error) => return Err(error),
        };
        let now = size(&out)?;
        failures = if now > done { 0 } else { failures + 1 };
        done = now;
        if failures >= TRIES {
            let got = format!("{done} of {length} bytes");
            return Err(match failed {
                Some(source) => Error::Connection { url: url.into(), source },
                None => {
                    Error::Checksum { file: file.into(), expected: format!("{length} bytes"), got }
                }
            });
        }
    }
    out.sync_all().map_err(Error::io("write", partial))
}

/// What comes, to the end of `out`, which never grows beyond one byte more than `length`. Returns why
/// no more came, if that was no proper end.
fn append(
    body: ureq::Body,
    out: &mut File,
    path: &Path,
    length: u64,
    mut on_bytes: impl FnMut(u64),
) -> Result<Option<Box<ureq::Error>>> {
    let mut done = out.metadata().map_err(Error::io("read", path))?.len();
    let mut body = body.into_reader().take((length + 1).saturating_sub(done));
    let mut buffer = vec![0; 1 << 16];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => {
                out.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
                done += n as u64;
                on_bytes(done.min(length));
            }
            Err(error) => return Ok(Some(Box::new(error.into()))),
        }
    }
}
