//! What breaks in one request leaves all others as they are.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Answer, Server};
use super::dialects::question;
use super::limits::{ANN, clean};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/chatting");

/// A copy of a tiny model whose token `id` is no number.
fn damaged(folder: &Path, id: usize) {
    for entry in fs::read_dir(TINY).expect("a golden").flatten() {
        fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
    }
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).expect("weights");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let table = &header["model.embed_tokens.weight"];
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let (begin, width) = (number(&table["data_offsets"][0]), number(&table["shape"][1]));
    let row = 8 + length + begin + id * width * 4;
    bytes[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(path, bytes).expect("written");
}

fn ask(text: &str) -> Value {
    json!({"prompt": text, "max_tokens": 24, "stream": true})
}

#[test]
fn a_text_whose_numbers_are_none_ends_alone() {
    let healthy = Server::start(&["--model", TINY]);
    let ids = healthy.post("/tokenize", &json!({"prompt": "Z"})).json()["tokens"].clone();
    let id = ids.as_array().and_then(|ids| ids.last()?.as_u64()).expect("a token") as usize;
    let folder = tempfile::tempdir().expect("a folder");
    damaged(folder.path(), id);
    let server = Server::start(&["--model", folder.path().to_str().expect("a path")]);
    let json = [("content-type", "application/json")];
    let prompts: Vec<String> = (0..15).map(|i| format!("good text {i}")).collect();
    let begin = |server: &Server, text: &str| {
        server.begin("POST", "/v1/completions", &json, ask(text).to_string().as_bytes())
    };
    let alone: Vec<Vec<u8>> = prompts.iter().map(|text| said(begin(&healthy, text))).collect();
    for round in 0..4 {
        let before: Vec<_> = prompts[..8].iter().map(|text| begin(&server, text)).collect();
        let broken: Vec<_> =
            (0..4).map(|i| begin(&server, &format!("bad Z {round} {i}"))).collect();
        let behind: Vec<_> = prompts[8..].iter().map(|text| begin(&server, text)).collect();
        for (i, stream) in before.into_iter().chain(behind).enumerate() {
            assert_eq!(said(stream), alone[i], "{}", prompts[i]);
        }
        for stream in broken {
            let answer = Answer::read(stream);
            clean(&answer);
            let events = answer.events();
            let last: Value = serde_json::from_str(events.last().expect("an event")).expect("JSON");
            assert_eq!(last["error"]["code"], "nonfinite_logits", "{events:?}");
            assert_eq!(events.iter().filter(|event| event.contains("\"error\"")).count(), 1);
        }
    }
    let whole = server.post("/v1/completions", &json!({"prompt": "bad Z", "max_tokens": 4}));
    assert_eq!(whole.status, 500, "{}", whole.text());
    assert_eq!(server.metric("sensorium_requests_in_flight"), 0.0);
}

/// What the events of a text say, and how it ends.
fn said(stream: std::net::TcpStream) -> Vec<u8> {
    let answer = Answer::read(stream);
    let events = answer.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{}", answer.text());
    let mut said = Vec::new();
    for event in &events[..events.len() - 1] {
        let choice = serde_json::from_str::<Value>(event).expect("JSON")["choices"][0].clone();
        said.extend(choice["text"].as_str().unwrap_or_default().bytes());
        said.extend(choice["finish_reason"].as_str().unwrap_or_default().bytes());
    }
    said
}

#[test]
fn a_grammar_that_no_token_follows_ends_its_own_text() {
    let server = Server::start(&["--model", TINY]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^\u{4e00}{3}$"}}, "required": ["a"], "additionalProperties": false});
    let body = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 30,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}});
    let answer = server.post("/v1/chat/completions", &body);
    clean(&answer);
    assert!(matches!(answer.status, 200 | 400 | 500), "{}", answer.text());
    let good = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
    assert_eq!(server.post("/v1/chat/completions", &good).status, 200);
}

#[test]
fn who_sends_and_reads_slowly_keeps_nobody_waiting() {
    let server = Server::start(&["--model", TINY]);
    let json = [("content-type", "application/json")];
    let good = ask("good text").to_string();
    let expected = said(server.begin("POST", "/v1/completions", &json, good.as_bytes()));
    // Heads that do not end, bodies that do not come, answers that nobody reads.
    let mut slow = Vec::new();
    for i in 0..120 {
        let mut stream = server.connect();
        let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200\r\n";
        let sent = match i % 3 {
            0 => head.to_owned(),
            1 => format!("{head}\r\n{{\"prompt\""),
            _ => "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20),
        };
        stream.write_all(sent.as_bytes()).expect("it reads");
        slow.push(stream);
    }
    for _ in 0..20 {
        let stream = server.begin("POST", "/v1/completions", &json, good.as_bytes());
        assert_eq!(said(stream), expected);
    }
    // Half a body gives its place back when the clock runs out: 408, or the end of the connection.
    let mut cut = slow.swap_remove(1);
    cut.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut bytes = Vec::new();
    cut.read_to_end(&mut bytes).expect("it is cut off");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    drop(slow);
    while server.metric("sensorium_requests_in_flight") > 0.0 {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that a process has started.
fn children(parent: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).expect("it runs").flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|all| all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Whether a process has not ended; one that has may still be asked how.
fn is_running(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn media_are_decoded_by_children_whose_end_harms_nobody() {
    let server = Server::start(&[]);
    let question = json!({"messages": question(), "max_tokens": 20});
    let asked = || {
        let answer = server.post("/v1/chat/completions", &question);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["choices"][0]["message"].clone()
    };
    let expected = asked();
    for _ in 0..5 {
        let decoding = children(server.id());
        assert!(!decoding.is_empty(), "a child that decodes");
        for child in &decoding {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-KILL", child]).status().expect("kill");
            while is_running(child) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(asked(), expected);
    }
}

#[test]
fn what_is_kept_of_one_clients_prompts_serves_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    // printf %s other | sha256sum
    let bob = "bob d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa\n";
    fs::write(&keys, [ANN, bob].concat()).expect("written");
    // A model that reads from left to right: of others nothing that was read serves again.
    let server = Server::start(&["--model", TINY, "--keys", keys.to_str().expect("a path")]);
    let cached = |key: &str, salt: &str| {
        let body = json!({
            "messages": [{"role": "user", "content": "a red circle stands left of a blue square, and what is it?"}],
            "max_tokens": 4,
            "prompt_cache_key": salt,
        });
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", &*bearer)];
        let body = body.to_string();
        let answer = server.ask("POST", "/v1/chat/completions", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let usage = answer.json()["usage"].clone();
        usage["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a number")
    };
    assert_eq!(cached("secret", ""), 0);
    assert!(cached("secret", "") > 0, "ann's own is kept");
    assert_eq!(cached("other", ""), 0, "bob's is not ann's");
    assert!(cached("other", "") > 0);
    assert_eq!(cached("secret", "apart"), 0, "nor is what ann keeps apart");
}

#[test]
fn a_conversation_is_not_cut_down_to_its_last_message() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/t5");
    let server = Server::start(&["--model", model]);
    let one = json!({"role": "user", "content": "hello"});
    let ask = |messages: &[&Value]| {
        server.post("/v1/chat/completions", &json!({"messages": messages, "max_tokens": 4}))
    };
    assert_eq!(ask(&[&one]).status, 200);
    let error = ask(&[&one, &one]).json()["error"].clone();
    assert_eq!(error["param"], "messages", "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("template")), "{error}");
}
