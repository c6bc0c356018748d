//! Answers that are held to a schema follow it, whatever the model: these have random weights and would never.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_inference::{
    Error, Finish, GenerateOptions, Grammar, Model, Options, Result, Sampling,
};
use sensorium_kernels::rng::Rng;
use sensorium_media::{Message, Role};
use sensorium_nn::prelude::*;
use serde_json::{Map, Value, json};

fn open(golden: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(golden);
    Model::open(&path, &Options::on(&Device::flex())).unwrap()
}

fn answer(
    model: &Model,
    grammar: Grammar,
    temperature: f32,
    options: GenerateOptions,
) -> Result<(String, Finish)> {
    let messages = [Message::text(Role::User, "a b c")];
    let sampling = Sampling { temperature, ..options.sampling };
    let options = GenerateOptions { grammar: Some(grammar), sampling, ..options };
    let reply =
        model.chat()?.answer(&messages, &[], &options, &mut |_| ControlFlow::Continue(()))?;
    Ok((reply.continuation.text, reply.continuation.finish))
}

/// Of a small family; `depth` levels of lists and objects.
fn schema(rng: &mut Rng, depth: usize) -> Value {
    match rng.below(if depth > 0 { 6 } else { 4 }) {
        0 => json!({ "enum": ["red", "dark \"blue\"", 3, null] }),
        1 => json!({ "type": "boolean" }),
        2 => json!({ "type": "integer", "minimum": -20, "maximum": 300 }),
        3 => json!({ "type": "string", "maxLength": 4 }),
        4 => {
            json!({ "type": "array", "items": schema(rng, depth - 1), "minItems": 1, "maxItems": 2 })
        }
        _ => {
            let names = &["a", "a longer name", "ü"][..1 + rng.below(3)];
            let properties: Map<String, Value> =
                names.iter().map(|&name| (name.to_owned(), schema(rng, depth - 1))).collect();
            json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
        }
    }
}

/// Whether a value follows a schema of that family.
fn follows(value: &Value, schema: &Value) -> bool {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.contains(value);
    }
    match (schema["type"].as_str().unwrap(), value) {
        ("boolean", Value::Bool(_)) => true,
        ("integer", Value::Number(number)) => {
            number.as_i64().is_some_and(|n| (-20..=300).contains(&n))
        }
        ("string", Value::String(text)) => text.chars().count() <= 4,
        ("array", Value::Array(items)) => {
            (1..=2).contains(&items.len())
                && items.iter().all(|item| follows(item, &schema["items"]))
        }
        ("object", Value::Object(object)) => {
            let properties = schema["properties"].as_object().unwrap();
            object.len() == properties.len()
                && object
                    .iter()
                    .all(|(name, value)| properties.get(name).is_some_and(|of| follows(value, of)))
        }
        _ => false,
    }
}

#[test]
fn random_models_follow_random_schemas() {
    let options = GenerateOptions {
        max_new_tokens: 120,
        stop: vec!["\"".into(), ":".into()],
        ..Default::default()
    };
    let (mut whole, mut all) = (0, 0);
    for (golden, n) in ["seeing_llava", "seeing_smolvlm", "blip2_opt"].into_iter().zip(0..) {
        let model = open(golden);
        for index in 0..16 {
            let wanted = schema(&mut Rng::at(n, 1, index), 2);
            let grammar = Grammar::json_schema(wanted.clone()).unwrap();
            let temperature = if index % 2 == 0 { 0.0 } else { 1.0 };
            all += 1;
            match answer(&model, grammar, temperature, options.clone()) {
                Ok((text, finish)) => {
                    whole += 1;
                    let value: Value = serde_json::from_str(&text).expect(&text);
                    assert!(follows(&value, &wanted), "{golden}, {wanted}: {text}");
                    // A number that is whole may be at the most tokens that there are.
                    assert_eq!(finish, Finish::Stop, "{golden}, {wanted}: {text}");
                }
                Err(Error::Unfinished { .. }) => {}
                Err(error) => panic!("{golden}, {wanted}: {error}"),
            }
        }
    }
    assert!(whole * 10 >= all * 8, "{whole} of {all}");
}

#[test]
fn what_has_no_room_is_an_error_that_names_the_setting() {
    let model = open("seeing_llava");
    let properties = [("a".to_owned(), json!({ "type": "boolean" }))].into_iter().collect();
    let rows = Grammar::rows(properties).unwrap();
    for max_new_tokens in [1, 5, 10] {
        let options = GenerateOptions { max_new_tokens, ..Default::default() };
        let error = answer(&model, rows.clone(), 0.0, options).unwrap_err().to_string();
        assert!(error.contains(&format!("max_new_tokens ({max_new_tokens} here")), "{error}");
    }
}

#[test]
fn schemas_that_nothing_can_follow_are_refused() {
    let cases = [
        (json!(true), "which is no object"),
        (json!({ "type": "thing" }), "thing"),
        (json!({ "type": "string", "pattern": "(" }), "expected a JSON schema"),
        (json!({ "type": "integer", "minimum": 3, "maximum": 2 }), "expected a JSON schema"),
    ];
    for (schema, expected) in cases {
        let error = Grammar::json_schema(schema.clone()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("\nhint: "), "{schema}: {error}");
    }
    // Its tokenizer has no letter of JSON but colons.
    let grammar = Grammar::json_schema(json!({ "type": "object", "properties": {} })).unwrap();
    let error =
        answer(&open("idefics"), grammar, 0.0, GenerateOptions::default()).unwrap_err().to_string();
    assert!(error.contains("tokenizer"), "{error}");
}
