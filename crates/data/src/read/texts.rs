//! Plain texts: a file, or all `.txt` and `.md` files of a folder, or JSON lines with a `text`.
//!
//! ```json
//! {"text": "A dog in the snow."}
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Entry, Record, bytes};
use crate::{Error, Result};

/// What an example is of a file that is no JSON, as the hub's `text` data sets have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleBy {
    /// A line.
    #[default]
    Line,
    /// What stands between empty lines.
    Paragraph,
    /// All of a file.
    Document,
}

const HINT: &str =
    "pass a .txt or .md file, a folder of them, or a .jsonl file with a text in each line";

/// The entries of the file or folder at `path`, files sorted by name.
///
/// # Errors
/// It cannot be read, or is a folder without such files.
pub fn read(path: &Path, sample_by: SampleBy) -> Result<Vec<Entry>> {
    if path.extension().is_some_and(|end| end == "jsonl") {
        return lines(path);
    }
    let mut entries = Vec::new();
    for file in files(path)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match String::from_utf8(bytes(&file, "a text")?) {
            Ok(text) => entries.extend(samples(&text, sample_by)),
            Err(error) => entries.push(Err(format!("{name}: {error}"))),
        }
    }
    Ok(entries)
}

fn samples(text: &str, sample_by: SampleBy) -> Vec<Entry> {
    // Lines of other systems.
    let text = text.replace("\r\n", "\n");
    let parts: Vec<&str> = match sample_by {
        SampleBy::Line => text.split('\n').collect(),
        SampleBy::Paragraph => text.split("\n\n").collect(),
        SampleBy::Document => vec![&text],
    };
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(entry).collect()
}

fn entry(text: &str) -> Entry {
    Ok(Record::with(Vec::new(), text))
}

fn lines(path: &Path) -> Result<Vec<Entry>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let bytes = bytes(path, "a line of JSON for each text")?;
    let read = |(number, line): (usize, &[u8])| {
        let line: Line =
            serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
        match line.text.trim() {
            "" => Err(format!("line {number}: no text")),
            text => entry(text),
        }
    };
    Ok(super::lines(&bytes).map(read).collect())
}

/// The file itself, or a folder's.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let wrong = |got: String| Error::Format {
        path: path.to_owned(),
        expected: "a folder of .txt or .md files",
        got,
        hint: HINT,
    };
    let entries = std::fs::read_dir(path).map_err(|error| wrong(error.to_string()))?;
    let is_text = |path: &PathBuf| path.extension().is_some_and(|end| end == "txt" || end == "md");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_text).collect();
    files.sort();
    if files.is_empty() { Err(wrong("none".into())) } else { Ok(files) }
}
