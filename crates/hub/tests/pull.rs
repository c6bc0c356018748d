//! Pulling from a small server of this test's own, on loopback: whole, cut off, damaged, refused.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sensorium_hub::{Choice, Error, Hub, Settings, find};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Sends at most so many bytes of a file at a time, then closes.
    Cut(usize),
    /// Sends other bytes than it promised.
    Flip,
    /// Sends files from the start, whatever was asked for.
    NoRange,
    Status(u16),
    /// Has no time for what is asked for the first time.
    Busy(u16),
    /// Sends the bytes of files from elsewhere.
    Redirect,
    /// Lists a file outside of the model's directory.
    Escape,
    /// Answers with something else.
    Nonsense,
}

/// Method, path, range, whether with a token.
type Request = (String, String, String, bool);

struct Server {
    endpoint: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

fn weights() -> Vec<u8> {
    (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The files of each model.
fn files_of(model: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let files = |names: &[&'static str]| names.iter().map(|name| (*name, b"x".to_vec())).collect();
    match model {
        "sharded" => BTreeMap::from([
            ("config.json", b"{}".to_vec()),
            ("consolidated.safetensors", weights()),
            ("model-00001-of-00001.safetensors", weights()),
            ("model.fp16.safetensors", weights()),
            (
                "model.safetensors.index.json",
                br#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#.to_vec(),
            ),
        ]),
        "two" => files(&[
            "config.json",
            "model.safetensors",
            "model.fp16.safetensors",
            "consolidated.safetensors",
            "2_Dense/model.safetensors",
        ]),
        "drawer" => files(&[
            "model_index.json",
            "v1-5-pruned-emaonly.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "safety_checker/model.safetensors",
            "vae/diffusion_pytorch_model.bin",
            "vae/diffusion_pytorch_model.safetensors",
        ]),
        "pickles" => files(&["config.json", "pytorch_model.bin", "tokenizer.json"]),
        "gguf" => files(&[
            "README.md",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "m-f16-00001-of-00002.gguf",
            "m-f16-00002-of-00002.gguf",
        ]),
        _ => files_of_tiny(),
    }
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    files_of_tiny()
}

fn files_of_tiny() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("config.json", b"{\"model_type\": \"clip\"}".to_vec()),
        ("model.safetensors", weights()),
        ("1_Pooling/config.json", b"{}".to_vec()),
        ("pytorch_model.bin", b"never".to_vec()),
    ])
}

impl Server {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One request a connection: a client that wants more comes again.
                serve(&stream, fault, &log);
            }
        });
        Self { endpoint, seen }
    }

    fn settings(&self, dir: &std::path::Path) -> Settings {
        let mut settings = Settings::from(|_| None);
        settings.endpoint = self.endpoint.clone();
        settings.cache = dir.to_path_buf();
        settings.timeout = Duration::from_secs(5);
        settings
    }

    fn gets(&self) -> Vec<(String, String)> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().filter(|s| s.0 == "GET").map(|s| (s.1.clone(), s.2.clone())).collect()
    }
}

fn serve(mut stream: &TcpStream, fault: Fault, log: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(stream).lines().map_while(|line| line.ok());
    let first = lines.next().unwrap_or_default();
    let [method, path] = [0, 1].map(|i| first.split(' ').nth(i).unwrap_or_default().to_owned());
    let (mut range, mut token) = (String::new(), false);
    for line in lines.take_while(|line| !line.is_empty()) {
        let line = line.to_lowercase();
        range = line.strip_prefix("range: bytes=").map_or(range, str::to_owned);
        token |= line.starts_with("authorization: bearer secret");
    }
    let request = (method.clone(), path.clone(), range.clone(), token);
    let mut log = log.lock().expect("no panic");
    let again = log.contains(&request);
    log.push(request);
    drop(log);
    let answer = answer(&method, &path, &range, fault, again);
    let _ = stream.write_all(&answer);
    let _ = stream.flush();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // Wait for the other side, so that nothing sent is lost.
    let _ = std::io::copy(&mut stream.take(1 << 16), &mut std::io::sink());
}

