//! A published language model reads a prompt at once, or writes tokens one by one: P5 and P6.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_model::llm::{Continuation, Llm};
use sensorium_model::nano::AskOptions;
use serde_json::Map;

use crate::{Task, fail};

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

fn open(file: &str) -> Llm {
    let mut llm = Llm::open(Path::new(file), None).unwrap_or_else(fail);
    // Whatever is said, the count of tokens stays the same.
    llm.ends.clear();
    llm
}

/// Spread over the vocabulary, as `bench/peers/llama_cpp_run.py` does.
fn prompt(llm: &Llm, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| (i * 7919 % llm.config.vocabulary()) as u32).collect()
}

fn extend(llm: &Llm, prompt: &[u32], max_tokens: usize) -> Continuation {
    let options = AskOptions { max_tokens, ..AskOptions::default() };
    llm.extend(prompt, options, |_| ControlFlow::Continue(())).unwrap_or_else(fail)
}
