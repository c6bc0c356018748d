//! A published language model writes several texts at once, a token of each at a time.

use std::ops::ControlFlow;

use sensorium_inference::{Batch, GenerateOptions};
use serde_json::Map;

use crate::llm::{PROMPT, open};
use crate::{Task, fail, timed};

/// `tokens` of each of so many texts, after a prompt.
pub fn decode(file: &str, texts: usize, tokens: usize) -> Task {
    let llm = open(file);
    let vocabulary = llm.lm.config.vocabulary();
    let prompt = |text| (0..PROMPT).map(|i| ((i + text) * 7919 % vocabulary) as u32).collect();
    let prompts: Vec<Vec<u32>> = (0..texts).map(prompt).collect();
    // The first token comes with the prompt.
    let options = GenerateOptions { max_new_tokens: tokens + 1, ..GenerateOptions::default() };
    let run = Box::new(move || {
        let mut batch = Batch::new(&llm);
        for prompt in &prompts {
            batch.join(prompt, &options).unwrap_or_else(fail);
        }
        let step = |batch: &mut Batch<'_>| batch.step(&mut |_, _| ControlFlow::Continue(()));
        step(&mut batch);
        timed(|| (0..tokens).for_each(|_| drop(step(&mut batch)))).1
    });
    Task { facts: Map::new(), run }
}
