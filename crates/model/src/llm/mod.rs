//! A published language model, from a GGUF file or a directory: text in, more text out.
//!
//! ```text
//! FILE.gguf ──metadata──▶ config, tokenizer, chat template
//!           ──tensors───▶ backbone
//! DIR ──config.json, tokenizer.json, *.safetensors──▶ the same
//! messages ──template──▶ text
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──backbone──▶ logits [V] ──sample──▶ next id ──▶ text
//! ```

mod chat;
mod config;
pub mod convert;
mod directory;
mod gguf_tokenizer;
pub mod inspect;
mod tokenizer;
mod weights;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sensorium_backbone::{Backbone, BackboneConfig, Cache, Sampler};
use sensorium_flow::Hidden;
use sensorium_kernels::cross_entropy::cross_entropy;
use sensorium_media::ChatTemplate;
use sensorium_nn::params::read;
use sensorium_nn::prelude::{Tensor, pack};
use serde_json::Value;

use crate::checkpoint;
use crate::checkpoint::gguf::{Gguf, Mapped};
use crate::nano::AskOptions;
use crate::published;

pub use tokenizer::Tokenizer;

/// What can go wrong between a file and a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// The file is damaged, foreign, or of a model that is not supported.
    #[error(transparent)]
    File(#[from] checkpoint::Error),

    /// The directory is damaged, foreign, or of a model that is not supported.
    #[error(transparent)]
    Directory(#[from] published::Error),

    /// The tokenizer or the chat template is inconsistent or not supported, or refuses what it is
    /// given.
    #[error(transparent)]
    Text(#[from] sensorium_media::Error),

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

    /// The model has no chat template.
    #[error(
        "expected a model with a chat template, got none\nhint: leave --chat out to continue the text as it is"
    )]
    NoChat,

    /// An id that the model has no row for.
    #[error(
        "expected token ids below {vocabulary}, got {got}\nhint: the tokenizer is not that of the model"
    )]
    NoToken {
        /// Rows of the token table.
        vocabulary: usize,
        /// The id.
        got: u32,
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
    pub tokenizer: Tokenizer,
    /// Shape of the backbone.
    pub config: BackboneConfig,
    /// Put before every text, if the model was trained so.
    pub opening: Option<u32>,
    /// Ids after which nothing more is to be said.
    pub ends: Vec<u32>,
    chat: chat::Chat,
    backbone: Backbone,
}

/// Why a text goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model said one of its ends.
    Stop,
    /// As many tokens as were asked for, or as fit.
    Length,
    /// Who listens broke off.
    Interrupted,
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
    /// Logits `[V]` of the first token after the prompt.
    pub first_logits: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// Seconds from the prompt's ids to the first logits.
    pub prefill: f64,
    /// Tokens read one by one after the prompt.
    pub steps: usize,
    /// Seconds of those steps, sampling included.
    pub decode: f64,
}

/// What is known after each token.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The added text so far.
    pub text: &'a str,
    /// The token.
    pub id: u32,
    /// The logits `[V]` from which it was drawn.
    pub logits: &'a [f32],
}

impl Llm {
    /// A model from a GGUF file or a directory, its matrices in `format`. Without one, those of a
    /// GGUF file are multiplied as they are stored where there is a kernel for that, those of a
    /// directory in f32.
    ///
    /// # Errors
    /// The file or directory is missing, damaged or not of a supported model.
    pub fn open(path: &Path, format: Option<pack::Format>) -> Result<Self> {
        if path.is_dir() {
            return directory::open(path, format);
        }
        let mapped = Mapped::open(path)?;
        Self::load(&mapped.gguf()?, format).map_err(|error| match error {
            LlmError::File(source) => LlmError::File(source.in_file(path)),
            other => other,
        })
    }

    /// As [`open`](Self::open), from a parsed GGUF file.
    ///
    /// # Errors
    /// It is not of a supported model.
    pub fn load(gguf: &Gguf<'_>, format: Option<pack::Format>) -> Result<Self> {
        let (config, family) = config::read(gguf)?;
        let tokenizer = gguf_tokenizer::read(&gguf.metadata)?;
        let marks = gguf_tokenizer::marks(&gguf.metadata, &tokenizer)?;
        let backbone = Backbone::Llama(weights::load(gguf, &config, family, format)?);
        let (opening, ends) = (marks.opening, marks.ends);
        let (tokenizer, config) = (Tokenizer::from(tokenizer), BackboneConfig::Llama(config));
        let chat = gguf_tokenizer::chat(&gguf.metadata);
        Ok(Self { tokenizer, config, opening, ends, chat, backbone })
    }

