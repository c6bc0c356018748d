//! A ZIP archive in memory (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>): its parts by name.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

/// Most bytes of a part, unpacked.
const MAX_PART: usize = 64 << 20;

/// Most parts.
const MAX_PARTS: usize = 10_000;

/// Where the parts of an archive are.
pub struct Archive<'a> {
    bytes: &'a [u8],
    parts: BTreeMap<String, Part>,
}

struct Part {
    method: usize,
    packed: usize,
    header: usize,
}

impl<'a> Archive<'a> {
    /// Reads the list of parts at the archive's end.
    ///
    /// # Errors
    /// It is cut or damaged.
    pub fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let end = bytes.windows(4).rposition(|four| four == b"PK\x05\x06");
        let end = end.ok_or("no list of parts: a file that is cut short")?;
        let (count, mut at) = (short(bytes, end + 10)?, long(bytes, end + 16)?);
        if count > MAX_PARTS {
            return Err(format!("{count} parts, more than {MAX_PARTS}"));
        }
        let mut parts = BTreeMap::new();
        for _ in 0..count {
            if bytes.get(at..).is_none_or(|rest| !rest.starts_with(b"PK\x01\x02")) {
                return Err("a damaged list of parts".into());
            }
            let lengths = [short(bytes, at + 28)?, short(bytes, at + 30)?, short(bytes, at + 32)?];
            let name = bytes.get(at + 46..at + 46 + lengths[0]).ok_or(CUT)?;
            let part = Part {
                method: short(bytes, at + 10)?,
                packed: long(bytes, at + 20)?,
                header: long(bytes, at + 42)?,
            };
            parts.insert(String::from_utf8_lossy(name).into_owned(), part);
            at += 46 + lengths.iter().sum::<usize>();
        }
        Ok(Self { bytes, parts })
    }

    /// Whether there is such a part.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// A part's text.
    ///
    /// # Errors
    /// There is none, it is damaged or no text, or is larger than is read.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let part = self.parts.get(name).ok_or_else(|| format!("no part {name}"))?;
        let Part { method, packed, header } = *part;
        let start = header + 30 + short(self.bytes, header + 26)? + short(self.bytes, header + 28)?;
        let bytes = self.bytes.get(start..).and_then(|rest| rest.get(..packed)).ok_or(CUT)?;
        let mut text = String::new();
        let limit = MAX_PART as u64 + 1;
        let read = match method {
            0 => bytes.take(limit).read_to_string(&mut text),
            8 => DeflateDecoder::new(bytes).take(limit).read_to_string(&mut text),
            _ => return Err(format!("{name} packed by method {method}")),
        };
        match read.map_err(|error| format!("{name}: {error}"))? {
            n if n > MAX_PART => Err(format!("{name} of more than {MAX_PART} bytes")),
            _ => Ok(text),
        }
    }
}

const CUT: &str = "a part that is cut short";

fn short(bytes: &[u8], at: usize) -> Result<usize, String> {
    let two = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(CUT)?;
    Ok(usize::from(u16::from_le_bytes(*two)))
}

fn long(bytes: &[u8], at: usize) -> Result<usize, String> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(CUT)?;
    Ok(u32::from_le_bytes(*four) as usize)
}
