//! A decoded picture, and the only door from foreign bytes to pixels.
//!
//! ```text
//! bytes ──magic──▶ kind ──header──▶ w x h ──limits──▶ decoder ──orient, white──▶ RGB8
//! ```

use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

use crate::header::{self, Fault, Kind};
use crate::jpeg;
use crate::orientation::orientation;
use crate::resample::{self, Filter, Window};
use crate::{Error, Result, write};

/// Largest file or upload, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Largest picture, in pixels.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Most bytes a decoder may produce, whatever its pixel format.
pub const MAX_DECODED_BYTES: u64 = 256 << 20;

/// An RGB picture. `pixels.len() == width * height * 3`; both edges are at
/// least 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// RGB8, row-major from the top left, `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A picture from `height * width * 3` bytes.
    ///
    /// # Errors
    /// [`Error::Pixels`] if the length does not fit or an edge is 0.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Picture> {
        let expected = (u64::from(width) * u64::from(height)).saturating_mul(3);
        let got = pixels.len() as u64;
        if expected == 0 || expected != got {
            return Err(Error::Pixels { width, height, expected, got });
        }
        Ok(Picture { width, height, pixels })
    }

    /// A picture of one colour. An edge of 0 becomes 1.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Picture {
        let (width, height) = (width.max(1), height.max(1));
        let pixels = colour.repeat(width as usize * height as usize);
        Picture { width, height, pixels }
    }

    /// Decodes PNG, JPEG, GIF, WebP or BMP by content, upright (EXIF or XMP) and
    /// with transparency on white. Of an animation, the first frame. What lies
    /// behind the picture's own end, as a film, is left alone. `source` names
    /// the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, truncated, damaged or too large input; sizes are
    /// checked before anything of that size is allocated.
    pub fn decode(bytes: &[u8], source: &str) -> Result<Picture> {
        let (kind, (width, height)) = check(bytes, source)?;
        let mut image = match kind {
            Kind::Jpeg => jpeg::decode(bytes)
                .map(|pixels| RgbImage::from_raw(width, height, pixels).unwrap_or_default().into())
                .map_err(|fault| refused(fault, kind, bytes.len(), source))?,
            Kind::Png => {
                let (chunks, whole) = chunks(bytes, &[]);
                match decode_limited(kind, &chunks, source) {
                    Err(Error::Damaged { .. }) if !whole => {
                        return Err(truncated(kind, bytes.len(), source));
                    }
                    result => result?,
                }
            }
            Kind::Bmp => {
                decode_limited(kind, &plain_bmp(bytes), source).map(without_empty_alpha)?
            }
            Kind::Gif | Kind::WebP => decode_limited(kind, bytes, source)?,
        };
        image.apply_orientation(orientation(kind, bytes));
        Picture::new(image.width(), image.height(), on_white(image))
    }

    /// Reads and decodes a file, by its content whatever its extension.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Unreadable`], and those of
    /// [`Picture::decode`].
    pub fn read(path: &Path) -> Result<Picture> {
        Picture::decode(&read(path)?, &path.display().to_string())
    }

    /// The picture as a PNG file.
    pub fn to_png(&self) -> Vec<u8> {
        write::still(self, &[]).expect("pixels fit the size and memory takes every write")
    }

    /// Scales to `width` x `height` with Pillow's antialiased bicubic, bit for
    /// bit. An edge of 0 becomes 1.
    pub fn resize(&self, width: u32, height: u32) -> Picture {
        self.resize_by(Filter::Bicubic, width, height)
    }

    /// As [`resize`](Self::resize), by another of Pillow's filters.
    pub fn resize_by(&self, filter: Filter, width: u32, height: u32) -> Picture {
        let (x, y) = (Window::whole(width.max(1)), Window::whole(height.max(1)));
        self.resize_window(filter, x, y)
    }

    /// A stretch of the scaled picture; equal to scaling all of it and cropping.
    pub(crate) fn resize_window(&self, filter: Filter, x: Window, y: Window) -> Picture {
        let size = (self.width, self.height);
        let pixels = resample::resample(filter, &self.pixels, size, x, y);
        Picture { width: x.len, height: y.len, pixels }
    }

    /// The middle `width` x `height`; black where the picture is smaller
    /// (torchvision's `center_crop`). An edge of 0 becomes 1.
    pub fn centre_crop(&self, width: u32, height: u32) -> Picture {
        let (width, height) = (width.max(1), height.max(1));
        if width > self.width || height > self.height {
            let (w, h) = (width.max(self.width), height.max(self.height));
            return self
                .placed(w, h, (w - self.width) / 2, (h - self.height) / 2, [0; 3])
                .centre_crop(width, height);
        }
        let left = crop_start(self.width, width) as usize;
        let top = crop_start(self.height, height) as usize;
        let rows = self.pixels.chunks_exact(self.width as usize * 3);
        let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
        for row in rows.skip(top).take(height as usize) {
            pixels.extend_from_slice(&row[left * 3..(left + width as usize) * 3]);
        }
        Picture { width, height, pixels }
    }

    /// Scales so that the shorter edge is `n` and the longer keeps the ratio,
    /// rounded down as torchvision does; the longer edge ends where the result
    /// would exceed [`MAX_PIXELS`].
    pub fn shortest_edge(&self, n: u32) -> Picture {
        let (width, height) = self.shortest_edge_size(n);
        let longest = (MAX_PIXELS / u64::from(n.max(1))).max(1) as u32;
        self.resize(width.min(longest), height.min(longest))
    }

    /// Size with a shorter edge of `n`, unbounded.
    pub(crate) fn shortest_edge_size(&self, n: u32) -> (u32, u32) {
        let n = u64::from(n.max(1));
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let short = width.min(height);
        let scaled = |edge: u64| u32::try_from(n * edge / short).unwrap_or(u32::MAX);
        (scaled(width), scaled(height))
    }

    /// The picture at (`left`, `top`) of a larger one filled with `fill`.
    pub(crate) fn placed(
        &self,
        width: u32,
        height: u32,
        left: u32,
        top: u32,
        fill: [u8; 3],
    ) -> Picture {
        let mut out = Picture::filled(width, height, fill);
        let row_bytes = self.width as usize * 3;
        let rows = out.pixels.chunks_exact_mut(width as usize * 3).skip(top as usize);
        for (to, from) in rows.zip(self.pixels.chunks_exact(row_bytes)) {
            let left = left as usize * 3;
            to[left..left + row_bytes].copy_from_slice(from);
        }
        out
    }
}

