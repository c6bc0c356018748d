//! What a file is, and where in it the sound begins and ends.

use std::io::{Error, Read, Result, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Formats this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wav,
    Aiff,
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
            [b'c', b'a', b'f', b'f', ..] => Some(Kind::Caf),
            [b'f', b'L', b'a', b'C', ..] => Some(Kind::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Kind::Ogg),
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(Kind::Matroska),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Kind::Mp4),
            _ => MpegHeader::read(bytes).map(|header| header.kind),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Wav => "WAV",
            Kind::Aiff => "AIFF",
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
/// Most tags and the like in front of a sound.
const MAX_PREFIXES: usize = 1024;
/// Longest description of a WAV's samples.
const MAX_FORMAT: u64 = 1 << 10;
/// Most chunks of a WAV before its samples.
const MAX_CHUNKS: usize = 4096;

/// A file's sound, as its decoder is to see it.
pub(super) struct Found<R> {
    pub(super) kind: Kind,
    pub(super) excerpt: Excerpt<R>,
    /// Samples of a channel that a WAV announces and does not hold.
    pub(super) missing: u64,
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
    let (kind, skipped) = match Kind::sniff(&head) {
        Some(kind) => (kind, 0),
        None => match first_frame(&head) {
            Some((at, kind)) => (kind, at as u64),
            None => return Ok(Err(Foreign(head))),
        },
    };
    start += skipped;
    let excerpt = |source, head, start, end| {
        // What a Matroska's index says lies behind the sound is missing where the file was cut.
        let seekable = kind != Kind::Matroska;
        Excerpt { head, source, start, end, at: 0, seekable }
    };
    if kind == Kind::Wav
        && let Some(wav) = Wav::read(&mut source, start, length)?
    {
        let excerpt = excerpt(source, wav.header, wav.start, wav.end);
        return Ok(Ok(Found { kind, excerpt, missing: wav.missing }));
    }
    Ok(Ok(Found { kind, excerpt: excerpt(source, Vec::new(), start, length), missing: 0 }))
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
        [0, ..] => {
            let zeros = head.iter().take_while(|&&byte| byte == 0).count();
            // An MP4 begins with its first box's length, and that with zeros.
            let mp4 = head.get(zeros + 1..zeros + 5) == Some(b"ftyp");
            zeros.saturating_sub(if mp4 { 3 } else { 0 }) as u64
        }
        _ => 0,
    }
}

fn read_at(source: &mut (impl Read + Seek), at: u64, most: usize) -> Result<Vec<u8>> {
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

/// A WAV's samples: the length of the whole file adds nothing, and programs that stream or die leave
/// both it and the length of the data wrong.
struct Wav {
    /// To be put in front of the samples: their description, and that their length is unknown.
    header: Vec<u8>,
    start: u64,
    end: u64,
    /// Samples of a channel that were announced and are not there.
    missing: u64,
}

impl Wav {
    /// None without samples or without their description.
    fn read(source: &mut (impl Read + Seek), start: u64, length: u64) -> Result<Option<Wav>> {
        let (mut at, mut format, mut long) = (start + 12, None, None);
        for _ in 0..MAX_CHUNKS {
            let head = read_at(source, at, 8)?;
            let Some((name, size)) = chunk(&head) else { return Ok(None) };
            let (body, size) = (at + 8, u64::from(size));
            match name {
                b"fmt " => format = Some(read_at(source, body, size.min(MAX_FORMAT) as usize)?),
                // RF64: the lengths that need more than 32 bits; that of the data is the second.
                b"ds64" => {
                    let sizes = read_at(source, body, 16)?;
                    let size = sizes.get(8..16).and_then(|bytes| bytes.try_into().ok());
                    long = size.map(u64::from_le_bytes);
                }
                b"data" => {
                    let Some(format) = format else { return Ok(None) };
                    let there = length.saturating_sub(body);
                    let size = long.filter(|_| size == u64::from(u32::MAX)).unwrap_or(size);
                    let unknown = match size {
                        0 => !is_last_chunk(source, body, length)?,
                        size => size > there && is_placeholder(size),
                    };
                    let size = if unknown { there } else { size };
                    let end = body + size.min(there);
                    let block = format.get(12..14).map_or(1, |b| u16::from_le_bytes([b[0], b[1]]));
                    let missing = size.saturating_sub(there) / u64::from(block.max(1));
                    return Ok(Some(Wav { header: header(format), start: body, end, missing }));
                }
                _ => {}
            }
            at = body.saturating_add(size).saturating_add(size & 1);
        }
        Ok(None)
    }
}

/// Whether programs write this for a length that they do not know yet.
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0x7FFF_0000..=0x8000_FFFF | 0xFFFF_0000..=0xFFFF_FFFF | u64::MAX)
}

fn chunk(head: &[u8]) -> Option<(&[u8], u32)> {
    let size = head.get(4..8)?.try_into().ok()?;
    Some((&head[..4], u32::from_le_bytes(size)))
}

/// Whether a chunk that fills the rest of the file begins at `at`.
fn is_last_chunk(source: &mut (impl Read + Seek), at: u64, length: u64) -> Result<bool> {
    let head = read_at(source, at, 8)?;
    Ok(chunk(&head).is_some_and(|(name, size)| {
        let named = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        named && (length..length + 2).contains(&(at + 8 + u64::from(size)).next_multiple_of(2))
    }))
}

/// A header for samples of unknown length.
fn header(mut format: Vec<u8>) -> Vec<u8> {
    match format.get(..2) {
        // PCM and floats need no more, whatever follows.
        Some([1 | 3, 0]) => format.truncate(16),
        // A-law and mu-law say that nothing follows.
        Some([6 | 7, 0]) => format.resize(18, 0),
        Some([0xFE, 0xFF]) => format.truncate(40),
        _ => {}
    }
    if let Some([6 | 7, 0]) = format.get(..2) {
        format[16..18].fill(0);
    }
    let size = (format.len() as u32).to_le_bytes();
    [b"RIFF\xff\xff\xff\xffWAVEfmt ", &size[..], &format, b"data\xff\xff\xff\xff"].concat()
}

/// Some bytes, and behind them a part of a source.
pub(super) struct Excerpt<R> {
    head: Vec<u8>,
    source: R,
    start: u64,
    end: u64,
    at: u64,
    seekable: bool,
}

impl<R> Excerpt<R> {
    fn length(&self) -> u64 {
        self.head.len() as u64 + self.end.saturating_sub(self.start)
    }
}

impl<R: Read + Seek> Read for Excerpt<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let head = self.head.len() as u64;
        let read = if self.at < head {
            (&self.head[self.at as usize..]).read(buffer)?
        } else {
            let place = self.start + (self.at - head);
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
