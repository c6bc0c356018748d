//! Pictures that are drawn anew, as OpenAI's clients ask for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Answer, Server};

fn golden(name: &str) -> String {
    format!("{}/../../goldens/stable_diffusion/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A form of texts, and the golden's picture as so many files of this name.
fn edit(server: &Server, files: &[&str], texts: &[(&str, &str)]) -> Answer {
    let mut body = Vec::new();
    for (name, text) in texts {
        let head = format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(format!("{head}{text}\r\n").as_bytes());
    }
    let picture = std::fs::read(golden("before.png")).expect("the golden is there");
    for name in files {
        let named = format!("name=\"{name}\"; filename=\"before.png\"");
        let head = format!("--x\r\ncontent-disposition: form-data; {named}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&picture);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--x--\r\n");
    let head = [("content-type", "multipart/form-data; boundary=x")];
    server.ask("POST", "/v1/images/edits", &head, &body)
}

#[test]
fn pictures_are_drawn_anew_as_a_prompt_says() {
    let server = Server::start(&["--model", &golden("v1")]);
    let asked = [("prompt", "a cat"), ("num_inference_steps", "3"), ("seed", "5")];
    let drawn = |more: &[(&str, &str)]| {
        let answer = edit(&server, &["image"], &[&asked, more].concat());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let (weak, usual) = (drawn(&[("strength", "0.4")]), drawn(&[]));
    assert_eq!(weak["size"], "16x24");
    let bytes = |answer: &serde_json::Value| {
        STANDARD.decode(answer["data"][0]["b64_json"].as_str().expect("a picture")).expect("base64")
    };
    assert_ne!(bytes(&weak), bytes(&usual));
    assert_eq!(bytes(&drawn(&[("strength", "0.8")])), bytes(&usual));
    assert_eq!(drawn(&[("size", "12x8")])["size"], "12x8");

    for (files, more, says) in [
        (&["image", "mask"][..], ("n", "1"), "mask"),
        (&["image[]", "image[]"], ("n", "1"), "expected one picture, got 2"),
        (&["image"], ("strength", "1.5"), "strength"),
        (&["image"], ("strength", "0.1"), "strength"),
        (&[], ("n", "1"), "image"),
    ] {
        let answer = edit(&server, files, &[&asked[..], &[more]].concat());
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
    }
}
