//! Media at addresses: from hosts that the operator has named, and from below one folder; from nowhere else.
//!
//! ```text
//! "https://host/cat.png" ──Address──▶ named? ──resolved──▶ public? ──▶ these very addresses are dialled
//!            ▲                                                                      │
//!            └──────────────────────── a redirect begins anew ◀─────────────────────┘
//! ```

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::error::{Error, Result};
use crate::folder::Folder;

/// To the first byte of an answer, and to its last.
const FIRST: Duration = Duration::from_secs(5);
const LAST: Duration = Duration::from_secs(15);

/// Redirects that are followed.
const REDIRECTS: usize = 3;

/// Why a medium was not fetched. Nothing in it tells what is behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is none that may be fetched from.
    #[error("expected a medium or an address that this server may fetch from, got another address")]
    Refused,
    /// Nothing came, too late, or something else than a file.
    #[error("expected a file at the address, within {} seconds, got none", LAST.as_secs())]
    Failed,
    /// There is more than may be read.
    #[error("expected at most {limit} bytes at the address, got more")]
    TooLarge {
        /// Bytes that may be read.
        limit: u64,
    },
}

/// Fetches from hosts that were named and from below one folder. Without either, nothing.
#[derive(Debug)]
pub struct Fetcher {
    hosts: Vec<Host>,
    folder: Option<Folder>,
    agent: ureq::Agent,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::with(Vec::new(), None, DefaultResolver::default())
    }
}

impl Fetcher {
    /// From `hosts` (`name`, `*.name`, an IP address; each with `:port` for another than the scheme's) and
    /// from the files below `folder` (`file://` and their paths).
    ///
    /// # Errors
    /// A host is written in another way; the folder is not there.
    pub fn new(hosts: &[String], folder: Option<&Path>) -> Result<Self> {
        let hosts = hosts.iter().map(|host| Host::parse(host)).collect::<Result<_>>()?;
        let folder = folder.map(Folder::open).transpose()?;
        Ok(Self::with(hosts, folder, DefaultResolver::default()))
    }

    fn with(hosts: Vec<Host>, folder: Option<Folder>, resolver: impl Resolver) -> Self {
        let config = ureq::Agent::config_builder()
            .user_agent(concat!("sensorium/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Each one is checked as the first address was.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // One that the environment names would dial whatever it is told to.
            .proxy(None)
            .timeout_resolve(Some(FIRST))
            .timeout_connect(Some(FIRST))
            .timeout_recv_response(Some(FIRST))
            .timeout_global(Some(LAST))
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Vetted(resolver));
        Self { hosts, folder, agent }
    }

    /// The file at an address, of at most `limit` bytes.
    ///
    /// # Errors
    /// It may not be fetched, or cannot be.
    pub fn read(&self, address: &str, limit: u64) -> std::result::Result<Vec<u8>, FetchError> {
        if let Some(path) = address.strip_prefix("file://") {
            let folder = self.folder.as_ref().ok_or(FetchError::Refused)?;
            return folder.read(path, limit);
        }
        let mut address = self.allowed(Address::parse(address))?;
        for _ in 0..=REDIRECTS {
            let response = self.agent.get(&address.uri).call();
            let (parts, body) = response.map_err(|error| failure(&error))?.into_parts();
            if parts.status.is_redirection() {
                address = self.allowed(address.next(&parts.headers))?;
                continue;
            }
            let encoded = text(&parts.headers, header::CONTENT_ENCODING);
            if parts.status != 200 || encoded.is_some_and(|encoding| encoding != "identity") {
                return Err(FetchError::Failed);
            }
            return bounded(body, limit);
        }
        Err(FetchError::Failed)
    }

    fn allowed(&self, address: Option<Address>) -> std::result::Result<Address, FetchError> {
        let address = address.filter(|address| self.hosts.iter().any(|host| host.has(address)));
        address.ok_or(FetchError::Refused)
    }
}

fn failure(error: &ureq::Error) -> FetchError {
    match error {
        ureq::Error::HostNotFound => FetchError::Refused,
        _ => FetchError::Failed,
    }
}

fn bounded(body: ureq::Body, limit: u64) -> std::result::Result<Vec<u8>, FetchError> {
    if body.content_length().is_some_and(|length| length > limit) {
        return Err(FetchError::TooLarge { limit });
    }
    let mut bytes = Vec::new();
    let read = body.into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|_| FetchError::Failed)?;
    match bytes.len() as u64 > limit {
        true => Err(FetchError::TooLarge { limit }),
        false => Ok(bytes),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A host that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// In small letters; of all names below one, that one behind a dot.
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Host { got: text.chars().take(120).collect() };
        let whole = text.strip_prefix("*.").unwrap_or(text);
        let (name, port) = split(whole).ok_or_else(wrong)?;
        let name = if whole.len() < text.len() { format!(".{name}") } else { name };
        Ok(Self { name, port })
    }

