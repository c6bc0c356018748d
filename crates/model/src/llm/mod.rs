//! A published language model in one GGUF file: text in, more text out.
//!
//! ```text
//! FILE.gguf ──metadata──▶ config, tokenizer
//!           ──tensors───▶ backbone
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──backbone──▶ logits [V] ──sample──▶ next id ──▶ text
//! ```

mod config;
mod tokenizer;
mod weights;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sensorium_backbone::{Cache, Llama, LlamaConfig, Sampler};
use sensorium_flow::Hidden;
use sensorium_kernels::cross_entropy::cross_entropy;
use sensorium_media::ByteBpe;
use sensorium_nn::params::read;
use sensorium_nn::prelude::pack;

use crate::checkpoint;
use crate::checkpoint::gguf::{Gguf, Mapped};
use crate::nano::AskOptions;

/// What can go wrong between a file and a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// The file is damaged, foreign, or of a model that is not supported.
    #[error(transparent)]
    File(#[from] checkpoint::Error),

    /// The file's tokenizer is inconsistent or not supported.
    #[error(transparent)]
    Tokenizer(#[from] sensorium_media::Error),

    /// There is nothing to go on from.
    #[error(
        "expected a prompt of at least one token, got none\nhint: this model's texts have no opening token; write a word"
    )]
    Empty,

    /// The prompt is longer than the model can read.
    #[error(
        "expected a prompt of at most {limit} tokens, got {got}\nhint: shorten the prompt, or take a model with a longer context"
    )]
    TooLong {
        /// Tokens that fit beside one of the answer.
        limit: usize,
        /// Tokens of the prompt.
        got: usize,
    },

    /// The model was not trained on the only chat format that is known.
    #[error(
        "expected a model whose chat template is ChatML (<|im_start|>, <|im_end|>), got {got}\nhint: leave --chat out to continue the text as it is"
    )]
    NoChat {
        /// What the file has instead.
        got: &'static str,
    },

    /// The model computed no numbers.
    #[error(
        "expected finite logits after token {tokens}, got NaN or infinity\nhint: the weights are damaged, or their values overflow; try another file of the model"
    )]
    NotFinite {
        /// Tokens read.
        tokens: usize,
    },
}

type Result<T> = std::result::Result<T, LlmError>;

/// A loaded model.
#[derive(Debug)]
pub struct Llm {
    /// Text to ids and back.
    pub tokenizer: ByteBpe,
    /// Shape of the backbone.
    pub config: LlamaConfig,
    /// Put before every text, if the model was trained so.
    pub opening: Option<u32>,
    /// Ids after which nothing more is to be said.
    pub ends: Vec<u32>,
    /// The file's chat template, as text: it is not run.
    pub chat_template: Option<String>,
    llama: Llama,
}

/// A text that was continued, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// What was added.
    pub text: String,
    /// Its ids, without the end.
    pub ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Seconds from the prompt's ids to the first logits.
    pub prefill: f64,
    /// Tokens read one by one after the prompt.
    pub steps: usize,
    /// Seconds of those steps, sampling included.
    pub decode: f64,
}

impl Llm {
    /// A model from a file, its matrices in `format`, or, without one, multiplied as they are
    /// stored where there is a kernel for that.
    ///
    /// # Errors
    /// The file is missing, damaged or not of a supported model.
    pub fn open(path: &Path, format: Option<pack::Format>) -> Result<Self> {
        let mapped = Mapped::open(path)?;
        Self::load(&mapped.gguf()?, format).map_err(|error| match error {
            LlmError::File(source) => LlmError::File(source.in_file(path)),
            other => other,
        })
    }

    /// As [`open`](Self::open), from a parsed file.
    ///
    /// # Errors
    /// It is not of a supported model.
    pub fn load(gguf: &Gguf<'_>, format: Option<pack::Format>) -> Result<Self> {
        let (config, family) = config::read(gguf)?;
        let tokenizer = tokenizer::read(&gguf.metadata)?;
        let marks = tokenizer::marks(&gguf.metadata, &tokenizer)?;
        let llama = weights::load(gguf, &config, family, format)?;
        let chat_template = gguf.metadata.string("tokenizer.chat_template").ok().map(str::to_owned);
        let (opening, ends) = (marks.opening, marks.ends);
        Ok(Self { tokenizer, config, opening, ends, chat_template, llama })
    }

