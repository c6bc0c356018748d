//! From messages to a prompt, by the model's own chat template.

use std::borrow::Cow;

use sensorium_media::chat_template::published;
use sensorium_media::{ChatFormat, ChatTemplate, Conversation};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use sensorium_media::Tokenizer;

/// A model's template, with the special tokens that it names.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// The template's text; it is parsed when it is needed, so that a broken one stops only chats.
    pub template: Option<Source>,
    /// `bos_token`, `eos_token` and others.
    pub variables: Map<String, Value>,
}

/// Where a template comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A GGUF file's metadata.
    Gguf(String),
    /// Files of a directory.
    Directory {
        /// `chat_template.jinja`.
        jinja: Option<Cow<'static, [u8]>>,
        /// `chat_template.json`.
        json: Option<Value>,
        /// `tokenizer_config.json`.
        config: Option<Value>,
    },
}

impl Chat {
    /// The same with another template.
    pub fn with_template(self, text: String) -> Self {
        let jinja = Some(Cow::Owned(text.into_bytes()));
        Self { template: Some(Source::Directory { jinja, json: None, config: None }), ..self }
    }

    /// The parsed template.
    ///
    /// # Errors
    /// There is none, or it is broken.
    pub fn template(&self) -> Result<ChatTemplate> {
        let found = match &self.template {
            None => None,
            Some(Source::Gguf(text)) => Some(ChatTemplate::parse(text)?),
            Some(Source::Directory { jinja, json, config }) => {
                ChatTemplate::find(jinja.as_deref(), json.as_ref(), config.as_ref())?
            }
        };
        found.ok_or(Error::NoChat)
    }

    /// The parsed template with its special tokens, for messages that hold media.
    ///
    /// # Errors
    /// As [`template`](Self::template).
    pub fn format(&self) -> Result<ChatFormat> {
        Ok(ChatFormat { template: self.template()?, variables: self.variables.clone() })
    }

    /// The template's text as it is published.
    ///
    /// # Errors
    /// What is there is no text.
    pub fn text(&self) -> Result<Option<&str>> {
        Ok(match &self.template {
            None => None,
            Some(Source::Gguf(text)) => Some(text),
            Some(Source::Directory { jinja, json, config }) => {
                published(jinja.as_deref(), json.as_ref(), config.as_ref())?
            }
        })
    }

    /// Ids of messages, the last of which is to be answered. What they say is data: no control token
    /// is made from it.
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Value]) -> Result<Vec<u32>> {
        let messages = messages.iter().map(|message| shielded(tokenizer, message)).collect();
        Ok(tokenizer.encode_rendered(&self.render(messages)?)?)
    }

    /// The text of messages, the last of which is to be answered. What of them is data must have been
    /// [shielded](Tokenizer::shield).
    pub fn render(&self, messages: Vec<Value>) -> Result<String> {
        let conversation = Conversation::to_answer(messages, self.variables.clone());
        Ok(self.template()?.render(&conversation)?)
    }
}

fn shielded(tokenizer: &Tokenizer, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(tokenizer.shield(text)),
        Value::Array(items) => items.iter().map(|item| shielded(tokenizer, item)).collect(),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, item)| (name.clone(), shielded(tokenizer, item)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}
