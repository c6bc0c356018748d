//! Sounds that follow from their numbers, as `reference/whisper_mel.py` makes them.

use std::path::PathBuf;

use sensorium_media::{Media, Sound};
use tempfile::TempDir;

/// A sample for every number, the same in Python.
pub fn wave(count: usize) -> Vec<f32> {
    let sample = |i: i64| {
        let noise = (i * i * 7919 + i * 104_729) % 65_536 - 32_768;
        let loudness = 1 + (i / 4000) % 9;
        ((noise * loudness) as f64 / 327_680.0) as f32
    };
    (0..count as i64).map(sample).collect()
}

/// A file of samples, each of 32 bits, so that none is rounded.
pub fn file(samples: &[f32], rate: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let bytes = 4 * samples.len() as u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x03\0\x01\0");
    wav.extend([rate, 4 * rate].map(u32::to_le_bytes).concat());
    wav.extend(b"\x04\0\x20\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(&path, wav).unwrap();
    (folder, path)
}

/// The same as a medium.
pub fn medium(samples: Vec<f32>, rate: u32) -> Media {
    Media::Audio(Sound { rate, samples, warning: None })
}
