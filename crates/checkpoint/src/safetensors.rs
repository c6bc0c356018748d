//! safetensors, the format of training checkpoints: a JSON header and plain little-endian values.
//!
//! ```text
//! u64 length | {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {..}} | values
//! ```
//!
//! <https://github.com/huggingface/safetensors>, read and written here rather than by that crate because its
//! header maps are last-wins for duplicate names and are written in random order (a checkpoint's hash must
//! not depend on that); tests hold the two against each other.

use super::cursor::Cursor;
use super::error::{Error, Result, short};
use super::narrow::{to_bf16, to_f16};
use super::tensors::{Tensor, Tensors, count, no_tensor};
use half::{bf16, f16};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Longest header, in bytes.
const MAX_HEADER: u64 = 16 << 20;
/// Most tensors of a file.
const MAX_TENSORS: usize = 262_144;
/// Most metadata entries: enough for any training run, few enough that a hostile header stays small in memory.
const MAX_METADATA: usize = 4_096;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;
/// The header key that is not a tensor.
const METADATA: &str = "__metadata__";
const FORMAT: &str = "safetensors";

/// How values are stored. All are read; memory is always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the range of F32 with 8 bits of precision.
    BF16,
}

impl Dtype {
    fn size(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// Reads a file; the error names it.
pub fn load(path: &Path) -> Result<Tensors> {
    load_but(path, |_| false)
}

/// As [`load`], but for the tensors whose name is `skipped`: they may be of any dtype, and their
/// values are not read. One tensor is read after the other, so that no more memory is taken than by
/// the values and the largest tensor.
pub fn load_but(path: &Path, skipped: impl Fn(&str) -> bool) -> Result<Tensors> {
    let mut file = Opened::open(path, &skipped)?;
    let header = std::mem::take(&mut file.header);
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors.into_iter().filter(|(name, _)| !skipped(name)) {
        let tensor = file.values(&entry).and_then(|bytes| widen(&name, entry, bytes));
        tensors.insert(name, tensor.map_err(|error| error.in_file(path))?);
    }
    Ok(Tensors { tensors, metadata: header.metadata })
}

/// One tensor of a file.
///
/// # Errors
/// As [`load_but`]; there is no such tensor.
pub fn load_one(path: &Path, name: &str) -> Result<Tensor> {
    let mut file = Opened::open(path, &|other| other != name)?;
    let found = file.header.tensors.remove(name);
    let entry = found.ok_or_else(|| no_tensor(name, file.header.tensors.keys()))?;
    let tensor = file.values(&entry).and_then(|bytes| widen(name, entry, bytes));
    tensor.map_err(|error| error.in_file(path))
}

/// How a file stores a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As the file spells it, such as `BF16`.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

/// What a file says of its tensors, whatever their dtypes; no values are read.
pub fn shapes(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let header = Opened::open(path, &|_| true)?.header;
    let stored = |(name, entry): (String, Entry)| {
        (name, Stored { dtype: entry.dtype.name().to_owned(), shape: entry.shape })
    };
    Ok(header.tensors.into_iter().map(stored).collect())
}

/// A file whose header has been read and checked.
struct Opened<'a> {
    path: &'a Path,
    file: File,
    header: Header,
    /// Where the values begin.
    values: u64,
    /// The bytes of the last tensor read.
    buffer: Vec<u8>,
}

impl<'a> Opened<'a> {
    fn open(path: &'a Path, skipped: &dyn Fn(&str) -> bool) -> Result<Self> {
        let io = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut start = Vec::new();
        (&file).take(START).read_to_end(&mut start).map_err(io)?;
        if let Some((header, _)) = start.split_first_chunk() {
            let more = u64::from_le_bytes(*header).min(MAX_HEADER);
            (&file).take(more.saturating_sub(1)).read_to_end(&mut start).map_err(io)?;
        }
        let check = || {
            let (header, cursor) = parse(&start)?;
            let values = length.saturating_sub(cursor.offset());
            check_ranges(&header, &cursor, values, skipped)?;
            Ok((header, cursor.offset()))
        };
        let (header, values) = check().map_err(|error: Error| error.in_file(path))?;
        Ok(Self { path, file, header, values, buffer: Vec::new() })
    }

