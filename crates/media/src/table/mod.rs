//! Tables: what the columns of a file are called, what they hold, and where nothing stands.
//!
//! ```text
//! bytes ──magic──▶ Parquet, XLSX ─────────────────────┐
//!       ──text───▶ CSV, TSV, JSON lines ──────────────┴──▶ names, cells ──kinds──▶ Table
//! ```

mod kind;
mod sheet;
mod text;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, parquet};
use kind::unit;

pub(crate) use kind::text;

/// Largest file.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Most rows, as of a spreadsheet.
pub const MAX_ROWS: usize = 1 << 20;
/// Most columns, as of a spreadsheet.
pub const MAX_COLUMNS: usize = 1 << 14;
/// Most cells of all rows.
pub const MAX_CELLS: usize = 1 << 22;
/// Longest text of a cell.
pub const MAX_CELL_BYTES: usize = 1 << 15;
/// Most bytes of all texts.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// Rows of one schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The columns, at least one.
    pub schema: Vec<Column>,
    /// At least one, with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// As the file has it; `column 3` where it has none.
    pub name: String,
    /// What its cells hold.
    pub kind: Kind,
    /// The unit that its name tells: cm of `height (cm)`, `height [cm]` and `height_cm`.
    pub unit: Option<String>,
    /// Cells that hold nothing.
    pub missing: usize,
}

/// What the cells of a column hold, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Finite numbers.
    Number,
    /// Texts, of a few categories or not.
    Category,
    /// True or false.
    Boolean,
    /// Dates, with a time of day or without.
    Date,
}