    /// Ids of a text to be continued.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        self.opening.into_iter().chain(self.tokenizer.encode(text)).collect()
    }

    /// Ids of a user's message that the assistant is to answer, in ChatML, without a system message.
    ///
    /// # Errors
    /// The file's chat template is of another kind.
    pub fn chat(&self, message: &str) -> Result<Vec<u32>> {
        let template = self.chat_template.as_deref();
        let token = |name: &str| {
            let known = template.is_some_and(|template| template.contains(name));
            self.tokenizer.id(name).filter(|_| known)
        };
        let (Some(start), Some(end)) = (token("<|im_start|>"), token("<|im_end|>")) else {
            let got = if template.is_some() { "another template" } else { "no template" };
            return Err(LlmError::NoChat { got });
        };
        let encode = |text: &str| self.tokenizer.encode(text);
        let mut ids = self.prompt("");
        ids.push(start);
        ids.extend(encode(&format!("user\n{message}")));
        ids.push(end);
        ids.extend(encode("\n"));
        ids.push(start);
        ids.extend(encode("assistant\n"));
        Ok(ids)
    }

    /// Goes on from `prompt` until an end, `max_tokens`, the end of the context, or a break.
    /// `on_text` gets the added text so far after every token.
    ///
    /// # Errors
    /// The prompt is empty or leaves no room; the logits are not finite.
    pub fn extend(
        &self,
        prompt: &[u32],
        options: AskOptions,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        let room = self.room(prompt)?.min(options.max_tokens);
        let mut cache = Cache::default();
        let mut sampler = Sampler::new(options.sampling);
        let start = Instant::now();
        let mut logits = self.next(prompt, &mut cache)?;
        let prefill = start.elapsed().as_secs_f64();

        let (start, mut ids, mut text, mut steps) = (Instant::now(), Vec::new(), String::new(), 0);
        loop {
            let id = sampler.pick(&logits);
            if self.ends.contains(&id) {
                break;
            }
            ids.push(id);
            text = self.tokenizer.decode(&ids);
            if on_text(&text).is_break() || ids.len() == room {
                break;
            }
            logits = self.next(&[id], &mut cache)?;
            steps += 1;
        }
        let decode = start.elapsed().as_secs_f64();
        Ok(Continuation { text, ids, prompt_tokens: prompt.len(), prefill, steps, decode })
    }

    /// Tokens that fit after `prompt`.
    fn room(&self, prompt: &[u32]) -> Result<usize> {
        if prompt.is_empty() {
            return Err(LlmError::Empty);
        }
        let room = self.config.context.saturating_sub(prompt.len());
        if room == 0 {
            let (limit, got) = (self.config.context.saturating_sub(1), prompt.len());
            return Err(LlmError::TooLong { limit, got });
        }
        Ok(room)
    }

    /// Logits `[V]` of the token after `ids`, which the cache does not hold yet.
    fn next(&self, ids: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        let embeds = self.llama.embed(ids, [1, ids.len()]);
        let Hidden(hidden) = self.llama.extend(embeds, None, cache);
        let [_, t, d] = hidden.dims();
        let logits = read(self.llama.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])));
        if logits.iter().all(|logit| logit.is_finite()) {
            Ok(logits)
        } else {
            Err(LlmError::NotFinite { tokens: cache.tokens() })
        }
    }

    /// Logits `[T, V]`, row-major, of the tokens after each of `ids [T]`.
    pub fn logits(&self, ids: &[u32]) -> Vec<f32> {
        self.logits_from(ids, 0)
    }

    fn logits_from(&self, ids: &[u32], first: usize) -> Vec<f32> {
        let Hidden(hidden) = self.llama.forward(self.llama.embed(ids, [1, ids.len()]), None);
        let [_, t, d] = hidden.dims();
        let rows = t - first;
        read(self.llama.logits(hidden.narrow(1, first, rows).reshape([rows, d])))
    }

    /// `-ln p` of each token after position `first` of `ids`, given all tokens before it: one number
    /// for each of `ids[first + 1..]`.
    pub fn surprise(&self, ids: &[u32], first: usize) -> Vec<f32> {
        let (read, said) = (&ids[..ids.len() - 1], &ids[first + 1..]);
        let logits = self.logits_from(read, first);
        let targets: Vec<i32> = said.iter().map(|&id| id as i32).collect();
        let (mut losses, mut lse) = (vec![0.0; said.len()], vec![0.0; said.len()]);
        let v = self.config.vocabulary;
        cross_entropy(said.len(), v, &logits, &targets, 0.0, &mut losses, &mut lse);
        losses
    }
}
