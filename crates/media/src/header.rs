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

/// Walks the segments to the first start-of-frame.
fn jpeg(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    let mut at = 2;
    loop {
        if *bytes.get(at).ok_or(Fault::Truncated)? != 0xFF {
            // Bytes between segments: the next marker is searched for, as decoders do.
            at += 1;
            continue;
        }
        let marker = *bytes.get(at + 1).ok_or(Fault::Truncated)?;
        match marker {
            0xFF => at += 1,
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return pair(u16_be(bytes, at + 7), u16_be(bytes, at + 5));
            }
            0xD9 | 0xDA => return Err(Fault::Damaged("pixels come before the frame header")),
            _ => at += 2 + u16_be(bytes, at + 2).ok_or(Fault::Truncated)?.max(2) as usize,
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

/// Whether the file holds all that it announces, where a decoder would not
/// notice in time.
pub(crate) fn is_whole(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Jpeg => jpeg_has_end(bytes),
        Kind::WebP => webp_chunks_fit(bytes),
        Kind::Png | Kind::Gif | Kind::Bmp => true,
    }
}

/// A decoder fills the rest of a cut JPEG with grey and reports success.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    // Thumbnails in metadata bring their own end marker, so count from the last scan.
    let scan = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]);
    let end = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xD9]);
    matches!((scan, end), (Some(scan), Some(end)) if scan < end)
}

/// A decoder allocates what a chunk announces before it reads it.
fn webp_chunks_fit(bytes: &[u8]) -> bool {
    let mut at = 12;
    while let Some(length) = u32_le(bytes, at + 4) {
        at = at.saturating_add(8 + length as usize);
        if at > bytes.len() {
            return false;
        }
        // Chunks start at even offsets.
        at += length as usize % 2;
    }
    true
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
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => "an AVIF picture",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..] => "a HEIC picture",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4 video",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "a Matroska or WebM video",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF model",
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

fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}
