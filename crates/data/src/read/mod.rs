//! Users' data sets: one file for each format, which lists what a data set holds. Pictures are read
//! when their example is.

pub mod captions;
pub mod files;
pub mod folder;
pub mod interleaved;
pub mod llava_json;
pub mod messages;
pub mod parquet;
pub mod table;
pub mod texts;
pub mod vqa;
pub mod webdataset;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sensorium_media::parquet::Table;
use sensorium_media::picture::MAX_FILE_BYTES;
use sensorium_media::video::MAX_SAMPLED;
use sensorium_media::{MediaDecoder, Message, Part, Picture, Role, Sampling, mel};

use crate::drawn::scene::Split;
use crate::{At, Dataset, Error, Example, Media, OpenOptions, Outline, Result, Spoken};
use sensorium_kernels::rng::{Rng, hash};

/// An entry of a data set, or what is wrong with it.
pub type Entry = std::result::Result<Record, String>;

/// An entry that can be read as far as its text is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where its pictures are, in the order of the messages' parts that stand for them.
    pub pictures: Vec<Source>,
    /// A caption.
    pub text: Option<String>,
    /// A conversation.
    pub messages: Vec<Message>,
    /// Who speaks, and what.
    pub spoken: Option<Spoken>,
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file below the data set's folder; by its ending it may be a sound or a film, too.
    File(String),
    /// `len` bytes from byte `at` of a shard.
    Shard {
        /// Of the picture.
        name: String,
        /// The shard's file.
        shard: Arc<Path>,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// A cell of a Parquet file; where it holds none, a file below the data set's folder.
    Cell {
        /// Of the picture.
        name: String,
        /// Its file.
        table: Arc<Table>,
        /// Its column, and what of it holds the bytes.
        column: Arc<[String]>,
        /// Row of the file, and which of the row's pictures.
        at: [usize; 2],
        /// The file that the row names.
        file: Option<String>,
    },
    /// In base64, within JSON of `len` bytes from byte `at` of a file.
    Base64 {
        /// Of the picture.
        name: String,
        /// The file.
        file: Arc<Path>,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Which of the pictures there.
        nth: usize,
    },
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::File(name)
            | Self::Shard { name, .. }
            | Self::Cell { name, .. }
            | Self::Base64 { name, .. } => name,
        }
    }
}

impl Record {
    /// A file with its caption.
    fn captioned(file: impl Into<String>, text: &str) -> Self {
        Self::with(vec![Source::File(file.into())], text)
    }

    /// Pictures with their caption, or a text without.
    fn with(pictures: Vec<Source>, text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::untold(pictures) }
    }

    /// Media of which nothing is said.
    fn untold(media: Vec<Source>) -> Self {
        Self { pictures: media, text: None, messages: Vec::new(), spoken: None }
    }

    /// What stays the same when other entries come and go, and is the same for all about one picture.
    fn key(&self) -> String {
        let words = || self.messages.iter().map(Message::words).collect();
        let picture = self.pictures.first().map(|source| source.name().to_owned());
        picture.or_else(|| self.text.clone()).unwrap_or_else(words)
    }
}

