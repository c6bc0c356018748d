//! How well a text compresses: one that says the same again and again is a model's, not a speaker's.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

/// Bytes of a PNG around its compressed values: signature, header, what names and checks each part, and
/// how the row is stored.
const AROUND: usize = 58;
/// zlib's usual level.
const LEVEL: u8 = 6;

/// Bytes of `text` over bytes of it compressed by zlib, as Whisper's code measures it; 0 for an empty
/// text. The PNG writer has zlib inside: the text is written as a picture of one row, whose values are
/// kept as they are.
pub fn compression_ratio(text: &str) -> f64 {
    let (bytes, mut png) = (text.as_bytes(), Vec::new());
    let Ok(width) = u32::try_from(bytes.len()) else { return 0.0 };
    let level = CompressionType::Level(LEVEL);
    let encoder = PngEncoder::new_with_quality(&mut png, level, FilterType::NoFilter);
    match encoder.write_image(bytes, width, 1, ExtendedColorType::L8) {
        Ok(()) => bytes.len() as f64 / png.len().saturating_sub(AROUND).max(1) as f64,
        // A picture of no width.
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Near `len(text) / len(zlib.compress(text))` of Python, whose zlib is another program's.
    #[test]
    fn ratios_are_zlibs() {
        let fox = "The quick brown fox jumps over the lazy dog.";
        for (text, want) in [
            (String::new(), 0.0),
            ("a".into(), 1.0 / 9.0),
            (fox.into(), 44.0 / 51.0),
            (format!("{fox} {fox} {fox}"), 134.0 / 55.0),
            ("Thank you. ".repeat(20), 220.0 / 22.0),
        ] {
            let got = compression_ratio(&text);
            assert!((got - want).abs() <= 0.1 * want, "{text:?}: {got} {want}");
        }
    }
}
