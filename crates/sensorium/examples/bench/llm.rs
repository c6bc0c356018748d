//! A published language model reads a prompt at once, or writes tokens one by one: P5 and P6;
//! or is opened first.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_inference::{Continuation, GenerateOptions, LanguageModel, Model, Options};
use serde_json::Map;

use crate::{Task, device, fail, timed};

/// Tokens read before decoding begins.
pub const PROMPT: usize = 16;

pub fn prefill(file: &str, tokens: usize) -> Task {
    let llm = open(file);
    let prompt = prompt(&llm, tokens);
    let run = Box::new(move || extend(&llm, &prompt, 1).prefill * 1e3);
    Task { facts: Map::new(), run }
}

pub fn decode(file: &str, tokens: usize) -> Task {
    let llm = open(file);
    let prompt = prompt(&llm, PROMPT);
    let run = Box::new(move || {
        // The first token comes with the prompt.
        let done = extend(&llm, &prompt, tokens + 1);
        assert_eq!(done.steps, tokens);
        done.decode * 1e3
    });
    Task { facts: Map::new(), run }
}

/// From the file to the first token.
pub fn load(file: &str) -> Task {
    let file = file.to_owned();
    let first = move || {
        let llm = open(&file);
        extend(&llm, &prompt(&llm, PROMPT), 1)
    };
    Task { facts: Map::new(), run: Box::new(move || timed(&first).1) }
}

pub fn open(file: &str) -> LanguageModel {
    let options = Options::on(&device());
    let Model::Language(mut llm) = Model::open(Path::new(file), &options).unwrap_or_else(fail)
    else {
        fail("expected a language model")
    };
    // Whatever is said, the count of tokens stays the same.
    llm.lm.text.eos_token_ids.clear();
    llm
}

/// Spread over the vocabulary, as `bench/peers/llama_cpp_run.py` does.
fn prompt(llm: &LanguageModel, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| (i * 7919 % llm.lm.config.vocabulary()) as u32).collect()
}

fn extend(llm: &LanguageModel, prompt: &[u32], max_new_tokens: usize) -> Continuation {
    let options = GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
    llm.extend(prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap_or_else(fail)
}