fn answer(method: &str, path: &str, range: &str, fault: Fault, again: bool) -> Vec<u8> {
    let head = |status: &str, headers: &str, length: usize| {
        format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        )
        .into_bytes()
    };
    if let Fault::Status(status) = fault {
        return head(&format!("{status} No"), "", 0);
    }
    if let Fault::Busy(status) = fault
        && !again
    {
        return head(&format!("{status} No"), "retry-after: 0\r\n", 0);
    }
    let model = path.split("org/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("tiny");
    if path.starts_with("/api/models/") {
        let escape = if fault == Fault::Escape { "../" } else { "" };
        let sibling = |(name, content): (&&str, &Vec<u8>)| {
            format!("{{\"rfilename\": \"{escape}{name}\", \"size\": {}}}", content.len())
        };
        let names: Vec<String> = files_of(model).iter().map(sibling).collect();
        let mut body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", names.join(","));
        if fault == Fault::Nonsense {
            body = "<html>".into();
        }
        let mut answer = head("200 OK", "content-type: application/json\r\n", body.len());
        answer.extend(body.into_bytes());
        return answer;
    }
    let name = path
        .strip_prefix(&format!("/org/{model}/resolve/{COMMIT}/"))
        .or_else(|| path.strip_prefix("/elsewhere/"));
    let Some(content) = name.and_then(|name| files_of(model).remove(name)) else {
        return head("404 Not Found", "", 0);
    };
    let sha: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let promise = format!("x-linked-etag: \"{sha}\"\r\nx-linked-size: {}\r\n", content.len());
    if fault == Fault::Redirect && !path.starts_with("/elsewhere/") {
        let to = format!("{promise}location: /elsewhere/{}\r\n", name.unwrap_or_default());
        return head("302 Found", &to, 0);
    }
    if method == "HEAD" {
        return head("200 OK", &promise, content.len());
    }
    let start: usize = range.trim_end_matches('-').parse().unwrap_or(0);
    let start = if fault == Fault::NoRange { 0 } else { start };
    let mut body = content[start.min(content.len())..].to_vec();
    let length = body.len();
    match fault {
        Fault::Cut(most) => body.truncate(most),
        Fault::Flip => body[0] ^= 1,
        _ => {}
    }
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let mut answer = head(status, &promise, length);
    answer.extend(body);
    answer
}

fn pull(server: &Server, dir: &std::path::Path) -> Result<sensorium_hub::Pulled, Error> {
    pull_with(server.settings(dir), "org/tiny", &[])
}

fn pull_with(
    settings: Settings,
    name: &str,
    only: &[String],
) -> Result<sensorium_hub::Pulled, Error> {
    let hub = Hub::new(settings);
    let plan = hub.plan(&Choice::parse(name).expect("a name"), only)?;
    hub.pull(&plan, |_| {})
}

fn check(dir: &std::path::Path, path: &std::path::Path) {
    assert_eq!(path, dir.join("models--org--tiny/snapshots").join(COMMIT));
    for (name, content) in files() {
        match name.ends_with(".bin") {
            true => assert!(!path.join(name).exists(), "pickles are left where they are"),
            false => assert_eq!(std::fs::read(path.join(name)).expect(name), content),
        }
    }
}

#[test]
fn a_model_is_pulled_found_and_not_pulled_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Fault::None);
    let settings = server.settings(dir.path());
    let error = find("org/tiny", &settings).unwrap_err().to_string();
    assert!(error.contains("`sensorium pull org/tiny`"), "{error}");

    let pulled = pull(&server, dir.path()).expect("pulled");
    check(dir.path(), &pulled.path);
    assert_eq!(pulled.files.len(), 3);
    assert_eq!(find("org/tiny", &settings).expect("found"), pulled.path);
    assert_eq!(find(&format!("org/tiny@{COMMIT}"), &settings).expect("found"), pulled.path);
    let [cached] = &settings.cache().list()[..] else { panic!("one snapshot") };
    assert_eq!((cached.name.to_string().as_str(), cached.partial), ("org/tiny", false));
    assert_eq!(cached.bytes, 100_000 + 22 + 2);

    let before = server.gets().len();
    pull(&server, dir.path()).expect("pulled again");
    assert_eq!(server.gets().len(), before + 1, "only the list of files is asked for again");
}

#[test]
fn a_cut_is_gone_on_with_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Fault::Cut(30_000));
    check(dir.path(), &pull(&server, dir.path()).expect("pulled").path);
    let ranges: Vec<String> = server
        .gets()
        .into_iter()
        .filter(|(path, _)| path.ends_with("model.safetensors"))
        .map(|(_, range)| range)
        .collect();
    assert_eq!(ranges, ["", "30000-", "60000-", "90000-"]);
}

