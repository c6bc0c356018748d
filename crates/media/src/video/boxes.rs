//! What MP4's boxes say of how a film's pictures are shown (ISO/IEC 14496-12).

use image::metadata::Orientation;

use crate::header::{u16_be, u32_be};

/// How a film's pictures are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// As a telephone was held.
    pub(super) orientation: Orientation,
    /// Whether colours are those of ITU-R BT.709; else of BT.601.
    pub(super) bt709: bool,
    /// Whether black is 0 and white 255; else they are 16 and 235.
    pub(super) full: bool,
}

/// As the first track with pictures says; upright, BT.601 and 16 to 235 where nothing is said.
pub(super) fn shown(bytes: &[u8]) -> Shown {
    let unsaid = Shown { orientation: Orientation::NoTransforms, bt709: false, full: false };
    said(bytes, unsaid).unwrap_or(unsaid)
}

fn said(bytes: &[u8], unsaid: Shown) -> Option<Shown> {
    let moov = boxes(bytes).find(|(name, _)| *name == b"moov")?.1;
    let mut tracks = boxes(moov).filter(|(name, _)| *name == b"trak").map(|(_, track)| track);
    let track = tracks.find(|track| {
        let handler = inside(track, &[b"mdia", b"hdlr"]);
        handler.and_then(|handler| handler.get(8..12)) == Some(b"vide")
    })?;
    let orientation = orientation(inside(track, &[b"tkhd"])?).unwrap_or(unsaid.orientation);
    let descriptions = inside(track, &[b"mdia", b"minf", b"stbl", b"stsd"])?;
    // Behind the version and the count stands the first description, whose boxes begin at 78 bytes.
    let description = descriptions.get(8..).and_then(|rest| boxes(rest).next());
    let colours = description.and_then(|(_, entry)| inside(entry.get(78..)?, &[b"colr"]));
    let Some(colours) = colours else { return Some(Shown { orientation, ..unsaid }) };
    let full = colours.starts_with(b"nclx") && colours.get(10).is_some_and(|flag| flag & 0x80 != 0);
    Some(Shown { orientation, bt709: u16_be(colours, 8) == Some(1), full })
}

/// By the upper left of a track header's matrix.
fn orientation(header: &[u8]) -> Option<Orientation> {
    let at = if *header.first()? == 0 { 40 } else { 52 };
    let sign = |n: usize| u32_be(header, at + n * 4).map(|value| (value as i32).signum());
    Some(match [sign(0)?, sign(1)?, sign(3)?, sign(4)?] {
        [0, 1, -1, 0] => Orientation::Rotate90,
        [-1, 0, 0, -1] => Orientation::Rotate180,
        [0, -1, 1, 0] => Orientation::Rotate270,
        _ => Orientation::NoTransforms,
    })
}

fn inside<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, name| {
        boxes(bytes).find(|(found, _)| found == name).map(|(_, content)| content)
    })
}

/// Names and contents of the boxes that follow each other; one that is cut ends where the bytes do.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, mut start) = (bytes.get(4..8)?.first_chunk()?, 8);
        let length = match u32_be(bytes, 0)? {
            0 => bytes.len(),
            1 => {
                start = 16;
                usize::try_from(u64::from_be_bytes(*bytes.get(8..16)?.first_chunk()?)).ok()?
            }
            length => length as usize,
        };
        let length = length.min(bytes.len());
        let content = bytes.get(start..length)?;
        bytes = &bytes[length..];
        Some((name, content))
    })
}
