//! A decoded sound, and the only door from foreign bytes to samples.
//!
//! ```text
//! bytes ──magic──▶ kind ──header──▶ rate, channels, length ──limits──▶ decoder ──mean──▶ mono f32
//! ```

mod chunks;
mod container;
mod error;
mod opus;
mod packets;
mod reader;
mod sinc;

use std::fs::File;
use std::io::ErrorKind::UnexpectedEof;
use std::io::{Cursor, Read};
use std::path::Path;

use symphonia::core::errors::Error;

use crate::header;
use container::Kind;
use packets::Packets;
use reader::AtRate;

pub use error::SoundError;
pub use reader::SoundReader;

/// Largest file or upload, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Longest sound, in seconds: two hours.
pub const MAX_SECONDS: u64 = 7_200;
/// Most samples of one channel, whatever the rate: 70 minutes at 48 kHz, 805 MB.
pub const MAX_SAMPLES: u64 = 192 << 20;
/// Highest rate, in samples a second.
pub const MAX_RATE: u32 = 384_000;
/// Most channels.
pub const MAX_CHANNELS: usize = 8;

type Result<T> = std::result::Result<T, SoundError>;

/// One channel of samples; at least one sample, all of them finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second, 1 to [`MAX_RATE`].
    pub rate: u32,
    /// Full scale is -1 to 1.
    pub samples: Vec<f32>,
    /// That the input was cut, if it was.
    pub warning: Option<String>,
}

impl Sound {
    /// Decodes WAV, AIFF, CAF, FLAC, MP3, AAC, and Vorbis, Opus, ALAC and the like in Ogg, MP4, WebM
    /// and Matroska, by content; several channels become their mean. Of what was cut, what is there
    /// is given with a warning. `origin` names the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, damaged or too long input; samples are counted as they are decoded, whatever
    /// a header announces.
    pub fn decode(bytes: &[u8], origin: &str) -> Result<Sound> {
        let source = Source { origin: origin.into() };
        let length = bytes.len() as u64;
        source.at_most("bytes", MAX_FILE_BYTES, length)?;
        let mut packets = Packets::open(source, Cursor::new(bytes), length)?;
        let mut sound = Sound { rate: 0, samples: Vec::new(), warning: None };
        let mut at_rate = None;
        while let Some(block) = packets.next()? {
            // Files that were put together may change their rate: the first one stays.
            let at_rate = at_rate.get_or_insert_with(|| AtRate::new(block.rate));
            at_rate.push(&block, &mut sound.samples);
            sound.rate = at_rate.rate;
            packets.source.check_samples(sound.samples.len() as u64, sound.rate)?;
        }
        if let Some(at_rate) = &mut at_rate {
            at_rate.finish(&mut sound.samples);
        }
        sound.warning = packets.warning();
        Ok(sound)
    }

    /// Reads and decodes a file, by its content whatever its extension.
    ///
    /// # Errors
    /// [`SoundError::Missing`], [`SoundError::Unreadable`], and those of [`Sound::decode`].
    pub fn read(path: &Path) -> Result<Sound> {
        let source = Source { origin: path.display().to_string() };
        let mut bytes = Vec::new();
        // One byte more than the limit is read, so that the decoder's door can refuse it.
        let mut file = source.open(path)?.take(MAX_FILE_BYTES + 1);
        file.read_to_end(&mut bytes).map_err(|error| source.unreadable(&error))?;
        Sound::decode(&bytes, &source.origin)
    }

    /// The same sound at another rate, by a windowed sinc; what the new rate cannot hold is removed.
    /// A rate of 0 becomes 1.
    pub fn at_rate(self, rate: u32) -> Sound {
        let rate = rate.max(1);
        if rate == self.rate {
            return self;
        }
        Sound { rate, samples: sinc::resample(&self.samples, self.rate, rate), ..self }
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

/// The name of an input, which every error carries.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) origin: String,
}

impl Source {
    /// Of the file at `path`, and that file.
    pub(crate) fn open(&self, path: &Path) -> Result<File> {
        // A pipe or a device would block or never end.
        let file = std::fs::metadata(path).and_then(|found| match found.is_file() {
            true => File::open(path),
            false => Err(std::io::Error::other("not a regular file")),
        });
        file.map_err(|error| self.unreadable(&error))
    }

