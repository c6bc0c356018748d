//! GIF, APNG and animated WebP. How many frames there are and how long each stays is read from the
//! file's blocks; pixels come from the decoders, which lay each frame over those before it.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frames, ImageDecoder, ImageResult, Limits};

use super::{Frame, Sampling, Times, Video, chosen, within};
use crate::header::{self, Kind};
use crate::picture::{self, MAX_DECODED_BYTES, Picture};
use crate::{Error, Result};

/// How long a frame stays that says nothing of it, or less than 20 ms, as browsers have it.
const LENGTH: f64 = 0.1;

pub(super) fn decode(kind: Kind, bytes: &[u8], source: &str, sampling: Sampling) -> Result<Video> {
    let lengths = match kind {
        Kind::Gif => gif(bytes),
        Kind::Png => png(bytes),
        _ => webp(bytes),
    };
    if lengths.len() < 2 && kind != Kind::Gif {
        let frames = vec![Frame { picture: Picture::decode(bytes, source)?, seconds: 0.0 }];
        return Ok(Video { frames, duration: 0.0 });
    }
    let times = Times::of(lengths.into_iter().map(|s| if s < 0.02 { LENGTH } else { s }));
    let chosen = chosen(&times, sampling, source)?;
    let (kept, _) = match kind {
        Kind::Png => picture::chunks(bytes, &[b"acTL", b"fcTL", b"fdAT"]),
        _ => (bytes.to_vec(), true),
    };
    let explain = |error| picture::explain(error, kind, bytes.len(), source);
    let mut decoded = frames(kind, &kept).map_err(explain)?;
    let mut frames = Vec::with_capacity(chosen.len());
    let mut next = 0;
    for &at in &chosen {
        // Those between are decoded: what follows lies over them.
        let frame = decoded.nth(at - next).ok_or_else(|| early(kind, bytes, source))?;
        next = at + 1;
        let image = frame.map_err(explain)?.into_buffer();
        within(chosen.len(), [image.width(), image.height()], source)?;
        let (width, height) = (image.width(), image.height());
        let picture = Picture::new(width, height, picture::on_white(image.into()))?;
        frames.push(Frame { picture, seconds: times.begin[at] });
    }
    Ok(Video { frames, duration: times.end })
}

fn early(kind: Kind, bytes: &[u8], source: &str) -> Error {
    picture::truncated(kind, bytes.len(), source)
}

fn frames(kind: Kind, bytes: &[u8]) -> ImageResult<Frames<'_>> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let bytes = Cursor::new(bytes);
    Ok(match kind {
        Kind::Gif => {
            let mut decoder = GifDecoder::new(bytes)?;
            decoder.set_limits(limits)?;
            decoder.into_frames()
        }
        Kind::Png => PngDecoder::with_limits(bytes, limits)?.apng()?.into_frames(),
        _ => {
            let mut decoder = WebPDecoder::new(bytes)?;
            decoder.set_limits(limits)?;
            decoder.into_frames()
        }
    })
}

/// Seconds of each frame: of each picture, by the control block before it, in hundredths.
fn gif(bytes: &[u8]) -> Vec<f64> {
    let table = |packed: u8| if packed & 0x80 == 0 { 0 } else { 6 << (packed & 7) };
    let blocks = |mut at: usize| loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length => at += 1 + length,
        }
    };
    let (mut lengths, mut length) = (Vec::new(), 0.0);
    let mut at = 13 + bytes.get(10).map_or(0, |&packed| table(packed));
    // A file that ends early has the frames that it has.
    while let Some(kind) = bytes.get(at) {
        let next = match kind {
            0x21 => {
                if bytes.get(at + 1) == Some(&0xF9) {
                    let hundredths = header::u16_le(bytes, at + 4).unwrap_or_default();
                    length = f64::from(hundredths) / 100.0;
                }
                blocks(at + 2)
            }
            0x2C => {
                lengths.push(std::mem::take(&mut length));
                let colours = bytes.get(at + 9).map_or(0, |&packed| table(packed));
                blocks(at + 11 + colours)
            }
            _ => None,
        };
        let Some(next) = next else { break };
        at = next;
    }
    lengths
}

/// By each frame's control chunk: a fraction of a second.
fn png(bytes: &[u8]) -> Vec<f64> {
    let controls = header::png_chunks(bytes).filter(|chunk| chunk.name == b"fcTL");
    let length = |content: &[u8]| {
        let [over, under] = [20, 22].map(|at| header::u16_be(content, at).unwrap_or_default());
        f64::from(over) / if under == 0 { 100.0 } else { f64::from(under) }
    };
    controls.map(|chunk| length(chunk.content)).collect()
}

/// By each frame's chunk, in thousandths.
fn webp(bytes: &[u8]) -> Vec<f64> {
    let frames = header::webp_chunks(bytes).filter(|chunk| chunk.name == b"ANMF");
    let length = |content: &[u8]| f64::from(header::u24_le(content, 12).unwrap_or_default()) / 1e3;
    frames.map(|chunk| length(chunk.content)).collect()
}
