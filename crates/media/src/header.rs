//! What a file is and how large its picture claims to be, read from its first
//! bytes without allocating: the check that comes before any decoder.

use image::ImageFormat;

/// Formats this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Jpeg,
    Gif,
    WebP,
    Bmp,
}

/// Why a header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Truncated,
    Damaged(&'static str),
    /// Valid, and of a kind that is not read here.
    Unsupported(&'static str),
}

impl Kind {
    /// Kind by magic bytes; names and declared types are only advice.
    pub(crate) fn sniff(bytes: &[u8]) -> Option<Kind> {
        match bytes {
            [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some(Kind::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Kind::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Kind::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Kind::WebP),
            // Two letters are weak evidence: the known sizes of the second header confirm them.
            [b'B', b'M', ..] => match u32_le(bytes, 14) {
                Some(12 | 40 | 52 | 56 | 64 | 108 | 124) => Some(Kind::Bmp),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Png => "PNG",
            Kind::Jpeg => "JPEG",
            Kind::Gif => "GIF",
            Kind::WebP => "WebP",
            Kind::Bmp => "BMP",
        }
    }

    pub(crate) fn format(self) -> ImageFormat {
        match self {
            Kind::Png => ImageFormat::Png,
            Kind::Jpeg => ImageFormat::Jpeg,
            Kind::Gif => ImageFormat::Gif,
            Kind::WebP => ImageFormat::WebP,
            Kind::Bmp => ImageFormat::Bmp,
        }
    }

    /// Width and height as the header claims them, before orientation.
    pub(crate) fn dimensions(self, bytes: &[u8]) -> Result<(u32, u32), Fault> {
        match self {
            Kind::Png => png(bytes),
            Kind::Jpeg => jpeg(bytes),
            Kind::Gif => pair(u16_le(bytes, 6), u16_le(bytes, 8)),
            Kind::WebP => webp(bytes),
            Kind::Bmp => bmp(bytes),
        }
    }
}

fn png(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    let chunk = bytes.get(12..16).ok_or(Fault::Truncated)?;
    if chunk != b"IHDR" {
        return Err(Fault::Damaged("the first chunk is not IHDR"));
    }
    pair(u32_be(bytes, 16), u32_be(bytes, 20))
}

/// That of the first start-of-frame.
fn jpeg(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    let mut at = 0;
    loop {
        match segment(bytes, &mut at)? {
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, body) => {
                return pair(u16_be(body, 3), u16_be(body, 1));
            }
            (0xD9 | 0xDA, _) => return Err(Fault::Damaged("pixels come before the frame header")),
            _ => {}
        }
    }
}

/// The JPEG segment at `at` or behind it, its marker and its body; `at` goes behind it. Bytes between
/// segments are passed over, as decoders do, and so are pixels and markers within them.
pub(crate) fn segment<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u8, &'a [u8]), Fault> {
    loop {
        let rest = bytes.get(*at..).ok_or(Fault::Truncated)?;
        *at += rest.iter().position(|byte| *byte == 0xFF).ok_or(Fault::Truncated)?;
        match *bytes.get(*at + 1).ok_or(Fault::Truncated)? {
            0xFF => *at += 1,
            0x00 | 0x01 | 0xD0..=0xD8 => *at += 2,
            0xD9 => {
                *at += 2;
                return Ok((0xD9, &[]));
            }
            marker => {
                let length = u16_be(bytes, *at + 2).ok_or(Fault::Truncated)?.max(2);
                let start = *at + 4;
                *at += 2 + usize::from(length);
                return Ok((marker, bytes.get(start..*at).ok_or(Fault::Truncated)?));
            }
        }
    }
}

fn webp(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    match bytes.get(12..16).ok_or(Fault::Truncated)? {
        b"VP8 " => {
            let (w, h) = pair(u16_le(bytes, 26), u16_le(bytes, 28))?;
            Ok((w & 0x3FFF, h & 0x3FFF))
        }
        b"VP8L" => {
            let bits = u32_le(bytes, 21).ok_or(Fault::Truncated)?;
            Ok(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
        }
        b"VP8X" => {
            let (w, h) = pair(u24_le(bytes, 24), u24_le(bytes, 27))?;
            Ok((w + 1, h + 1))
        }
        _ => Err(Fault::Damaged("the first chunk is none of VP8, VP8L, VP8X")),
    }
}

fn bmp(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    if u32_le(bytes, 14) == Some(12) {
        return pair(u16_le(bytes, 18), u16_le(bytes, 20));
    }
    let (w, h) = pair(u32_le(bytes, 18), u32_le(bytes, 22))?;
    // A negative height only means that the rows run from the top.
    Ok((w, (h as i32).unsigned_abs()))
}

/// Bytes that fill up each row of a BMP.
pub(crate) fn bmp_filling(bytes: &[u8]) -> usize {
    let (width, bits) = match u32_le(bytes, 14) {
        Some(12) => (u16_le(bytes, 18).map(u32::from), u16_le(bytes, 24)),
        _ => (u32_le(bytes, 18), u16_le(bytes, 28)),
    };
    let bits = u64::from(width.unwrap_or(0)) * u64::from(bits.unwrap_or(0));
    (bits.div_ceil(8).wrapping_neg() % 4) as usize
}

/// A part of a PNG or a WebP. The last one ends where the file does.
pub(crate) struct Chunk<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) content: &'a [u8],
    /// What stands behind a PNG's content, if all of it is there.
    pub(crate) checksum: Option<[u8; 4]>,
    /// Whether the content is all there.
    pub(crate) whole: bool,
}

