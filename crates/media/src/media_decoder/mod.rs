//! Media that strangers made, decoded where a decoder's fault does no harm: in children of the program.
//!
//! ```text
//!   parent                                    child: the same program, under Limits
//!   MediaDecoder ──── Job, an argument ────▶  run()
//!
//!   picture ── Request, the file's bytes ──▶  Picture::decode    a child decodes 256 of these
//!   video   ◀── Seen or Error, the pixels ──  Video::decode      files, one at a time, and waits
//!   table   ◀── Table or Error ─────────────  Table::decode
//!
//!   sound ──── the open file, as stdin ────▶  SoundReader        a child for each sound, which is
//!           ◀── Piece or Error, samples ────                     no further than the parent reads
//! ```
//!
//! A child is given bytes or an open file: it opens none, and cannot, starts no process (which only root
//! could), and does not see the parent's environment. The system limits its memory and processor time;
//! on macOS the memory is not limited, and on Windows there is the parent's clock alone. A child that gives
//! no answer within the clock is killed, and every one that failed is replaced.
//!
//! A program that uses this crate decodes in its own process, unless it offers [`run`] as one of its
//! commands:
//!
//! ```no_run
//! use sensorium_media::{MediaDecoder, media_decoder::{self, Limits}};
//!
//! let words: Vec<String> = std::env::args().collect();
//! if let [_, command, job] = &words[..] && command == "decode" {
//!     return media_decoder::run(job);
//! }
//! let decoder = MediaDecoder::children(std::env::current_exe()?, &["decode"], Limits::default());
//! println!("{} pixels wide", decoder.picture("scene.png".as_ref()).expect("a picture").width);
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
pub(crate) mod ffmpeg;
mod parent;
mod system;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sound::{self, Sound, SoundError, SoundReader};
use crate::video::{Sampling, Video};
use crate::{Media, Modality, Picture, Result, Table, mel, picture, table};
use parent::{ChildSound, Children};

pub use child::run;

/// What a child may take.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes of its address space, the program's own included.
    pub memory: u64,
    /// Seconds of processor time for a picture, a video, a table, or a piece of a sound.
    pub cpu: u64,
    /// How long the parent waits for a picture, a video, a table, or a piece of a sound.
    pub clock: Duration,
}

impl Default for Limits {
    /// Several times what the largest picture takes.
    fn default() -> Self {
        Self { memory: 1 << 30, cpu: 20, clock: Duration::from_secs(60) }
    }
}

/// Why a child gave no answer.
#[derive(Debug, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It took more than [`Limits`] allow.
    #[error(
        "expected {origin} to be decoded within {limit}, got one that takes more\nhint: the file may be damaged, or made to exhaust its readers; open and save it again with an editor"
    )]
    Limit {
        /// Name of the input.
        origin: String,
        /// The limit, as `1024 MiB of memory`.
        limit: String,
    },
    /// It ended, or answered what is no answer.
    #[error(
        "expected {origin} to be decoded by a child process, got {reason}\nhint: the file may be damaged, or made to break its readers; open and save it again with an editor"
    )]
    Crashed {
        /// Name of the input.
        origin: String,
        /// How it ended.
        reason: String,
    },
    /// It could not be started.
    #[error(
        "expected a child process to decode {origin}, got: {reason}\nhint: the system may lack memory or processes, or the program was moved"
    )]
    NotStarted {
        /// Name of the input.
        origin: String,
        /// What the system said.
        reason: String,
    },
}

/// The door through which foreign files become pictures, samples and tables: in this process, or in children.
/// Clones share their children, which end with the last of them.
#[derive(Clone, Debug)]
pub struct MediaDecoder {
    children: Option<Arc<Children>>,
}

impl MediaDecoder {
    /// Decodes in this process, as [`Picture::read`] and [`SoundReader::open`] do.
    pub fn here() -> Self {
        Self { children: None }
    }