/// A user's data set.
#[derive(Debug)]
pub(crate) struct Records {
    name: String,
    folder: PathBuf,
    entries: Vec<Entry>,
    decoder: MediaDecoder,
    /// Of videos, which frames are taken.
    sampling: Option<Sampling>,
    /// What a conversation asks for a text.
    request: Option<String>,
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
        Ok(Self { name, folder, entries, decoder, sampling: None, request: None })
    }

    /// With files that are videos, of each so many frames; without a number they stay pictures.
    pub(crate) fn watched(self, frames: Option<usize>) -> Result<Self> {
        match frames {
            Some(n) if !(1..=MAX_SAMPLED).contains(&n) => {
                Err(Error::Config { key: "frames", expected: "1 to 64", got: n.to_string() })
            }
            frames => Ok(Self { sampling: frames.map(Sampling::Frames), ..self }),
        }
    }

    /// With texts that are answers to a request; without one they stay captions.
    pub(crate) fn asked(self, request: Option<String>) -> Self {
        Self { request, ..self }
    }

    /// The conversation in which what is told of media is asked for.
    fn conversation(&self, media: &[Media], text: &str) -> Vec<Message> {
        let Some(request) = &self.request else { return Vec::new() };
        let mut parts: Vec<Part> = media.iter().map(|one| Part::Media(one.modality())).collect();
        parts.push(Part::Text(request.clone()));
        vec![Message { role: Role::User, parts }, Message::text(Role::Assistant, text)]
    }

    fn bad(&self, index: u64, reason: String) -> Error {
        Error::Example { dataset: self.name.clone(), index, reason }
    }

    fn record(&self, index: u64) -> std::result::Result<&Record, String> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        let record = entry.ok_or_else(|| format!("there are {}", self.entries.len()))?.as_ref();
        record.map_err(String::clone)
    }

    fn read(&self, index: u64) -> std::result::Result<Example, String> {
        let record = self.record(index)?;
        let Record { pictures, text, mut messages, spoken } = record.clone();
        let group = hash(text.as_ref().unwrap_or(&record.key()));
        let media = pictures.iter().map(|source| self.media(source));
        let media = media.collect::<std::result::Result<Vec<_>, _>>()?.concat();
        if let Some(text) = &text {
            messages.extend(self.conversation(&media, text));
        }
        Ok(Example { media, text, messages, group, spoken, ..Example::default() })
    }

    /// A picture, a sound, or a film: a picture of its middle, and what is heard of it.
    fn media(&self, source: &Source) -> std::result::Result<Vec<Media>, String> {
        match (source, self.sampling) {
            (Source::File(name), Some(sampling)) => {
                let video = self.decoder.video(&self.within(name)?, sampling);
                Ok(vec![Media::Video(video.map_err(brief)?)])
            }
            (Source::File(name), None) if files::is_sound(name) => Ok(vec![self.sound(name)?]),
            (Source::File(name), None) if files::is_film(name) => {
                // The first, the middle and the last one.
                let film = self.decoder.video(&self.within(name)?, Sampling::Frames(3));
                let film = film.map_err(brief)?;
                let picture = film.pictures().nth(film.frames.len() / 2).cloned();
                let picture = picture.ok_or_else(|| format!("{name}: no picture"))?;
                Ok(vec![Media::Image(picture), self.sound(name)?])
            }
            (source, _) => Ok(vec![Media::Image(self.picture(source)?)]),
        }
    }

    /// All of a sound, at the rate that models hear.
    fn sound(&self, name: &str) -> std::result::Result<Media, String> {
        let sound = self.decoder.whole_sound(&self.within(name)?, mel::RATE);
        Ok(Media::Audio(sound.map_err(brief)?))
    }

    fn picture(&self, source: &Source) -> std::result::Result<Picture, String> {
        match source {
            Source::File(name) => self.decoder.picture(&self.within(name)?).map_err(brief),
            Source::Shard { name, shard, at, len } => {
                let bytes = part(shard, *at, *len).map_err(|error| format!("{name}: {error}"))?;
                self.decoder.picture_bytes(&bytes, name).map_err(brief)
            }
            Source::Base64 { name, file, at, len, nth } => {
                let bytes = part(file, *at, *len).map_err(|error| format!("{name}: {error}"))?;
                let bytes =
                    interleaved::embedded(&bytes, *nth).map_err(|e| format!("{name}: {e}"))?;
                self.decoder.picture_bytes(&bytes, name).map_err(brief)
            }
            Source::Cell { name, table, column, at: [row, nth], file } => {
                let column: Vec<&str> = column.iter().map(String::as_str).collect();
                let bytes = match column.is_empty() {
                    true => None,
                    false => {
                        table.bytes(&column, *row, *nth).map_err(|e| format!("{name}: {e}"))?
                    }
                };
                match (bytes, file) {
                    (Some(bytes), _) => self.decoder.picture_bytes(&bytes, name).map_err(brief),
                    (None, Some(file)) => self.picture(&Source::File(file.clone())),
                    (None, None) => Err(format!("{name}: no picture")),
                }
            }
        }
    }

    /// The path of a file below the folder. Names come from data sets of anyone's making: they lead
    /// nowhere else.
    fn within(&self, name: &str) -> std::result::Result<PathBuf, String> {
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        match Path::new(name).components().all(inside) {
            true => Ok(self.folder.join(name)),
            false => Err(format!("expected a picture below {}, got {name}", self.folder.display())),
        }
    }
}

/// The first line of an error.
fn brief(error: impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Dataset for Records {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> Option<u64> {
        Some(self.entries.len() as u64)
    }

    fn example(&self, at: At) -> Result<Example> {
        self.read(at.index).map_err(|reason| self.bad(at.index, reason))
    }

    fn outline(&self, index: u64) -> Result<Outline> {
        let bad = |reason| self.bad(index, reason);
        let record = self.record(index).map_err(bad)?;
        let file = match record.pictures.first() {
            Some(Source::File(name)) => Some(self.within(name).map_err(bad)?),
            _ => None,
        };
        Ok(Outline { name: record.key(), text: record.text.clone(), file })
    }
}

/// By hash, so that an entry keeps its side when others are added. A bad entry is learned from, or
/// rather found there.
fn is_val(entry: &Entry, val_share: f32) -> bool {
    entry.as_ref().is_ok_and(|record| Rng::at(hash(&record.key()), VAL, 0).chance(val_share))
}

/// `len` bytes of a file, as many as a picture may have.
fn part(path: &Path, at: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    // One more than the limit, which the decoder refuses.
    file.take(len.min(MAX_FILE_BYTES + 1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file's lines that are not empty, with their numbers from 1.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty())
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
