//! A column's pages: read in order, or passed over up to a row.

use std::io::{BufReader, Read, SeekFrom, Take};

use super::thrift::{self, Struct};
use super::values::{Physical, Values, decode, runs};
use super::{ReadSeek, Source};

/// The most bytes of a page, unpacked.
const MAX_PAGE: usize = 1 << 30;

/// What of a column is in a group of rows, and how it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// First byte, and bytes.
    pub at: u64,
    pub len: u64,
    /// As Parquet numbers it.
    pub codec: i64,
    /// Values, those that are null too.
    pub values: usize,
}

/// What a column's numbers count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// Ones.
    One,
    /// So many of them are a day, from 1970-01-01 on.
    Day(f64),
    /// So many of them are one.
    Part(f64),
}

/// A column that is no struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Its names from the outermost one.
    pub path: Vec<String>,
    pub physical: Physical,
    /// Whether its bytes are a text.
    pub is_text: bool,
    /// What its numbers count.
    pub unit: Unit,
    /// How many of the names may be missing or repeated, and how many of them are repeated.
    pub max_def: u32,
    pub max_rep: u32,
}

impl Leaf {
    /// Whether its values are told with their rows: bytes that are no text are asked for one by one.
    pub fn is_told(&self) -> bool {
        self.is_text || !matches!(self.physical, Physical::Bytes | Physical::Fixed(_))
    }
}

/// Values of a page, with a level of repetition and of definition for each that may be null.
#[derive(Debug)]
pub struct Page {
    pub reps: Vec<u32>,
    pub defs: Vec<u32>,
    pub values: Values,
}

/// The pages of a chunk that have not been read.
pub(super) struct Pages<'a> {
    from: Take<BufReader<Box<dyn ReadSeek>>>,
    leaf: &'a Leaf,
    chunk: &'a Chunk,
    dictionary: Option<Values>,
    left: usize,
}

impl<'a> Pages<'a> {
    pub(super) fn open(source: &Source, leaf: &'a Leaf, chunk: &'a Chunk) -> std::io::Result<Self> {
        let mut file = source.open()?;
        file.seek(SeekFrom::Start(chunk.at))?;
        let from = BufReader::new(file).take(chunk.len);
        Ok(Self { from, leaf, chunk, dictionary: None, left: chunk.values })
    }

    /// The next page; whole ones of the next `skip` rows are passed over, and `skip` is what is left.
    ///
    /// # Errors
    /// It is cut, damaged, or packed in a way that is not known.
    pub fn next(&mut self, skip: &mut usize) -> Result<Option<Page>, String> {
        while self.left > 0 {
            let head = thrift::read(&mut self.from)?;
            let size = |id| head.count(id).filter(|size| *size <= MAX_PAGE);
            let (Some(whole), Some(packed)) = (size(2), size(3)) else {
                return Err("a page of no known size".into());
            };
            let (v1, dictionary, v2) = (head.inner(5), head.inner(7), head.inner(8));
            let Some(data) = v1.or(v2) else {
                let bytes = self.bytes(packed)?;
                if let Some(dictionary) = dictionary {
                    let n = dictionary.count(1).unwrap_or_default();
                    let plain = self.unpack(&bytes, whole)?;
                    self.dictionary = Some(decode(0, self.leaf.physical, &plain, n, None)?);
                }
                continue;
            };
            let n =
                data.count(1).filter(|n| *n <= self.left).ok_or("a page with too many values")?;
            self.left -= n;
            let flat = (self.leaf.max_rep == 0).then_some(n);
            if let Some(rows) = flat.or(v2.and_then(|v2| v2.count(3))).filter(|rows| rows <= skip) {
                *skip -= rows;
                self.pass(packed)?;
                continue;
            }
            let bytes = self.bytes(packed)?;
            return match v2 {
                Some(v2) => self.second(v2, &bytes, whole, n).map(Some),
                None => self.first(data, &bytes, whole, n).map(Some),
            };
        }
        Ok(None)
    }

