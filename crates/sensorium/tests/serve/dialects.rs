//! Each dialect says what the command line says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::Server;
use super::scene;

const QUESTION: &str = "what colour is the circle?";

pub fn question() -> Value {
    json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": scene()}}, {"type": "text", "text": QUESTION}
    ]}])
}

#[test]
fn chat_completions_answer_at_once_and_in_pieces() {
    let server = Server::start(&[]);
    let body = json!({"model": "nano", "messages": question(), "max_tokens": 20});
    let whole = server.post("/v1/chat/completions", &body);
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    let said = whole["choices"][0]["message"]["content"].as_str().expect("a text");
    assert!(said.contains("red"), "{said}");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert!(whole["usage"]["prompt_tokens_details"]["image_tokens"].as_u64() > Some(0));

    let body = json!({
        "messages": question(), "max_completion_tokens": 20, "stream": true,
        "stream_options": {"include_usage": true}
    });
    let streamed = server.post("/v1/chat/completions", &body);
    assert_eq!(streamed.said(), (said.to_owned(), "stop".to_owned()));
    let events = streamed.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let parsed = |event: &String| serde_json::from_str::<Value>(event).expect("JSON");
    let usage = parsed(&events[events.len() - 2]);
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    assert!(events[..events.len() - 2].iter().all(|event| parsed(event)["usage"].is_null()));
}

#[test]
fn several_answers_differ_by_their_seeds_and_come_again() {
    let server = Server::start(&[]);
    let body = json!({
        "messages": [{"role": "user", "content": "describe the picture."}], "n": 3, "temperature": 1.5,
        "seed": 7, "max_tokens": 12, "logprobs": true, "top_logprobs": 2
    });
    let ask = || server.post("/v1/chat/completions", &body).json();
    let (first, again) = (ask(), ask());
    let texts = |body: &Value| -> Vec<String> {
        let choices = body["choices"].as_array().expect("choices");
        choices.iter().map(|choice| choice["message"]["content"].to_string()).collect()
    };
    assert_eq!(texts(&first), texts(&again));
    assert_eq!(texts(&first).len(), 3);
    assert!(texts(&first).iter().any(|text| *text != texts(&first)[0]), "{:?}", texts(&first));
    let token = &first["choices"][0]["logprobs"]["content"][0];
    assert!(token["logprob"].as_f64() <= Some(0.0), "{token}");
    assert_eq!(token["top_logprobs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn answers_follow_schemas_and_call_functions() {
    let server = Server::start(&[]);
    let schema = json!({
        "type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
        "additionalProperties": false
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "c", "schema": schema}});
    let body = json!({"messages": question(), "response_format": format});
    let answer = server.post("/v1/chat/completions", &body).json();
    let text = answer["choices"][0]["message"]["content"].as_str().expect("a text");
    let object: Value = serde_json::from_str(text).expect("JSON");
    assert!(["red", "blue"].contains(&object["colour"].as_str().expect("a colour")));

    let tool = json!({"type": "function", "function": {"name": "paint", "parameters": schema, "strict": true}});
    let body = json!({"messages": question(), "tools": [tool], "tool_choice": "required"});
    let answer = server.post("/v1/chat/completions", &body).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "paint");
    let arguments: Value =
        serde_json::from_str(call["arguments"].as_str().expect("text")).expect("JSON");
    assert!(arguments["colour"].is_string());
}

