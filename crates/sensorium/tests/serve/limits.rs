//! What strangers send: too much, too slowly, without keys, and what is no request at all.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Answer, Server};
use super::scene;

fn chat(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 8})
}

/// An answer that takes a while: nothing ends it but its length.
fn long(tokens: usize) -> Value {
    let ban: serde_json::Map<String, Value> =
        (3856..3904).map(|id| (id.to_string(), json!(-100))).collect();
    json!({"prompt": "a red circle", "max_tokens": tokens, "stream": true, "logit_bias": ban})
}

#[test]
fn bad_requests_name_what_is_bad() {
    let server = Server::start(&[]);
    let image = |url: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": url}]}]});
    let with = |name: &str, value: Value| {
        let mut body = chat("hello");
        body[name] = value;
        body
    };
    let at = "messages[0].content[1].image_url";
    let png = "data:image/png;base64,";
    let cases = [
        (json!({}), "missing_field", "messages"),
        (json!({"messages": []}), "invalid_value", "messages"),
        (json!({"messages": 3}), "invalid_value", "messages"),
        (json!({"messages": [{"role": "user"}]}), "missing_field", "messages[0].content"),
        (
            json!({"messages": [{"role": "king", "content": "x"}]}),
            "invalid_value",
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}),
            "invalid_value",
            "messages[0].content[0].type",
        ),
        (image(json!({"url": "https://example.org/a.png"})), "fetch_refused", at),
        (image(json!({"url": "file:///etc/passwd"})), "fetch_refused", at),
        (image(json!({"url": "data:image/png,abc"})), "invalid_value", at),
        (image(json!({"url": format!("{png}!!!")})), "invalid_value", at),
        (image(json!({"url": png})), "empty_image", at),
        (image(json!({"url": format!("{png}aGVsbG8=")})), "unsupported_media_type", at),
        (image(json!({"url": format!("{png}PHN2Zz48L3N2Zz4=")})), "unsupported_media_type", at),
        (with("model", json!("gpt-4")), "model_not_found", "model"),
        (with("n", json!(9)), "invalid_value", "n"),
        (with("n", json!(0)), "invalid_value", "n"),
        (with("n", json!(1e30)), "invalid_value", "n"),
        (with("temperature", json!(-1)), "invalid_value", "temperature"),
        (with("temperature", json!("hot")), "invalid_value", "temperature"),
        (with("top_p", json!(1.5)), "invalid_value", "top_p"),
        (with("max_tokens", json!(0)), "invalid_value", "max_tokens"),
        (with("max_tokens", json!(-5)), "invalid_value", "max_tokens"),
        (with("top_logprobs", json!(21)), "invalid_value", "top_logprobs"),
        (
            with("stop", json!(["a", "b", "c", "d", "e", "f", "g", "h", "i"])),
            "invalid_value",
            "stop",
        ),
        (with("stop", json!("")), "invalid_value", "stop"),
        (with("logit_bias", json!({"x": 1})), "invalid_value", "logit_bias.x"),
        (with("logit_bias", json!({"1": 1e9})), "invalid_value", "logit_bias.1"),
        (with("modalities", json!(["smell"])), "invalid_value", "modalities[0]"),
        (with("response_format", json!({"type": "xml"})), "invalid_value", "response_format.type"),
        (
            with("response_format", json!({"type": "json_schema"})),
            "missing_field",
            "response_format.schema",
        ),
        (with("tool_choice", json!("required")), "invalid_value", "tool_choice"),
        (with("tools", json!([{"type": "web"}])), "invalid_value", "tools[0].type"),
        (with("seed", json!(1.5)), "invalid_value", "seed"),
        (
            with("messages", json!([{"role": "user", "content": "word ".repeat(9000)}])),
            "context_length_exceeded",
            "",
        ),
    ];
    for (body, code, param) in cases {
        let answer = server.post("/v1/chat/completions", &body);
        let error = answer.json()["error"].clone();
        let shown = body.to_string().chars().take(200).collect::<String>();
        assert!((400..500).contains(&answer.status), "{shown}: {error}");
        assert_eq!(error["code"], code, "{shown}: {error}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{shown}: {error}");
        clean(&answer);
    }
    for body in ["", "{", "[1]", "nonsense", &"[".repeat(500)] {
        let answer = server.ask("POST", "/v1/chat/completions", &[], body.as_bytes());
        assert_eq!(answer.status, 400, "{body}");
        clean(&answer);
    }
    assert_eq!(server.post("/v1/chat/completions", &chat("hello")).status, 200);
}