    /// Decodes in children: `program` with `args` and one argument more, with which it calls [`run`].
    /// They start when they are needed: as many as there are threads that decode at a time.
    pub fn children(program: impl Into<PathBuf>, args: &[&str], limits: Limits) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { children: Some(Arc::new(Children::new(program.into(), args, limits))) }
    }

    /// The picture in a file.
    ///
    /// # Errors
    /// Those of [`Picture::read`], and [`ChildError`].
    pub fn picture(&self, path: &Path) -> Result<Picture> {
        self.picture_bytes(&picture::read(path)?, &path.display().to_string())
    }

    /// The picture in a file's bytes. `origin` names them in errors.
    ///
    /// # Errors
    /// Those of [`Picture::decode`], and [`ChildError`].
    pub fn picture_bytes(&self, bytes: &[u8], origin: &str) -> Result<Picture> {
        match &self.children {
            None => Picture::decode(bytes, origin),
            Some(children) => children.picture(bytes, origin),
        }
    }

    /// The frames of a video in a file. One of a kind that is not decoded here is handed to the program
    /// `ffmpeg`, where that is on the path.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing), [`Error::Unreadable`](crate::Error::Unreadable), those
    /// of [`Video::decode`], and [`ChildError`].
    pub fn video(&self, path: &Path, sampling: Sampling) -> Result<Video> {
        let (bytes, origin) = (picture::read(path)?, path.display().to_string());
        match (self.video_bytes(&bytes, &origin, sampling), ffmpeg::program()) {
            (Err(error), Some(program)) if ffmpeg::may_help(&error) => {
                let film = ffmpeg::transcode(program, bytes, &origin)?;
                self.video_bytes(&film, &origin, sampling)
            }
            (decoded, _) => decoded,
        }
    }

    fn video_bytes(&self, bytes: &[u8], origin: &str, sampling: Sampling) -> Result<Video> {
        match &self.children {
            None => Video::decode(bytes, origin, sampling),
            Some(children) => children.video(bytes, origin, sampling),
        }
    }

    /// The table in a file.
    ///
    /// # Errors
    /// Those of [`Table::read`], and [`ChildError`].
    pub fn table(&self, path: &Path) -> Result<Table> {
        let (bytes, origin) = (table::read(path)?, path.display().to_string());
        match &self.children {
            None => Table::decode(&bytes, &origin),
            Some(children) => children.table(&bytes, &origin),
        }
    }

    /// The medium of a kind in a file, as models read it: a sound's samples at [`mel::RATE`], the frames of a video that
    /// `frames` takes; of a text, its picture.
    ///
    /// # Errors
    /// Those of [`picture`](Self::picture), [`video`](Self::video), [`whole_sound`](Self::whole_sound) and
    /// [`table`](Self::table).
    pub fn medium(&self, modality: Modality, path: &Path, frames: Sampling) -> Result<Media> {
        Ok(match modality {
            Modality::Image | Modality::Text => Media::Image(self.picture(path)?),
            Modality::Video => Media::Video(self.video(path, frames)?),
            Modality::Audio => Media::Audio(self.whole_sound(path, mel::RATE)?),
            Modality::Table => Media::Table(self.table(path)?),
        })
    }

    /// The sound in a file of any length, in pieces of one channel at `rate` samples a second.
    ///
    /// # Errors
    /// Those of [`SoundReader::open`], some of which the first piece has instead, and [`ChildError`].
    pub fn sound(&self, path: &Path, rate: u32) -> std::result::Result<SoundPieces, SoundError> {
        Ok(SoundPieces(match &self.children {
            None => Pieces::Here(Box::new(SoundReader::open(path, rate)?)),
            Some(children) => {
                let source = sound::Source { origin: path.display().to_string() };
                let file = source.open(path)?;
                Pieces::Child(children.sound(source.origin, file, rate)?)
            }
        }))
    }

    /// All of a sound, at `rate` samples a second.
    ///
    /// # Errors
    /// As [`sound`](Self::sound).
    pub fn whole_sound(&self, path: &Path, rate: u32) -> std::result::Result<Sound, SoundError> {
        let (mut pieces, mut samples) = (self.sound(path, rate)?, Vec::new());
        for piece in &mut pieces {
            samples.extend(piece?);
        }
        Ok(Sound { rate, samples, warning: pieces.warning() })
    }
}

/// A sound that is decoded as it is read: the samples of a [`SoundReader`].
pub struct SoundPieces(Pieces);

enum Pieces {
    Here(Box<SoundReader>),
    Child(ChildSound),
}

impl SoundPieces {
    /// That the file was cut, once it was read to its end.
    pub fn warning(&self) -> Option<String> {
        match &self.0 {
            Pieces::Here(reader) => reader.warning(),
            Pieces::Child(child) => child.warning.clone(),
        }
    }
}

impl Iterator for SoundPieces {
    type Item = std::result::Result<Vec<f32>, SoundError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pieces::Here(reader) => reader.next(),
            Pieces::Child(child) => child.next(),
        }
    }
}
