//! What a file is, and where in it the sound begins and ends.

use std::io::{Error, Read, Result, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::chunks::{self, Samples};
use crate::header;

/// Formats this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wav,
    Aiff,
    Au,
    Caf,
    Flac,
    Mp3,
    Ogg,
    Aac,
    Mp4,
    Matroska,
}

impl Kind {
    /// Kind by magic bytes; names and declared types are only advice.
    fn sniff(bytes: &[u8]) -> Option<Kind> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Kind::Wav),
            [b'R' | b'B', b'F' | b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
                Some(Kind::Wav)
            }
            [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => {
                Some(Kind::Aiff)
            }
            [b'.', b's', b'n', b'd', ..] => Some(Kind::Au),
            [b'c', b'a', b'f', b'f', ..] => Some(Kind::Caf),
            [b'f', b'L', b'a', b'C', ..] => Some(Kind::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Kind::Ogg),
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(Kind::Matroska),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
                // HEIC and AVIF have the same boxes.
                (!header::describe(bytes).ends_with("picture")).then_some(Kind::Mp4)
            }
            _ => MpegHeader::read(bytes).map(|header| header.kind),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Wav => "WAV",
            Kind::Aiff => "AIFF",
            Kind::Au => "AU",
            Kind::Caf => "CAF",
            Kind::Flac => "FLAC",
            Kind::Mp3 => "MP3",
            Kind::Ogg => "Ogg",
            Kind::Aac => "AAC",
            Kind::Mp4 => "MP4",
            Kind::Matroska => "Matroska or WebM",
        }
    }
}

/// What is read at a place to tell what is there, and searched for the first frame of an MP3.
const HEAD: usize = 64 << 10;
/// Most bytes behind the file's end that are believed to have been there.
const MAX_BEYOND: u64 = 1 << 40;
/// Most tags and the like in front of a sound.
const MAX_PREFIXES: usize = 1024;

/// A file's sound, as its decoder is to see it.
pub(super) struct Found<R> {
    pub(super) kind: Kind,
    pub(super) excerpt: Excerpt<R>,
    /// Bytes of samples that are there, and that are announced, if they are counted.
    pub(super) bytes: Option<[u64; 2]>,
    /// Whether the sound's end can be told from the file's.
    pub(super) closed: bool,
}

/// Bytes that are no sound, as far as anybody can tell.
pub(super) struct Foreign(pub(super) Vec<u8>);

/// Finds the sound in a source of `length` bytes.
pub(super) fn find<R: Read + Seek>(
    mut source: R,
    length: u64,
) -> Result<std::result::Result<Found<R>, Foreign>> {
    let mut start = 0;
    for _ in 0..MAX_PREFIXES {
        match prefix(&read_at(&mut source, start, HEAD)?) {
            0 => break,
            n => start = (start + n).min(length),
        }
    }
    let head = read_at(&mut source, start, HEAD)?;
    let searched = || first_frame(&head).filter(|_| header::Kind::sniff(&head).is_none());
    let found = Kind::sniff(&head).map(|kind| (0, kind)).or_else(searched);
    let Some((skipped, kind)) = found else { return Ok(Err(Foreign(head))) };
    start += skipped as u64;
    let samples = match kind {
        Kind::Wav => chunks::wav(&mut source, start, length)?,
        Kind::Aiff => chunks::aiff(&mut source, start, length)?,
        Kind::Au => chunks::au(&mut source, start, length)?,
        Kind::Caf => chunks::caf(&mut source, start, length)?,
        _ => None,
    };
    let bytes = samples.as_ref().map(|samples| [samples.end - samples.start, samples.announced]);
    let announced = match kind {
        Kind::Mp4 => chunks::mp4_end(&mut source, start, length)?,
        Kind::Matroska => chunks::matroska_end(&mut source, start)?,
        // Its decoder waits for the next frame's beginning behind the last, and finds none in tags.
        Kind::Flac => Some(before_tags(&mut source, start, length)?),
        _ => Some(length),
    };
    let (header, start, end) = match samples {
        Some(Samples { header, start, end, .. }) => (header, start, end),
        None => (Vec::new(), start, length),
    };
    let closed = announced.is_some() && bytes.is_none();
    let end = announced.map_or(end, |announced| announced.min(end));
    // Readers refuse what says that it goes on behind the file's end.
    let beyond = announced.map_or(0, |end| end.saturating_sub(length).min(MAX_BEYOND));
    // What a Matroska's index says lies behind the sound is missing where the file was cut.
    let seekable = kind != Kind::Matroska;
    let excerpt = Excerpt { header, source, start, end, beyond, at: 0, seekable };
    Ok(Ok(Found { kind, excerpt, bytes, closed }))
}

/// Bytes in front of a sound that are none of it: tags, the zeros of a failed download, the header
/// of a server's answer.
fn prefix(head: &[u8]) -> u64 {
    match head {
        // Tags may hold pictures of any size. Their length is seven bits a byte.
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let length = [a, b, c, d].iter().fold(0, |n, &&byte| n << 7 | u64::from(byte & 0x7F));
            10 + length + if flags & 0x10 == 0 { 0 } else { 10 }
        }
        [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', _, _, _, _, a, b, c, d, ..] => {
            32 + u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        [b'H', b'T', b'T', b'P', b'/', ..] | [b'I', b'C', b'Y', b' ', ..] => {
            let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            end.map_or(0, |end| end as u64 + 4)
        }
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => 0,
        [0, ..] => {
            let zeros = head.iter().take_while(|&&byte| byte == 0).count();
            // An MP4 begins with its first box's length, and that with zeros.
            let mp4 = head.get(zeros + 1..zeros + 5) == Some(b"ftyp");
            zeros.saturating_sub(if mp4 { 3 } else { 0 }) as u64
        }
        _ => 0,
    }
}

