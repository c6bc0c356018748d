//! What requests name and do not hold: media at addresses, files of this machine, models of the hub.

use std::path::Path;

use serde_json::{Value, json};

use super::client::Server;
use super::remote::{Remote, file};
use super::scene;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pictures/scene.png");

fn chat(url: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what colour is the circle?"}
    ]}], "max_tokens": 20})
}

/// Requests that name an address, by every route that takes one.
fn requests(url: &str) -> Vec<(&'static str, Value)> {
    let image = json!({"image": url});
    let part = |kind: &str| json!({"type": kind, kind: {"url": url}});
    let asks = |kind: &str| json!({"messages": [{"role": "user", "content": [part(kind)]}]});
    vec![
        ("/v1/chat/completions", asks("image_url")),
        ("/v1/chat/completions", asks("audio_url")),
        ("/v1/chat/completions", asks("video_url")),
        (
            "/v1/responses",
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
        ),
        ("/v1/embeddings", json!({"input": [image]})),
        ("/v1/embeddings", json!({"input": [url], "modality": "image"})),
        (
            "/v2/embed",
            json!({"images": [url], "input_type": "image", "embedding_types": ["float"]}),
        ),
        ("/v1/classify", json!({"input": image, "labels": ["a circle", "a star"]})),
        ("/v1/score", json!({"media": [image], "texts": ["a circle"]})),
        ("/v1/rerank", json!({"query": "a circle", "documents": [image]})),
        (
            "/api/chat",
            json!({"messages": [{"role": "user", "content": "?", "images": [url]}], "stream": false}),
        ),
        ("/api/generate", json!({"prompt": "?", "images": [url], "stream": false})),
    ]
}

#[test]
fn media_come_from_hosts_that_were_named_and_from_nowhere_else() {
    let inside = Remote::start(|_| [("/x".to_owned(), file("200 OK", "", b"secret"))].into());
    let picture = std::fs::read(PICTURE).expect("a picture");
    let out = format!("location: http://{}/x\r\n", inside.address);
    let remote = Remote::start(|own| {
        let found = |to: &str| file("302 Found", &format!("location: {to}\r\n"), b"");
        let own = |path: &str| format!("http://{own}{path}");
        let short = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes();
        [
            ("/scene.png", file("200 OK", "content-type: image/png\r\n", &picture)),
            ("/again", found("/scene.png")),
            ("/once-more", found(&own("/again"))),
            ("/away", file("302 Found", &out, b"")),
            ("/loop", found("/loop")),
            ("/name", found("http://localhost/x")),
            ("/relative", found("scene.png")),
            ("/nowhere", file("302 Found", "", b"")),
            ("/file", found("file:///etc/passwd")),
            ("/gzip", file("200 OK", "content-encoding: gzip\r\n", &picture)),
            ("/none", file("204 No Content", "", b"")),
            ("/part", file("206 Partial Content", "", &picture)),
            ("/range", file("416 Range Not Satisfiable", "", b"")),
            ("/denied", file("403 Forbidden", "", b"/etc/shadow")),
            ("/lying", short("content-length: 100000\r\n")),
            ("/huge", short("content-length: 99999999999\r\n")),
            ("/endless", short("")),
            ("/silent", Vec::new()),
            ("/nonsense", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ]
        .map(|(path, answer)| (path.to_owned(), answer))
        .into()
    });
    let server = Server::start(&["--fetch-from", &remote.address]);
    let expected = server.post("/v1/chat/completions", &chat(&scene())).json();
    for path in ["/scene.png", "/again", "/once-more", "/scene.png?a=b#c"] {
        let answer =
            server.post("/v1/chat/completions", &chat(&format!("http://{}{path}", remote.address)));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(
            answer.json()["choices"][0]["message"],
            expected["choices"][0]["message"],
            "{path}"
        );
    }
    let code = |url: &str| {
        let answer = server.post("/v1/chat/completions", &chat(url));
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, 400, "{url}: {error}");
        assert_eq!(error["param"], "messages[0].content[0].image_url", "{url}");
        super::limits::clean(&answer);
        error["code"].as_str().unwrap_or_default().to_owned()
    };
    for path in ["/away", "/name", "/relative", "/nowhere", "/file"] {
        assert_eq!(code(&format!("http://{}{path}", remote.address)), "fetch_refused", "{path}");
    }
    for path in [
        "/loop",
        "/gzip",
        "/none",
        "/part",
        "/range",
        "/denied",
        "/missing",
        "/lying",
        "/huge",
        "/endless",
        "/silent",
        "/nonsense",
    ] {
        assert_eq!(code(&format!("http://{}{path}", remote.address)), "fetch_failed", "{path}");
    }
    // Nothing of what lies elsewhere is asked for, by any route; every refusal says the same.
    let port = inside.address.rsplit(':').next().expect("a port");
    let spellings = [
        format!("http://{}/x", inside.address),
        format!("http://localhost:{port}/x"),
        format!("http://2130706433:{port}/x"),
        format!("http://0x7f.1:{port}/x"),
        format!("http://[::ffff:127.0.0.1]:{port}/x"),
        format!("http://{}@{}/x", remote.address, inside.address),
        format!("http://{}\\@{}/x", remote.address, inside.address),
        "file:///etc/passwd".to_owned(),
        "file:///proc/self/environ".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://example.org/a.png".to_owned(),
    ];
    let mut messages = std::collections::BTreeSet::new();
    for url in &spellings {
        for (route, body) in requests(url) {
            let answer = server.post(route, &body);
            assert_eq!(answer.status, 400, "{route} {url}: {}", answer.text());
            let error = answer.json()["error"].clone();
            let message =
                error["message"].as_str().or(error.as_str()).unwrap_or_default().to_owned();
            messages.insert(message);
        }
    }
    assert_eq!((inside.asked(), messages.len()), (0, 1), "{messages:?}");
}

