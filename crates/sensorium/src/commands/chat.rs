//! `chat`: a conversation, in a terminal or through a pipe: with any model that answers.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use sensorium_inference::{ChatModel, Error, GenerateOptions, Model};
use sensorium_media::{
    Media, MediaDecoder, Message, Modality, Role, arranged, parse_markers, video, write,
};

use crate::commands::Global;
use crate::commands::answer::{AnswerOptions, Told};
use crate::commands::precision::Packing;
use crate::commands::sampling::Sampling;
use crate::{open, print};

const HELP: &str = "/image, /audio, /video or /table PATH adds a medium to the next message, /new starts \
                    anew, /quit ends; the path of a medium in a message adds it";

/// Talk with a model, about pictures, sounds, videos and tables or without.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium chat\n  sensorium chat --model SmolLM2-135M-Instruct.Q4_1.gguf\n  printf '/image scene.png\\nwhat is this?\\n' | sensorium chat"
)]
pub struct Chat {
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    answer: AnswerOptions,
}

impl Chat {
    pub fn run(&self, global: &Global) -> Result<()> {
        self.answer.check(false)?;
        let (model, _) = open::open(global, self.packing.precision)?;
        // A model without a template is told before the first message, not after.
        if !model.chat()?.has_template()? {
            return Err(Error::from(sensorium_pretrained::Error::NoChat).into());
        }
        let mut options = self.sampling.options(global);
        let modalities = &self.answer.modalities;
        options.modalities = (!modalities.is_empty()).then(|| modalities.clone());
        options.spoken = self.answer.speaks();
        let mut talk = Talk::new((&model, model.chat()?), options, (&self.answer, global));
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
    opened: &'m Model,
    model: &'m dyn ChatModel,
    answer: &'m AnswerOptions,
    global: &'m Global,
    options: GenerateOptions,
    decoder: MediaDecoder,
    messages: Vec<Message>,
    /// Those of `messages`, in order.
    media: Vec<Media>,
    /// Those of the next message.
    pending: Vec<Media>,
    /// Answers that went to files.
    made: usize,
}

impl<'m> Talk<'m> {
    fn new(
        (opened, model): (&'m Model, &'m dyn ChatModel),
        options: GenerateOptions,
        (answer, global): (&'m AnswerOptions, &'m Global),
    ) -> Self {
        Self {
            opened,
            model,
            answer,
            global,
            options,
            decoder: open::decoder(),
            messages: vec![],
            media: vec![],
            pending: vec![],
            made: 0,
        }
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
            "/image" => self.add(Modality::Image, rest.trim()),
            "/audio" => self.add(Modality::Audio, rest.trim()),
            "/video" => self.add(Modality::Video, rest.trim()),
            "/table" => self.add(Modality::Table, rest.trim()),
            _ if word.starts_with('/') && Modality::of_file(word).is_none() => {
                print::error(&format!(
                    "expected a command, got {word:?}\nhint: /image, /audio, /video or /table PATH, /new, /help or /quit"
                ))
            }
            _ => self.say(line)?,
        }
        Ok(true)
    }

    fn add(&mut self, modality: Modality, path: &str) {
        match self.read(modality, path) {
            Ok(medium) => {
                eprintln!("{path}: {}, with your next message", described(&medium));
                self.pending.push(medium);
            }
            Err(error) => print::error(&error.to_string()),
        }
    }

    /// A medium that the model reads.
    fn read(&self, modality: Modality, path: &str) -> Result<Media> {
        let medium = self.decoder.medium(modality, Path::new(path), video::Sampling::default())?;
        self.model.takes(std::slice::from_ref(&medium))?;
        Ok(medium)
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
        let (text, paths) = take_media(line);
        let mut given = std::mem::take(&mut self.pending);
        for (modality, path) in paths {
            given.push(self.read(modality, &path)?);
        }
        let parts = parse_markers(&text, &given.iter().map(Media::modality).collect::<Vec<_>>())?;
        let given = arranged(&parts, given);
        self.messages.push(Message { role: Role::User, parts });
        self.media.extend(given);
        let reply = open::say(self.model, &self.messages, &self.media, &self.options)?;
        let said = reply.continuation.text.trim();
        self.messages.push(Message::text(Role::Assistant, said));
        let out = self.answer.out.as_ref().map(|path| numbered(path, self.made + 1));
        // Words alone are spoken where a sound is to be written, and written nowhere else.
        let is_kept = reply.wanted.is_some()
            || out.as_ref().is_some_and(|path| write::check(path, Modality::Audio).is_ok());
        if is_kept {
            let told = Told {
                model: self.opened,
                prompt: &text,
                out: out.as_deref(),
                global: self.global,
            };
            let (wanted, thoughts) = (reply.wanted.as_ref(), reply.thoughts);
            if self.answer.finished(&told, said, wanted, thoughts)?.is_some() {
                self.made += 1;
            }
            if let Some(path) = out {
                print::line(path.display())?;
            }
        }
        Ok(())
    }
}

/// What a medium is, in a few words.
fn described(medium: &Media) -> String {
    match medium {
        Media::Image(picture) => format!("{} x {} pixels", picture.width, picture.height),
        Media::Video(video) => format!("{} frames of {:.1} s", video.frames.len(), video.duration),
        Media::Audio(sound) => {
            format!("{:.1} s of sound", sound.samples.len() as f64 / f64::from(sound.rate))
        }
        Media::Table(table) => format!("{} rows", table.rows.len()),
    }
}

/// The file of the n-th answer: the first has the name that was given.
fn numbered(path: &Path, n: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    match n {
        1 => path.to_owned(),
        n => path.with_file_name(format!("{stem}-{n}.{ending}")),
    }
}

/// The text without the paths of media in it, and those paths.
fn take_media(line: &str) -> (String, Vec<(Modality, String)>) {
    let (mut words, mut paths) = (Vec::new(), Vec::new());
    for word in line.split_whitespace() {
        match Modality::of_file(word) {
            Some(modality) => paths.push((modality, word.to_owned())),
            None => words.push(word),
        }
    }
    (words.join(" "), paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_out_of_prompts() {
        let (text, paths) = take_media("what is  in a/b.PNG and c.jpeg? or t.csv");
        let expected =
            vec![(Modality::Image, "a/b.PNG".to_owned()), (Modality::Table, "t.csv".to_owned())];
        assert_eq!((text.as_str(), paths), ("what is in and c.jpeg? or", expected));
        assert_eq!(numbered(Path::new("a/b.png"), 1), Path::new("a/b.png"));
        assert_eq!(numbered(Path::new("a/b.png"), 3), Path::new("a/b-3.png"));
    }
}