/// Nothing of this machine stands in an answer.
pub fn clean(answer: &Answer) {
    let text = answer.text();
    for leak in [
        "/tmp/",
        "/work",
        "/home",
        "/root",
        ".rs:",
        "0x0",
        "panicked",
        "hint:",
        "ChunkType",
        "Format error",
    ] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
}

#[test]
fn typed_names_of_special_tokens_stay_letters() {
    let server = Server::start(&[]);
    for text in ["<|image|><|image_token|>", "<|end|>", "<image>", "<|im_start|>system"] {
        let answer = server.post("/v1/chat/completions", &chat(text));
        assert_eq!(answer.status, 200, "{text}: {}", answer.text());
        assert_eq!(answer.json()["usage"]["prompt_tokens_details"]["image_tokens"], 0);
    }
}

/// A line of a file of keys: ann's is `secret` (`printf %s secret | sha256sum`).
pub const ANN: &str = "ann 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";

#[test]
fn every_route_is_closed_without_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, ANN).expect("written");
    let server = Server::start(&["--keys", keys.to_str().expect("a path")]);
    let key = [("authorization", "Bearer secret")];
    let document = server.ask("GET", "/openapi.json", &key, b"").json();
    let open = ["/health", "/livez", "/health/live", "/ready", "/readyz", "/", "/page/{name}"];
    let mut closed = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let (method, path_of_one) =
                (method.to_uppercase(), path.replace("{name}", "style.css"));
            let status =
                |headers: &[(&str, &str)]| server.ask(&method, &path_of_one, headers, b"{}").status;
            if open.contains(&path.as_str()) {
                assert_eq!(status(&[]), 200, "{method} {path}");
                continue;
            }
            closed += 1;
            assert_eq!(status(&[]), 401, "{method} {path}");
            assert_eq!(status(&[("authorization", "Bearer wrong")]), 401, "{method} {path}");
            assert_eq!(status(&[("x-api-key", "")]), 401, "{method} {path}");
            assert_ne!(status(&key), 401, "{method} {path}");
        }
    }
    assert!(closed > 30, "{closed}");
    // What another has sent is not there for who asks, and a name that leads here from elsewhere does not open.
    for headers in [[("host", "evil.example")], [("origin", "http://evil.example")]] {
        assert_eq!(
            server.ask("GET", "/v1/models", &headers, b"").json()["error"]["code"],
            "host_not_allowed"
        );
    }
}

#[test]
fn what_is_too_large_or_too_much_is_refused_before_it_is_read() {
    let server = Server::start(&["--max-body", "1", "--max-running", "1", "--max-waiting", "1"]);
    let large = vec![b' '; 3 << 20];
    assert_eq!(server.ask("POST", "/v1/chat/completions", &[], &large).status, 413);
    let chunked = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(chunked.as_bytes()).expect("it reads");
    let piece = format!("{:x}\r\n{}\r\n", 1 << 18, " ".repeat(1 << 18));
    for _ in 0..8 {
        // It is cut off in the middle.
        let _ = stream.write_all(piece.as_bytes());
    }
    assert_eq!(Answer::read(stream).status, 413);

    let header = "a".repeat(70 << 10);
    assert_eq!(server.ask("GET", "/health", &[("x", &header)], b"").status, 431);

    // Two are answered or wait; a third finds no place, also where its picture would be no picture.
    let json = [("content-type", "application/json")];
    let body = long(200).to_string();
    let running: Vec<_> =
        (0..2).map(|_| server.begin("POST", "/v1/completions", &json, body.as_bytes())).collect();
    while server.metric("sensorium_requests_in_flight") < 2.0 {
        thread::sleep(Duration::from_millis(5));
    }
    let mut broken = chat("?");
    broken["messages"][0]["content"] =
        json!([{"type": "image_url", "image_url": {"url": "data:;base64,AAAA"}}]);
    let refused = server.post("/v1/chat/completions", &broken);
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1")),
        "{}",
        refused.text()
    );
    for stream in running {
        assert_eq!(Answer::read(stream).events().last().map(String::as_str), Some("[DONE]"));
    }
    assert_eq!(server.post("/v1/chat/completions", &chat("hello")).status, 200);
}

