//! `chat`: a conversation, in a terminal or through a pipe: about pictures, or with a published language
//! model.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use sensorium_inference::{ChatModel, Error, GenerateOptions};
use sensorium_media::{Media, MediaDecoder, Message, Modality, Role, parse_markers};

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::{open, print};

/// Endings by which a word of a prompt is taken for a picture's path.
const ENDINGS: [&str; 6] = [".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"];

const HELP: &str = "/image PATH adds a picture to the next message, /new starts anew, /quit ends; \
                    a path to a picture in a message adds that picture";

/// Talk about pictures, or with a published language model.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium chat\n  sensorium chat --model SmolLM2-135M-Instruct.Q4_1.gguf\n  printf '/image scene.png\\nwhat is this?\\n' | sensorium chat"
)]
pub struct Chat {
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    sampling: Sampling,
}

impl Chat {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (model, _) = open::open(global, self.packing.precision)?;
        // A model without a template is told before the first message, not after.
        if !model.chat()?.has_template()? {
            return Err(Error::from(sensorium_pretrained::Error::NoChat).into());
        }
        let mut talk = Talk::new(model.chat()?, self.sampling.options(global));
        listen(|line| talk.hear(line))
    }
}

/// Gives `hear` line after line, until it says false or there are no more.
fn listen(mut hear: impl FnMut(&str) -> Result<bool>) -> Result<()> {
    eprintln!("{HELP}");
    let mut editor = DefaultEditor::new()?;
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                // Only the comfort of the arrow keys is lost if a line is not remembered.
                let _ = editor.add_history_entry(&line);
                if !hear(line.trim())? {
                    return Ok(());
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A conversation so far.
struct Talk<'m> {
    model: &'m dyn ChatModel,
    options: GenerateOptions,
    decoder: MediaDecoder,
    messages: Vec<Message>,
    /// Those of `messages`, in order.
    media: Vec<Media>,
    /// Those of the next message.
    pending: Vec<Media>,
}

impl<'m> Talk<'m> {
    fn new(model: &'m dyn ChatModel, options: GenerateOptions) -> Self {
        let decoder = open::decoder();
        Self { model, options, decoder, messages: vec![], media: vec![], pending: vec![] }
    }

    /// Takes one line; false ends the conversation. What is wrong with a line is said and leaves the
    /// conversation as it was.
    fn hear(&mut self, line: &str) -> Result<bool> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => eprintln!("{HELP}"),
            "/new" => {
                (self.messages, self.media, self.pending) = (vec![], vec![], vec![]);
                eprintln!("a new conversation");
            }
            "/image" => self.add(rest.trim()),
            _ if word.starts_with('/') && !is_picture(word) => print::error(&format!(
                "expected a command, got {word:?}\nhint: /image PATH, /new, /help or /quit"
            )),
            _ => self.say(line)?,
        }
        Ok(true)
    }

    fn add(&mut self, path: &str) {
        match self.decoder.picture(Path::new(path)) {
            Ok(picture) => {
                eprintln!(
                    "{path}: {} x {} pixels, with your next message",
                    picture.width, picture.height
                );
                self.pending.push(Media::Image(picture));
            }
            Err(error) => print::error(&error.to_string()),
        }
    }

    /// One message and its answer. A message that fails is taken back whole.
    fn say(&mut self, line: &str) -> Result<()> {
        let (before, pictures) = (self.messages.len(), self.media.len());
        match self.turn(line) {
            Ok(()) => Ok(()),
            Err(error) if print::is_closed(&error) => Err(error),
            Err(error) => {
                self.messages.truncate(before);
                self.media.truncate(pictures);
                match open::is_full(&error) && before > 0 {
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

    fn turn(&mut self, line: &str) -> Result<()> {
        let (text, paths) = take_pictures(line);
        let mut given = std::mem::take(&mut self.pending);
        given.extend(open::media(&paths, &self.decoder)?);
        let parts = parse_markers(&text, &vec![Modality::Image; given.len()])?;
        self.messages.push(Message { role: Role::User, parts });
        self.media.extend(given);
        let reply = open::say(self.model, &self.messages, &self.media, &self.options)?;
        self.messages.push(Message::text(Role::Assistant, reply.continuation.text.trim()));
        Ok(())
    }
}

/// The text without the paths of pictures in it, and those paths.
fn take_pictures(line: &str) -> (String, Vec<String>) {
    let (paths, words): (Vec<&str>, Vec<&str>) =
        line.split_whitespace().partition(|word| is_picture(word));
    (words.join(" "), paths.into_iter().map(str::to_owned).collect())
}

fn is_picture(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| word.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_out_of_prompts() {
        let (text, paths) = take_pictures("what is  in a/b.PNG and c.jpeg?");
        assert_eq!((text.as_str(), paths), ("what is in and c.jpeg?", vec!["a/b.PNG".to_owned()]));
    }
}
