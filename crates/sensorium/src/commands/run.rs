//! `run`: a published language model continues a text.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_model::llm::{Continuation, Llm};
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Precision;
use crate::commands::sampling::Sampling;
use crate::print;

/// Continue a text with a language model from a GGUF file.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium run SmolLM2-135M-Instruct.Q4_1.gguf --prompt \"The capital of France is\"\n  sensorium run SmolLM2-135M-Instruct.Q4_1.gguf --chat --prompt \"Name three colours.\"\n\nReads Llama and Qwen3 models in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K and Q6_K. The text is printed as it is made; Ctrl-C ends it."
)]
pub struct Run {
    /// The model: a GGUF file with its tokenizer.
    #[arg(value_name = "FILE.gguf")]
    file: PathBuf,
    /// The text to continue.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt for a user's message and answer it (models trained on ChatML).
    #[arg(long)]
    chat: bool,
    /// How matrices are kept and multiplied; auto: as the file stores them.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    sampling: Sampling,
    /// Print JSON: text, token ids, tokens per second.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    text: String,
    token_ids: Vec<u32>,
    prompt_tokens: usize,
    tokens_per_second: Speed,
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
        let llm = Llm::open(&self.file, self.precision.format())?;
        let prompt = if self.chat { llm.chat(&self.prompt)? } else { llm.prompt(&self.prompt) };
        let options = self.sampling.options(global);
        if self.json {
            let done = llm.extend(&prompt, options, |_| ControlFlow::Continue(()))?;
            let tokens_per_second = Speed::of(&done);
            let Continuation { text, ids: token_ids, prompt_tokens, .. } = done;
            return print::json(&Output { text, token_ids, prompt_tokens, tokens_per_second });
        }
        let (mut written, mut printed) = (0, Ok(()));
        let done = llm.extend(&prompt, options, |so_far| {
            printed = print::piece(print::fresh(so_far, &mut written));
            if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        printed?;
        // What is left is a character that was never finished.
        print::line(done.text.get(written..).unwrap_or_default())?;
        let Speed { prefill, decode } = Speed::of(&done);
        let decode = decode.map_or(String::new(), |speed| format!(", then {speed:.1}"));
        eprintln!("{} tokens read at {prefill:.1} a second{decode}", done.prompt_tokens);
        Ok(())
    }
}
