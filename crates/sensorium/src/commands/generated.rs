//! What `ask` and `run` tell with `--json`.

use std::ops::ControlFlow;

use anyhow::Result;
use clap::Args;
use sensorium_inference::{Continuation, Distance, Finish, Reply, Step};
use sensorium_media::{Modality, Slot};
use serde::Serialize;

use crate::commands::logprobs::{Chosen, chosen};

/// Options of commands that write text.
#[derive(Args, Debug)]
pub struct OutputOptions {
    /// Print JSON: text, token ids, seconds, tokens per second, why it ended.
    #[arg(long)]
    pub json: bool,
    /// With --json: the log-probability of each token, and of the K most likely in its place.
    #[arg(long, value_name = "K", requires = "json", value_parser = clap::value_parser!(u16).range(..=1000))]
    logprobs: Option<u16>,
    /// With --json: the logits of the first token.
    #[arg(long, requires = "json")]
    logits: bool,
}

/// An answer and its cost.
#[derive(Serialize)]
pub struct Generated {
    text: String,
    token_ids: Vec<u32>,
    prompt_token_ids: Vec<u32>,
    prompt_tokens: usize,
    /// What each part of the media takes of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    media_tokens: Vec<MediaTokens>,
    /// How far each picture lies from those that the model has learned from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domain: Vec<Distance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Chosen>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_logits: Option<Vec<f32>>,
    seconds: Seconds,
    tokens_per_second: Speed,
    finish_reason: Finish,
}

/// A picture's tile, a stretch of a sound, a row of a table, a video.
#[derive(Serialize)]
struct MediaTokens {
    modality: Modality,
    at: usize,
    tokens: usize,
}

impl MediaTokens {
    fn of(slot: &Slot) -> Self {
        Self { modality: slot.modality, at: slot.at, tokens: slot.len }
    }
}

#[derive(Serialize)]
struct Seconds {
    load: f64,
    /// Pictures to pixels of the right size.
    process: f64,
    /// Image encoder and projector.
    encode: f64,
    prefill: f64,
    decode: f64,
}

/// Loading is left out of both.
#[derive(Serialize)]
pub struct Speed {
    pub prefill: f64,
    /// None if there was no token after the first.
    pub decode: Option<f64>,
}

impl Speed {
    pub fn of(done: &Continuation) -> Self {
        let decode = (done.steps > 0).then(|| done.steps as f64 / done.decode);
        Self { prefill: done.prompt_tokens as f64 / done.prefill, decode }
    }
}

impl OutputOptions {
    /// What is to be told of the reply that `answer` gives when it is handed who listens; `token`
    /// spells one.
    pub fn tell(
        &self,
        load: f64,
        token: impl Fn(u32) -> String,
        answer: impl FnOnce(&mut dyn FnMut(Step<'_>) -> ControlFlow<()>) -> Result<Reply>,
    ) -> Result<Generated> {
        let mut logprobs = self.logprobs.map(|_| Vec::new());
        let reply = answer(&mut |step| {
            if let (Some(all), Some(k)) = (&mut logprobs, self.logprobs) {
                all.push(chosen(&token, step, k.into()));
            }
            ControlFlow::Continue(())
        })?;
        let Reply { prompt, slots, distances, process, encode, continuation: done, .. } = reply;
        let tokens_per_second = Speed::of(&done);
        let seconds = Seconds { load, process, encode, prefill: done.prefill, decode: done.decode };
        Ok(Generated {
            text: done.text,
            token_ids: done.ids,
            prompt_token_ids: prompt,
            prompt_tokens: done.prompt_tokens,
            media_tokens: slots.iter().map(MediaTokens::of).collect(),
            domain: distances,
            logprobs,
            first_logits: self.logits.then_some(done.first_logits),
            seconds,
            tokens_per_second,
            finish_reason: done.finish,
        })
    }
}

impl Generated {
    /// The text and the number of its tokens.
    pub fn answer(&self) -> (String, usize) {
        (self.text.trim().to_owned(), self.token_ids.len())
    }
}