    fn has(&self, address: &Address) -> bool {
        let named = match self.name.starts_with('.') {
            true => address.host.ends_with(&self.name),
            false => address.host == self.name,
        };
        named && address.port == self.port
    }
}

/// Host and port: a name of letters, digits and hyphens between dots, or an IP address as it is usually written.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|_| digits)?))
        }
        _ => (authority, None),
    };
    let host = host.to_ascii_lowercase();
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner {
        let address: Ipv6Addr = inner.parse().ok()?;
        return Some((format!("[{address}]"), port));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // Numbers behind the last dot are an address, of which there is one spelling here and several elsewhere.
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.starts_with(|c: char| c.is_ascii_digit());
    let fits = host.len() <= 253 && host.split('.').all(label);
    (fits && (!number || host.parse::<Ipv4Addr>().is_ok())).then_some((host, port))
}

/// An address in the one spelling in which no two readers differ.
#[derive(Debug)]
struct Address {
    uri: Uri,
    host: String,
    /// None is the scheme's.
    port: Option<u16>,
}

impl Address {
    /// Not of another scheme, with a name of a user in it, or with letters that some readers take for others.
    fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !plain || text.len() > 8192 {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let usual = match &*scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split(authority)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let at = port.map_or(String::new(), |port| format!(":{port}"));
        let uri: Uri = format!("{scheme}://{host}{at}{slash}{path}").parse().ok()?;
        // What is dialled is what was looked at.
        let same = uri.host() == Some(&*host) && uri.port_u16() == port;
        same.then(|| Self { uri, host, port: port.filter(|port| *port != usual) })
    }

    /// Where a redirect leads.
    fn next(&self, headers: &HeaderMap) -> Option<Self> {
        let to = text(headers, header::LOCATION)?;
        match to.starts_with('/') && !to.starts_with("//") {
            true => {
                let (scheme, authority) = (self.uri.scheme_str()?, self.uri.authority()?);
                Self::parse(&format!("{scheme}://{authority}{to}"))
            }
            false => Self::parse(to),
        }
    }
}

/// Names that lead into this machine or its own network are not found; an address was named as such.
#[derive(Debug)]
struct Vetted<R>(R);

impl<R: Resolver> Resolver for Vetted<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let literal = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        // One private address among public ones is an attack on whoever takes another the next time.
        match literal || found.iter().all(|address| is_public(address.ip())) {
            true => Ok(found),
            false => Err(ureq::Error::HostNotFound),
        }
    }
}

