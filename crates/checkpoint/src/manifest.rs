//! Hashes that prove what a checkpoint holds: one a file, and one a tensor.
//!
//! The manifest covers itself too: it is one canonical JSON text with a hash of its own entries, so a
//! flipped bit anywhere in it is found.

use super::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The manifest's file name inside a checkpoint directory.
pub const FILE_NAME: &str = "manifest.json";

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name inside the directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the contents, hexadecimal.
    pub blake3: String,
}

/// The files of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// In the order in which they were written.
    pub files: Vec<Entry>,
    /// BLAKE3 of `files` as compact JSON.
    blake3: String,
}

impl Manifest {
    /// A manifest over `(name, contents)`.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let entry = |(name, bytes): &(&str, &[u8])| Entry {
            name: (*name).to_owned(),
            size: bytes.len() as u64,
            blake3: hash(bytes),
        };
        Self::seal(files.iter().map(entry).collect())
    }

    /// The canonical text: equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and numbers are always valid JSON")
    }

    /// Reads a manifest; anything but the exact bytes of [`to_bytes`](Self::to_bytes) is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parsed: Self =
            serde_json::from_slice(bytes).map_err(|error| malformed("JSON", error.to_string()))?;
        let sealed = Self::seal(parsed.files);
        if sealed.to_bytes() == bytes {
            Ok(sealed)
        } else {
            Err(malformed("text", "bytes that do not match its own hash".into()))
        }
    }

    fn seal(files: Vec<Entry>) -> Self {
        let text = serde_json::to_vec(&files).expect("strings and numbers are always valid JSON");
        Self { files, blake3: blake3::hash(&text).to_hex().to_string() }
    }
}

/// BLAKE3 of a file's contents, hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn malformed(field: &str, got: String) -> Error {
    Error::Malformed {
        format: "manifest",
        field: field.into(),
        offset: 0,
        expected: "a manifest exactly as it was written".into(),
        got,
        hint: "do not edit manifests; use an older checkpoint",
    }
}

/// BLAKE3 (hexadecimal) of a tensor's shape and the bits of its values: the proof that a frozen weight
/// did not move. `-0.0` and `0.0` differ, as do any two NaNs of different bits.
pub fn hash_tensor(shape: &[usize], data: &[f32]) -> String {
    // Enough values a piece for BLAKE3's wide path, few enough for the stack.
    const PIECE: usize = 1024;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(shape.len() as u64).to_le_bytes());
    for &size in shape {
        hasher.update(&(size as u64).to_le_bytes());
    }
    let mut bytes = [0u8; 4 * PIECE];
    for values in data.chunks(PIECE) {
        let (words, _) = bytes.as_chunks_mut::<4>();
        for (word, value) in words.iter_mut().zip(values) {
            *word = value.to_le_bytes();
        }
        hasher.update(bytes.get(..values.len().saturating_mul(4)).unwrap_or_default());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_and_no_flipped_bit_survives() {
        let manifest = Manifest::of(&[("a", b"one"), ("b", b"")]);
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::from_bytes(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_tensor_hash_sees_shape_and_bits() {
        let hash = hash_tensor(&[2, 3], &[0.0; 6]);
        assert_eq!(hash, hash_tensor(&[2, 3], &[0.0; 6]));
        assert_ne!(hash, hash_tensor(&[3, 2], &[0.0; 6]));
        assert_ne!(hash, hash_tensor(&[2, 3], &[0.0, 0.0, 0.0, 0.0, 0.0, -0.0]));
    }

    #[test]
    fn a_tensor_hash_is_the_hash_of_its_bytes() {
        let data: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        let mut bytes = Vec::new();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(3000u64.to_le_bytes());
        data.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        assert_eq!(hash_tensor(&[3000], &data), blake3::hash(&bytes).to_hex().to_string());
    }
}