#[test]
fn files_are_read_below_the_folder_that_was_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("there");
    std::fs::create_dir(root.join("media")).expect("made");
    std::fs::copy(PICTURE, root.join("media/a scene.png")).expect("copied");
    std::fs::copy(PICTURE, root.join("outside.png")).expect("copied");
    let media = root.join("media");
    let server = Server::start(&["--media-path", media.to_str().expect("a path")]);
    let ask = |path: &Path| {
        server.post("/v1/chat/completions", &chat(&format!("file://{}", path.display())))
    };
    let expected = server.post("/v1/chat/completions", &chat(&scene())).json();
    let answer = ask(&media.join("a%20scene.png"));
    assert_eq!(answer.json()["choices"][0]["message"], expected["choices"][0]["message"]);
    for path in [
        root.join("outside.png"),
        media.join("../outside.png"),
        media.join("none.png"),
        media.clone(),
        "/etc/passwd".into(),
    ] {
        assert_eq!(ask(&path).json()["error"]["code"], "fetch_refused", "{}", path.display());
    }
}

#[test]
fn a_model_is_brought_where_that_is_allowed() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/chatting");
    let hub = Remote::start(|_| {
        let names = std::fs::read_dir(golden).expect("a golden").flatten();
        let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
        let names: Vec<String> = names.filter(|name| name != "golden.safetensors").collect();
        let siblings: Vec<Value> = names.iter().map(|name| json!({"rfilename": name})).collect();
        let revision = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        let files = names.iter().map(|name| {
            let bytes = std::fs::read(Path::new(golden).join(name)).expect("a file");
            let tag = format!("etag: \"{}\"\r\n", name.replace('.', "-"));
            (format!("/me/tiny/resolve/{COMMIT}/{name}"), file("200 OK", &tag, &bytes))
        });
        let revision = (
            "/api/models/me/tiny/revision/main".to_owned(),
            file("200 OK", "", revision.as_bytes()),
        );
        files.chain([revision]).collect()
    });
    let cache = tempfile::tempdir().expect("a folder");
    let environment = [
        ("HF_ENDPOINT", format!("http://{}", hub.address)),
        ("HF_HUB_CACHE", cache.path().display().to_string()),
    ];
    let body = json!({"model": "me/tiny", "stream": false});
    let closed = Server::start_with(&[], &environment);
    assert_eq!(closed.post("/api/pull", &body).status, 403);
    assert_eq!(hub.asked(), 0);

    let server = Server::start_with(&["--allow-pull"], &environment);
    let chat = json!({"model": "me/tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
    assert_eq!(
        server.post("/v1/chat/completions", &chat).json()["error"]["code"],
        "model_not_found"
    );
    let missing = server.post("/api/pull", &json!({"model": "me/none", "stream": false}));
    assert_eq!(missing.status, 502, "{}", missing.text());
    for wrong in ["../../etc", "http://127.0.0.1/x", "", "a/b/c"] {
        let answer = server.post("/api/pull", &json!({"model": wrong, "stream": false}));
        assert!(answer.status >= 400, "{wrong}: {}", answer.text());
    }
    let told = server.post("/api/pull", &json!({"name": "me/tiny"})).text();
    let lines: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        lines.first().map(|line| &line["status"]),
        Some(&json!("pulling manifest")),
        "{told}"
    );
    assert_eq!(lines.last(), Some(&json!({"status": "success"})), "{told}");
    assert!(lines.iter().any(|line| line["total"].as_u64() > Some(0)), "{told}");
    let answer = server.post("/v1/chat/completions", &chat);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server.get("/v1/models").text().contains("me/tiny"));
    assert_eq!(server.post("/api/pull", &body).json(), json!({"status": "success"}));
}