    /// The bytes of a checked entry.
    fn values(&mut self, entry: &Entry) -> Result<&[u8]> {
        let io = |source| Error::Io { action: "read", path: self.path.to_path_buf(), source };
        let (begin, end) = entry.data_offsets;
        self.buffer.clear();
        self.file.seek(SeekFrom::Start(self.values.saturating_add(begin))).map_err(io)?;
        let size = end.saturating_sub(begin);
        (&self.file).take(size).read_to_end(&mut self.buffer).map_err(io)?;
        if self.buffer.len() as u64 == size {
            return Ok(&self.buffer);
        }
        // It was long enough when it was opened.
        Err(io(std::io::ErrorKind::UnexpectedEof.into()))
    }
}

/// The length of the header and its first byte.
const START: u64 = 9;

/// Reads all tensors of a file's `bytes`, widened to `f32`.
///
/// Every tensor must have a known dtype and the size of its shape; together they must fill the file to its last
/// byte without gap or overlap. Names may not repeat. Pickles and zip archives (`.bin`, `.pt`) are refused.
pub fn read(bytes: &[u8]) -> Result<Tensors> {
    let (header, cursor) = parse(bytes)?;
    check_ranges(&header, &cursor, cursor.remaining(), &|_| false)?;
    let data = cursor.rest();
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors {
        let (begin, end) = entry.data_offsets;
        // The ranges have been checked.
        let bytes = data.get(begin as usize..end as usize).unwrap_or_default();
        let tensor = widen(&name, entry, bytes)?;
        tensors.insert(name, tensor);
    }
    Ok(Tensors { tensors, metadata: header.metadata })
}

/// The header at the start of `bytes`, and the place behind it.
fn parse(bytes: &[u8]) -> Result<(Header, Cursor<'_>)> {
    refuse_other_formats(bytes)?;
    let mut cursor = Cursor::new(FORMAT, bytes);
    let length = cursor.u64(format_args!("header length"))?;
    if length > MAX_HEADER {
        let expected = format!("at most {MAX_HEADER} bytes");
        return Err(cursor.error(
            format_args!("header length"),
            expected,
            length.to_string(),
            DAMAGED,
        ));
    }
    let text = cursor.take(length, format_args!("header"))?;
    if !text.starts_with(b"{") {
        // The format says so: other readers tell the file by it.
        let got = text.first().map_or("nothing".into(), |byte| format!("byte {byte:#04x}"));
        return Err(cursor.error(format_args!("header"), "an opening brace".into(), got, DAMAGED));
    }
    let header: Header = serde_json::from_slice(text).map_err(|error| {
        let got = short(&error.to_string());
        Error::Malformed {
            format: FORMAT,
            field: "header".into(),
            offset: 8,
            expected: "JSON as the format says".into(),
            got,
            hint: DAMAGED,
        }
    })?;
    Ok((header, cursor))
}

const DAMAGED: &str = "the file is damaged; copy or download it again";

/// Recognises what people try to load by mistake, before a single field is read.
fn refuse_other_formats(bytes: &[u8]) -> Result<()> {
    // A header of 640 bytes also starts with 80 02: what decides is the brace that every header starts with.
    if bytes.get(8) == Some(&b'{') {
        return Ok(());
    }
    let (got, hint) = match bytes {
        [0x80, 2..=5, ..] => ("a Python pickle", PICKLE),
        [b'P', b'K', 3 | 5 | 7, 4 | 6 | 8, ..] => ("a zip archive (a PyTorch checkpoint?)", PICKLE),
        [b'G', b'G', b'U', b'F', ..] => {
            ("a GGUF file", "read it as GGUF: give it the extension .gguf")
        }
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', ..] => {
            ("a Git LFS pointer", "run `git lfs pull`")
        }
        _ => return Ok(()),
    };
    let (field, expected) = ("magic".into(), "a safetensors file".into());
    Err(Error::Malformed { format: FORMAT, field, offset: 0, expected, got: got.into(), hint })
}

const PICKLE: &str = "pickles can run code and are never loaded; convert once, where you trust the file, with Python: \
     safetensors.torch.save_file(torch.load(\"in.bin\", weights_only=True), \"out.safetensors\")";

/// The parsed header; nothing in it is trusted yet.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Entry>,
}

/// One tensor of the header. Kept small: a hostile header may hold very many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: FoundDtype,
    #[serde(deserialize_with = "short_shape")]
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// A dtype as found, known or not, so that the error can say which.
#[derive(Deserialize)]
#[serde(from = "String")]
enum FoundDtype {
    Known(Dtype),
    Other(Box<str>),
}

impl FoundDtype {
    /// As the file spells it.
    fn name(&self) -> &str {
        match self {
            Self::Known(Dtype::F32) => "F32",
            Self::Known(Dtype::F16) => "F16",
            Self::Known(Dtype::BF16) => "BF16",
            Self::Other(name) => name,
        }
    }

