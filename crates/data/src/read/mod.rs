//! Users' data sets: one file for each format, which lists what a data set holds. Pictures are read
//! when their example is.

pub mod folder;
pub mod llava_json;
pub mod messages;

use std::path::{Component, Path, PathBuf};

use sensorium_media::{MediaDecoder, Message, Picture};

use crate::drawn::scene::Split;
use crate::{At, Dataset, Error, Example, Media, OpenOptions, Result};
use sensorium_kernels::rng::{Rng, hash};

/// An entry of a data set, or what is wrong with it.
pub type Entry = std::result::Result<Record, String>;

/// An entry that can be read as far as its text is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The picture's file, below the data set's folder.
    pub picture: Option<String>,
    /// A caption.
    pub text: Option<String>,
    /// A conversation.
    pub messages: Vec<Message>,
}

impl Record {
    /// What stays the same when other entries come and go, and is the same for all about one picture.
    fn key(&self) -> String {
        let words = || self.messages.iter().map(Message::words).collect();
        self.picture.clone().or_else(|| self.text.clone()).unwrap_or_else(words)
    }
}

/// A user's data set.
#[derive(Debug)]
pub(crate) struct Records {
    name: String,
    folder: PathBuf,
    entries: Vec<Entry>,
    decoder: MediaDecoder,
}

/// The stream of random numbers that set entries apart for measuring.
const VAL: u64 = 0x7A1;

impl Records {
    /// The part of `entries` that `options` ask for; pictures are below `folder`, for `decoder`.
    pub(crate) fn new(
        kind: &str,
        path: &Path,
        folder: &Path,
        mut entries: Vec<Entry>,
        options: &OpenOptions,
        decoder: &MediaDecoder,
    ) -> Result<Self> {
        let all = entries.len();
        if options.val_share > 0.0 {
            entries.retain(|entry| {
                is_val(entry, options.val_share) == (options.split != Split::Train)
            });
        }
        if entries.is_empty() {
            return Err(Error::Format {
                path: path.to_owned(),
                expected: "at least one example",
                got: format!("none of {all} for {:?}", options.split),
                hint: "add some; of a small data set, raise `val_share` or name another as `val`",
            });
        }
        let name = format!("{kind} {}", path.display());
        let (folder, decoder) = (folder.to_owned(), decoder.clone());
        Ok(Self { name, folder, entries, decoder })
    }

    fn read(&self, index: u64) -> std::result::Result<Example, String> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        let record = entry.ok_or_else(|| format!("there are {}", self.entries.len()))?.as_ref();
        let record = record.map_err(String::clone)?;
        let Record { picture, text, messages } = record.clone();
        let group = hash(text.as_ref().unwrap_or(&record.key()));
        let media = picture.map(|name| self.picture(&name)).transpose()?;
        let media = media.into_iter().map(Media::Image).collect();
        Ok(Example { media, text, messages, group, ..Example::default() })
    }

    /// Reads a picture below the folder. Names come from data sets of anyone's making: they lead nowhere
    /// else.
    fn picture(&self, name: &str) -> std::result::Result<Picture, String> {
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(name).components().all(inside) {
            return Err(format!("expected a picture below {}, got {name}", self.folder.display()));
        }
        let brief = |error: sensorium_media::Error| {
            error.to_string().lines().next().unwrap_or_default().to_owned()
        };
        self.decoder.picture(&self.folder.join(name)).map_err(brief)
    }
}

impl Dataset for Records {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        Some(self.entries.len() as u64)
    }

    fn example(&self, at: At) -> Result<Example> {
        let bad = |reason| Error::Example { dataset: self.name.clone(), index: at.index, reason };
        self.read(at.index).map_err(bad)
    }
}

/// By hash, so that an entry keeps its side when others are added. A bad entry is learned from, or
/// rather found there.
fn is_val(entry: &Entry, val_share: f32) -> bool {
    entry.as_ref().is_ok_and(|record| Rng::at(hash(&record.key()), VAL, 0).chance(val_share))
}

/// A file's bytes.
fn bytes(path: &Path, expected: &'static str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Format {
        path: path.to_owned(),
        expected,
        got: source.to_string(),
        hint: "check the path; relative ones start at the working directory",
    })
}
