//! `chat --model`: a conversation in words with a published language model.

use std::path::Path;

use anyhow::Result;
use sensorium_model::llm::{Llm, LlmError};
use sensorium_model::nano::AskOptions;
use serde_json::{Value, json};

use crate::commands::precision::Precision;
use crate::commands::run::stream;
use crate::print;

pub const HELP: &str = "/new starts anew, /quit ends";

/// Whether a choice of `--model` is a published checkpoint: a GGUF file, or a directory with a
/// `config.json`.
pub fn is_published(choice: &str) -> bool {
    let path = Path::new(choice);
    path.extension().is_some_and(|end| end == "gguf") || path.join("config.json").is_file()
}

/// A conversation so far.
pub struct Talk {
    llm: Llm,
    options: AskOptions,
    messages: Vec<Value>,
}

impl Talk {
    /// The model of this path, with nothing said yet.
    pub fn open(choice: &str, precision: Precision, options: AskOptions) -> Result<Self> {
        let llm = Llm::open(Path::new(choice), precision.format())?;
        // A model without a template is told before the first message, not after.
        llm.chat_template()?;
        Ok(Self { llm, options, messages: Vec::new() })
    }

    /// Takes one line; false ends the conversation. What is wrong with a line is said and leaves the
    /// conversation as it was.
    pub fn hear(&mut self, line: &str) -> Result<bool> {
        match line {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => eprintln!("{HELP}"),
            "/new" => {
                self.messages.clear();
                eprintln!("a new conversation");
            }
            _ if line.starts_with('/') => print::error(&format!(
                "expected a command, got {line:?}\nhint: /new, /help or /quit"
            )),
            _ => self.say(line)?,
        }
        Ok(true)
    }

    /// One message and its answer. A message that fails is taken back.
    fn say(&mut self, line: &str) -> Result<()> {
        self.messages.push(json!({"role": "user", "content": line}));
        let prompt = self.llm.chat(&self.messages).map_err(anyhow::Error::from);
        match prompt.and_then(|prompt| stream(&self.llm, &prompt, self.options)) {
            Ok(done) => {
                self.messages.push(json!({"role": "assistant", "content": done.text}));
                Ok(())
            }
            Err(error) if print::is_closed(&error) => Err(error),
            Err(error) => {
                self.messages.pop();
                let full = matches!(error.downcast_ref(), Some(LlmError::TooLong { .. }));
                match full && !self.messages.is_empty() {
                    true => print::error(
                        "expected room for another message, the conversation fills the model's \
                         context\nhint: /new starts another one",
                    ),
                    false => print::error(&error.to_string()),
                }
                Ok(())
            }
        }
    }
}
