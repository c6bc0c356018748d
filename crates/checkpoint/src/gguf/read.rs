//! Reading GGUF: everything is checked before anything is believed.

use super::super::cursor::Cursor;
use super::super::error::{Error, Result, short};
use super::super::tensors::{Tensor, Tensors, count, no_tensor};
use super::value::{Array, Metadata, TYPES, Value};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, FORMAT, Kind, MAGIC, MAX_ALIGNMENT, MAX_ARRAY, MAX_DIMS,
    MAX_METADATA, MAX_NESTING, MAX_STRING, MAX_TENSORS, bytes, code, type_name,
};
use std::fmt::Arguments;

const DAMAGED: &str = "the file is damaged; copy or download it again";

/// A checked GGUF file over borrowed bytes (read or memory-mapped); tensors are unpacked when asked for.
#[derive(Debug)]
pub struct Gguf<'a> {
    /// The typed metadata.
    pub metadata: Metadata,
    /// In the order of names.
    tensors: Vec<Info<'a>>,
    behind: u64,
}

/// One tensor of a file, still packed.
#[derive(Clone, Debug)]
pub struct Info<'a> {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    /// Where the values begin: at first as the file claims, from the first tensor's; once that is
    /// checked, from the start of the file.
    offset: u64,
    bytes: &'a [u8],
}

impl<'a> Info<'a> {
    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the values are stored.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The packed values, for kernels that multiply them as they are.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        count(&self.shape).unwrap_or_default()
    }

    /// A matrix as matrices of so many of its rows, one after the other; none if it has others.
    fn rows(&self, parts: Vec<(String, usize)>) -> Option<Vec<Self>> {
        let &[out, in_] = self.shape.as_slice() else { return None };
        let row = self.bytes.len().checked_div(out)?;
        let (mut rest, mut offset) = (self.bytes, self.offset);
        let mut matrices = Vec::with_capacity(parts.len());
        for (name, rows) in parts {
            let (bytes, after) = rest.split_at_checked(rows.checked_mul(row)?)?;
            let (shape, kind) = (vec![rows, in_], self.kind);
            matrices.push(Self { name, shape, kind, offset, bytes });
            offset = offset.checked_add(bytes.len() as u64)?;
            rest = after;
        }
        rest.is_empty().then_some(matrices)
    }

    /// Checks that the blocks' scales (values, where there are no scales) are finite; to be done
    /// before [`bytes`](Self::bytes) are multiplied as they are.
    ///
    /// # Errors
    /// Names the tensor and the first block that is not.
    pub fn check(&self) -> Result<()> {
        let Some(block) = self.kind.bad_block(self.bytes) else { return Ok(()) };
        let before = (block as u64).saturating_mul(self.kind.block_bytes() as u64);
        Err(Error::Malformed {
            format: FORMAT,
            field: format!("tensor {:?}, block {block} of {:?}", short(&self.name), self.kind),
            offset: self.offset.saturating_add(before),
            expected: "finite numbers".into(),
            got: "NaN or infinity".into(),
            hint: DAMAGED,
        })
    }

    /// Unpacks the values into `y`, which has [`count`](Self::count) places.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn unpack_into(&self, y: &mut [f32]) -> Result<()> {
        self.check()?;
        self.kind.dequantize(self.bytes, y);
        Ok(())
    }

    /// Unpacks the values: at most 12.2 bytes for each byte of the file.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn tensor(&self) -> Result<Tensor> {
        let cursor = Cursor::new(FORMAT, self.bytes);
        let mut values: Vec<f32> =
            cursor.reserve(self.count(), format_args!("tensor {:?}", short(&self.name)))?;
        values.resize(self.count(), 0.0);
        self.unpack_into(&mut values)?;
        Tensor::new(self.shape.clone(), values)
    }
}

