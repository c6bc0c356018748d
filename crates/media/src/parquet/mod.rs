//! Parquet files (<https://parquet.apache.org/docs/file-format/>): what is written of a row as JSON, and any
//! one of its bytes, such as a picture, when it is asked for.
//!
//! ```text
//! PAR1 ┃ group of rows: a chunk of pages for each column ┃ ... ┃ description ┃ its length ┃ PAR1
//! ```

mod page;
mod rows;
mod thrift;
mod values;

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use page::Unit;
use page::{Chunk, Leaf, Pages};
use rows::{Column, Node, schema};
use serde_json::{Map, Value};
use thrift::Struct;
use values::{Physical, Values};

/// A file's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    source: Source,
    columns: Vec<Node>,
    leaves: Vec<Leaf>,
    groups: Vec<Group>,
    /// What its writer noted.
    notes: Vec<(String, String)>,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

/// What can be read from any place on.
trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

impl Source {
    fn open(&self) -> std::io::Result<Box<dyn ReadSeek>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    rows: usize,
    /// Of each leaf.
    chunks: Vec<Chunk>,
}

/// The longest description that is read.
const MAX_DESCRIPTION: u64 = 1 << 28;

impl Table {
    /// Reads the description of the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no whole Parquet file.
    pub fn open(path: &Path) -> Result<Self, String> {
        Self::of(Source::File(path.to_owned()))
    }

    /// As [`open`](Self::open), of a file's bytes.
    ///
    /// # Errors
    /// They are no whole Parquet file.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        Self::of(Source::Bytes(bytes.into()))
    }

    fn of(source: Source) -> Result<Self, String> {
        let description = description(&source)?;
        let (columns, leaves) = schema(description.structs(2))?;
        let groups = description.structs(4).map(|group| Group::new(group, leaves.len()));
        let groups = groups.collect::<Result<_, _>>()?;
        let note = |note: &Struct| Some((note.text(1)?, note.text(2)?));
        let notes = description.structs(5).filter_map(note).collect();
        Ok(Self { source, columns, leaves, groups, notes })
    }

    /// The file's name; empty where only its bytes are known.
    pub fn file_name(&self) -> String {
        let name = match &self.source {
            Source::File(path) => path.file_name(),
            Source::Bytes(_) => None,
        };
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Rows of all groups.
    pub fn len(&self) -> usize {
        self.groups.iter().fold(0, |all, group| all.saturating_add(group.rows))
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the numbers of a column count, where it is no struct and no list.
    pub fn unit(&self, column: &str) -> Unit {
        let leaf = self.leaves.iter().find(|leaf| is_at(leaf, &[column]));
        leaf.map_or(Unit::One, |leaf| leaf.unit)
    }

    /// The names of its columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| &*column.name)
    }

    /// What its writer noted under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.iter().find(|(name, _)| name == key).map(|(_, note)| &**note)
    }

    /// What is written in the columns that are wanted, an object for each row, by its number; bytes that are
    /// no text are left out. Of a damaged group of rows, an error.
    pub fn rows(&self, wanted: impl Fn(&str) -> bool) -> Vec<(usize, Result<Value, String>)> {
        let is_read = |leaf: &Leaf| wanted(&leaf.path[0]) && leaf.is_told();
        let read: Vec<bool> = self.leaves.iter().map(is_read).collect();
        let columns: Vec<Node> =
            self.columns.iter().filter_map(|column| column.only(&read)).collect();
        let (mut all, mut first) = (Vec::new(), 0usize);
        for group in &self.groups {
            match self.group(group, &columns, &read) {
                Ok(rows) => all.extend((first..).zip(rows.into_iter().map(Ok))),
                Err(error) => all.push((first, Err(format!("and those behind it: {error}")))),
            }
            first = first.saturating_add(group.rows);
        }
        all
    }

    /// A group's rows, of `columns` whose leaves are `read`.
    fn group(&self, group: &Group, columns: &[Node], read: &[bool]) -> Result<Vec<Value>, String> {
        if columns.is_empty() {
            return Err("no column of texts or numbers".into());
        }
        let leaf = |((leaf, chunk), read): ((&Leaf, &Chunk), &bool)| match read {
            true => self.column(leaf, chunk),
            false => Ok(Column::default()),
        };
        let all = self.leaves.iter().zip(&group.chunks).zip(read);
        let mut leaves = all.map(leaf).collect::<Result<Vec<_>, _>>()?;
        let mut row = |_| {
            let field = |column: &Node| Ok((column.name.clone(), column.value(&mut leaves)?));
            columns.iter().map(field).collect::<Result<Map<_, _>, String>>().map(Value::Object)
        };
        (0..group.rows).map(&mut row).collect()
    }

    fn column(&self, leaf: &Leaf, chunk: &Chunk) -> Result<Column, String> {
        let mut pages =
            Pages::open(&self.source, leaf, chunk).map_err(|error| error.to_string())?;
        let mut column = Column::default();
        while let Some(page) = pages.next(&mut 0)? {
            column.extend(page, leaf);
        }
        Ok(column)
    }

    /// The bytes in the column `path` of a row, or of its `nth` entry where it has several; nothing where
    /// there are none.
    ///
    /// # Errors
    /// There is no such column of bytes, or its pages are damaged.
    pub fn bytes(&self, path: &[&str], row: usize, nth: usize) -> Result<Option<Vec<u8>>, String> {
        let found = self.leaves.iter().position(|leaf| is_at(leaf, path));
        let found = found.ok_or_else(|| format!("no column {}", path.join(".")))?;
        let (leaf, mut skip) = (&self.leaves[found], row);
        for group in &self.groups {
            if skip >= group.rows {
                skip -= group.rows;
                continue;
            }
            let pages = Pages::open(&self.source, leaf, &group.chunks[found]);
            return entry(pages.map_err(|error| error.to_string())?, leaf, skip, nth);
        }
        Err(format!("no row {row}"))
    }

    /// Whether anything of the column `name` stands in [`rows`](Self::rows), which leave out bytes.
    pub fn is_told(&self, name: &str) -> bool {
        self.leaves.iter().any(|leaf| leaf.path[0] == name && leaf.is_told())
    }

    /// Whether there are bytes in the column `path`.
    pub fn has_bytes(&self, path: &[&str]) -> bool {
        let is_bytes = |leaf: &Leaf| leaf.physical == Physical::Bytes;
        self.leaves.iter().any(|leaf| is_at(leaf, path) && is_bytes(leaf))
    }
}

