//! `run`: a published language model continues a text.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use sensorium_model::llm::{Continuation, Finish, Llm, Step};
use serde::Serialize;
use serde_json::json;

use crate::commands::Global;
use crate::commands::logprobs::{Chosen, chosen};
use crate::commands::precision::Precision;
use crate::commands::sampling::Sampling;
use crate::{nano, print};

/// Continue a text with a published language model.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium run SmolLM2-135M-Instruct.Q4_1.gguf --prompt \"The capital of France is\"\n  sensorium run SmolLM2-135M-Instruct --chat --prompt \"Name three colours.\"\n\nReads directories as the hub lays them out (config.json, tokenizer.json, model.safetensors) of Llama, Mistral, Qwen2, Qwen3, OPT and GPT-2, and GGUF files of Llama, Qwen2 and Qwen3 in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K and Q6_K. The text is printed as it is made; Ctrl-C ends it."
)]
pub struct Run {
    /// The model: a directory, a GGUF file, or a name in the cache.
    #[arg(value_name = "MODEL")]
    from: String,
    /// The text to continue.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt for a user's message and answer it, by the model's own chat template.
    #[arg(long)]
    chat: bool,
    /// How matrices are kept and multiplied; auto: as the file stores them.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    sampling: Sampling,
    /// Print JSON: text, token ids, log-probabilities, seconds, tokens per second.
    #[arg(long)]
    json: bool,
    /// With --json: the K most likely tokens beside each one chosen.
    #[arg(long, value_name = "K", requires = "json", value_parser = clap::value_parser!(u16).range(..=1000))]
    logprobs: Option<u16>,
    /// With --json: the logits of the first token.
    #[arg(long, requires = "json")]
    logits: bool,
}

#[derive(Serialize)]
struct Output {
    text: String,
    token_ids: Vec<u32>,
    prompt_token_ids: Vec<u32>,
    prompt_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Chosen>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_logits: Option<Vec<f32>>,
    seconds: Seconds,
    tokens_per_second: Speed,
    finish_reason: Finish,
}

#[derive(Serialize)]
struct Seconds {
    load: f64,
    prefill: f64,
    decode: f64,
}

/// Loading is left out of both.
#[derive(Serialize)]
struct Speed {
    prefill: f64,
    /// None if there was no token after the first.
    decode: Option<f64>,
}

impl Speed {
    fn of(done: &Continuation) -> Self {
        let decode = (done.steps > 0).then(|| done.steps as f64 / done.decode);
        Self { prefill: done.prompt_tokens as f64 / done.prefill, decode }
    }
}

impl Run {
    pub fn run(&self, global: &Global) -> Result<()> {
        let start = Instant::now();
        let llm = Llm::open(nano::find(&self.from)?.as_ref(), self.precision.format())?;
        let load = start.elapsed().as_secs_f64();
        let prompt = match self.chat {
            true => llm.chat(&[json!({"role": "user", "content": self.prompt})])?,
            false => llm.prompt(&self.prompt)?,
        };
        match self.json {
            true => self.print_json(global, &llm, prompt, load),
            false => self.stream(global, &llm, &prompt),
        }
    }

    fn print_json(&self, global: &Global, llm: &Llm, prompt: Vec<u32>, load: f64) -> Result<()> {
        let mut logprobs = self.logprobs.map(|_| Vec::new());
        let done = llm.extend(&prompt, self.sampling.options(global), |step| {
            if let (Some(all), Some(k)) = (&mut logprobs, self.logprobs) {
                all.push(chosen(llm, step, k.into()));
            }
            ControlFlow::Continue(())
        })?;
        let tokens_per_second = Speed::of(&done);
        let seconds = Seconds { load, prefill: done.prefill, decode: done.decode };
        print::json(&Output {
            text: done.text,
            token_ids: done.ids,
            prompt_token_ids: prompt,
            prompt_tokens: done.prompt_tokens,
            logprobs,
            first_logits: self.logits.then_some(done.first_logits),
            seconds,
            tokens_per_second,
            finish_reason: done.finish,
        })
    }

    fn stream(&self, global: &Global, llm: &Llm, prompt: &[u32]) -> Result<()> {
        let done = stream(llm, prompt, self.sampling.options(global))?;
        let Speed { prefill, decode } = Speed::of(&done);
        let decode = decode.map_or(String::new(), |speed| format!(", then {speed:.1}"));
        eprintln!("{} tokens read at {prefill:.1} a second{decode}", done.prompt_tokens);
        Ok(())
    }
}

/// Prints what the model adds as it is made, and the end of its line.
pub fn stream(
    llm: &Llm,
    prompt: &[u32],
    options: sensorium_model::nano::AskOptions,
) -> Result<Continuation> {
    let (mut written, mut printed) = (0, Ok(()));
    let done = llm.extend(prompt, options, |Step { text, .. }| {
        printed = print::piece(print::fresh(text, &mut written));
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    printed?;
    // What is left is a character that was never finished.
    print::line(done.text.get(written..).unwrap_or_default())?;
    Ok(done)
}