    /// Bytes of a value; of another dtype's, only where the values are not to be read.
    fn size(&self, skipped: bool) -> Option<u64> {
        match self {
            Self::Known(dtype) => Some(dtype.size()),
            Self::Other(_) if !skipped => None,
            Self::Other(name) => match name.as_ref() {
                "F64" | "I64" | "U64" | "C64" => Some(8),
                "I32" | "U32" => Some(4),
                "I16" | "U16" => Some(2),
                "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" => Some(1),
                _ => None,
            },
        }
    }
}

impl From<String> for FoundDtype {
    fn from(name: String) -> Self {
        match name.as_str() {
            "F32" => Self::Known(Dtype::F32),
            "F16" => Self::Known(Dtype::F16),
            "BF16" => Self::Known(Dtype::BF16),
            _ => Self::Other(name.into()),
        }
    }
}

/// A shape that stops growing at [`MAX_DIMS`]: 8 bytes a dimension for the 2 of "0," is too much.
fn short_shape<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<usize>, D::Error> {
    deserializer.deserialize_seq(ShapeVisitor)
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of sizes")
    }

    fn visit_seq<S: SeqAccess<'de>>(
        self,
        mut sizes: S,
    ) -> std::result::Result<Vec<usize>, S::Error> {
        let mut shape = Vec::new();
        while let Some(size) = sizes.next_element()? {
            if shape.len() == MAX_DIMS {
                return Err(S::Error::custom(format!("more than {MAX_DIMS} dimensions")));
            }
            shape.push(size);
        }
        Ok(shape)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Header, M::Error> {
        let mut tensors = BTreeMap::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if metadata.replace(map.next_value::<Strings>()?.0).is_some() {
                    return Err(M::Error::custom("__metadata__ appears twice"));
                }
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let entry = map
                .next_value()
                .map_err(|error| M::Error::custom(format!("tensor {:?}: {error}", short(&name))))?;
            if let Some(old) = tensors.insert(name, entry) {
                let Entry { data_offsets, .. } = old;
                return Err(M::Error::custom(format!(
                    "the tensor at {data_offsets:?} shares its name with another"
                )));
            }
        }
        Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// String to string, no key twice, of bounded length.
struct Strings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Strings, M::Error> {
        let mut strings = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if strings.len() == MAX_METADATA {
                return Err(M::Error::custom(format!("more than {MAX_METADATA} metadata entries")));
            }
            if strings.insert(key, value).is_some() {
                return Err(M::Error::custom("a metadata key appears twice"));
            }
        }
        Ok(Strings(strings))
    }
}

/// Checks that each tensor has the size of its shape, and that together they fill the `values` bytes
/// of the file exactly.
fn check_ranges(
    header: &Header,
    cursor: &Cursor<'_>,
    values: u64,
    skipped: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let mut ranges = cursor.reserve(header.tensors.len(), format_args!("tensors"))?;
    for (name, entry) in &header.tensors {
        check_entry(name, entry, cursor, skipped(name))?;
        ranges.push(entry.data_offsets);
    }
    ranges.sort_unstable();
    let mut end = 0;
    for (begin, next) in ranges {
        if begin != end {
            let at = |(_, entry): &(&String, &Entry)| entry.data_offsets == (begin, next);
            let name = header.tensors.iter().find(at).map_or("", |(name, _)| name.as_str());
            let expected = format!("to begin at {end}, where the tensor before it ends");
            return Err(cursor.error(
                format_args!("tensor {:?}.data_offsets", short(name)),
                expected,
                begin.to_string(),
                DAMAGED,
            ));
        }
        end = next;
    }
    if end == values {
        return Ok(());
    }
    let got = format!("{values} bytes");
    Err(cursor.error(
        format_args!("values"),
        format!("{end} bytes, as the header says"),
        got,
        DAMAGED,
    ))
}

fn check_entry(name: &str, entry: &Entry, cursor: &Cursor<'_>, skipped: bool) -> Result<()> {
    let wrong = |field: &str, expected: String, got: String, hint| {
        Err(cursor.error(format_args!("tensor {:?}.{field}", short(name)), expected, got, hint))
    };
    let Some(bytes) = entry.dtype.size(skipped) else {
        return wrong(
            "dtype",
            "F32, F16 or BF16".into(),
            short(entry.dtype.name()),
            "convert the weights to one of these",
        );
    };
    let (begin, end) = entry.data_offsets;
    let size = count(&entry.shape).and_then(|n| (n as u64).checked_mul(bytes));
    if size.is_none() || size != end.checked_sub(begin) {
        let expected = size.map_or("a size that fits 64 bits".into(), |size| {
            format!("{size} bytes for {:?}", entry.shape)
        });
        return wrong("data_offsets", expected, format!("[{begin}, {end}]"), DAMAGED);
    }
    Ok(())
}