pub(crate) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let (length, name) = (u32_be(bytes, at)? as usize, bytes.get(at + 4..at + 8)?);
        let (content, whole) = up_to(&bytes[at + 8..], length);
        at = at.saturating_add(12 + length);
        Some(Chunk { name, content, checksum: array(bytes, at - 4), whole })
    })
}

/// A chunk that begins behind the size that the file announces is no part of it.
pub(crate) fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    const FIRST: usize = 12;
    let announced = u32_le(bytes, 4).unwrap_or(0) as usize;
    let end = announced.saturating_add(8).max(FIRST + 1);
    let mut at = FIRST;
    std::iter::from_fn(move || {
        let (name, length) = (bytes.get(at..at + 4)?, u32_le(bytes, at + 4)? as usize);
        let (content, whole) = up_to(&bytes[at + 8..], length);
        if at >= end {
            return None;
        }
        // Chunks start at even offsets.
        at = at.saturating_add(8 + length + length % 2);
        Some(Chunk { name, content, checksum: None, whole })
    })
}

fn up_to(bytes: &[u8], length: usize) -> (&[u8], bool) {
    bytes.get(..length).map_or((bytes, false), |content| (content, true))
}

/// A picture of a kind that is known and not read, and how to make one of it that is: by all the brands
/// that the file names, as the first one may only say that it is some picture.
pub(crate) fn unsupported(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let length = (u32_be(bytes, 0)? as usize).clamp(12, 256);
    let (head, _) = up_to(bytes, length);
    // Behind the first brand stands its version.
    let mut brands: Vec<&[u8]> = head[8..].chunks_exact(4).collect();
    if brands.len() > 1 {
        brands.remove(1);
    }
    let has = |names: &[&[u8; 4]]| names.iter().any(|name| brands.contains(&name.as_slice()));
    if has(&[b"avif", b"avis"]) {
        Some(("an AVIF picture", "convert it, as with `avifdec picture.avif picture.png`"))
    } else if has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"]) {
        Some(("a HEIC picture", "convert it, as with `heif-convert picture.heic picture.jpg`"))
    } else if has(&[b"mif1", b"mif2", b"msf1"]) {
        Some(("a HEIF picture", "convert it, as with `heif-convert picture.heif picture.jpg`"))
    } else {
        None
    }
}

/// What a file that is no picture looks like, for error messages.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let known = match bytes {
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        [b'P', b'K', 3 | 5, ..] => "a ZIP archive",
        [0x1F, 0x8B, ..] => "a gzip archive",
        [0x7F, b'E', b'L', b'F', ..] => "a program",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "a WAV sound",
        [b'f', b'L', b'a', b'C', ..] => "a FLAC sound",
        [b'O', b'g', b'g', b'S', ..] => "an Ogg sound or video",
        [b'I', b'D', b'3', ..] | [0xFF, 0xFB | 0xF3 | 0xF2, ..] => "an MP3 sound",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF picture",
        [0, 0, 1, 0, ..] => "an icon file",
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "a JPEG XL picture",
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => "a JPEG 2000 picture",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4 video",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "a Matroska or WebM video",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF model",
        [b'#', b'!', b'A', b'M', b'R', ..] => "an AMR sound",
        [0x30, 0x26, 0xB2, 0x75, ..] => "a WMA sound or a WMV video",
        [0x0B, 0x77, ..] => "an AC-3 sound",
        [0x7F, 0xFE, 0x80, 0x01, ..] => "a DTS sound",
        [b'w', b'v', b'p', b'k', ..] => "a WavPack sound",
        [b'T', b'T', b'A', b'1', ..] => "a TTA sound",
        [b'M', b'A', b'C', b' ', ..] => "a Monkey's Audio sound",
        [b'M', b'P', b'C', b'K', ..] | [b'M', b'P', b'+', ..] => "a Musepack sound",
        [b'D', b'S', b'D', b' ', ..] | [b'F', b'R', b'M', b'8', ..] => "a DSD sound",
        [b'd', b'n', b's', b'.', ..] => "a sound of DEC's, lowest bytes first",
        [b'N', b'I', b'S', b'T', b'_', ..] => "a NIST SPHERE sound",
        [b'r', b'i', b'f', b'f', 0x2E, 0x91, ..] => "a Wave64 sound",
        [b'M', b'T', b'h', b'd', ..] => "MIDI notes",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => "an AVI video",
        [b'F', b'L', b'V', ..] => "a Flash video",
        [0, 0, 1, 0xBA, ..] => "an MPEG video",
        _ => return describe_text(bytes),
    };
    known.into()
}

fn describe_text(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(512)];
    if head.iter().all(|byte| *byte == 0) {
        return format!("{} zero bytes", bytes.len());
    }
    // A character may be cut at the end of the head.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() + 4 > head.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    };
    let binary = text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace());
    if binary {
        return format!("{} bytes of unknown binary data", bytes.len());
    }
    let lower = text.to_ascii_lowercase();
    let name = match lower.trim_start_matches('\u{feff}').trim_start() {
        svg if svg.contains("<svg") => "an SVG drawing",
        html if html.starts_with("<!doctype html") || html.starts_with("<html") => "an HTML page",
        xml if xml.starts_with("<?xml") => "an XML document",
        pointer if pointer.starts_with("version https://git-lfs") => "a Git LFS pointer",
        json if json.starts_with(['{', '[']) => "JSON text",
        _ => "text",
    };
    name.into()
}

fn pair<T: Into<u32>>(width: Option<T>, height: Option<T>) -> Result<(u32, u32), Fault> {
    match (width, height) {
        (Some(width), Some(height)) => Ok((width.into(), height.into())),
        _ => Err(Fault::Truncated),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(crate) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(crate) fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
}

pub(crate) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}
