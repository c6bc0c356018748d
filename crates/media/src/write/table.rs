//! Tables as texts.

use serde_json::{Map, Value, json};

use super::{Kind, refused};
use crate::table::{Cell, text};
use crate::{Result, Table};

/// The names of the columns, then the rows, with this between cells. Nothing stands where a cell is missing.
pub fn separated(table: &Table, separator: u8) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
    let refused = |error: &dyn ToString| refused(Kind::Csv, error.to_string());
    let names = table.schema.iter().map(|column| column.name.as_str());
    writer.write_record(names).map_err(|error| refused(&error))?;
    for row in &table.rows {
        writer.write_record(row.iter().map(text)).map_err(|error| refused(&error))?;
    }
    writer.into_inner().map_err(|error| refused(&error))
}

/// An object in each line, with null where a cell is missing.
pub fn lines(table: &Table) -> Result<Vec<u8>> {
    let value = |cell: &Cell| match cell {
        Cell::Missing => Value::Null,
        Cell::Number(number) => json!(number),
        Cell::Boolean(value) => json!(value),
        Cell::Category(_) | Cell::Date(_) => json!(text(cell)),
    };
    let mut bytes = Vec::new();
    for row in &table.rows {
        let names = table.schema.iter().map(|column| column.name.clone());
        let object: Map<String, Value> = names.zip(row.iter().map(value)).collect();
        serde_json::to_writer(&mut bytes, &object).map_err(|error| refused(Kind::Jsonl, error))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
