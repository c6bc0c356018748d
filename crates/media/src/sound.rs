//! A decoded sound, and the only door from foreign bytes to samples.
//!
//! ```text
//! bytes ──magic──▶ kind ──header──▶ rate, channels, length ──limits──▶ decoder ──mean──▶ mono f32
//! ```

mod error;
mod packets;
mod sinc;

use std::io::Read;
use std::path::Path;

use crate::header;

pub use error::SoundError;

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
}

impl Sound {
    /// Decodes WAV, FLAC, MP3, Ogg Vorbis, AAC or MP4 by content; several channels become their
    /// mean. `origin` names the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, truncated, damaged or too long input; sizes are checked before anything of
    /// that size is allocated.
    pub fn decode(bytes: &[u8], origin: &str) -> Result<Sound> {
        let source = Source { bytes, origin };
        source.check_length()?;
        let kind = Kind::sniff(bytes).ok_or_else(|| source.foreign())?;
        let sound = packets::decode(&source, kind)?;
        if sound.samples.is_empty() {
            return Err(SoundError::Empty { origin: origin.into(), got: "0 samples".into() });
        }
        match sound.samples.iter().position(|sample| !sample.is_finite()) {
            Some(at) => Err(SoundError::NotFinite { origin: origin.into(), at }),
            None => Ok(sound),
        }
    }

    /// Reads and decodes a file, by its content whatever its extension.
    ///
    /// # Errors
    /// [`SoundError::Missing`], [`SoundError::Unreadable`], and those of [`Sound::decode`].
    pub fn read(path: &Path) -> Result<Sound> {
        let origin = path.display().to_string();
        let bytes = read_limited(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SoundError::Missing { origin: origin.clone() },
            _ => SoundError::Unreadable { origin: origin.clone(), reason: error.to_string() },
        })?;
        Sound::decode(&bytes, &origin)
    }

    /// The same sound at another rate, by a windowed sinc; what the new rate cannot hold is removed.
    /// A rate of 0 becomes 1.
    pub fn at_rate(self, rate: u32) -> Sound {
        let rate = rate.max(1);
        if rate == self.rate {
            return self;
        }
        Sound { rate, samples: sinc::resample(&self.samples, self.rate, rate) }
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

/// Formats this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wav,
    Flac,
    Mp3,
    Ogg,
    Aac,
    Mp4,
}

impl Kind {
    /// Kind by magic bytes; names and declared types are only advice.
    fn sniff(bytes: &[u8]) -> Option<Kind> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Kind::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Kind::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Kind::Ogg),
            [b'I', b'D', b'3', ..] => Some(Kind::Mp3),
            // Twelve bits of ones, then the layer: 0 is AAC's, the others are MPEG audio's.
            [0xFF, second, ..] if second & 0xF6 == 0xF0 => Some(Kind::Aac),
            [0xFF, second, ..] if second & 0xE0 == 0xE0 && second & 0x06 != 0 => Some(Kind::Mp3),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Kind::Mp4),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Wav => "WAV",
            Kind::Flac => "FLAC",
            Kind::Mp3 => "MP3",
            Kind::Ogg => "Ogg",
            Kind::Aac => "AAC",
            Kind::Mp4 => "MP4",
        }
    }
}

/// An input and its name, which every error carries.
struct Source<'a> {
    bytes: &'a [u8],
    origin: &'a str,
}

impl Source<'_> {
    fn check_length(&self) -> Result<()> {
        let got = self.bytes.len() as u64;
        if got == 0 {
            return Err(SoundError::Empty { origin: self.origin.into(), got: "0 bytes".into() });
        }
        self.at_most("bytes", MAX_FILE_BYTES, got)
    }

    /// That rate and channels are such as sounds have.
    fn check_spec(&self, rate: u32, channels: usize) -> Result<()> {
        let wrong = |what, limit: u64, got: u64| {
            Err(SoundError::Spec { origin: self.origin.into(), what, limit, got })
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

    fn at_most(&self, what: &'static str, limit: u64, got: u64) -> Result<()> {
        if got <= limit {
            return Ok(());
        }
        Err(SoundError::TooLong { origin: self.origin.into(), what, limit, got })
    }

    fn damaged(&self, kind: Kind, reason: impl ToString) -> SoundError {
        let (origin, kind, reason) = (self.origin.into(), kind.name(), reason.to_string());
        SoundError::Damaged { origin, kind, reason }
    }

    fn truncated(&self, kind: Kind, expected: u64, got: u64) -> SoundError {
        SoundError::Truncated { origin: self.origin.into(), kind: kind.name(), expected, got }
    }

    fn foreign(&self) -> SoundError {
        let found = match header::Kind::sniff(self.bytes) {
            Some(picture) => format!("a {} picture", picture.name()),
            None => header::describe(self.bytes),
        };
        SoundError::NotASound { origin: self.origin.into(), found }
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

/// One byte more than the limit is read, so that the decoder's door can refuse it.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    // A pipe or a device would block or never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