/// First kept pixel of a centre crop: half the excess, halves to even, as
/// Python's `round` in torchvision.
pub(crate) fn crop_start(full: u32, kept: u32) -> u32 {
    let excess = full - kept;
    let half = excess / 2;
    if excess % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

/// A picture's file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let origin = path.display().to_string();
    read_limited(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { origin },
        _ => Error::Unreadable { origin, reason: error.to_string() },
    })
}

/// One byte more than the limit is read, so that [`check`] can refuse it.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    // A pipe or a device would block or never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Everything that can be refused before a decoder sees the bytes. The kind,
/// and the size before orientation.
pub(crate) fn check(bytes: &[u8], source: &str) -> Result<(Kind, (u32, u32))> {
    let origin = || source.to_owned();
    if bytes.is_empty() {
        return Err(Error::Empty { origin: origin(), got: "0 bytes".into() });
    }
    within(bytes.len() as u64, MAX_FILE_BYTES, "bytes", source)?;
    let Some(kind) = Kind::sniff(bytes) else {
        return Err(match header::unsupported(bytes) {
            Some((what, hint)) => {
                Error::Unsupported { origin: origin(), what: what.into(), hint: hint.into() }
            }
            None => Error::NotAPicture { origin: origin(), found: header::describe(bytes) },
        });
    };
    let size = kind.dimensions(bytes).map_err(|fault| refused(fault, kind, bytes.len(), source))?;
    check_size(size, source)?;
    // A decoder allocates what a chunk announces before it reads it.
    if kind == Kind::WebP && header::webp_chunks(bytes).any(|chunk| !chunk.whole) {
        return Err(truncated(kind, bytes.len(), source));
    }
    Ok((kind, size))
}

fn refused(fault: Fault, kind: Kind, bytes: usize, source: &str) -> Error {
    let origin = source.to_owned();
    match fault {
        Fault::Truncated => truncated(kind, bytes, source),
        Fault::Damaged(reason) => {
            Error::Damaged { origin, kind: kind.name().into(), reason: reason.into() }
        }
        Fault::Unsupported(what) => {
            let hint = "open and save it again with an image editor".into();
            Error::Unsupported { origin, what: what.into(), hint }
        }
    }
}

fn check_size((width, height): (u32, u32), source: &str) -> Result<()> {
    if width == 0 || height == 0 {
        let got = format!("{width}x{height} pixels");
        return Err(Error::Empty { origin: source.into(), got });
    }
    within(u64::from(width) * u64::from(height), MAX_PIXELS, "pixels", source)
}

pub(crate) fn within(got: u64, limit: u64, what: &str, source: &str) -> Result<()> {
    if got > limit {
        return Err(Error::TooLarge { origin: source.into(), what: what.into(), limit, got });
    }
    Ok(())
}