impl<'a> Gguf<'a> {
    /// Checks all of `bytes`: counts, lengths, types, names, and that tensors lie one after another.
    ///
    /// Unknown tensor types are errors that name the tensor and the type.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader { cursor: Cursor::new(FORMAT, bytes) };
        reader.version()?;
        // The least an entry can take: key length + type + value; name length + dims + type + offset.
        let n_tensors = reader.cursor.count(MAX_TENSORS, 24, format_args!("tensor count"))?;
        let n_metadata = reader.cursor.count(MAX_METADATA, 13, format_args!("metadata count"))?;
        let metadata = reader.metadata(n_metadata)?;
        let alignment = reader.alignment(&metadata)?;
        let mut tensors = reader.infos(n_tensors)?;
        reader.place(&mut tensors, alignment)?;
        let behind = reader.behind(alignment);
        let mut gguf = Self { metadata, tensors, behind };
        gguf.sort()?;
        Ok(gguf)
    }

    /// Takes the tensors of another part of the same model.
    ///
    /// # Errors
    /// A name is in both.
    pub(super) fn join(&mut self, part: Self) -> Result<()> {
        self.tensors.extend(part.tensors);
        self.behind = self.behind.saturating_add(part.behind);
        self.sort()
    }

    fn sort(&mut self) -> Result<()> {
        self.tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        match self.tensors.array_windows().find(|[a, b]| a.name == b.name) {
            None => Ok(()),
            Some([_, twice]) => Err(Error::Malformed {
                format: FORMAT,
                field: "tensor names".into(),
                offset: twice.offset,
                expected: "each name once".into(),
                got: format!("{:?} twice", short(&twice.name)),
                hint: DAMAGED,
            }),
        }
    }

    /// Bytes behind the last tensor, but for those that fill up to the alignment.
    pub fn behind(&self) -> u64 {
        self.behind
    }

    /// The tensors, in the order of their names.
    pub fn tensors(&self) -> &[Info<'a>] {
        &self.tensors
    }

    /// The tensor called `name`; the error names the closest one that exists.
    pub fn get(&self, name: &str) -> Result<&Info<'a>> {
        let at = self.tensors.binary_search_by(|info| info.name.as_str().cmp(name)).ok();
        at.and_then(|at| self.tensors.get(at))
            .ok_or_else(|| no_tensor(name, self.tensors.iter().map(|info| &info.name)))
    }

    /// The tensors without their metadata, some matrices taken apart: `parts` gives, for a name, the names
    /// and the rows of what it consists of. One whose rows are others stays whole.
    ///
    /// # Errors
    /// A part has the name of another tensor.
    pub fn apart(&self, parts: impl Fn(&str) -> Option<Vec<(String, usize)>>) -> Result<Self> {
        let mut all = Self { metadata: Metadata::new(), tensors: Vec::new(), behind: 0 };
        for info in &self.tensors {
            match parts(&info.name).and_then(|parts| info.rows(parts)) {
                Some(matrices) => all.tensors.extend(matrices),
                None => all.tensors.push(info.clone()),
            }
        }
        all.sort()?;
        Ok(all)
    }

    /// Unpacks every tensor; the metadata, being typed, stays behind.
    pub fn unpack(&self) -> Result<Tensors> {
        let unpacked = self.tensors.iter().map(|info| Ok((info.name.clone(), info.tensor()?)));
        Ok(Tensors { tensors: unpacked.collect::<Result<_>>()?, ..Tensors::default() })
    }
}

