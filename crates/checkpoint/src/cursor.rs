//! A bounded reader over bytes: every length is compared with the bytes that remain before it is used.

use super::error::{Error, Result};
use std::fmt::Arguments;

/// A position in a file of one format.
pub(super) struct Cursor<'a> {
    format: &'static str,
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at byte 0 of `bytes`; `format` is named in errors.
    pub fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Self { format, rest: bytes, offset: 0 }
    }

    /// Bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Everything not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64, field: Arguments<'_>) -> Result<&'a [u8]> {
        let split = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n));
        let Some((head, rest)) = split else {
            let got = format!("{} left in the file", self.remaining());
            return Err(self.error(field, format!("{n} bytes"), got, CUT));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(n);
        Ok(head)
    }

    /// The next `N` bytes, for `from_le_bytes`.
    pub fn array<const N: usize>(&mut self, field: Arguments<'_>) -> Result<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            let got = format!("{} left in the file", self.remaining());
            return Err(self.error(field, format!("{N} bytes"), got, CUT));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(N as u64);
        Ok(*head)
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self, field: Arguments<'_>) -> Result<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self, field: Arguments<'_>) -> Result<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A `u64` count of entries of at least `entry` bytes each: at most `most`, and they must fit into what remains.
    pub fn count(&mut self, most: u64, entry: u64, field: Arguments<'_>) -> Result<usize> {
        let n = self.u64(field)?;
        let fits = n <= most && n.checked_mul(entry).is_some_and(|bytes| bytes <= self.remaining());
        match usize::try_from(n) {
            Ok(n) if fits => Ok(n),
            _ => Err(self.error(
                field,
                format!(
                    "at most {most} entries of at least {entry} bytes in the {} bytes left",
                    self.remaining()
                ),
                n.to_string(),
                CUT,
            )),
        }
    }

    /// A vector with room for exactly `n`, or an error instead of an abort.
    pub fn reserve<T>(&self, n: usize, field: Arguments<'_>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        match items.try_reserve_exact(n) {
            Ok(()) => Ok(items),
            Err(_) => Err(self.error(
                field,
                "enough memory".into(),
                format!("{n} entries"),
                "free some memory",
            )),
        }
    }

    /// An error at this place of the file.
    pub fn error(
        &self,
        field: Arguments<'_>,
        expected: String,
        got: String,
        hint: &'static str,
    ) -> Error {
        Error::Malformed {
            format: self.format,
            field: field.to_string(),
            offset: self.offset,
            expected,
            got,
            hint,
        }
    }
}

const CUT: &str = "the file is cut short or damaged; copy or download it again";
