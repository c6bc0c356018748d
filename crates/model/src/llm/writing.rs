//! A text that grows token by token.

use std::ops::ControlFlow;
use std::time::Instant;

use sensorium_backbone::Sampler;

use super::{Continuation, Finish, Result, Step, Tokenizer};
use crate::nano::AskOptions;

/// What going on needs beside the model.
#[derive(Debug)]
pub struct Writing<'a> {
    /// Ids to text.
    pub tokenizer: &'a Tokenizer,
    /// Ids after which nothing more is to be said.
    pub ends: &'a [u32],
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that fit after it.
    pub room: usize,
    /// How it is made.
    pub options: AskOptions,
}

impl Writing<'_> {
    /// Goes on until an end, `max_tokens`, no room, or a break. `next` is handed each token, at first
    /// none for the prompt, and gives the logits `[V]` of the one after it; `on_step` hears of every
    /// token.
    ///
    /// # Errors
    /// As `next`, or the tokenizer's decoder fails.
    pub fn write(
        self,
        mut next: impl FnMut(Option<u32>) -> Result<Vec<f32>>,
        mut on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        let Self { tokenizer, ends, prompt_tokens, room, options } = self;
        let room = room.min(options.max_tokens);
        let mut sampler = Sampler::new(options.sampling);
        let start = Instant::now();
        let mut logits = next(None)?;
        let (prefill, first_logits) = (start.elapsed().as_secs_f64(), logits.clone());

        let (start, mut ids, mut text, mut steps) = (Instant::now(), Vec::new(), String::new(), 0);
        let finish = loop {
            let id = sampler.pick(&logits);
            if ends.contains(&id) {
                break Finish::Stop;
            }
            ids.push(id);
            text = tokenizer.decode(&ids)?;
            if on_step(Step { text: &text, id, logits: &logits }).is_break() {
                break Finish::Interrupted;
            }
            if ids.len() >= room {
                break Finish::Length;
            }
            logits = next(Some(id))?;
            steps += 1;
        };
        let decode = start.elapsed().as_secs_f64();
        Ok(Continuation { text, ids, prompt_tokens, first_logits, finish, prefill, steps, decode })
    }
}