/// The parser: each method reads what its name says.
struct Reader<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    fn version(&mut self) -> Result<()> {
        let magic: [u8; 4] = self.cursor.array(format_args!("magic"))?;
        if magic != MAGIC {
            let hint = "is this a GGUF file? safetensors files are read as such; pickles never are";
            return Err(self.cursor.error(
                format_args!("magic"),
                "\"GGUF\"".into(),
                format!("{magic:02x?}"),
                hint,
            ));
        }
        let version = self.cursor.u32(format_args!("version"))?;
        let hint = match version {
            2 | 3 => return Ok(()),
            1 => "convert the file again with a converter of today",
            _ if version.swap_bytes() < 16 => {
                "this is a big-endian file; convert it for little-endian machines"
            }
            _ => DAMAGED,
        };
        Err(self.cursor.error(format_args!("version"), "2 or 3".into(), version.to_string(), hint))
    }

    fn metadata(&mut self, n: usize) -> Result<Metadata> {
        let mut entries = self.cursor.reserve(n, format_args!("metadata count"))?;
        for i in 0..n {
            let key = self.string(format_args!("metadata[{i}].key"))?;
            let code = self.cursor.u32(format_args!("metadata[{i}].type"))?;
            let value = self.value(code, format_args!("metadata[{i}] {:?}", short(&key)))?;
            entries.push((key, value));
        }
        Metadata::from_entries(entries).map_err(|key| {
            let got = format!("{:?} twice", short(&key));
            self.cursor.error(format_args!("metadata keys"), "each key once".into(), got, DAMAGED)
        })
    }

    fn alignment(&self, metadata: &Metadata) -> Result<u64> {
        match metadata.get(ALIGNMENT_KEY) {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(&Value::U32(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n.into()),
            Some(other) => {
                let expected = format!("a u32 power of two of at most {MAX_ALIGNMENT}");
                let got = short(&format!("{other:?}").chars().take(100).collect::<String>());
                Err(self.cursor.error(
                    format_args!("metadata {ALIGNMENT_KEY:?}"),
                    expected,
                    got,
                    DAMAGED,
                ))
            }
        }
    }

    fn string(&mut self, field: Arguments<'_>) -> Result<String> {
        let length = self.cursor.u64(field)?;
        if length > MAX_STRING {
            let expected = format!("at most {MAX_STRING} bytes of text");
            return Err(self.cursor.error(field, expected, format!("{length} bytes"), DAMAGED));
        }
        let bytes = self.cursor.take(length, field)?;
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(text.to_owned());
        }
        // Descriptions are written by people: Latin-1 is what else there is.
        let mut text = String::with_capacity(bytes.len().saturating_mul(2));
        text.extend(bytes.iter().copied().map(char::from));
        Ok(text)
    }

    fn bool(&mut self, field: Arguments<'_>) -> Result<bool> {
        match self.cursor.array(field)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => {
                Err(self.cursor.error(field, "a bool, 0 or 1".into(), other.to_string(), DAMAGED))
            }
        }
    }

    fn value(&mut self, code: u32, field: Arguments<'_>) -> Result<Value> {
        let cursor = &mut self.cursor;
        Ok(match code {
            0 => Value::U8(u8::from_le_bytes(cursor.array(field)?)),
            1 => Value::I8(i8::from_le_bytes(cursor.array(field)?)),
            2 => Value::U16(u16::from_le_bytes(cursor.array(field)?)),
            3 => Value::I16(i16::from_le_bytes(cursor.array(field)?)),
            4 => Value::U32(cursor.u32(field)?),
            5 => Value::I32(i32::from_le_bytes(cursor.array(field)?)),
            6 => Value::F32(f32::from_le_bytes(cursor.array(field)?)),
            7 => Value::Bool(self.bool(field)?),
            8 => Value::String(self.string(field)?),
            9 => Value::Array(self.array(0, field)?),
            10 => Value::U64(cursor.u64(field)?),
            11 => Value::I64(i64::from_le_bytes(cursor.array(field)?)),
            12 => Value::F64(f64::from_le_bytes(cursor.array(field)?)),
            _ => return Err(self.unknown_type(code, field)),
        })
    }

    fn array(&mut self, depth: u32, field: Arguments<'_>) -> Result<Array> {
        let code = self.cursor.u32(field)?;
        Ok(match code {
            0 => Array::U8(self.numbers(field, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(field, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(field, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(field, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(field, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(field, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(field, f32::from_le_bytes)?),
            7 => Array::Bool(self.items(1, field, Self::bool)?),
            8 => Array::String(self.items(8, field, Self::string)?),
            9 if depth >= MAX_NESTING => {
                let expected = format!("arrays nested at most {MAX_NESTING} deep");
                return Err(self.cursor.error(field, expected, "deeper ones".into(), DAMAGED));
            }
            9 => {
                Array::Array(self.items(12, field, |reader, field| {
                    reader.array(depth.saturating_add(1), field)
                })?)
            }
            10 => Array::U64(self.numbers(field, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(field, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(field, f64::from_le_bytes)?),
            _ => return Err(self.unknown_type(code, field)),
        })
    }

    fn unknown_type(&self, code: u32, field: Arguments<'_>) -> super::super::Error {
        let expected = format!("a type from 0 ({}) to 12 ({})", TYPES[0], TYPES[12]);
        self.cursor.error(field, expected, code.to_string(), DAMAGED)
    }

    /// The count and elements of an array of numbers of `N` bytes.
    fn numbers<T, const N: usize>(
        &mut self,
        field: Arguments<'_>,
        from: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        self.items(N as u64, field, |reader, field| reader.cursor.array(field).map(from))
    }

    /// The count and elements of an array whose elements take at least `least` bytes.
    fn items<T>(
        &mut self,
        least: u64,
        field: Arguments<'_>,
        read: impl Fn(&mut Self, Arguments<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let n = self.cursor.count(MAX_ARRAY, least, field)?;
        let mut items = self.cursor.reserve(n, field)?;
        for _ in 0..n {
            items.push(read(self, field)?);
        }
        Ok(items)
    }

    fn infos(&mut self, n: usize) -> Result<Vec<Info<'a>>> {
        let mut infos = self.cursor.reserve(n, format_args!("tensor count"))?;
        for i in 0..n {
            infos.push(self.info(i)?);
        }
        Ok(infos)
    }

    fn info(&mut self, i: usize) -> Result<Info<'a>> {
        let name = self.string(format_args!("tensors[{i}].name"))?;
        let shape = self.shape(format_args!("tensor {:?}.shape", short(&name)))?;
        let number = self.cursor.u32(format_args!("tensor {:?}.type", short(&name)))?;
        let Some(kind) = Kind::ALL.into_iter().find(|kind| code(*kind) == number) else {
            let got = format!("{} ({number})", type_name(number));
            let hint = "convert or quantise the model to one of these types";
            let field = format_args!("tensor {:?}.type", short(&name));
            let expected = Kind::ALL.map(|kind| format!("{kind:?}")).join(", ");
            return Err(self.cursor.error(field, format!("one of {expected}"), got, hint));
        };
        let offset = self.cursor.u64(format_args!("tensor {:?}.offset", short(&name)))?;
        Ok(Info { name, shape, kind, offset, bytes: &[] })
    }

    /// Dimensions, turned round so that the outermost comes first.
    fn shape(&mut self, field: Arguments<'_>) -> Result<Vec<usize>> {
        let n = self.cursor.u32(field)?;
        if n > MAX_DIMS {
            return Err(self.cursor.error(
                field,
                format!("at most {MAX_DIMS} dimensions"),
                n.to_string(),
                DAMAGED,
            ));
        }
        let mut shape = Vec::with_capacity(MAX_DIMS as usize);
        for _ in 0..n {
            let size = self.cursor.u64(field)?;
            let Ok(size) = usize::try_from(size) else {
                return Err(self.cursor.error(field, "a size".into(), size.to_string(), DAMAGED));
            };
            shape.push(size);
        }
        shape.reverse();
        Ok(shape)
    }

    /// Gives each tensor its bytes: in order, without gap or overlap.
    fn place(&mut self, tensors: &mut [Info<'a>], alignment: u64) -> Result<()> {
        if tensors.is_empty() {
            return Ok(());
        }
        self.pad(alignment)?;
        let start = self.cursor.offset();
        let last = tensors.len().saturating_sub(1);
        for (i, info) in tensors.iter_mut().enumerate() {
            let name = &info.name;
            let here = self.cursor.offset().saturating_sub(start);
            if info.offset != here {
                let expected = format!("{here}, where the tensor before it ends");
                let field = format_args!("tensor {:?}.offset", short(name));
                let got = info.offset.to_string();
                return Err(self.cursor.error(field, expected, got, DAMAGED));
            }
            let Some(size) = bytes(info.kind, &info.shape) else {
                let expected = format!(
                    "a countable shape whose last size is a multiple of {}",
                    info.kind.block()
                );
                let field = format_args!("tensor {:?}.shape", short(name));
                return Err(self.cursor.error(
                    field,
                    expected,
                    format!("{:?}", info.shape),
                    DAMAGED,
                ));
            };
            info.offset = self.cursor.offset();
            info.bytes = self.cursor.take(size, format_args!("tensor {:?}", short(name)))?;
            // Writers differ in what they put behind the last tensor.
            if i != last {
                self.pad(alignment)?;
            }
        }
        Ok(())
    }

    /// Skips to the next multiple of `alignment`.
    fn pad(&mut self, alignment: u64) -> Result<()> {
        self.cursor.take(self.gap(alignment), format_args!("padding")).map(|_| ())
    }

    /// Bytes to the next multiple of `alignment`.
    fn gap(&self, alignment: u64) -> u64 {
        let past = self.cursor.offset().checked_rem(alignment).unwrap_or_default();
        if past == 0 { 0 } else { alignment.saturating_sub(past) }
    }

    /// Bytes that are left, but for those to the next multiple of `alignment`.
    fn behind(&self, alignment: u64) -> u64 {
        self.cursor.remaining().saturating_sub(self.gap(alignment))
    }
}