/// Whether an address is one that any machine of the internet has (IANA's special registries taken out).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(matches!(a, 0 | 10 | 127 | 224..)
                || matches!((a, b), (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 168))
                || matches!((a, b), (198, 18 | 19))
                || matches!((a, b, c), (192, 0, 0 | 2) | (192, 88, 99))
                || matches!((a, b, c), (198, 51, 100) | (203, 0, 113)))
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            // 2000::/3 without what stands for IPv4 addresses (Teredo, 6to4) and examples.
            (0x2000..=0x3fff).contains(&a)
                && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
                && a != 0x2002
                && !(a == 0x3fff && b < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::parse(name).expect(name)).collect()
    }

    #[test]
    fn spellings_of_private_addresses_are_none_of_a_named_host() {
        let fetcher = Fetcher::with(
            hosts(&["files.example", "*.cdn.example", "192.0.2.7:81"]),
            None,
            DefaultResolver::default(),
        );
        let addresses = [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "127.1",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1.",
            "169.254.169.254",
            "metadata.google.internal",
            "10.0.0.1",
            "192.168.0.1",
            "files.example.",
            "files.example@127.0.0.1",
            "127.0.0.1#files.example",
            "127.0.0.1?files.example",
            "files.example:80@127.0.0.1",
            "files.example%2f@127.0.0.1",
            "files.example\\@127.0.0.1",
            "files.example\t",
            "files.example:22",
            "evil-files.example",
            "files.example.evil",
            "cdn.example",
            "xcdn.example",
            "①②⑦.0.0.1",
            "ﬁles.example",
            "192.0.2.7",
            "192.0.2.7:82",
            "192.0.2.007:81",
            "",
            ":80",
            "files.example:",
            "files.example:+80",
        ];
        let mut tried = 0;
        for scheme in [
            "http://",
            "https://",
            "HTTP://",
            "ftp://",
            "file://",
            "gopher://",
            "http:/",
            "//",
            "http:\\\\",
        ] {
            for address in addresses {
                for path in ["", "/x.png", "?x"] {
                    let url = format!("{scheme}{address}{path}");
                    assert_eq!(fetcher.read(&url, 9), Err(FetchError::Refused), "{url}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 500, "{tried}");
        for named in [
            "http://files.example/x",
            "https://a.b.cdn.example?q",
            "http://FILES.example:80",
            "https://files.example:443/#a",
            "http://192.0.2.7:81/",
        ] {
            assert!(fetcher.allowed(Address::parse(named)).is_ok(), "{named}");
        }
        let nothing = Fetcher::default();
        assert_eq!(nothing.read("http://files.example/x", 9), Err(FetchError::Refused));
    }

    #[test]
    fn hosts_are_written_in_one_way() {
        for wrong in [
            "",
            "http://a.b",
            "a/b",
            "a b",
            "*.",
            "**.a",
            "a:99999",
            "a:",
            "[::1",
            "1.2.3",
            "0x7f000001",
            "a..b",
            "a_b",
            "ä.b",
        ] {
            let error = Host::parse(wrong).map(|host| host.name).unwrap_err().to_string();
            assert!(error.contains("\nhint: "), "{wrong:?}");
        }
        assert_eq!(
            Host::parse("[0:0::1]:81").unwrap(),
            Host { name: "[::1]".into(), port: Some(81) }
        );
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:808:808::",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    /// Says another address each time.
    #[derive(Debug)]
    struct Flips(Vec<Vec<&'static str>>, AtomicUsize);

    impl Resolver for Flips {
        fn resolve(
            &self,
            _: &Uri,
            _: &ureq::config::Config,
            _: NextTimeout,
        ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
            let at = self.1.fetch_add(1, Ordering::Relaxed);
            let mut found = self.empty();
            for ip in &self.0[at % self.0.len()] {
                found.push(SocketAddr::new(ip.parse().unwrap(), 9));
            }
            Ok(found)
        }
    }

    #[test]
    fn a_name_that_leads_inside_is_not_dialled() {
        // A listener that would hear of it.
        let inside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let answers = [
            vec!["127.0.0.1"],
            vec!["8.8.8.8", "10.0.0.1"],
            vec!["::1"],
            vec!["169.254.169.254", "1.1.1.1"],
        ];
        let flips = Flips(answers.to_vec(), AtomicUsize::new(0));
        let fetcher = Fetcher::with(hosts(&["files.example"]), None, flips);
        for _ in 0..50 {
            assert_eq!(fetcher.read("http://files.example/x", 9), Err(FetchError::Refused));
        }
        assert!(inside.accept().is_err());
    }
}