/// What stands in a row, in a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// Nothing.
    Missing,
    /// A finite number.
    Number(#[serde(with = "bits")] f64),
    /// A text.
    Category(String),
    /// True or false.
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(#[serde(with = "bits")] f64),
}

/// Numbers as their bits: digits are read one bit apart.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        number.to_bits().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// A table as a file has it, before its columns have kinds.
#[derive(Debug, Default)]
struct Raw {
    names: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Whether numbers, truth values and missing cells are spelt as texts.
    spelt: bool,
    text_bytes: usize,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Unreadable`], and those of [`decode`](Self::decode).
    pub fn read(path: &Path) -> Result<Self> {
        Self::decode(&read(path)?, &path.display().to_string())
    }

    /// Decodes CSV and TSV (UTF-8, or UTF-16 with its mark; the first row has the names), JSON lines, Parquet
    /// and the first sheet of an XLSX file, by content. `origin` names the input in errors.
    ///
    /// # Errors
    /// Empty, foreign, ragged, damaged or too large input, and columns of one name.
    pub fn decode(bytes: &[u8], origin: &str) -> Result<Self> {
        within(origin, "bytes", bytes.len(), MAX_FILE_BYTES as usize)?;
        let raw = match bytes {
            [] => return Err(empty(origin, "0 bytes")),
            [b'P', b'A', b'R', b'1', ..] => of_parquet(bytes, origin)?,
            [b'P', b'K', 3, 4, ..] => sheet::read(bytes, origin)?,
            _ => text::read(bytes, origin)?,
        };
        raw.table(origin)
    }

    /// A table of rows that are known by the names of their columns, which are those of the first row.
    ///
    /// # Errors
    /// There is no row or no column, a cell holds a list or an object, or there is too much.
    pub fn of_objects(rows: Vec<serde_json::Map<String, serde_json::Value>>) -> Result<Self> {
        let origin = "the rows";
        let names = rows.first().into_iter().flat_map(|row| row.keys().cloned()).collect();
        text::of_objects(names, (1..).zip(rows).map(Ok), origin)?.table(origin)
    }
}

/// A file's bytes, no more than are read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let origin = path.display().to_string();
    let unreadable = |reason: std::io::Error| Error::Unreadable {
        origin: origin.clone(),
        reason: reason.to_string(),
    };
    let length = path.metadata().map_err(unreadable)?.len();
    within(
        &origin,
        "bytes",
        usize::try_from(length).unwrap_or(usize::MAX),
        MAX_FILE_BYTES as usize,
    )?;
    std::fs::read(path).map_err(unreadable)
}

impl Raw {
    /// With these names, numbered where they are empty.
    fn named(names: impl IntoIterator<Item = String>, origin: &str) -> Result<Self> {
        let name = |(name, n): (String, usize)| match name.trim() {
            "" => format!("column {n}"),
            name => name.to_owned(),
        };
        let names: Vec<String> = names.into_iter().zip(1..).map(name).collect();
        within(origin, "columns", names.len(), MAX_COLUMNS)?;
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(wrong(
                origin,
                "the names of the columns",
                "each name once",
                twice[0],
                "rename one of them",
            ));
        }
        match names.is_empty() {
            true => Err(empty(origin, "no columns")),
            false => Ok(Self { names, ..Self::default() }),
        }
    }

    /// Adds a row.
    fn push(&mut self, row: Vec<Cell>, origin: &str) -> Result<()> {
        let (n, names) = (self.rows.len() + 1, &self.names);
        if row.len() != names.len() {
            let expected = format!("{} cells, one for each column,", names.len());
            let hint =
                "a text with the separator or a line break in it stands between double quotes";
            return Err(wrong(origin, format!("row {n}"), expected, row.len(), hint));
        }
        within(origin, "rows", n, MAX_ROWS)?;
        within(origin, "cells", n * names.len(), MAX_CELLS)?;
        for (cell, name) in row.iter().zip(names) {
            if let Cell::Category(text) = cell {
                let what = format!("bytes in row {n}, column `{name}`,");
                within(origin, &what, text.len(), MAX_CELL_BYTES)?;
                self.text_bytes += text.len();
            }
        }
        within(origin, "bytes of texts", self.text_bytes, MAX_TEXT_BYTES)?;
        self.rows.push(row);
        Ok(())
    }

    /// Columns with their kinds; rows of nothing behind the last are left out.
    fn table(mut self, origin: &str) -> Result<Table> {
        let is_missing = |cell: &Cell| matches!(cell, Cell::Missing);
        if self.spelt {
            self.rows.iter_mut().flatten().for_each(kind::miss);
        }
        while self.rows.last().is_some_and(|row| row.iter().all(is_missing)) {
            self.rows.pop();
        }
        if self.rows.is_empty() {
            return Err(empty(origin, "no rows but the names of the columns"));
        }
        let mut schema = Vec::new();
        for (at, name) in self.names.into_iter().enumerate() {
            let kind = kind::settle(&mut self.rows, at, self.spelt).map_err(|(row, got)| {
                let place = format!("row {row}, column `{name}`");
                wrong(
                    origin,
                    place,
                    "a finite number",
                    got,
                    "leave the cell empty where nothing is known",
                )
            })?;
            let missing = self.rows.iter().filter(|row| is_missing(&row[at])).count();
            schema.push(Column { kind, unit: unit(&name), missing, name });
        }
        Ok(Table { schema, rows: self.rows })
    }
}

/// Cells of a row of JSON, by name.
fn of_json(value: serde_json::Value) -> std::result::Result<Cell, &'static str> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => Cell::Missing,
        Value::Bool(value) => Cell::Boolean(value),
        Value::Number(number) => number.as_f64().map_or(Cell::Missing, Cell::Number),
        Value::String(text) if text.is_empty() => Cell::Missing,
        Value::String(text) => Cell::Category(text),
        Value::Array(_) => return Err("a list"),
        Value::Object(_) => return Err("an object"),
    })
}

fn of_parquet(bytes: &[u8], origin: &str) -> Result<Raw> {
    let damaged =
        |got: String| wrong(origin, "the file", "whole Parquet", got, "copy or download it again");
    let file = parquet::Table::of_bytes(bytes).map_err(damaged)?;
    let names: Vec<String> = file.columns().map(str::to_owned).collect();
    let mut raw = Raw::named(names.iter().cloned(), origin)?;
    within(origin, "rows", file.len(), MAX_ROWS)?;
    within(origin, "cells", file.len().saturating_mul(names.len()), MAX_CELLS)?;
    for (n, row) in file.rows(|_| true) {
        let mut row = row.map_err(|got| damaged(format!("row {}: {got}", n + 1)))?;
        let mut cell = |name: &String| {
            let value = row.get_mut(name).map(serde_json::Value::take);
            let cell = value.ok_or("bytes").and_then(of_json);
            cell.map(|cell| counted(cell, file.unit(name))).map_err(|got| {
                let place = format!("row {}, column `{name}`", n + 1);
                wrong(origin, place, FLAT, got, "leave the column out")
            })
        };
        let row = names.iter().map(&mut cell).collect::<Result<_>>()?;
        raw.push(row, origin)?;
    }
    Ok(raw)
}

/// The number, date or time that a cell's number stands for.
fn counted(cell: Cell, unit: parquet::Unit) -> Cell {
    match (cell, unit) {
        (Cell::Number(days), parquet::Unit::Day(per)) => Cell::Date(days / per),
        (Cell::Number(number), parquet::Unit::Part(per)) => Cell::Number(number / per),
        (cell, _) => cell,
    }
}

/// What a cell may hold.
const FLAT: &str = "a text, a number, true, false or nothing";

fn empty(origin: &str, got: &str) -> Error {
    wrong(
        origin,
        "the file",
        "a table with rows",
        got,
        "the first row has the names of the columns, others follow",
    )
}

fn wrong(
    origin: &str,
    place: impl ToString,
    expected: impl ToString,
    got: impl ToString,
    hint: &str,
) -> Error {
    Error::Table {
        origin: origin.to_owned(),
        place: place.to_string().into(),
        expected: expected.to_string().into(),
        got: got.to_string().into(),
        hint: hint.into(),
    }
}

fn within(origin: &str, what: &str, got: usize, limit: usize) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    let (origin, what) = (origin.to_owned(), what.to_owned());
    Err(Error::TableTooLarge { origin, what, limit, got })
}