#[test]
fn a_server_that_cannot_go_on_is_read_from_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = dir.path().join("models--org--tiny/blobs");
    std::fs::create_dir_all(&blobs).expect("made");
    let sha: String = Sha256::digest(weights()).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(blobs.join(format!("{sha}.incomplete")), b"other bytes").expect("written");
    let server = Server::start(Fault::NoRange);
    check(dir.path(), &pull(&server, dir.path()).expect("pulled").path);
}

#[test]
fn damaged_bytes_are_thrown_away_and_nothing_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Fault::Flip);
    let error = pull(&server, dir.path()).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(find("org/tiny", &server.settings(dir.path())).is_err());
    let healed = Server::start(Fault::None);
    check(dir.path(), &pull(&healed, dir.path()).expect("pulled").path);
}

#[test]
fn redirects_are_followed_and_the_hubs_promise_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Fault::Redirect);
    check(dir.path(), &pull(&server, dir.path()).expect("pulled").path);
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    for (status, hint) in
        [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "spelling"), (500, "try again")]
    {
        let error =
            pull(&Server::start(Fault::Status(status)), dir.path()).unwrap_err().to_string();
        assert!(error.contains(hint) && error.contains("\nhint: "), "{status}: {error}");
    }
    for fault in [Fault::Nonsense, Fault::Escape] {
        let error = pull(&Server::start(fault), dir.path()).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
    }
    assert!(!dir.path().parent().expect("one").join("config.json").exists());

    let server = Server::start(Fault::None);
    let mut settings = server.settings(dir.path());
    settings.token = Some("secret".into());
    let missing = pull_with(settings.clone(), "org/tiny", &["x.gguf".into()]);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert!(server.seen.lock().expect("no panic").iter().all(|seen| seen.3), "with its token");

    settings.offline = true;
    let error = pull_with(settings, "org/tiny", &[]).unwrap_err().to_string();
    assert!(error.contains("offline"), "{error}");
    assert_eq!(server.gets().len(), 1, "offline nothing is asked");
}

#[test]
fn a_hub_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(Fault::None);
    let mut settings = server.settings(dir.path());
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    settings.endpoint = format!("http://{free}");
    let error = pull_with(settings, "org/tiny", &[]).unwrap_err().to_string();
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn a_busy_hub_is_asked_again() {
    for status in [429, 502, 503, 504] {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(Fault::Busy(status));
        check(dir.path(), &pull(&server, dir.path()).expect("pulled").path);
    }
}

#[test]
fn only_what_a_model_is_run_from_is_pulled() {
    let server = Server::start(Fault::None);
    let dir = tempfile::tempdir().expect("a directory");
    let pulled = |name: &str| pull_with(server.settings(dir.path()), name, &[]);
    let files = |name: &str| pulled(name).expect("pulled").files;
    assert_eq!(
        files("org/sharded"),
        ["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    );
    assert_eq!(files("org/two"), ["2_Dense/model.safetensors", "config.json", "model.safetensors"]);
    let parts = [
        "model_index.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ];
    assert_eq!(files("org/drawer"), parts);
    assert_eq!(files("org/gguf:q8_0"), ["m-Q8_0.gguf"]);
    assert_eq!(files("org/gguf/m-Q4_K_M.gguf"), ["m-Q4_K_M.gguf"]);
    let parts = ["m-f16-00001-of-00002.gguf", "m-f16-00002-of-00002.gguf"];
    assert_eq!(files("org/gguf:f16"), parts);

    let error = pulled("org/pickles").unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin") && error.contains("\nhint: "), "{error}");
    let error = pulled("org/gguf").unwrap_err().to_string();
    assert!(error.contains("several") && error.contains("m-Q8_0.gguf"), "{error}");

    let settings = server.settings(dir.path());
    let found = |choice: &str| find(choice, &settings).expect("found");
    assert!(found("org/gguf:Q8_0").ends_with("m-Q8_0.gguf"));
    assert!(found("org/gguf:f16").ends_with(parts[0]));
    let several = find("org/gguf", &settings).unwrap_err().to_string();
    assert!(several.contains("org/gguf:TAG"), "{several}");
    assert!(found("org/two").ends_with(COMMIT));

    std::fs::remove_file(dir.path().join("models--org--two/refs/main")).expect("it was there");
    let listed = settings.cache().list();
    let by_commit = format!("org/two@{COMMIT}");
    assert!(listed.iter().any(|cached| cached.name.to_string() == by_commit), "{listed:?}");
    assert!(found(&by_commit).ends_with(COMMIT));
}
