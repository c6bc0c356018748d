//! How well a text compresses: one that says the same again and again is a model's, not a speaker's.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Bytes of `text` over bytes of it compressed by zlib at its usual level, as Whisper's code measures
/// it; 0 for an empty text.
pub fn compression_ratio(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    match encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(packed) => text.len() as f64 / packed.len().max(1) as f64,
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `len(text) / len(zlib.compress(text))` of Python, to a factor of two: its zlib is another
    /// program's, and packs repetitions tighter.
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
            assert!((want / 2.0..=want * 2.0).contains(&got), "{text:?}: {got} {want}");
        }
    }
}
