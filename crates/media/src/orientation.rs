//! Which side of a picture is up, wherever programs write it: EXIF, XMP and ImageMagick's profiles.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;
use image::metadata::Orientation;

use crate::header::{self, Kind};

/// Most of a compressed text that is read, in bytes. The tag stands near the front.
const MAX_TEXT: u64 = 256 << 10;
/// Most such texts of a PNG that are read.
const MAX_NOTES: usize = 16;
const TAG: u16 = 0x0112;

/// How to turn the picture upright. EXIF counts before XMP, as in Pillow; broken metadata counts for
/// nothing.
pub(crate) fn orientation(kind: Kind, bytes: &[u8]) -> Orientation {
    let notes = match kind {
        Kind::Jpeg => jpeg_notes(bytes),
        Kind::Png => png_notes(bytes),
        Kind::WebP => webp_notes(bytes),
        Kind::Gif | Kind::Bmp => Vec::new(),
    };
    let number = notes.iter().find_map(|note| exif(note));
    let number = number.or_else(|| notes.iter().find_map(|note| xmp(note)));
    number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// What may hold EXIF or XMP.
type Notes<'a> = Vec<Cow<'a, [u8]>>;

/// The APP1 segments before the pixels.
fn jpeg_notes(bytes: &[u8]) -> Notes<'_> {
    let mut at = 0;
    let mut notes = Vec::new();
    while let Ok((marker, body)) = header::segment(bytes, &mut at) {
        match marker {
            0xE1 => notes.push(body.into()),
            0xD9 | 0xDA => break,
            _ => {}
        }
    }
    notes
}

fn webp_notes(bytes: &[u8]) -> Notes<'_> {
    let chunks = header::webp_chunks(bytes).filter(|chunk| matches!(chunk.name, b"EXIF" | b"XMP "));
    chunks.map(|chunk| chunk.content.into()).collect()
}

/// EXIF of its own chunk goes before that of older forms.
fn png_notes(bytes: &[u8]) -> Notes<'_> {
    let chunks = || header::png_chunks(bytes);
    let exif = chunks().filter(|chunk| chunk.name == b"eXIf").map(|chunk| chunk.content.into());
    let texts = chunks().filter_map(|chunk| png_text(chunk.name, chunk.content));
    exif.chain(texts).take(MAX_NOTES).collect()
}

/// The text of a chunk whose keyword matters.
fn png_text<'a>(name: &[u8], content: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    if !matches!(name, b"tEXt" | b"zTXt" | b"iTXt") {
        return None;
    }
    let (keyword, rest) = split_at_zero(content)?;
    let is_profile = keyword.starts_with(b"Raw profile type ");
    if !is_profile && keyword != b"XML:com.adobe.xmp" {
        return None;
    }
    let (compressed, text) = match name {
        b"tEXt" => (false, rest),
        b"zTXt" => (true, rest.get(1..)?),
        // Flag, method, language, the keyword in that language.
        _ => (*rest.first()? != 0, split_at_zero(split_at_zero(rest.get(2..)?)?.1)?.1),
    };
    let text = if compressed { inflated(text).into() } else { Cow::Borrowed(text) };
    Some(if is_profile { unhexed(&text).into() } else { text })
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// As much of it as can be read.
fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = ZlibDecoder::new(bytes).take(MAX_TEXT).read_to_end(&mut text);
    text
}

/// ImageMagick's form: an empty line, the name, the length, then hexadecimal digits in lines.
fn unhexed(text: &[u8]) -> Vec<u8> {
    let digits = text.split(|byte| *byte == b'\n').skip(3).flatten();
    let digits: Vec<u8> = digits
        .filter_map(|digit| char::from(*digit).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The tag in the first directory of EXIF, with its prefix or without.
fn exif(mut note: &[u8]) -> Option<u8> {
    while let [b'E', b'x', b'i', b'f', 0, _, rest @ ..] = note {
        note = rest;
    }
    let big = match note {
        [b'I', b'I', 42, 0, ..] => false,
        [b'M', b'M', 0, 42, ..] => true,
        _ => return None,
    };
    let u16 = |at| if big { header::u16_be(note, at) } else { header::u16_le(note, at) };
    let u32 = |at| if big { header::u32_be(note, at) } else { header::u32_le(note, at) };
    let directory = u32(4)? as usize;
    let entries = (0..usize::from(u16(directory)?)).map(|entry| directory + 2 + 12 * entry);
    let at = entries.take_while(|at| *at < note.len()).find(|at| u16(*at) == Some(TAG))?;
    let number = match u16(at + 2)? {
        1 | 6 => u32::from(*note.get(at + 8)?),
        3 | 8 => u32::from(u16(at + 8)?),
        4 | 9 => u32(at + 8)?,
        _ => return None,
    };
    u8::try_from(number).ok()
}

/// The value of an attribute or an element `tiff:Orientation`.
fn xmp(note: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let starts = (0..note.len()).filter(|at| note[*at..].starts_with(NAME));
    let mut values = starts.map(|at| note[at + NAME.len()..].trim_ascii_start());
    values.find_map(|rest| {
        let value = match rest {
            [b'>', value @ ..] => value,
            [b'=', rest @ ..] => match rest.trim_ascii_start() {
                [b'"' | b'\'', value @ ..] => value,
                _ => return None,
            },
            _ => return None,
        };
        let digit = value.trim_ascii_start().first()?;
        digit.is_ascii_digit().then(|| digit - b'0')
    })
}
