//! Answers that follow a schema: objects of JSON, and tables.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sensorium_inference::Grammar;
use sensorium_media::{Media, Table, write};
use serde_json::{Map, Value, json};

use crate::print;

/// What an answer is held to.
#[derive(Args, Debug)]
pub struct SchemaOptions {
    /// JSON schema that the answer follows: a file, or the schema itself.
    #[arg(long, value_name = "FILE|JSON", conflicts_with_all = ["columns", "choices", "stop", "out", "modalities"])]
    schema: Option<String>,
    /// Columns of the table that the answer is; kinds are text, integer, number and boolean.
    #[arg(long, value_name = "NAME:KIND,...", value_delimiter = ',', value_parser = column, conflicts_with_all = ["choices", "stop", "modalities"])]
    columns: Vec<(String, Value)>,
}

impl SchemaOptions {
    /// The grammar of the answer, if it is held to one.
    pub fn grammar(&self) -> Result<Option<Grammar>> {
        Ok(match &self.schema {
            Some(schema) => Some(Grammar::json_schema(read(schema)?)?),
            None if self.columns.is_empty() => None,
            None => Some(Grammar::rows(self.columns.iter().cloned().collect())?),
        })
    }

    /// Prints the answer, of a table its rows, a line each.
    pub fn print(&self, answer: &Value) -> Result<()> {
        match answer {
            Value::Array(rows) if !self.columns.is_empty() => rows.iter().try_for_each(print::line),
            answer => print::line(answer),
        }
    }
}

/// Writes the rows of a table to a file.
pub fn write(path: &Path, rows: &Value) -> Result<()> {
    let rows: Vec<Map<String, Value>> = serde_json::from_value(rows.clone())?;
    Ok(write::write(&Media::Table(Table::of_objects(rows)?), path, &[])?)
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