/// Whether a leaf is at a path that leaves out the names of lists.
fn is_at(leaf: &Leaf, path: &[&str]) -> bool {
    let ends = (leaf.path.first(), leaf.path.last());
    match path {
        [only] => ends.0.is_some_and(|name| name == only) && leaf.path.len() == 1,
        [first, .., last] => {
            ends.0.is_some_and(|name| name == first) && ends.1.is_some_and(|name| name == last)
        }
        [] => false,
    }
}

/// The `nth` entry of row `skip` from here.
fn entry(
    mut pages: Pages,
    leaf: &Leaf,
    mut skip: usize,
    nth: usize,
) -> Result<Option<Vec<u8>>, String> {
    // The row of an entry is known by the entries that begin one.
    let (mut begun, mut entry) = (0, 0);
    let mut none = 0;
    while let Some(page) = pages.next(if begun == 0 { &mut skip } else { &mut none })? {
        let Values::Bytes(mut values) = page.values else { return Err("no bytes".into()) };
        let mut value = 0;
        for (rep, def) in page.reps.into_iter().zip(page.defs) {
            begun += usize::from(rep == 0);
            let is_there = def == leaf.max_def;
            if begun == skip + 1 {
                if entry == nth {
                    return Ok(is_there.then(|| values.swap_remove(value)));
                }
                entry += 1;
            }
            value += usize::from(is_there);
        }
    }
    Ok(None)
}

impl Group {
    fn new(group: &Struct, leaves: usize) -> Result<Self, String> {
        let chunk = |chunk: &Struct| -> Option<Chunk> {
            let about = chunk.inner(3)?;
            let offset = |id| about.int(id).and_then(|at| u64::try_from(at).ok());
            let data = offset(9)?;
            let at = offset(11).filter(|at| *at > 0 && *at < data).unwrap_or(data);
            Some(Chunk { at, len: offset(7)?, codec: about.int(4)?, values: about.count(5)? })
        };
        let chunks: Option<Vec<Chunk>> = group.structs(1).map(chunk).collect();
        let chunks = chunks.filter(|chunks| chunks.len() == leaves);
        let chunks = chunks.ok_or("columns that are not those of the description")?;
        Ok(Self { rows: group.count(3).ok_or("a group without a number of rows")?, chunks })
    }
}

/// What stands at the file's end.
fn description(source: &Source) -> Result<Struct, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = source.open().map_err(text)?;
    let len = file.seek(SeekFrom::End(0)).map_err(text)?;
    let mut end = [0; 8];
    if len >= 12 {
        file.seek(SeekFrom::End(-8)).and_then(|_| file.read_exact(&mut end)).map_err(text)?;
    }
    let [a, b, c, d, magic @ ..] = end;
    match &magic {
        b"PAR1" => {}
        b"PARE" => return Err("an encrypted file".into()),
        _ => return Err("no PAR1 at its end: no Parquet file, or one that is cut short".into()),
    }
    let description = u64::from(u32::from_le_bytes([a, b, c, d]));
    if description > MAX_DESCRIPTION.min(len - 8) {
        return Err(format!("a description of {description} bytes"));
    }
    file.seek(SeekFrom::End(-8 - description as i64)).map_err(text)?;
    let mut bytes = Vec::new();
    file.take(description).read_to_end(&mut bytes).map_err(text)?;
    thrift::read(&mut &bytes[..])
}
