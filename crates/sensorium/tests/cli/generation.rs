//! How texts are made: many prompts at once, penalties, ends, special tokens.

use serde_json::Value;

use crate::fixture::{dir, fails, file, language_model, run_with, succeeds, texts};

#[test]
fn prompts_of_a_file_are_continued_in_order_and_bad_lines_passed_over() {
    let folder = dir("prompts");
    let lines: Vec<String> = (0..11)
        .map(|i| format!("{{\"prompt\": \"hello {i}\", \"id\": \"p{i}\"}}"))
        .chain(["{\"text\": 1}".into(), String::new(), "{\"prompt\": \"there\"}".into()])
        .collect();
    let path = file(&folder, "prompts.jsonl", lines.join("\n").as_bytes());
    let model = language_model();
    let arguments = ["run", model, "--prompts", &path, "--max-tokens", "5"];
    let output = run_with(&arguments, "");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("line 12") && err.contains("1 lines"), "{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 13);
    let numbers: Vec<u64> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]);
    assert_eq!(lines[3]["id"], "p3");
    assert!(lines[11]["error"].as_str().unwrap().contains("prompt"));
    let alone = succeeds(&["run", model, "--prompt", "hello 3", "--max-tokens", "5", "--json"]);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(lines[3]["text"], alone["text"]);
}

#[test]
fn what_changes_the_logits_changes_the_text() {
    let model = language_model();
    let said = |more: &[&str]| {
        let arguments = ["run", model, "--prompt", "hello", "--max-tokens", "12", "--json"];
        let told = succeeds(&[&arguments, more].concat());
        let told: Value = serde_json::from_str(&told).unwrap();
        let ids = told["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
        ids.collect::<Vec<u64>>()
    };
    let ids = said(&[]);
    let forbidden = format!("{}=-inf", ids[0]);
    assert!(!said(&["--logit-bias", &forbidden]).contains(&ids[0]));
    let once = said(&["--no-repeat-ngram-size", "1"]);
    assert_eq!(once.iter().collect::<std::collections::BTreeSet<_>>().len(), once.len());
    for wrong in [["--repetition-penalty", "0"], ["--logit-bias", "x=1"], ["--min-p", "2"]] {
        fails(2, &[&["run", model, "--prompt", "x"][..], &wrong].concat());
    }
    fails(2, &["run", model, "--prompt", "x", "--system", "be brief"]);
}

#[test]
fn names_are_not_fetched_where_nothing_may_be() {
    let error = fails(1, &["ask", "hi", "--model", "org/name", "--offline"]);
    assert!(error.contains("offline") && error.contains("sensorium pull org/name"), "{error}");
}
