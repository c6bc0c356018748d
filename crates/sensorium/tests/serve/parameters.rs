//! Every parameter of a request, as every value that it cannot have: a 400 that names it.

use serde_json::{Value, json};

use super::client::Server;
use super::limits::clean;
use super::scene;

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A number from the first to the second.
    Number(f64, f64),
    /// A whole number from the first to the second.
    Count(i128, i128),
    Whole,
    Flag,
    Text,
    /// A text, or several.
    Texts,
    /// A text or a list of what each route takes.
    Input,
    List,
    Object,
}

use Kind::{Count, Flag, Input, List, Number, Object, Text, Texts, Whole};

impl Kind {
    /// Whether a value is of this kind: what else may be wrong with it is for other tests.
    fn takes(self, value: &Value) -> bool {
        match self {
            Number(least, most) => value.as_f64().is_some_and(|x| (least..=most).contains(&x)),
            Count(least, most) => whole(value).is_some_and(|x| (least..=most).contains(&x)),
            Whole => whole(value).is_some_and(|x| i64::try_from(x).is_ok()),
            Flag => value.is_boolean(),
            Text => value.is_string(),
            Texts => value.is_string() || value.is_array(),
            Input => value.is_string() || value.is_array() || value.is_object(),
            List => value.is_array(),
            Object => value.is_object(),
        }
    }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))
}

const MOST: i128 = usize::MAX as i128;

/// How a text is made, by all routes that write one.
const SAMPLING: [Parameter; 11] = [
    ("temperature", Number(0.0, 100.0)),
    ("top_p", Number(0.0, 1.0)),
    ("min_p", Number(0.0, 1.0)),
    ("top_k", Count(0, MOST)),
    ("seed", Whole),
    ("repetition_penalty", Number(0.01, 100.0)),
    ("presence_penalty", Number(-2.0, 2.0)),
    ("frequency_penalty", Number(-2.0, 2.0)),
    ("logit_bias", Object),
    ("stop", Texts),
    ("stream", Flag),
];

/// A parameter and what it may be.
type Parameter = (&'static str, Kind);

/// Routes, a request that each of them takes, and their own parameters.
fn routes() -> Vec<(&'static str, Value, Vec<Parameter>)> {
    let with = |own: &[Parameter]| [own, &SAMPLING].concat();
    vec![
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}),
            with(&[
                ("messages", List),
                ("model", Text),
                ("max_tokens", Count(1, MOST)),
                ("max_completion_tokens", Count(1, MOST)),
                ("n", Count(1, 8)),
                ("logprobs", Flag),
                ("top_logprobs", Count(0, 20)),
                ("tools", List),
                ("response_format", Object),
                ("stream_options", Object),
                ("modalities", List),
                ("audio", Object),
                ("num_inference_steps", Count(1, 1000)),
                ("guidance_scale", Number(0.0, 100.0)),
                ("prompt_cache_key", Text),
            ]),
        ),
        (
            "/v1/completions",
            json!({"prompt": "a red circle", "max_tokens": 1}),
            with(&[
                ("prompt", Input),
                ("model", Text),
                ("max_tokens", Count(1, MOST)),
                ("n", Count(1, 8)),
                ("logprobs", Count(0, 20)),
                ("echo", Flag),
            ]),
        ),
        (
            "/v1/responses",
            json!({"input": "hello", "max_output_tokens": 1}),
            vec![
                ("input", Input),
                ("model", Text),
                ("max_output_tokens", Count(1, MOST)),
                ("previous_response_id", Text),
                ("instructions", Text),
                ("text", Object),
                ("store", Flag),
                ("stream", Flag),
                ("background", Flag),
                ("temperature", Number(0.0, 100.0)),
                ("top_p", Number(0.0, 1.0)),
            ],
        ),
        (
            "/v1/embeddings",
            json!({"input": "a red circle"}),
            vec![
                ("input", Input),
                ("model", Text),
                ("modality", Text),
                ("encoding_format", Text),
                ("dimensions", Count(1, MOST)),
            ],
        ),
        (
            "/v1/rerank",
            json!({"query": "a red circle", "documents": ["a square"]}),
            vec![
                ("query", Input),
                ("documents", List),
                ("model", Text),
                ("top_n", Count(0, MOST)),
                ("return_documents", Flag),
            ],
        ),
        (
            "/v1/classify",
            json!({"input": {"image": scene()}, "labels": ["a circle"]}),
            vec![("input", Input), ("labels", List), ("model", Text), ("template", Text)],
        ),
        (
            "/v1/score",
            json!({"media": [{"image": scene()}], "texts": ["a circle"]}),
            vec![("media", List), ("texts", List), ("model", Text)],
        ),
        (
            "/v1/images/generations",
            json!({"prompt": "a red circle"}),
            vec![
                ("prompt", Text),
                ("model", Text),
                ("size", Text),
                ("n", Count(1, 10)),
                ("seed", Whole),
                ("num_inference_steps", Count(1, 1000)),
                ("guidance_scale", Number(0.0, 100.0)),
                ("stream", Flag),
                ("output_format", Text),
                ("response_format", Text),
                ("background", Text),
            ],
        ),
        (
            "/v1/audio/speech",
            json!({"input": "hello"}),
            vec![
                ("input", Text),
                ("model", Text),
                ("voice", Input),
                ("speed", Number(0.25, 4.0)),
                ("response_format", Text),
                ("stream_format", Text),
            ],
        ),
    ]
}

/// Values at the ends of what JSON can say, and of every type.
fn hostile() -> Vec<Value> {
    let numbers = [
        "-9223372036854775808",
        "-9223372036854775809",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "-1e308",
        "-1",
        "0.5",
    ];
    let numbers = numbers.iter().map(|text| serde_json::from_str(text).expect("a number"));
    let others =
        [json!("NaN"), json!(""), json!(true), json!([]), json!([[]]), json!({}), json!({"a": 1})];
    numbers.chain(others).collect()
}

#[test]
fn what_a_parameter_cannot_be_names_it() {
    let server = Server::start(&[]);
    let mut refused = 0;
    for (route, body, parameters) in routes() {
        // The embedded model draws nothing; what is asked is read before that is said.
        let usual = if route == "/v1/images/generations" { 400 } else { 200 };
        assert_eq!(server.post(route, &body).status, usual, "{route}");
        for (name, kind) in parameters {
            for value in hostile().into_iter().filter(|value| !kind.takes(value)) {
                let mut body = body.clone();
                body[name] = value.clone();
                let answer = server.post(route, &body);
                let error = answer.json()["error"].clone();
                let param = error["param"].as_str().unwrap_or_default();
                let rest = param.strip_prefix(name).unwrap_or("no");
                assert!(
                    answer.status == 400 && (rest.is_empty() || rest.starts_with(['.', '['])),
                    "{route} {name} {value}: {} {error}",
                    answer.status
                );
                clean(&answer);
                refused += 1;
            }
            // No number of JSON's, though Python writes it.
            for word in ["NaN", "Infinity"] {
                let body = format!("{{\"{name}\": {word}}}");
                let answer = server.ask("POST", route, &[], body.as_bytes());
                assert_eq!(answer.status, 400, "{route} {name} {word}");
                clean(&answer);
                refused += 1;
            }
        }
        assert_eq!(server.post(route, &body).status, usual, "{route} afterwards");
    }
    println!("{refused} were sent");
    assert!(refused > 800, "{refused} were sent");
}
