//! `run`: a published language model continues a text.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_inference::{ChatModel, GenerateOptions, LanguageModel, OnStep, Reply};
use serde_json::json;

use crate::commands::generated::{OutputOptions, Speed};
use crate::commands::precision::Precision;
use crate::commands::sampling::Sampling;
use crate::commands::{Global, prompts};
use crate::{open, print};

/// Continue a text with a published language model.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium run SmolLM2-135M-Instruct.Q4_1.gguf --prompt \"The capital of France is\"\n  sensorium run SmolLM2-135M-Instruct --chat --prompt \"Name three colours.\"\n  sensorium run llava-1.5-7b-hf --prompt \"USER: <image> What is it? ASSISTANT:\" --image photo.jpg\n\nReads directories as the hub lays them out (config.json, tokenizer.json, model.safetensors) of Llama, Mistral, Qwen2, Qwen3, OPT and GPT-2, and GGUF files of Llama, Qwen2 and Qwen3. The text is printed as it is made; Ctrl-C ends it."
)]
pub struct Run {
    /// The model: a directory, a GGUF file, or a name in the cache.
    #[arg(value_name = "MODEL")]
    from: String,
    /// The text to continue.
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "prompts",
        conflicts_with = "prompts"
    )]
    prompt: Option<String>,
    /// Continue every prompt of a file, a line of JSON each: {"prompt": "...", "id": ...}. Prints a line
    /// of JSON for each.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["json", "logprobs", "logits"])]
    prompts: Option<PathBuf>,
    /// A picture, whose place `<image>` marks in the prompt. May be repeated.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "chat"])]
    image: Vec<PathBuf>,
    /// Take the prompt for a user's message and answer it, by the model's own chat template.
    #[arg(long)]
    chat: bool,
    /// With --chat: what holds for the whole conversation.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Names of special tokens in the prompt, such as <|im_start|>, become those tokens; else they are
    /// read as letters.
    #[arg(long, conflicts_with = "chat")]
    parse_special: bool,
    /// How matrices are kept and multiplied; auto: as the file stores them.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    output: OutputOptions,
}

impl Run {
    pub fn run(&self, global: &Global) -> Result<()> {
        let global = &Global { model: global.find(&self.from)?, ..global.clone() };
        let (model, load) = open::open(global, self.precision)?;
        let options = self.sampling.options(global);
        if !self.image.is_empty() {
            return self.see(model.chat()?, load, &options);
        }
        let llm = model.language()?;
        if let Some(path) = &self.prompts {
            return prompts::run(llm, path, &options, |text| self.ids(llm, text));
        }
        let prompt = self.ids(llm, self.prompt.as_deref().unwrap_or_default())?;
        self.print(llm, load, |on_step| {
            let continuation = llm.extend(&prompt, &options, on_step)?;
            Ok(Reply {
                prompt,
                slots: Vec::new(),
                distances: Vec::new(),
                process: 0.0,
                encode: 0.0,
                continuation,
                wanted: None,
                thoughts: None,
            })
        })
    }
}

impl Run {
    /// Continues a prompt with pictures.
    fn see(&self, model: &dyn ChatModel, load: f64, options: &GenerateOptions) -> Result<()> {
        let media = open::media(&self.image, &open::decoder())?;
        let (text, special) = (self.prompt.as_deref().unwrap_or_default(), self.parse_special);
        self.print(model, load, |on_step| {
            Ok(model.complete(text, special, &media, options, on_step)?)
        })
    }

    /// Prints what the model adds as it is made, then how fast; or JSON.
    fn print(
        &self,
        model: &dyn ChatModel,
        load: f64,
        extend: impl FnOnce(OnStep<'_>) -> Result<Reply>,
    ) -> Result<()> {
        if self.output.json {
            return print::json(&self.output.tell(load, |id| model.token(id), extend)?);
        }
        let mut stream = print::Stream::default();
        let done = extend(&mut |step| stream.step(step.text))?.continuation;
        stream.finish(&done.text)?;
        let Speed { prefill, decode } = Speed::of(&done);
        let decode = decode.map_or(String::new(), |speed| format!(", then {speed:.1}"));
        eprintln!("{} tokens read at {prefill:.1} a second{decode}", done.prompt_tokens);
        Ok(())
    }

    /// The prompt's ids.
    fn ids(&self, llm: &LanguageModel, text: &str) -> Result<Vec<u32>> {
        if !self.chat {
            let special = self.parse_special;
            return Ok(if special { llm.prompt_with_special(text)? } else { llm.prompt(text)? });
        }
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let messages: Vec<_> = system.chain([json!({"role": "user", "content": text})]).collect();
        Ok(llm.chat(&messages)?)
    }
}
