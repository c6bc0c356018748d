//! Prompts are byte for byte those of transformers; whatever a template does, it ends in an error
//! or a text. `reference/chat_template.py` makes the goldens.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sensorium_media::chat_template::{Content, special_tokens};
use sensorium_media::{ChatTemplate, Conversation, Error};
use serde_json::{Map, Value, json};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/chat_template")
}

fn template(name: &str) -> ChatTemplate {
    let text = std::fs::read_to_string(goldens().join(format!("{name}.jinja"))).unwrap();
    ChatTemplate::parse(&text).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

fn conversation(messages: Value) -> Conversation {
    Conversation::to_answer(list(&messages), Map::new())
}

#[test]
fn prompts_are_those_of_transformers() {
    let cases: Value =
        serde_json::from_slice(&std::fs::read(goldens().join("cases.json")).unwrap()).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(cases["now"].as_u64().unwrap());
    let mut failures = Vec::new();
    let all = list(&cases["cases"]);
    assert!(all.len() > 200);
    for case in &all {
        let name = case["template"].as_str().unwrap();
        let given = Conversation {
            messages: list(&cases["conversations"][case["conversation"].as_str().unwrap()]),
            tools: case["tools"].as_array().cloned(),
            documents: None,
            add_generation_prompt: case["add_generation_prompt"] == true,
            variables: case["variables"].as_object().unwrap().clone(),
            now,
        };
        let got = match template(name).render(&given) {
            Ok(text) => json!({ "text": text }),
            Err(Error::Refused { message }) => json!({ "error": message }),
            Err(error) => json!(error.to_string()),
        };
        if got["text"] != case["text"] || got["error"] != case["error"] {
            let want = case.get("text").or(case.get("error")).unwrap();
            failures.push(format!("{name} {}:\n got {got}\nwant {want}", case["conversation"]));
        }
    }
    assert!(failures.is_empty(), "{} of {}\n{}", failures.len(), all.len(), failures[0]);
}

#[test]
fn templates_are_given_the_content_they_want() {
    let text = json!([{"role": "user", "content": "hello"}]);
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "hello"}]}]);
    for (name, content) in [
        ("smollm2", Content::Text),
        ("mistral", Content::Text),
        ("llama3", Content::Text),
        ("qwen3", Content::Text),
        ("llava", Content::Parts),
        ("smolvlm", Content::Parts),
    ] {
        let template = template(name);
        assert_eq!(template.content(), content, "{name}");
        let [one, other] = [&text, &parts]
            .map(|messages| template.render(&conversation(messages.clone())).unwrap());
        assert!(one.contains("hello") && one == other, "{name}: {one} {other}");
    }
}

#[test]
fn the_first_file_that_has_a_template_counts() {
    let file = |text: &str| json!({ "chat_template": text });
    let found = |jinja: Option<&str>, json: Option<Value>, config: Option<Value>| {
        let jinja = jinja.map(str::as_bytes);
        ChatTemplate::find(jinja, json.as_ref(), config.as_ref()).unwrap()
    };
    let text = |template: Option<ChatTemplate>, tools: Option<Vec<Value>>| {
        let given = Conversation { tools, ..conversation(json!([])) };
        template.unwrap().render(&given).unwrap()
    };
    let named = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]});
    assert_eq!(text(found(Some("a"), Some(file("b")), Some(file("c"))), None), "a");
    assert_eq!(text(found(None, Some(file("b")), Some(file("c"))), None), "b");
    assert_eq!(text(found(None, Some(json!({})), Some(file("c"))), None), "c");
    assert_eq!(text(found(None, None, Some(named.clone())), None), "default");
    assert_eq!(text(found(None, None, Some(named)), Some(vec![json!({})])), "tools");
    assert!(found(None, None, Some(json!({"chat_template": null}))).is_none());
    for wrong in [json!([]), json!(1), json!([{"name": "default"}]), json!([{"name": 1}, 2])] {
        let config = json!({ "chat_template": wrong });
        let error = ChatTemplate::find(None, None, Some(&config)).unwrap_err().to_string();
        assert!(error.contains("hint:"), "{error}");
    }
    assert!(ChatTemplate::find(Some(b"\xFF"), None, None).is_err());
}

#[test]
fn special_tokens_are_texts_or_objects() {
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
        "pad_token": null, "add_bos_token": true, "model_max_length": 5,
        "extra_special_tokens": {"image_token": "<image>"}});
    let want = json!({"bos_token": "<s>", "eos_token": "</s>", "image_token": "<image>"});
    assert_eq!(Value::Object(special_tokens(&config)), want);
}