    /// That rate and channels are such as sounds have.
    fn check_spec(&self, rate: u32, channels: usize) -> Result<()> {
        let wrong = |what, limit: u64, got: u64| {
            Err(SoundError::Spec {
                origin: self.origin.clone(),
                what: String::from(what),
                limit,
                got,
            })
        };
        if !(1..=MAX_RATE).contains(&rate) {
            return wrong("samples a second", MAX_RATE.into(), rate.into());
        }
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return wrong("channels", MAX_CHANNELS as u64, channels as u64);
        }
        Ok(())
    }

    /// That so many samples of a channel may be decoded.
    fn check_samples(&self, samples: u64, rate: u32) -> Result<()> {
        self.at_most("seconds", MAX_SECONDS, samples.div_ceil(u64::from(rate).max(1)))?;
        self.at_most("samples", MAX_SAMPLES, samples)
    }

    fn at_most(&self, what: &str, limit: u64, got: u64) -> Result<()> {
        if got <= limit {
            return Ok(());
        }
        Err(SoundError::TooLong { origin: self.origin.clone(), what: what.into(), limit, got })
    }

    fn damaged(&self, kind: Kind, reason: impl ToString) -> SoundError {
        let (origin, kind, reason) = (self.origin.clone(), kind.name().into(), reason.to_string());
        SoundError::Damaged { origin, kind, reason }
    }

    fn failed(&self, kind: Kind) -> SoundError {
        self.damaged(kind, "the decoder failed on it")
    }

    fn unsupported(&self, kind: Kind, found: &str) -> SoundError {
        let (origin, kind) = (self.origin.clone(), kind.name().into());
        SoundError::Unsupported { origin, kind, found: format!("what is not supported: {found}") }
    }

    fn unreadable(&self, error: &std::io::Error) -> SoundError {
        let origin = self.origin.clone();
        match error.kind() {
            std::io::ErrorKind::NotFound => SoundError::Missing { origin },
            _ => SoundError::Unreadable { origin, reason: error.to_string() },
        }
    }

    fn empty(&self, got: &str) -> SoundError {
        SoundError::Empty { origin: self.origin.clone(), got: got.into() }
    }

    fn explain(&self, kind: Kind, error: Error) -> SoundError {
        match error {
            Error::Unsupported("isomp4: missing moov atom") => self.unfinished(kind),
            Error::IoError(error) if kind == Kind::Mp4 && error.kind() == UnexpectedEof => {
                self.unfinished(kind)
            }
            Error::Unsupported(_) if matches!(kind, Kind::Mp3 | Kind::Aac) => {
                self.damaged(kind, "it holds no frames that can be decoded")
            }
            Error::Unsupported(found) => self.unsupported(kind, found),
            error => self.damaged(kind, error),
        }
    }

    fn unfinished(&self, kind: Kind) -> SoundError {
        self.damaged(kind, "its index is missing, which is written last: it is not all there")
    }

    /// Of an input of `length` bytes; `head` is what follows zeros and tags.
    fn foreign(&self, head: &[u8], length: u64) -> SoundError {
        let found = match header::Kind::sniff(head) {
            _ if length == 0 => return self.empty("0 bytes"),
            _ if head.is_empty() => "nothing but zeros or tags".to_owned(),
            Some(picture) => format!("a {} picture", picture.name()),
            None => header::describe(head),
        };
        SoundError::NotASound { origin: self.origin.clone(), found }
    }
}

/// The mean of each group of `channels` samples is added to `mono`.
fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    if channels == 1 {
        return mono.extend_from_slice(interleaved);
    }
    let share = 1.0 / channels as f32;
    mono.extend(interleaved.chunks_exact(channels).map(|all| all.iter().sum::<f32>() * share));
}
