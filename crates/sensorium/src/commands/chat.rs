//! `chat`: a conversation, in a terminal or through a pipe: about pictures, or with a published language
//! model.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use sensorium_media::{Message, Picture, Role, parse_markers};
use sensorium_model::nano::{AskOptions, Nano, NanoError};

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::commands::talk;
use crate::{nano, print};

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
        let options = self.sampling.options(global);
        if talk::is_published(&global.model) {
            let mut talk = talk::Talk::open(&global.model, self.packing.precision, options)?;
            return listen(talk::HELP, |line| talk.hear(line));
        }
        let (nano, _) = nano::open(&global.model, self.packing.precision)?;
        let mut talk = Talk::new(nano, options);
        listen(HELP, |line| talk.hear(line))
    }
}

/// Gives `hear` line after line, until it says false or there are no more.
fn listen(help: &str, mut hear: impl FnMut(&str) -> Result<bool>) -> Result<()> {
    eprintln!("{help}");
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
struct Talk {
    nano: Nano,
    options: AskOptions,
    messages: Vec<Message>,
    /// Pictures of `messages`, in order.
    pictures: Vec<Picture>,
    /// Pictures for the next message.
    pending: Vec<Picture>,
}

impl Talk {
    fn new(nano: Nano, options: AskOptions) -> Self {
        Self { nano, options, messages: vec![], pictures: vec![], pending: vec![] }
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
                (self.messages, self.pictures, self.pending) = (vec![], vec![], vec![]);
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
        match Picture::read(Path::new(path)) {
            Ok(picture) => {
                eprintln!(
                    "{path}: {} x {} pixels, with your next message",
                    picture.width, picture.height
                );
                self.pending.push(picture);
            }
            Err(error) => print::error(&error.to_string()),
        }
    }

    /// One message and its answer. A message that fails is taken back whole.
    fn say(&mut self, line: &str) -> Result<()> {
        let (before, pictures) = (self.messages.len(), self.pictures.len());
        match self.turn(line) {
            Ok(()) => print::line(""),
            Err(error) if print::is_closed(&error) => Err(error),
            Err(error) => {
                self.messages.truncate(before);
                self.pictures.truncate(pictures);
                let full = error.downcast_ref::<NanoError>().is_some_and(is_full);
                match full && before > 0 {
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
        given.extend(nano::pictures(&paths)?);
        let parts = parse_markers(&text, given.len())?;
        self.messages.push(Message { role: Role::User, parts });
        self.pictures.extend(given);
        let (mut written, mut failed) = (0, None);
        let answer = self.nano.answer(&self.messages, &self.pictures, self.options, |so_far| {
            if let Err(error) = print::piece(fresh(so_far, &mut written)) {
                failed.get_or_insert(error);
            }
        })?;
        self.messages.push(Message::text(Role::Assistant, answer.text));
        failed.map_or(Ok(()), Err)
    }
}

fn is_full(error: &NanoError) -> bool {
    matches!(error, NanoError::TooLong { .. })
}

/// What of the answer so far was not written yet; an answer starts without a space.
fn fresh<'a>(so_far: &'a str, written: &mut usize) -> &'a str {
    let fresh = print::fresh(so_far, written);
    if *written == fresh.len() { fresh.trim_start() } else { fresh }
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

    #[test]
    fn answers_start_without_a_space() {
        let mut written = 0;
        assert_eq!(fresh(" a", &mut written), "a");
        assert_eq!(fresh(" a b", &mut written), " b");
    }
}