#[test]
fn who_goes_away_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let json = [("content-type", "application/json")];
    let body = long(400).to_string();
    Answer::read(server.begin("POST", "/v1/completions", &json, body.as_bytes()));
    let whole = server.metric("sensorium_generated_tokens_total");
    for i in 0..60 {
        let mut stream = server.begin("POST", "/v1/completions", &json, body.as_bytes());
        // Before anything is said, after the head, after the first words.
        let mut some = vec![0; [0, 20, 1200][i % 3]];
        stream.read_exact(&mut some).expect("it answers");
        stream.shutdown(Shutdown::Both).expect("it is open");
    }
    let half = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{\"prompt\"";
    server.connect().write_all(half.as_bytes()).expect("it reads");
    while server.metric("sensorium_requests_in_flight") > 0.0 {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.post("/v1/chat/completions", &chat("hello")).status, 200);
    // Nobody's texts are not gone on with: few tokens were said when no more are.
    let tokens = || server.metric("sensorium_generated_tokens_total");
    let mut said = tokens();
    loop {
        thread::sleep(Duration::from_millis(50));
        match tokens() {
            same if same == said => break,
            more => said = more,
        }
    }
    let said = said - whole;
    assert!(said < 60.0 * whole / 8.0, "{said} tokens, {whole} in one text");
}

#[test]
fn five_hundred_streams_say_what_one_says() {
    let server = Server::start(&[]);
    let prompts = ["a red", "two blue", "describe", "the star is"];
    let body = |i: usize| {
        json!({
            "prompt": prompts[i % 4], "max_tokens": 6 + i % 3, "stream": true, "temperature": 0.7,
            "seed": i % 8
        })
        .to_string()
    };
    let json = [("content-type", "application/json")];
    let text = |answer: &Answer| -> String {
        let events = answer.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
        let piece = |event: &String| {
            serde_json::from_str::<Value>(event).expect("JSON")["choices"][0]["text"].clone()
        };
        events[..events.len() - 1]
            .iter()
            .filter_map(|event| piece(event).as_str().map(str::to_owned))
            .collect()
    };
    let alone: Vec<String> = (0..24)
        .map(|i| text(&server.ask("POST", "/v1/completions", &json, body(i).as_bytes())))
        .collect();
    let streams: Vec<_> = (0..512)
        .map(|i| (i, server.begin("POST", "/v1/completions", &json, body(i).as_bytes())))
        .collect();
    for (i, stream) in streams {
        let answer = Answer::read(stream);
        assert_eq!(answer.status, 200, "{i}: {}", answer.text());
        assert_eq!(text(&answer), alone[i % 24], "{i}");
    }
    assert_eq!(server.metric("sensorium_requests_in_flight"), 0.0);
}

#[test]
fn a_server_that_ends_finishes_what_it_has_begun() {
    let server = Server::start(&[]);
    let json = [("content-type", "application/json")];
    let body = long(120).to_string();
    let streams: Vec<_> =
        (0..16).map(|_| server.begin("POST", "/v1/completions", &json, body.as_bytes())).collect();
    while server.metric("sensorium_requests_in_flight") < 16.0 {
        thread::sleep(Duration::from_millis(5));
    }
    server.signal("-TERM");
    for stream in streams {
        assert_eq!(Answer::read(stream).events().last().map(String::as_str), Some("[DONE]"));
    }
    assert_eq!(server.wait(), Some(0));
    // Told twice, it waits for nobody.
    let server = Server::start(&[]);
    let endless = long(100_000).to_string();
    let _stream = server.begin("POST", "/v1/completions", &json, endless.as_bytes());
    while server.metric("sensorium_requests_in_flight") < 1.0 {
        thread::sleep(Duration::from_millis(5));
    }
    server.signal("-TERM");
    thread::sleep(Duration::from_millis(200));
    server.signal("-TERM");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_broken_picture_harms_nobody_beside_it() {
    let server = Server::start(&[]);
    let picture = scene();
    let question = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "what colour is the circle?"}
    ]}], "max_tokens": 20});
    let expected =
        server.post("/v1/chat/completions", &question).json()["choices"][0]["message"].clone();
    thread::scope(|scope| {
        let broken = scope.spawn(|| {
            let png = picture.strip_prefix("data:image/png;base64,").expect("a URL");
            let png = STANDARD.decode(png).expect("base64");
            for i in 0..45 {
                let mut bad = png.clone();
                match i % 3 {
                    0 => bad.truncate(png.len() * i / 50),
                    _ => bad[40 + 20 * i] ^= 1 << (i % 8),
                }
                let url = json!({"url": format!("data:;base64,{}", STANDARD.encode(bad))});
                let body = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]});
                let answer = server.post("/v1/chat/completions", &body);
                assert_eq!(answer.status, 400, "{}", answer.text());
                clean(&answer);
            }
        });
        for _ in 0..20 {
            let answer = server.post("/v1/chat/completions", &question).json();
            assert_eq!(answer["choices"][0]["message"], expected);
        }
        broken.join().expect("all refused");
    });
}

#[test]
fn an_address_that_others_reach_needs_keys() {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_sensorium"))
        .args(["serve", "--host", "0.0.0.0", "--port", "0"])
        .output()
        .expect("it runs");
    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains("--keys"));
}
