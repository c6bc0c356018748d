//! A published language model, from a GGUF file or a directory: text in, more text out.
//!
//! ```text
//! FILE.gguf ──metadata──▶ config, tokenizer, chat template
//!           ──tensors───▶ backbone
//! DIR ──config.json, tokenizer.json, *.safetensors──▶ the same
//! messages ──template──▶ text
//! text ──encode──▶ ids [T] ──embed──▶ [1, T, D] ──backbone──▶ logits [V] ──sample──▶ next id ──▶ text
//! ```

pub(crate) mod chat;
mod config;
pub mod convert;
pub(crate) mod directory;
mod gguf_tokenizer;
pub mod inspect;
mod tokenizer;
mod weights;
mod writing;

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_backbone::{Backbone, BackboneConfig, Cache};
use sensorium_flow::{Embeds, Forward, Hidden, Sequence};
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
pub(crate) use writing::Writing;

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

    /// The prompt has other places for pictures than there are pictures.
    #[error("expected {expected} of the token {marker} in the prompt, got {got}\nhint: {hint}")]
    Places {
        /// Name of the token.
        marker: String,
        /// As many as the pictures need.
        expected: usize,
        /// As many as there are.
        got: usize,
        /// What may be wrong.
        hint: &'static str,
    },

    /// A model that reads one picture in front of a text was given several.
    #[error(
        "expected one picture, got {got}\nhint: this model reads a picture in front of a text; ask about each alone"
    )]
    OnePicture {
        /// Pictures.
        got: usize,
    },

    /// A model that reads texts alone was given pictures.
    #[error(
        "expected a model that sees pictures, got one that reads texts alone\nhint: leave the pictures out, or take a LLaVA, SmolVLM, BLIP-2 or Idefics"
    )]
    Blind,

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
    pub(crate) chat: chat::Chat,
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

/// An answer, what was asked, and what seeing cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Ids of the prompt, pictures' tokens among them.
    pub prompt: Vec<u32>,
    /// Seconds from decoded pictures to pixels as the model reads them; 0 without pictures.
    pub process: f64,
    /// Seconds in the image encoder and the projector.
    pub encode: f64,
    /// What was said, and its cost.
    pub continuation: Continuation,
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
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        self.room(prompt.len())?;
        self.extend_read(self.embed(prompt), options, on_step)
    }

    /// Token ids to what the backbone reads, `[1, T, D]`.
    pub(crate) fn embed(&self, ids: &[u32]) -> Embeds {
        self.backbone.embed(ids, [1, ids.len()])
    }

    /// As [`extend`](Self::extend), from what the backbone reads in place of the prompt's ids,
    /// `[1, T, D]`.
    pub(crate) fn extend_read(
        &self,
        prompt: Embeds,
        options: AskOptions,
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Continuation> {
        let prompt_tokens = prompt.0.dims()[1];
        let room = self.room(prompt_tokens)?;
        let mut cache = Cache::default();
        let (tokenizer, ends) = (&self.tokenizer, &self.ends);
        let writing = Writing { tokenizer, ends, never: &[], prompt_tokens, room, options };
        let next = |id: Option<u32>| {
            let read = id.map_or_else(|| prompt.clone(), |id| self.embed(&[id]));
            self.next(read, &mut cache)
        };
        writing.write(next, on_step)
    }

    /// See [`known`].
    pub(crate) fn known(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        known(ids, self.config.vocabulary())
    }

    /// See [`room`].
    pub(crate) fn room(&self, prompt: usize) -> Result<usize> {
        room(self.config.context(), prompt)
    }

    /// Logits `[V]` of the token after these, which the cache does not hold yet.
    fn next(&self, embeds: Embeds, cache: &mut Cache) -> Result<Vec<f32>> {
        let sequence = Sequence::default();
        let Hidden(hidden) = self.backbone.forward(embeds, &sequence, Some(cache));
        let [_, t, d] = hidden.dims();
        let logits = read(self.backbone.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])));
        finite(logits, cache.tokens())
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
        self.backbone.forward(self.embed(ids), &Sequence::default(), None).0
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

/// These ids, if a table of so many rows has them all.
pub(crate) fn known(ids: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(&got) => Err(LlmError::NoToken { vocabulary, got }),
        None => Ok(ids),
    }
}

/// Tokens that fit after a prompt of so many.
pub(crate) fn room(context: usize, prompt: usize) -> Result<usize> {
    if prompt == 0 {
        return Err(LlmError::Empty);
    }
    match context.saturating_sub(prompt) {
        0 => Err(LlmError::TooLong { limit: context.saturating_sub(1), got: prompt }),
        room => Ok(room),
    }
}

/// The logits after so many tokens, if they are numbers.
pub(crate) fn finite(logits: Vec<f32>, tokens: usize) -> Result<Vec<f32>> {
    match logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(logits),
        false => Err(LlmError::NotFinite { tokens }),
    }
}