    /// Ids of a text to be continued.
    ///
    /// # Errors
    /// The tokenizer has no ids for it.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.known(self.opening.into_iter().chain(self.tokenizer.encode(text)?).collect())
    }

    /// Ids of messages, `{"role": ..., "content": ...}`, that the assistant is to answer, by the
    /// model's own chat template.
    ///
    /// # Errors
    /// The model has no template, or it is broken, or refuses the messages.
    pub fn chat(&self, messages: &[Value]) -> Result<Vec<u32>> {
        self.known(self.chat.prompt(&self.tokenizer, messages)?)
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// There is none, or it is broken.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        self.chat.template()
    }

    /// Goes on from `prompt` until an end, `max_tokens`, the end of the context, or a break.
    /// `on_step` hears of every token.
    ///
    /// # Errors
    /// The prompt is empty or leaves no room; the logits are not finite; the tokenizer's decoder
    /// fails.
    ///
    /// # Panics
    /// If the prompt has an id that is no token's: [`prompt`](Self::prompt) and [`chat`](Self::chat)
    /// give none.
    pub fn extend(
        &self,
        prompt: &[u32],
        options: AskOptions,
        mut on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        let room = self.room(prompt)?.min(options.max_tokens);
        let mut cache = Cache::default();
        let mut sampler = Sampler::new(options.sampling);
        let start = Instant::now();
        let mut logits = self.next(prompt, &mut cache)?;
        let (prefill, first_logits) = (start.elapsed().as_secs_f64(), logits.clone());

        let (start, mut ids, mut text, mut steps) = (Instant::now(), Vec::new(), String::new(), 0);
        let finish = loop {
            let id = sampler.pick(&logits);
            if self.ends.contains(&id) {
                break Finish::Stop;
            }
            ids.push(id);
            text = self.tokenizer.decode(&ids)?;
            if on_step(Step { text: &text, id, logits: &logits }).is_break() {
                break Finish::Interrupted;
            }
            if ids.len() >= room {
                break Finish::Length;
            }
            logits = self.next(&[id], &mut cache)?;
            steps += 1;
        };
        let (decode, prompt_tokens) = (start.elapsed().as_secs_f64(), prompt.len());
        Ok(Continuation { text, ids, prompt_tokens, first_logits, finish, prefill, steps, decode })
    }

    /// These ids, if the model has rows for them.
    fn known(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        let vocabulary = self.config.vocabulary();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(&got) => Err(LlmError::NoToken { vocabulary, got }),
            None => Ok(ids),
        }
    }

    /// Tokens that fit after `prompt`.
    fn room(&self, prompt: &[u32]) -> Result<usize> {
        if prompt.is_empty() {
            return Err(LlmError::Empty);
        }
        let context = self.config.context();
        let room = context.saturating_sub(prompt.len());
        if room == 0 {
            let (limit, got) = (context.saturating_sub(1), prompt.len());
            return Err(LlmError::TooLong { limit, got });
        }
        Ok(room)
    }

    /// Logits `[V]` of the token after `ids`, which the cache does not hold yet.
    fn next(&self, ids: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        let embeds = self.backbone.embed(ids, [1, ids.len()]);
        let Hidden(hidden) = self.backbone.extend(embeds, None, cache);
        let [_, t, d] = hidden.dims();
        let logits = read(self.backbone.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])));
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
        let hidden = self.hidden(ids);
        let [_, t, d] = hidden.dims();
        let rows = t - first;
        read(self.backbone.logits(hidden.narrow(1, first, rows).reshape([rows, d])))
    }

    /// What the backbone makes of `ids [T]`, `[1, T, D]`.
    fn hidden(&self, ids: &[u32]) -> Tensor<3> {
        self.backbone.forward(self.backbone.embed(ids, [1, ids.len()]), None).0
    }

    /// `-ln p` of each token after position `first` of `ids`, given all tokens before it: one number
    /// for each of `ids[first + 1..]`.
    pub fn surprise(&self, ids: &[u32], first: usize) -> Vec<f32> {
        let (read, said) = (&ids[..ids.len() - 1], &ids[first + 1..]);
        let logits = self.logits_from(read, first);
        let targets: Vec<i32> = said.iter().map(|&id| id as i32).collect();
        let (mut losses, mut lse) = (vec![0.0; said.len()], vec![0.0; said.len()]);
        let v = self.config.vocabulary();
        cross_entropy(said.len(), v, &logits, &targets, 0.0, &mut losses, &mut lse);
        losses
    }
}
