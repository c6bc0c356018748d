//! Who may come in: names of hosts, pages of other origins, keys.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ApiError, Result};

/// A key, of which only the hash is known here.
#[derive(Debug)]
pub struct Key {
    name: String,
    hash: [u8; 32],
    /// Requests at once.
    concurrent: usize,
    /// Requests a minute.
    per_minute: usize,
    running: AtomicUsize,
    minute: Mutex<(Option<Instant>, usize)>,
}

/// All of them; where there are none, whoever reaches the server may ask.
#[derive(Debug, Default)]
pub struct Keys(Vec<Arc<Key>>);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// The key's name, or the address.
    pub name: String,
    /// Held while the request is answered.
    pub turn: Option<Arc<Turn>>,
}

/// One of the requests that a key may have at once.
#[derive(Debug)]
pub struct Turn(Arc<Key>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Keys {
    /// Those of a file: in each line a name, the SHA-256 of the key in hexadecimal digits, and, if the key is to be
    /// limited, `concurrent=N` and `per_minute=N`. Lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// What is wrong, with the number of the line.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(i, line)| {
            Key::parse(line).map(Arc::new).map_err(|got| {
                format!("expected `NAME SHA256 [concurrent=N] [per_minute=N]` in line {i}, got {got}\nhint: printf %s KEY | sha256sum")
            })
        });
        keys.collect::<std::result::Result<_, _>>().map(Self)
    }

    /// Whether anybody may come in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who asks with these headers from this address.
    ///
    /// # Errors
    /// Without a key, with a wrong one, or with one whose limits are reached.
    pub fn client(&self, headers: &HeaderMap, address: IpAddr) -> Result<Client> {
        if self.is_empty() {
            return Ok(Client { name: address.to_string(), turn: None });
        }
        let given = given(headers).ok_or_else(|| {
            unauthorised(
                "expected a key in the header `authorization: Bearer KEY` or `x-api-key`, got none",
            )
        })?;
        let hash: [u8; 32] = Sha256::digest(given).into();
        // All are compared, so that the time tells nothing of them.
        let same =
            |found: Option<&Arc<Key>>, key: &Arc<Key>| match bool::from(key.hash.ct_eq(&hash)) {
                true => Some(key.clone()),
                false => found.cloned(),
            };
        let found = self.0.iter().fold(None, |found, key| same(found.as_ref(), key));
        let key = found.ok_or_else(|| unauthorised("the key is not one of this server's"))?;
        let turn = Some(Arc::new(key.enter()?));
        Ok(Client { name: key.name.clone(), turn })
    }
}

fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let value = value.as_bytes();
        value.strip_prefix(b"Bearer ").or_else(|| value.strip_prefix(b"bearer "))
    });
    let other = ["x-api-key", "x-goog-api-key"].into_iter().find_map(|name| headers.get(name));
    bearer.or(other.map(|value| value.as_bytes()))
}

fn unauthorised(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
}