/// What a template may not do, each with a word of its error.
const HOSTILE: [(&str, &str); 26] = [
    ("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "ends"),
    ("{% for a in range(1000000000) %}{% endfor %}", "got"),
    ("{{ 'x' * 1000000000 }}", "got"),
    ("{{ [0] * 1000000000 }}", "got"),
    (
        "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "ends",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "ends",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "ends",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | string }}",
        "ends",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | join }}",
        "ends",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(9000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "deep",
    ),
    (
        "{% set ns = namespace(x=[1]) %}{% for a in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "got",
    ),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ("{% macro f(n) %}{{ f(n + 1) ~ f(n + 1) }}{% endmacro %}{{ f(0) }}", "recursion"),
    ("{% include 'default' %}", "recursion"),
    ("{% include '/etc/passwd' %}", "got"),
    ("{% import 'os' as os %}", "got"),
    ("{{ messages.append(1) }}", "got"),
    ("{{ messages[0].update({}) }}", "got"),
    ("{{ ''.__class__.__mro__ }}", "got"),
    ("{{ messages | nosuchfilter }}", "got"),
    ("{{ nosuchfunction() }}", "got"),
    ("{{ messages[0].nothing.more }}", "got"),
    ("{% if %}", "Jinja"),
    ("{% for x in messages %}", "Jinja"),
    ("{{ namespace(_x=1) }}", "underscore"),
    ("{{ messages | tojson(indent=1000000000) }}", "indent"),
];

#[test]
fn whatever_a_template_does_ends_soon_in_an_error() {
    for (source, word) in HOSTILE {
        let start = Instant::now();
        let given = conversation(json!([{"role": "user", "content": "hello"}]));
        let error = match ChatTemplate::parse(source).and_then(|template| template.render(&given)) {
            Ok(text) => panic!("{source}: {} bytes", text.len()),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(word) && error.contains("hint:"), "{source}: {error}");
        assert!(error.len() < 1000, "{source}: {error}");
        // Not a measurement: a runaway template takes hours.
        assert!(start.elapsed() < Duration::from_secs(20), "{source}");
    }
    let refused = ChatTemplate::parse("{{ raise_exception('No ' ~ messages[0].role) }}").unwrap();
    let error = refused.render(&conversation(json!([{"role": "user"}]))).unwrap_err();
    assert!(matches!(error, Error::Refused { message } if message == "No user"));
}

#[test]
fn deep_sources_are_refused_or_run() {
    let deep = |open: &str, close: &str, n: usize| {
        format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n))
    };
    let given = conversation(json!([]));
    for source in [
        deep("(", ")", 60_000),
        deep("[", "]", 400),
        deep("not ", "", 15_000),
        deep("-", "", 60_000),
        deep("1 + ", "", 15_000),
        deep("1 if 1 else ", "", 5_000),
        deep("", ".a", 30_000),
        deep("", "|string", 8_000),
        deep("", " is number", 5_000),
        format!("{}{}", "{% if 1 %}".repeat(3000), "{% endif %}".repeat(3000)),
        "{% for a in [1] %}".repeat(3000),
        "{".repeat(60_000),
        "x".repeat(70_000),
    ] {
        let found = ChatTemplate::parse(&source).and_then(|template| template.render(&given));
        if let Err(error) = found {
            assert!(error.to_string().contains("hint:"), "{error}");
        }
    }
}

/// Draws that depend on nothing but their number.
fn draw(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 11
}

#[test]
fn templates_with_changed_bytes_give_a_text_or_an_error() {
    let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "t", "tool_call_id": "123456789"}, {"role": "user", "content": "r"}]);
    let given = conversation(messages);
    let (mut texts, mut errors) = (0, 0);
    for (seed, name) in ["smollm2", "mistral", "qwen3", "llava", "smolvlm"].iter().enumerate() {
        let source = std::fs::read(goldens().join(format!("{name}.jinja"))).unwrap();
        for i in 0..450 {
            let mut bytes = source.clone();
            for k in 0..1 + i % 3 {
                let at = draw(1000 * i + 10 * k + seed as u64);
                let at = at as usize % bytes.len();
                match draw(7 + 31 * i + k) % 4 {
                    0 => bytes[at] ^= 1 << (i % 7),
                    1 => drop(bytes.drain(at..(at + 1 + i as usize % 9).min(bytes.len()))),
                    2 => bytes.insert(at, b"{}%()[]'\"|.~-#"[i as usize % 14]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let found = ChatTemplate::find(Some(&bytes), None, None)
                .and_then(|template| template.unwrap().render(&given));
            match found {
                Ok(_) => texts += 1,
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains("hint:"), "{error}");
                }
            }
        }
    }
    assert!(texts > 200 && errors > 200 && texts + errors == 2250, "{texts} {errors}");
}

/// Templates that were only tried with programs that say nothing of tools: transformers' none would end
/// them.
#[test]
fn a_template_that_fails_over_no_tools_is_told_of_none() {
    let template = "{% if tools is defined %}{{ tools | length }} tools{% endif %}ok";
    let template = ChatTemplate::parse(template).unwrap();
    let user = serde_json::json!({"role": "user", "content": "hi"});
    let given = Conversation::to_answer(vec![user], serde_json::Map::new());
    assert_eq!(template.render(&given).unwrap(), "ok");
    let with = Conversation { tools: Some(vec![serde_json::json!({})]), ..given };
    assert_eq!(template.render(&with).unwrap(), "1 toolsok");
}