    /// A page of the first kind: all of it packed.
    fn first(&self, head: &Struct, bytes: &[u8], whole: usize, n: usize) -> Result<Page, String> {
        let plain = self.unpack(bytes, whole)?;
        let mut rest = &plain[..];
        let mut levels = |max| -> Result<Vec<u32>, String> {
            if max == 0 {
                return Ok(vec![0; n]);
            }
            let (len, behind) = rest.split_first_chunk::<4>().ok_or("levels cut short")?;
            let len = u32::from_le_bytes(*len) as usize;
            let (levels, behind) = behind.split_at_checked(len).ok_or("levels cut short")?;
            rest = behind;
            runs(levels, bits(max), n)
        };
        let (reps, defs) = (levels(self.leaf.max_rep)?, levels(self.leaf.max_def)?);
        self.page(head.int(2), rest, reps, defs)
    }

    /// One of the second kind: its levels stand before what is packed.
    fn second(&self, head: &Struct, bytes: &[u8], whole: usize, n: usize) -> Result<Page, String> {
        let mut rest = bytes;
        let mut levels = |len: Option<usize>, max| -> Result<Vec<u32>, String> {
            let (levels, behind) =
                rest.split_at_checked(len.unwrap_or_default()).ok_or("levels cut short")?;
            rest = behind;
            if max == 0 { Ok(vec![0; n]) } else { runs(levels, bits(max), n) }
        };
        let reps = levels(head.count(6), self.leaf.max_rep)?;
        let defs = levels(head.count(5), self.leaf.max_def)?;
        let plain;
        if head.bool(7) != Some(false) {
            plain = self.unpack(rest, whole)?;
            rest = &plain;
        }
        self.page(head.int(4), rest, reps, defs)
    }

    fn page(
        &self,
        encoding: Option<i64>,
        data: &[u8],
        reps: Vec<u32>,
        defs: Vec<u32>,
    ) -> Result<Page, String> {
        let n = defs.iter().filter(|def| **def == self.leaf.max_def).count();
        let encoding = encoding.ok_or("a page without an encoding")?;
        let values = decode(encoding, self.leaf.physical, data, n, self.dictionary.as_ref())?;
        Ok(Page { reps, defs, values })
    }

    fn unpack(&self, bytes: &[u8], whole: usize) -> Result<Vec<u8>, String> {
        let limit = whole as u64;
        let mut plain = Vec::new();
        let read = match self.chunk.codec {
            0 => return Ok(bytes.to_vec()),
            // Of 1: no value but null, and nothing packed.
            _ if bytes.is_empty() => return Ok(plain),
            1 => {
                if snap::raw::decompress_len(bytes).is_ok_and(|len| len > whole) {
                    return Err("a page larger than it says".into());
                }
                return snap::raw::Decoder::new().decompress_vec(bytes).map_err(|e| e.to_string());
            }
            2 => flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut plain),
            6 => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(bytes);
                decoder.map_err(|e| e.to_string())?.take(limit).read_to_end(&mut plain)
            }
            codec => {
                let name = ["LZO", "BROTLI", "LZ4", "", "LZ4_RAW"].get(codec as usize - 3);
                let name = name.unwrap_or(&"an unknown way");
                return Err(format!("packed as {name}; write it with snappy, zstd or gzip"));
            }
        };
        read.map_err(|error| error.to_string())?;
        Ok(plain)
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(len as u64).read_to_end(&mut bytes);
        match read.map_err(|error| error.to_string())? {
            read if read < len => Err("a page cut short".into()),
            _ => Ok(bytes),
        }
    }

    /// Goes on behind `len` bytes.
    fn pass(&mut self, len: usize) -> Result<(), String> {
        let limit = self.from.limit().saturating_sub(len as u64);
        self.from.get_mut().seek_relative(len as i64).map_err(|error| error.to_string())?;
        self.from.set_limit(limit);
        Ok(())
    }
}

/// How many bits a level has.
fn bits(max: u32) -> u32 {
    u32::BITS - max.leading_zeros()
}
