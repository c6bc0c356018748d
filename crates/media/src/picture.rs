//! A decoded picture, and the only door from foreign bytes to pixels.
//!
//! ```text
//! bytes ──magic──▶ kind ──header──▶ w x h ──limits──▶ decoder ──orient, white──▶ RGB8
//! ```

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits};

use crate::header::{self, Fault, Kind};
use crate::resample::{self, Filter, Window};
use crate::{Error, Result};

/// Largest file or upload, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Largest picture, in pixels.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Longest edge, in pixels.
pub const MAX_EDGE: u32 = 16_384;
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

    /// Decodes PNG, JPEG, GIF, WebP or BMP by content, upright (EXIF) and with
    /// transparency on white. Of an animation, the first frame. `source` names
    /// the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, truncated, damaged or too large input; sizes are
    /// checked before anything of that size is allocated.
    pub fn decode(bytes: &[u8], source: &str) -> Result<Picture> {
        let kind = check(bytes, source)?;
        let bytes = match kind {
            Kind::Png => essential_chunks(bytes),
            _ => Cow::Borrowed(bytes),
        };
        let image = decode_limited(kind, &bytes, source)
            .map_err(|error| explain(error, kind, bytes.len(), source))??;
        let (width, height) = (image.width(), image.height());
        Picture::new(width, height, on_white(image))
    }

    /// Reads and decodes a file, by its content whatever its extension.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Unreadable`], and those of
    /// [`Picture::decode`].
    pub fn read(path: &Path) -> Result<Picture> {
        let source = path.display().to_string();
        let bytes = read_limited(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing { origin: source.clone() },
            _ => Error::Unreadable { origin: source.clone(), reason: error.to_string() },
        })?;
        Picture::decode(&bytes, &source)
    }

    /// The picture as a PNG file.
    pub fn to_png(&self) -> Vec<u8> {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&self.pixels, self.width, self.height, image::ExtendedColorType::Rgb8)
            .expect("pixels fit the size and memory takes every write");
        png
    }

    /// Scales to `width` x `height` with Pillow's antialiased bicubic, bit for
    /// bit. An edge of 0 becomes 1.
    pub fn resize(&self, width: u32, height: u32) -> Picture {
        let (x, y) = (Window::whole(width.max(1)), Window::whole(height.max(1)));
        self.resize_window(Filter::Bicubic, x, y)
    }

    /// A stretch of the scaled picture; equal to scaling all of it and cropping.
    pub(crate) fn resize_window(&self, filter: Filter, x: Window, y: Window) -> Picture {
        let size = (self.width, self.height);
        let pixels = resample::resample(filter, &self.pixels, size, x, y);
        Picture { width: x.len, height: y.len, pixels }
    }

    /// Centres the picture on a square of its longer edge filled with `fill`
    /// (LLaVA). Allocates the square: 805 MB for the longest edge allowed.
    pub fn pad_square(&self, fill: [u8; 3]) -> Picture {
        let edge = self.width.max(self.height);
        self.placed(edge, edge, (edge - self.width) / 2, (edge - self.height) / 2, fill)
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

/// Everything that can be refused before a decoder sees the bytes.
fn check(bytes: &[u8], source: &str) -> Result<Kind> {
    let origin = || source.to_owned();
    if bytes.is_empty() {
        return Err(Error::Empty { origin: origin(), got: "0 bytes".into() });
    }
    within(bytes.len() as u64, MAX_FILE_BYTES, "bytes", source)?;
    let kind = Kind::sniff(bytes)
        .ok_or_else(|| Error::NotAPicture { origin: origin(), found: header::describe(bytes) })?;
    let size = kind.dimensions(bytes).map_err(|fault| match fault {
        Fault::Truncated => truncated(kind, bytes.len(), source),
        Fault::Damaged(reason) => {
            Error::Damaged { origin: origin(), kind: kind.name(), reason: reason.into() }
        }
    })?;
    check_size(size, source)?;
    if !header::is_whole(kind, bytes) {
        return Err(truncated(kind, bytes.len(), source));
    }
    Ok(kind)
}

fn check_size((width, height): (u32, u32), source: &str) -> Result<()> {
    if width == 0 || height == 0 {
        let got = format!("{width}x{height} pixels");
        return Err(Error::Empty { origin: source.into(), got });
    }
    within(u64::from(width.max(height)), u64::from(MAX_EDGE), "pixels an edge", source)?;
    within(u64::from(width) * u64::from(height), MAX_PIXELS, "pixels", source)
}

fn within(got: u64, limit: u64, what: &'static str, source: &str) -> Result<()> {
    if got > limit {
        return Err(Error::TooLarge { origin: source.into(), what, limit, got });
    }
    Ok(())
}

fn truncated(kind: Kind, bytes: usize, source: &str) -> Error {
    Error::Truncated { origin: source.into(), kind: kind.name(), bytes }
}

/// Only the chunks of a PNG that pixels and orientation need. Compressed text
/// and colour profiles can unpack to a thousand times their size, and an
/// animation's later frames are not read.
fn essential_chunks(bytes: &[u8]) -> Cow<'_, [u8]> {
    const SIGNATURE: usize = 8;
    let mut kept = Vec::new();
    let mut at = SIGNATURE;
    let mut whole = true;
    let mut start = 0;
    while let Some(length) = header::u32_be(bytes, at) {
        let end = at.saturating_add(12 + length as usize).min(bytes.len());
        let name = bytes.get(at + 4..at + 8).unwrap_or_default();
        if !matches!(name, b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"IEND" | b"eXIf") {
            kept.extend_from_slice(&bytes[start..at]);
            start = end;
            whole = false;
        }
        at = end;
    }
    if whole {
        return Cow::Borrowed(bytes);
    }
    kept.extend_from_slice(&bytes[start..]);
    Cow::Owned(kept)
}

/// Decodes within the limits, upright. The outer error is the decoder's, the
/// inner one ours.
fn decode_limited(
    kind: Kind,
    bytes: &[u8],
    source: &str,
) -> std::result::Result<Result<DynamicImage>, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_EDGE);
    limits.max_image_height = Some(MAX_EDGE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind.format());
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // The decoder may have found another size than the header reader did.
    let checked = check_size(decoder.dimensions(), source)
        .and_then(|()| within(decoder.total_bytes(), MAX_DECODED_BYTES, "decoded bytes", source));
    if let Err(error) = checked {
        return Ok(Err(error));
    }
    // Broken metadata must not cost the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(Ok(image))
}

fn explain(error: ImageError, kind: Kind, bytes: usize, source: &str) -> Error {
    if ends_early(&error) {
        return truncated(kind, bytes, source);
    }
    Error::Damaged { origin: source.into(), kind: kind.name(), reason: error.to_string() }
}

/// Decoders wrap the end of input differently; it is the innermost cause.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        let io = current.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = current.source();
    }
    false
}

/// RGB bytes; transparency is composited on white.
fn on_white(image: DynamicImage) -> Vec<u8> {
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
