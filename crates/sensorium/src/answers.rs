//! Models that answer: nano, or a published one, which sees or reads texts alone.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use sensorium_media::{Message, Picture};
use sensorium_model::idefics::Viewer;
use sensorium_model::llm::{Llm, LlmError, Reply, Step};
use sensorium_model::nano::{AskOptions, Nano};
use sensorium_model::vlm::Vlm;
use serde_json::{Value, json};

use crate::commands::precision::Precision;
use crate::{nano, print};

/// What `--model` names.
pub enum Model {
    /// Embedded, or a directory with `tokenizer.json` and a file a component.
    Nano(Box<Nano>),
    /// A directory of a model that sees.
    Vlm(Box<Vlm>),
    /// A directory of a model that asks pictures beside its text.
    Viewer(Box<Viewer>),
    /// A GGUF file, or a directory of a language model.
    Llm(Box<Llm>),
}

impl Model {
    /// The chosen model, and the seconds that loading took.
    pub fn open(choice: &str, precision: Precision) -> Result<(Self, f64)> {
        let (start, path, format) = (Instant::now(), Path::new(choice), precision.format());
        let is_gguf = path.extension().is_some_and(|end| end == "gguf");
        let model = match choice {
            nano::EMBEDDED => Self::nano(choice, precision)?,
            _ if Vlm::is(path) => Self::Vlm(Box::new(Vlm::open(path, format)?)),
            _ if Viewer::is(path) => Self::Viewer(Box::new(Viewer::open(path, format)?)),
            _ if is_gguf || path.join("config.json").is_file() => {
                Self::Llm(Box::new(Llm::open(path, format)?))
            }
            _ => Self::nano(choice, precision)?,
        };
        Ok((model, start.elapsed().as_secs_f64()))
    }

    fn nano(choice: &str, precision: Precision) -> Result<Self> {
        Ok(Self::Nano(Box::new(nano::open(choice, precision)?.0)))
    }

    /// Continues a conversation whose messages hold `pictures` in order. `on_step` hears of every
    /// token. A published model without a chat template continues the last message.
    pub fn answer(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: AskOptions,
        on_step: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Reply> {
        match self {
            Self::Nano(nano) => Ok(nano.answer(messages, pictures, options, on_step)?),
            Self::Vlm(vlm) => Ok(vlm.answer(messages, pictures, options, on_step)?),
            Self::Viewer(viewer) => Ok(viewer.answer(messages, pictures, options, on_step)?),
            Self::Llm(_) if !pictures.is_empty() => Err(LlmError::Blind.into()),
            Self::Llm(llm) => {
                let prompt = match llm.chat_template() {
                    Err(LlmError::NoChat) => {
                        llm.prompt(&messages.last().map(Message::words).unwrap_or_default())
                    }
                    _ => llm.chat(&messages.iter().map(spoken).collect::<Vec<_>>()),
                }?;
                let continuation = llm.extend(&prompt, options, on_step)?;
                Ok(Reply { prompt, process: 0.0, encode: 0.0, continuation })
            }
        }
    }

    /// As [`answer`](Self::answer), printing it as it is made.
    pub fn say(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: AskOptions,
    ) -> Result<Reply> {
        let mut stream = print::Stream::default();
        let step = |step: Step<'_>| stream.step(step.text.trim_start());
        let reply = self.answer(messages, pictures, options, step)?;
        stream.finish(reply.continuation.text.trim())?;
        Ok(reply)
    }

    /// Whether the model was made for more than one message.
    ///
    /// # Errors
    /// A published model has no chat template, or a broken one.
    pub fn check_chat(&self) -> Result<()> {
        match self {
            Self::Nano(_) | Self::Viewer(_) => {}
            Self::Vlm(vlm) => drop(vlm.llm.chat_template()?),
            Self::Llm(llm) => drop(llm.chat_template()?),
        }
        Ok(())
    }

    /// Whether an error says that a conversation fills the model's context.
    pub fn is_full(error: &anyhow::Error) -> bool {
        use sensorium_model::nano::NanoError;
        matches!(error.downcast_ref(), Some(NanoError::TooLong { .. }))
            || matches!(error.downcast_ref(), Some(LlmError::TooLong { .. }))
    }

    /// A token's text; none where it cannot be spelt alone.
    pub fn token(&self, id: u32) -> String {
        match self {
            Self::Nano(nano) => nano.tokenizer.decode(&[id]),
            Self::Vlm(vlm) => vlm.llm.tokenizer.decode(&[id]).unwrap_or_default(),
            Self::Viewer(viewer) => viewer.prompter.tokenizer.decode(&[id]).unwrap_or_default(),
            Self::Llm(llm) => llm.tokenizer.decode(&[id]).unwrap_or_default(),
        }
    }
}

/// A message as chat templates read it.
fn spoken(message: &Message) -> Value {
    json!({"role": message.role, "content": message.words()})
}