/// The values of one checked entry as `f32`.
fn widen(name: &str, entry: Entry, bytes: &[u8]) -> Result<Tensor> {
    let n = count(&entry.shape).unwrap_or_default();
    let mut values: Vec<f32> = Vec::new();
    values.try_reserve_exact(n).map_err(|_| Error::Malformed {
        format: FORMAT,
        field: format!("tensor {:?}", short(name)),
        offset: 0,
        expected: "enough memory".into(),
        got: format!("{n} values"),
        hint: "free some memory",
    })?;
    match entry.dtype {
        FoundDtype::Known(Dtype::F32) => {
            values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)))
        }
        FoundDtype::Known(Dtype::F16) => {
            values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()))
        }
        _ => values.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
    }
    Tensor::new(entry.shape, values)
}

/// The bytes of a file that holds `tensors`, stored as `dtype`: the same tensors always give the same bytes.
///
/// A finite value that `dtype` cannot hold is an error.
pub fn write(tensors: &Tensors, dtype: Dtype) -> Result<Vec<u8>> {
    let shapes = tensors.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
    let mut bytes = head(&shapes.collect(), &tensors.metadata, dtype)?;
    let values: usize = tensors.tensors.values().map(|tensor| tensor.data().len()).sum();
    bytes.reserve(values.saturating_mul(dtype.size() as usize));
    for (name, tensor) in &tensors.tensors {
        put(&mut bytes, name, tensor.data(), dtype)?;
    }
    Ok(bytes)
}

/// What a file of tensors of these names and shapes begins with: the [`body`] of each follows, in the
/// order of the names. So a file larger than memory is written piece by piece.
///
/// # Errors
/// The format has no place for so many, or such shapes.
pub fn head(
    shapes: &BTreeMap<&str, &[usize]>,
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<Vec<u8>> {
    let header = header_text(shapes, metadata, dtype)?;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    Ok(bytes)
}

/// The values of a tensor of this name.
///
/// # Errors
/// One is finite and more than `dtype` can hold.
pub fn body(name: &str, data: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(data.len().saturating_mul(dtype.size() as usize));
    put(&mut bytes, name, data, dtype)?;
    Ok(bytes)
}

fn put(bytes: &mut Vec<u8>, name: &str, data: &[f32], dtype: Dtype) -> Result<()> {
    for &value in data {
        match dtype {
            Dtype::F32 => bytes.extend(value.to_le_bytes()),
            Dtype::F16 => bytes.extend(to_f16(name, value)?.to_le_bytes()),
            Dtype::BF16 => bytes.extend(to_bf16(name, value)?.to_le_bytes()),
        }
    }
    Ok(())
}

/// One value of the header object.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor { dtype: Dtype, shape: &'a [usize], data_offsets: (u64, u64) },
}

/// The header in the order of names, padded with spaces so that values start at a multiple of 8.
fn header_text(
    shapes: &BTreeMap<&str, &[usize]>,
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<Vec<u8>> {
    let mut items = BTreeMap::new();
    if !metadata.is_empty() {
        items.insert(METADATA, Item::Metadata(metadata));
    }
    let mut end = 0u64;
    for (&name, &shape) in shapes {
        let (values, begin) = (count(shape).unwrap_or(usize::MAX) as u64, end);
        if name == METADATA || shape.len() > MAX_DIMS {
            return Err(unwritable(format!(
                "tensor {:?} of {} dimensions",
                short(name),
                shape.len()
            )));
        }
        end = end.saturating_add(values.saturating_mul(dtype.size()));
        items.insert(name, Item::Tensor { dtype, shape, data_offsets: (begin, end) });
    }
    let mut text = serde_json::to_vec(&items).expect("strings and numbers are always valid JSON");
    text.resize(text.len().next_multiple_of(8), b' ');
    let too_many = shapes.len() > MAX_TENSORS || metadata.len() > MAX_METADATA;
    if too_many || text.len() as u64 > MAX_HEADER {
        return Err(unwritable(format!(
            "{} tensors with a header of {} bytes",
            shapes.len(),
            text.len()
        )));
    }
    Ok(text)
}

fn unwritable(got: String) -> Error {
    Error::Unwritable {
        what: "safetensors".into(),
        expected: format!(
            "at most {MAX_TENSORS} tensors of at most {MAX_DIMS} dimensions, not called {METADATA}, \
             {MAX_METADATA} metadata entries and a header of {MAX_HEADER} bytes"
        ),
        got,
        hint: "split the file, or reshape or rename the tensor",
    }
}