/// Where tags begin that stand behind a sound: ID3v1's 128 bytes, APE's before its last 32.
fn before_tags(source: &mut (impl Read + Seek), start: u64, mut end: u64) -> Result<u64> {
    for _ in 0..MAX_PREFIXES {
        let tail = |n: u64| start.max(end.saturating_sub(n));
        let (id3, ape) = (read_at(source, tail(128), 3)?, read_at(source, tail(32), 24)?);
        let length = match (&id3[..], &ape[..]) {
            (b"TAG", _) => 128,
            (
                _,
                [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', _, _, _, _, a, b, c, d, .., flags],
            ) => {
                let header = if flags & 0x80 == 0 { 0 } else { 32 };
                header + u64::from(u32::from_le_bytes([*a, *b, *c, *d])).max(32)
            }
            _ => break,
        };
        end = tail(length);
    }
    Ok(end)
}

pub(super) fn read_at(source: &mut (impl Read + Seek), at: u64, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.seek(SeekFrom::Start(at))?;
    source.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where a frame begins behind which others follow, and of what: of a file that was cut in front, or
/// that has something unknown there.
fn first_frame(head: &[u8]) -> Option<(usize, Kind)> {
    /// Two frames in a row happen by chance.
    const FRAMES: usize = 3;
    let follow = |mut at: usize| {
        let first = MpegHeader::read(&head[at..])?;
        for _ in 1..FRAMES {
            at += MpegHeader::read(&head[at..])?.length?;
            let next = MpegHeader::read(head.get(at..)?)?;
            if next.kind != first.kind || next.rate != first.rate {
                return None;
            }
        }
        Some(first.kind)
    };
    (1..head.len()).find_map(|at| follow(at).map(|kind| (at, kind)))
}

/// The first bytes of a frame of MPEG audio (ISO 11172-3, 13818-3) or of AAC in ADTS (13818-7).
struct MpegHeader {
    kind: Kind,
    /// Version and rate, as they are written.
    rate: [u8; 2],
    /// Of the frame, in bytes, where it is told.
    length: Option<usize>,
}

impl MpegHeader {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth, ..] = bytes else { return None };
        // Twelve bits of ones, then the layer: 0 is AAC's, the others are MPEG audio's.
        if second & 0xF6 == 0xF0 {
            let fifth = bytes.get(4..6).map(|b| usize::from(b[0]) << 3 | usize::from(b[1]) >> 5);
            let length = fifth.map(|low| usize::from(fourth & 3) << 11 | low);
            let rate = [second & 0x08, third & 0x3C];
            let length = length.filter(|&length| length > 7);
            return Some(Self { kind: Kind::Aac, rate, length });
        }
        if second & 0xE0 != 0xE0 || second & 0x06 == 0 || second & 0x18 == 0x08 {
            return None;
        }
        let rate = [second & 0x18, third & 0x0C];
        Some(Self { kind: Kind::Mp3, rate, length: mpeg_length(second, third) })
    }
}

/// Bytes of a frame of layer 3, the only one that is common.
fn mpeg_length(second: u8, third: u8) -> Option<usize> {
    const RATES: [usize; 3] = [44_100, 48_000, 32_000];
    const FIRST: [usize; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const SECOND: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let version = second >> 3 & 3;
    let rate = RATES.get(usize::from(third >> 2 & 3))? >> [2, 0, 1, 0][usize::from(version)];
    let (table, samples) = if version == 3 { (FIRST, 144) } else { (SECOND, 72) };
    let bits = *table.get(usize::from(third >> 4)).filter(|&&bits| bits > 0)?;
    let layer_3 = second & 0x06 == 0x02;
    layer_3.then(|| samples * bits * 1000 / rate + usize::from(third >> 1 & 1))
}

/// Some bytes, and behind them a part of a source.
pub(super) struct Excerpt<R> {
    header: Vec<u8>,
    source: R,
    start: u64,
    end: u64,
    /// Bytes that are announced behind the end.
    beyond: u64,
    at: u64,
    seekable: bool,
}

impl<R> Excerpt<R> {
    fn length(&self) -> u64 {
        (self.header.len() as u64 + self.end.saturating_sub(self.start)).saturating_add(self.beyond)
    }
}

impl<R: Read + Seek> Read for Excerpt<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let header = self.header.len() as u64;
        let read = if self.at < header {
            (&self.header[self.at as usize..]).read(buffer)?
        } else {
            let place = self.start.saturating_add(self.at - header);
            self.source.seek(SeekFrom::Start(place))?;
            let left = self.end.saturating_sub(place).min(buffer.len() as u64);
            self.source.read(&mut buffer[..left as usize])?
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for Excerpt<R> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| Error::other("a place before the beginning"))?;
        Ok(self.at)
    }
}

impl<R: Read + Seek + Send + Sync> MediaSource for Excerpt<R> {
    fn is_seekable(&self) -> bool {
        self.seekable
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length())
    }
}