#[test]
fn responses_go_on_from_responses() {
    let server = Server::start(&[]);
    let first = server.post("/v1/responses", &json!({"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": scene()}, {"type": "input_text", "text": QUESTION}
    ]}]})).json();
    assert_eq!(first["status"], "completed", "{first}");
    let said = &first["output"][0]["content"][0]["text"];
    assert!(said.as_str().is_some_and(|said| said.contains("red")), "{said}");
    let id = first["id"].as_str().expect("a name");
    let body = json!({"input": "and the star?", "previous_response_id": id, "stream": true});
    let second = server.post("/v1/responses", &body);
    let events: Vec<Value> =
        second.events().iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let numbers: Vec<u64> = events.iter().filter_map(|e| e["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = events.last().expect("an event");
    assert_eq!(last["type"], "response.completed", "{last}");
    // The picture of the first is read by the second.
    let tokens = |response: &Value| response["usage"]["input_tokens"].as_u64().expect("a number");
    assert!(tokens(&last["response"]) > tokens(&first));
    assert_eq!(server.get(&format!("/v1/responses/{id}")).json()["output"], first["output"]);
    let gone = server.ask("DELETE", &format!("/v1/responses/{id}"), &[], b"").json();
    assert_eq!(gone["deleted"], true);
    assert_eq!(server.get(&format!("/v1/responses/{id}")).status, 404);
}

#[test]
fn other_dialects_say_the_same() {
    let server = Server::start(&[]);
    let picture = scene();
    let bare = picture.split_once(',').expect("base64").1;
    let message = json!({"role": "user", "content": QUESTION, "images": [bare]});
    let ollama = server.post(
        "/api/chat",
        &json!({"model": "nano:latest", "messages": [message], "stream": false}),
    );
    assert!(ollama.json()["message"]["content"].as_str().is_some_and(|said| said.contains("red")));
    let lines = server.post("/api/generate", &json!({"prompt": QUESTION, "images": [bare]})).text();
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
    assert!(said.contains("red"), "{said}");
    assert_eq!(lines.last().map(|line| &line["done"]), Some(&json!(true)));

    let parts =
        json!([{"inlineData": {"mimeType": "image/png", "data": bare}}, {"text": QUESTION}]);
    let body = json!({"contents": [{"role": "user", "parts": parts}]});
    let gemini = server.post("/v1beta/models/nano:generateContent", &body).json();
    let said = &gemini["candidates"][0]["content"]["parts"][0]["text"];
    assert!(said.as_str().is_some_and(|said| said.contains("red")), "{gemini}");

    let arguments = json!({"question": QUESTION, "images": [picture]});
    let params = json!({"name": "ask", "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let mcp = server.post("/mcp", &body).json();
    assert_eq!(mcp["id"], 5);
    assert!(
        mcp["result"]["content"][0]["text"].as_str().is_some_and(|said| said.contains("red")),
        "{mcp}"
    );
}

#[test]
fn a_text_goes_on_and_tokens_are_told() {
    let server = Server::start(&[]);
    // Nothing ends the texts but their length.
    let ban: Value = (3856..3904)
        .map(|id| (id.to_string(), json!(-100)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let body = json!({
        "prompt": ["a red", "a blue"], "max_tokens": 3, "echo": true, "logprobs": 1, "logit_bias": ban
    });
    let answer = server.post("/v1/completions", &body).json();
    let text = answer["choices"][1]["text"].as_str().expect("a text");
    assert!(text.starts_with("a blue") && text.len() > 6, "{text}");
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"].as_array().map(Vec::len), Some(3));
    let ids = server.post("/tokenize", &json!({"prompt": "a red circle"})).json()["tokens"].clone();
    let text = server.post("/detokenize", &json!({"tokens": ids})).json()["prompt"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("a red circle")), "{text}");
}

#[test]
fn vectors_have_one_space_and_several_forms() {
    let server = Server::start(&[]);
    let picture = scene();
    let items = json!([{"text": "a red circle"}, {"image": picture}]);
    let body = json!({"input": items, "encoding_format": "float"});
    let answer = server.post("/v1/embeddings", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let row = |i: usize| -> Vec<f64> {
        let row = answer["data"][i]["embedding"].as_array().expect("a row");
        row.iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    assert_eq!(row(0).len(), row(1).len());
    let base64 = server
        .post("/v1/embeddings", &json!({"input": "a red circle", "encoding_format": "base64"}));
    let text = base64.json()["data"][0]["embedding"].as_str().expect("base64").to_owned();
    assert_eq!(text.len(), (4 * row(0).len()).div_ceil(3) * 4);
    let cohere = json!({"texts": ["a red circle"], "images": [picture], "embedding_types": ["float", "int8"]});
    let cohere = server.post("/v2/embed", &cohere).json();
    assert_eq!(cohere["embeddings"]["float"][0], answer["data"][0]["embedding"]);
    assert_eq!(cohere["embeddings"]["float"][1], answer["data"][1]["embedding"]);
    let documents = json!([{"image": picture}, {"image": picture}]);
    let ranked =
        server.post("/v1/rerank", &json!({"query": "a red circle", "documents": documents})).json();
    assert_eq!(ranked["results"][0]["relevance_score"], ranked["results"][1]["relevance_score"]);
    let labels = json!(["a circle and a star", "an empty picture"]);
    let classified =
        server.post("/v1/classify", &json!({"input": {"image": picture}, "labels": labels})).json();
    assert!(classified["labels"][0]["probability"].as_f64() > Some(0.5), "{classified}");
    assert_eq!(
        server.post("/v1/embeddings", &json!({"input": "x", "dimensions": 3})).json()["error"]["param"],
        "dimensions"
    );
}

#[test]
fn speech_is_a_file_that_says_what_it_is() {
    let server = Server::start(&[]);
    let answer = server.post(
        "/v1/audio/speech",
        &json!({"model": "nano", "input": "hello world", "voice": "alloy"}),
    );
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("audio/wav")),
        "{}",
        answer.text()
    );
    assert!(answer.body.starts_with(b"RIFF") && answer.text().contains("synthetic speech"));
    let pcm = server.post(
        "/v1/audio/speech",
        &json!({"input": "hello world", "voice": "slt", "response_format": "pcm"}),
    );
    assert!(pcm.body.len() + 44 <= answer.body.len() && pcm.body.len().is_multiple_of(2));
    let body = json!({
        "messages": question(), "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}
    });
    let chat = server.post("/v1/chat/completions", &body).json();
    let audio = &chat["choices"][0]["message"]["audio"];
    assert_eq!(audio["transcript"], chat["choices"][0]["message"]["content"]);
    assert!(audio["data"].as_str().is_some_and(|data| data.starts_with("UklGR")));
    for (body, param) in [
        (json!({"input": "hello", "voice": "nobody"}), Some("voice")),
        (json!({"input": "hello", "response_format": "mp3"}), Some("response_format")),
        (json!({"input": "hello", "speed": 9}), Some("speed")),
        (json!({}), Some("input")),
    ] {
        let answer = server.post("/v1/audio/speech", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{body}");
    }
}

/// Of a model that speaks what it thinks.
#[test]
fn a_sound_is_answered_in_a_voice() {
    const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens");
    let server = Server::start(&["--model", &format!("{GOLDENS}/qwen2_5_omni_voice")]);
    let sound = std::fs::read(format!("{GOLDENS}/sound/pcm_16.wav")).expect("the golden is there");
    let asked = |voice: &str| {
        let sound = json!({"data": STANDARD.encode(&sound), "format": "wav"});
        let parts = json!([{"type": "input_audio", "input_audio": sound}, {"type": "text", "text": "what?"}]);
        server.post(
            "/v1/chat/completions",
            &json!({
                "messages": [{"role": "user", "content": parts}], "max_tokens": 6,
                "modalities": ["text", "audio"], "audio": {"voice": voice, "format": "wav"}
            }),
        )
    };
    let message = &asked("Ethan").json()["choices"][0]["message"];
    assert_eq!(message["audio"]["transcript"], message["content"], "{message}");
    assert!(message["audio"]["data"].as_str().is_some_and(|data| data.starts_with("UklGR")));
    assert_eq!(asked("nobody").status, 400);
    // Texts of others it does not read out.
    let answer = server.post("/v1/audio/speech", &json!({"input": "hello"}));
    assert_eq!(answer.json()["error"]["code"], "modality_not_supported");
}

/// A form of a file and texts.
fn form(file: (&str, &[u8]), texts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, text) in texts {
        let head =
            format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        body.extend_from_slice(head.as_bytes());
    }
    let (name, bytes) = file;
    let head = format!(
        "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--x--\r\n");
    body
}

#[test]
fn files_are_kept_named_and_forgotten() {
    let server = Server::start(&[]);
    let table = b"age,income\n35,2000\n";
    let head = [("content-type", "multipart/form-data; boundary=x")];
    let sent = server.ask(
        "POST",
        "/v1/files",
        &head,
        &form(("t.csv", table), &[("purpose", "user_data")]),
    );
    assert_eq!(sent.status, 200, "{}", sent.text());
    let id = sent.json()["id"].as_str().expect("a name").to_owned();
    assert_eq!(server.get(&format!("/v1/files/{id}/content")).body, table);
    let content =
        json!([{"type": "file", "file": {"file_id": id}}, {"type": "text", "text": "what is it?"}]);
    let answer = server
        .post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": content}]}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["usage"]["prompt_tokens_details"]["table_tokens"].as_u64() > Some(0));
    assert_eq!(server.ask("DELETE", &format!("/v1/files/{id}"), &[], b"").status, 200);
    assert_eq!(server.get(&format!("/v1/files/{id}")).status, 404);
    // The embedded model does not hear words: it says so, and what it can.
    let heard = server.ask(
        "POST",
        "/v1/audio/transcriptions",
        &head,
        &form(("a.wav", b"RIFF"), &[("model", "nano")]),
    );
    assert_eq!(heard.json()["error"]["code"], "modality_not_supported");
}

#[test]
fn what_is_served_is_told() {
    let server = Server::start(&[]);
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "nano");
    let inputs = &models["data"][0]["architecture"]["input_modalities"];
    assert_eq!(*inputs, json!(["text", "image", "video", "audio", "table"]));
    assert_eq!(server.get("/v1/models/nano").json()["voices"][0], "slt");
    assert_eq!(server.get("/v1/models/none").status, 404);
    assert_eq!(server.get("/api/tags").json()["models"][0]["model"], "nano");
    let show = server.post("/api/show", &json!({"model": "nano"})).json();
    assert!(show["capabilities"].as_array().is_some_and(|all| all.contains(&json!("vision"))));
    let page = server.get("/");
    assert!(page.text().contains("<title>") && page.header("content-security-policy").is_some());
    assert_eq!(
        server.get("/page/style.css").header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert!(server.get("/docs").text().contains("/v1/chat/completions"));
    let ignored = json!({"messages": [{"role": "user", "content": "hello"}], "service_tier": "flex", "max_tokens": 2});
    let answer = server.post("/v1/chat/completions", &ignored);
    assert_eq!(answer.header("x-sensorium-ignored"), Some("service_tier"));
    assert!(answer.header("x-request-id").is_some());
}
