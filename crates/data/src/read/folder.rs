//! A folder of pictures with a table of texts, as the hub's `imagefolder` data sets have it, or with a
//! folder for each class.
//!
//! ```text
//! my/pictures/                         my/pictures/
//! ├── metadata.csv  or  .jsonl         ├── golden_retriever/
//! │   file_name,text                   │   └── 1.jpg  2.jpg         "golden retriever"
//! │   0001.jpg,a dog in the snow       └── tabby/
//! └── 0001.jpg                             └── 3.png                "tabby"
//! ```
//!
//! The column of texts may also be named `caption`; other columns are left unread. `metadata.parquet` is read
//! alike. A picture in such a folder with a `.txt` file of its name is described by that, as img2dataset's
//! `files` are.

use std::path::{Path, PathBuf};

use sensorium_media::parquet::Table;
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Record, bytes};
use crate::{Error, Result};

/// Endings of the files that count as pictures of a class.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// What is wrong with a table, or a folder without one.
const HINT: &str = "write a metadata.csv with the columns file_name and text, or put the pictures into one folder for each class";

/// A row of a table.
#[derive(Deserialize)]
struct Row {
    file_name: Option<String>,
    text: Option<String>,
    caption: Option<String>,
}

type ReadTable = fn(&Path) -> Result<Vec<Entry>>;

/// The entries of the folder at `path`, in the table's order or sorted by name.
///
/// # Errors
/// Neither a table nor folders of pictures; a table without the columns.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let tables: [(_, ReadTable); 3] =
        [("metadata.csv", table), ("metadata.jsonl", lines), ("metadata.parquet", parquet)];
    match tables.into_iter().find(|(name, _)| path.join(name).is_file()) {
        Some((name, read)) => read(&path.join(name)),
        None => classes(path),
    }
}

fn parquet(path: &Path) -> Result<Vec<Entry>> {
    let table = Table::open(path).map_err(|got| bad_table(path, got))?;
    let names: Vec<&str> = table.columns().collect();
    let has = |name| names.contains(&name);
    if !has("file_name") || !(has("text") || has("caption")) {
        return Err(bad_table(path, format!("{names:?}")));
    }
    let rows = table.rows(|name| ["file_name", "text", "caption"].contains(&name));
    let row = |row: std::result::Result<Value, String>| {
        row.and_then(|row| serde_json::from_value(row).map_err(|error| error.to_string()))
    };
    Ok(rows.into_iter().map(|(number, value)| entry(row(value), number)).collect())
}

fn table(path: &Path) -> Result<Vec<Entry>> {
    let bytes = bytes(path, "a table")?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
    let columns = reader.headers().map_err(|error| bad_table(path, error.to_string()))?;
    let has = |name: &str| columns.iter().any(|column| column == name);
    if !has("file_name") || !(has("text") || has("caption")) {
        return Err(bad_table(path, format!("{:?}", Vec::from_iter(columns))));
    }
    let rows = reader.into_deserialize::<Row>();
    Ok(rows.zip(2..).map(|(row, number)| entry(row.map_err(|e| e.to_string()), number)).collect())
}

fn bad_table(path: &Path, got: String) -> Error {
    let expected = "a table with the columns file_name and text (or caption)";
    Error::Format { path: path.to_owned(), expected, got, hint: HINT }
}

fn lines(path: &Path) -> Result<Vec<Entry>> {
    let bytes = bytes(path, "a line of JSON for each picture")?;
    let parsed = |line| serde_json::from_slice::<Row>(line).map_err(|error| error.to_string());
    Ok(super::lines(&bytes).map(|(number, line)| entry(parsed(line), number)).collect())
}

/// Row `number` of a table.
fn entry(row: std::result::Result<Row, String>, number: usize) -> Entry {
    let Row { file_name, text, caption } = row.map_err(|error| format!("row {number}: {error}"))?;
    let filled = |cell: Option<String>| cell.filter(|cell| !cell.trim().is_empty());
    let picture = filled(file_name).ok_or_else(|| format!("row {number}: no file_name"))?;
    let text = filled(text).or(filled(caption));
    let text = text.ok_or_else(|| format!("row {number}: no text for {picture}"))?;
    Ok(Record::captioned(picture, text.trim()))
}

/// Pictures that are named by the folder they are in.
fn classes(path: &Path) -> Result<Vec<Entry>> {
    let (folders, files): (Vec<_>, Vec<_>) = list(path)?.into_iter().partition(|p| p.is_dir());
    let mut entries = Vec::new();
    for folder in &folders {
        let class = name(folder);
        let pictures = list(folder)?.into_iter().filter(|file| is_picture(file));
        entries.extend(pictures.map(|file| {
            let beside = file.with_extension("txt");
            let text = match beside.is_file() {
                true => std::fs::read_to_string(&beside)
                    .map_err(|error| format!("{}: {error}", beside.display()))?,
                false => class.replace('_', " "),
            };
            match text.trim() {
                "" => Err(format!("{}: no text", beside.display())),
                text => Ok(Record::captioned(format!("{class}/{}", name(&file)), text)),
            }
        }));
    }
    if entries.is_empty() {
        return Err(Error::Format {
            path: path.to_owned(),
            expected: "metadata.csv, .jsonl or .parquet, or a folder of pictures for each class",
            got: format!("{} files and {} folders without pictures", files.len(), folders.len()),
            hint: HINT,
        });
    }
    Ok(entries)
}

/// What is in a folder, sorted.
fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::Format {
        path: path.to_owned(),
        expected: "a folder of pictures",
        got: error.to_string(),
        hint: HINT,
    };
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    PICTURES.contains(&&*ending)
}