pub(crate) fn truncated(kind: Kind, bytes: usize, source: &str) -> Error {
    Error::Truncated { origin: source.into(), kind: kind.name().into(), bytes }
}

/// Only the chunks of a PNG that pixels need, and whether its end is there; if
/// not, one is made, as all pixels may be there. Compressed text and colour
/// profiles can unpack to a thousand times their size, and an animation's later
/// frames are not read, but for chunks that are asked for, `more`.
pub(crate) fn chunks(bytes: &[u8], more: &[&[u8; 4]]) -> (Vec<u8>, bool) {
    const SIGNATURE: usize = 8;
    let mut kept = bytes[..SIGNATURE].to_vec();
    let mut whole = false;
    for chunk in header::png_chunks(bytes) {
        let asked = || more.iter().any(|name| chunk.name == *name);
        if matches!(chunk.name, b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT") || asked() {
            kept.extend((chunk.content.len() as u32).to_be_bytes());
            kept.extend(chunk.name);
            kept.extend(chunk.content);
            kept.extend(chunk.checksum.unwrap_or_else(|| checksum(chunk.name, chunk.content)));
        } else if chunk.name == b"IEND" {
            whole = true;
            break;
        }
    }
    kept.extend([0; 4]);
    kept.extend(b"IEND");
    kept.extend(checksum(b"IEND", &[]));
    (kept, whole)
}

fn checksum(name: &[u8], content: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(content);
    crc.sum().to_be_bytes()
}

/// A BMP with Windows' header, which is the first 40 of the 64 bytes of OS/2's,
/// and with what fills up the last row to 4 bytes, where that is left out.
fn plain_bmp(bytes: &[u8]) -> Vec<u8> {
    const SURPLUS: std::ops::Range<usize> = 54..78;
    let mut plain = bytes.to_vec();
    if header::u32_le(bytes, 14) == Some(64) && bytes.len() >= SURPLUS.end {
        let pixels = header::u32_le(bytes, 10).unwrap_or(0).saturating_sub(SURPLUS.len() as u32);
        plain[10..14].copy_from_slice(&pixels.to_le_bytes());
        plain[14..18].copy_from_slice(&40_u32.to_le_bytes());
        plain.drain(SURPLUS);
    }
    plain.resize(plain.len() + header::bmp_filling(&plain), 0);
    plain
}

/// Programs that know no transparency leave zeros where others have it.
fn without_empty_alpha(image: DynamicImage) -> DynamicImage {
    match image.as_rgba8() {
        Some(rgba) if rgba.pixels().all(|pixel| pixel.0[3] == 0) => image.into_rgb8().into(),
        _ => image,
    }
}

/// Decodes within the limits.
fn decode_limited(kind: Kind, bytes: &[u8], source: &str) -> Result<DynamicImage> {
    let explain = |error| explain(error, kind, bytes.len(), source);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind.format());
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(explain)?;
    // The decoder may have found another size than the header reader did.
    check_size(decoder.dimensions(), source)?;
    within(decoder.total_bytes(), MAX_DECODED_BYTES, "decoded bytes", source)?;
    DynamicImage::from_decoder(decoder).map_err(explain)
}

/// What a decoder said of so many bytes.
pub(crate) fn explain(error: ImageError, kind: Kind, bytes: usize, source: &str) -> Error {
    if ends_early(&error) {
        return truncated(kind, bytes, source);
    }
    let (origin, kind) = (source.into(), kind.name().into());
    Error::Damaged { origin, kind, reason: error.to_string() }
}

/// Decoders wrap the end of input differently; it is the innermost cause.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        ImageError::IoError(error) => Some(error),
        _ => Some(error),
    };
    while let Some(current) = cause {
        let io = current.downcast_ref::<std::io::Error>();
        let at_end = io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof);
        // GIF's decoder has a type of its own for it.
        if at_end || current.to_string() == "Unexpected End of File" {
            return true;
        }
        cause = current.source();
    }
    false
}

/// RGB bytes; transparency is composited on white.
pub(crate) fn on_white(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let mut pixels = image.into_rgba8().into_raw();
    let count = pixels.len() / 4;
    // In place: a second buffer would double the largest legal picture.
    for i in 0..count {
        let alpha = u32::from(pixels[i * 4 + 3]);
        for c in 0..3 {
            let value = u32::from(pixels[i * 4 + c]);
            pixels[i * 3 + c] = ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    pixels.truncate(count * 3);
    pixels.shrink_to_fit();
    pixels
}
