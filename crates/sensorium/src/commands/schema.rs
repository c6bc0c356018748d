//! Answers that follow a schema: objects of JSON, and tables.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sensorium_inference::Grammar;
use sensorium_media::{Media, Modality, Table, write};
use serde_json::{Map, Value, json};

use crate::print;

/// What an answer is held to.
#[derive(Args, Debug)]
pub struct SchemaOptions {
    /// JSON schema that the answer follows: a file, or the schema itself.
    #[arg(long, value_name = "FILE|JSON", conflicts_with_all = ["columns", "choices", "stop"])]
    schema: Option<String>,
    /// Columns of the table that the answer is; kinds are text, integer, number and boolean.
    #[arg(long, value_name = "NAME:KIND,...", value_delimiter = ',', value_parser = column, conflicts_with_all = ["choices", "stop"])]
    columns: Vec<(String, Value)>,
    /// Write the table of --columns to a file: .csv, .tsv or .jsonl.
    #[arg(long, value_name = "FILE", requires = "columns")]
    out: Option<PathBuf>,
}

impl SchemaOptions {
    /// The grammar of the answer, if it is held to one; that its file can be written is checked too.
    pub fn grammar(&self) -> Result<Option<Grammar>> {
        if let Some(path) = &self.out {
            write::check(path, Modality::Table)?;
        }
        let grammar = match &self.schema {
            Some(schema) => Grammar::json_schema(read(schema)?)?,
            None if self.columns.is_empty() => return Ok(None),
            None => Grammar::rows(self.columns.iter().cloned().collect())?,
        };
        Ok(Some(grammar))
    }

    /// Prints the answer, or the table's rows, a line each; writes the table where a file is named.
    pub fn tell(&self, answer: &Value) -> Result<()> {
        match (&self.out, answer) {
            (Some(path), rows) => self.write(path, rows),
            (None, Value::Array(rows)) if !self.columns.is_empty() => {
                rows.iter().try_for_each(print::line)
            }
            (None, answer) => print::line(answer),
        }
    }

    fn write(&self, path: &Path, rows: &Value) -> Result<()> {
        let rows: Vec<Map<String, Value>> = serde_json::from_value(rows.clone())?;
        let count = rows.len();
        write::write(&Media::Table(Table::of_objects(rows)?), path, &[])?;
        print::line(format!("{}: {count} rows", path.display()))
    }
}

/// A schema in a file, or as it is.
fn read(schema: &str) -> Result<Value> {
    let text = match schema.trim_start().starts_with('{') {
        true => schema.to_owned(),
        false => fs::read_to_string(schema)
            .with_context(|| format!("expected a JSON schema, or a file of one, got {schema:?}"))?,
    };
    serde_json::from_str(&text).with_context(|| {
        format!("expected JSON in the schema {schema:?}\nhint: {{\"type\": \"object\", \"properties\": ...}}")
    })
}

/// `size:number`
fn column(text: &str) -> Result<(String, Value)> {
    let kind = |kind: &str| match kind {
        "text" => Some(json!({ "type": "string" })),
        "integer" | "number" | "boolean" => Some(json!({ "type": kind })),
        _ => None,
    };
    let parts = text.rsplit_once(':').map(|(name, of)| (name.trim(), kind(of.trim())));
    match parts {
        Some((name, Some(kind))) if !name.is_empty() => Ok((name.to_owned(), kind)),
        _ => Err(anyhow!("expected NAME:text, NAME:integer, NAME:number or NAME:boolean")),
    }
}