impl Key {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let hash = words.next().and_then(hash).ok_or("no SHA-256 behind the name")?;
        let (minute, running) = Default::default();
        let (concurrent, per_minute) = (usize::MAX, usize::MAX);
        let mut key = Self { name, hash, concurrent, per_minute, running, minute };
        for word in words {
            let number = |text: &str| text.parse().ok().filter(|n| *n > 0);
            let (limit, value) = match word.split_once('=') {
                Some(("concurrent", value)) => (&mut key.concurrent, number(value)),
                Some(("per_minute", value)) => (&mut key.per_minute, number(value)),
                _ => return Err(format!("{word:?}")),
            };
            *limit = value.ok_or_else(|| format!("{word:?}"))?;
        }
        Ok(key)
    }

    /// One more request.
    fn enter(self: &Arc<Self>) -> Result<Turn> {
        self.count()?;
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        // Given back when dropped, also where it was one too many.
        let turn = Turn(self.clone());
        match running > self.concurrent {
            true => Err(ApiError::busy(format!(
                "the key may have {} requests at once",
                self.concurrent
            ))),
            false => Ok(turn),
        }
    }

    fn count(&self) -> Result<()> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = minute.0.filter(|begun| begun.elapsed() < MINUTE);
        let (begun, count) = match begun {
            Some(begun) => (begun, minute.1 + 1),
            None => (Instant::now(), 1),
        };
        *minute = (Some(begun), count);
        if count <= self.per_minute {
            return Ok(());
        }
        let message = format!("the key may ask {} times a minute", self.per_minute);
        let wait = MINUTE.saturating_sub(begun.elapsed()).as_secs() + 1;
        Err(ApiError {
            code: "rate_limit_exceeded",
            retry_after: Some(wait),
            ..ApiError::busy(message)
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// 64 hexadecimal digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok();
    let mut hash = [0; 32];
    for (i, slot) in hash.iter_mut().enumerate() {
        *slot = byte(i).filter(|_| digits)?;
    }
    Some(hash)
}

/// Names under which the server may be asked: a page of another origin that has its own name led here (DNS
/// rebinding) is refused.
#[derive(Clone, Debug)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// This machine's own names, an address, and others.
    pub fn new(address: IpAddr, others: &[String]) -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let bound = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let others = others.iter().map(|name| name.to_lowercase());
        Self(own.into_iter().chain([bound]).chain(others).collect())
    }

    /// That a request names one of them, and comes from no page of another origin.
    ///
    /// # Errors
    /// `host_not_allowed`.
    pub fn check(&self, headers: &HeaderMap) -> Result<()> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.0.contains(&bare(host)) {
            return Err(refused(
                "expected one of this server's names in the header `host`; `--allow-host` adds one",
            ));
        }
        match text(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if origin.split_once("://").is_some_and(|(_, name)| name == host) => {
                Ok(())
            }
            Some(_) => Err(refused("expected no page of another origin in the header `origin`")),
        }
    }
}

/// A name without the port.
fn bare(host: &str) -> String {
    let end = match host.rfind(':') {
        Some(at) if host[at..].bytes().skip(1).all(|byte| byte.is_ascii_digit()) => at,
        _ => host.len(),
    };
    host[..end].to_lowercase()
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(k, v)| (k.parse().expect("a name"), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn keys_open_and_nothing_else_does() {
        // printf %s secret | sha256sum
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let keys = Keys::parse(&format!("# ours\nann {hash} concurrent=2\n")).unwrap();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("authorization", "bearer secret"),
            ("x-api-key", "secret"),
        ] {
            assert_eq!(keys.client(&headers(&[(name, value)]), HERE).unwrap().name, "ann");
        }
        let cases: [&[_]; 4] = [
            &[],
            &[("authorization", "Bearer Secret")],
            &[("authorization", "secret")],
            &[("x-api-key", "")],
        ];
        for case in cases {
            assert_eq!(keys.client(&headers(case), HERE).unwrap_err().status, 401, "{case:?}");
        }
        let ask = || keys.client(&headers(&[("x-api-key", "secret")]), HERE);
        let two = [ask().unwrap(), ask().unwrap()];
        assert_eq!(ask().unwrap_err().status, 429);
        drop(two);
        assert!(ask().is_ok(), "a turn is given back");
        for wrong in
            ["ann", "ann 12", &format!("ann {hash} concurrent=0"), &format!("ann {hash} x")]
        {
            assert!(Keys::parse(wrong).unwrap_err().contains("line 1"), "{wrong}");
        }
        let keys = Keys::parse(&format!("ann {hash} per_minute=1")).unwrap();
        let ask = || keys.client(&headers(&[("x-api-key", "secret")]), HERE);
        assert!(ask().is_ok());
        assert!(ask().unwrap_err().retry_after.is_some_and(|s| (1..=60).contains(&s)));
    }

    #[test]
    fn other_names_and_other_pages_are_refused() {
        let hosts = Hosts::new(HERE, &["model.Example".to_owned()]);
        let cases: [(&[_], bool); 9] = [
            (&[("host", "localhost:8080")], true),
            (&[("host", "127.0.0.1")], true),
            (&[("host", "[::1]:1")], true),
            (&[("host", "MODEL.example:443")], true),
            (&[], false),
            (&[("host", "evil.example")], false),
            (&[("host", "localhost.evil.example")], false),
            (&[("host", "localhost:1"), ("origin", "http://localhost:1")], true),
            (&[("host", "localhost:1"), ("origin", "http://evil.example")], false),
        ];
        for (case, allowed) in cases {
            assert_eq!(hosts.check(&headers(case)).is_ok(), allowed, "{case:?}");
        }
    }
}
