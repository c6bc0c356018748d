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
//! The column of texts may also be named `caption` or `transcription`; other columns are left unread. `metadata.parquet` is read
//! alike. A picture in such a folder with a `.txt` file of its name is described by that, as img2dataset's
//! `files` are. Without a column of texts, or where files lie in the folder itself, nothing is said about them.
//!
//! Files may be sounds or films in place of pictures; a row may also name both, as `file_name` and
//! `audio_file_name`. A recording of speech may have the columns `voice` and `phones`: who speaks, and each phoneme
//! with the second in which it ends, as in `pau:0.164 hh:0.255`.

use std::path::{Path, PathBuf};

use sensorium_media::parquet::Table;
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Record, Source, bytes, files};
use crate::{Error, Result, Spoken};

/// What is wrong with a table, or a folder without one.
const HINT: &str = "write a metadata.csv with the columns file_name and text, or put the pictures into one folder for each class";

/// A row of a table.
#[derive(Deserialize)]
struct Row {
    file_name: Option<String>,
    audio_file_name: Option<String>,
    text: Option<String>,
    caption: Option<String>,
    transcription: Option<String>,
    voice: Option<String>,
    phones: Option<String>,
}

type ReadTable = fn(&Path) -> Result<Rows>;

/// Rows with their numbers, or what is wrong with them.
type Rows = Vec<(usize, std::result::Result<Row, String>)>;

/// The entries of the folder at `path`, in the table's order or sorted by name.
///
/// # Errors
/// Neither a table nor files of media; a table without the columns.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let tables: [(_, ReadTable); 3] =
        [("metadata.csv", table), ("metadata.jsonl", lines), ("metadata.parquet", parquet)];
    match tables.into_iter().find(|(name, _)| path.join(name).is_file()) {
        Some((name, read)) => Ok(entries(read(&path.join(name))?)),
        None => without_table(path),
    }
}

fn parquet(path: &Path) -> Result<Rows> {
    let table = Table::open(path).map_err(|got| bad_table(path, got))?;
    let names: Vec<&str> = table.columns().collect();
    if !FILES.iter().any(|name| names.contains(name)) {
        return Err(bad_table(path, format!("{names:?}")));
    }
    let known = [&FILES[..], &TEXTS, &SPOKEN].concat();
    let row = |row: std::result::Result<Value, String>| {
        row.and_then(|row| serde_json::from_value(row).map_err(|error| error.to_string()))
    };
    let rows = table.rows(|name| known.contains(&name));
    Ok(rows.into_iter().map(|(number, value)| (number, row(value))).collect())
}

/// The columns of files, those of texts, and those of speech.
const FILES: [&str; 2] = ["file_name", "audio_file_name"];
const TEXTS: [&str; 3] = ["text", "caption", "transcription"];
const SPOKEN: [&str; 2] = ["voice", "phones"];

fn table(path: &Path) -> Result<Rows> {
    let bytes = bytes(path, "a table")?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
    let columns = reader.headers().map_err(|error| bad_table(path, error.to_string()))?;
    if !columns.iter().any(|column| FILES.contains(&column)) {
        return Err(bad_table(path, format!("{:?}", Vec::from_iter(columns))));
    }
    let rows = reader.into_deserialize::<Row>();
    Ok((2..).zip(rows.map(|row| row.map_err(|error| error.to_string()))).collect())
}

fn bad_table(path: &Path, got: String) -> Error {
    let expected = "a table with the columns file_name and text (or caption, transcription)";
    Error::Format { path: path.to_owned(), expected, got, hint: HINT }
}

fn lines(path: &Path) -> Result<Rows> {
    let bytes = bytes(path, "a line of JSON for each picture")?;
    let parsed = |line| serde_json::from_slice::<Row>(line).map_err(|error| error.to_string());
    Ok(super::lines(&bytes).map(|(number, line)| (number, parsed(line))).collect())
}

/// Where any row says something, one that does not is wrong.
fn entries(rows: Rows) -> Vec<Entry> {
    let says =
        |row: &Row| [&row.text, &row.caption, &row.transcription].iter().any(|text| text.is_some());
    let told = rows.iter().filter_map(|(_, row)| row.as_ref().ok()).any(says);
    rows.into_iter().map(|(number, row)| entry(row, number, told)).collect()
}

/// Row `number` of a table whose media are `told` of.
fn entry(row: std::result::Result<Row, String>, number: usize, told: bool) -> Entry {
    let row = row.map_err(|error| format!("row {number}: {error}"))?;
    let filled = |cell: Option<String>| cell.filter(|cell| !cell.trim().is_empty());
    let media: Vec<Source> = [row.file_name, row.audio_file_name]
        .into_iter()
        .filter_map(filled)
        .map(Source::File)
        .collect();
    let Some(first) = media.first() else { return Err(format!("row {number}: no file_name")) };
    let spoken = match (filled(row.voice), filled(row.phones)) {
        (Some(voice), Some(phones)) => Some(spoken(voice, &phones, number)?),
        _ => None,
    };
    match filled(row.text).or(filled(row.caption)).or(filled(row.transcription)) {
        Some(text) => Ok(Record { spoken, ..Record::with(media, text.trim()) }),
        None if told => Err(format!("row {number}: no text for {}", first.name())),
        None => Ok(Record { spoken, ..Record::untold(media) }),
    }
}

/// Phonemes with the seconds in which they end, which must grow.
fn spoken(voice: String, phones: &str, number: usize) -> std::result::Result<Spoken, String> {
    let mut last = 0.0;
    let phoneme = |one: &str| {
        let (name, end) = one.split_once(':')?;
        let end: f32 = end.parse().ok().filter(|end| (last..LONGEST).contains(end))?;
        last = end;
        Some((name.to_owned(), end))
    };
    let phonemes: Option<Vec<_>> = phones.split_whitespace().map(phoneme).collect();
    let phonemes = phonemes.ok_or_else(|| {
        format!(
            "row {number}: expected phones as \"pau:0.164 hh:0.255\", each with its end in seconds"
        )
    })?;
    Ok(Spoken { voice, phonemes })
}

/// Seconds that no recording of a sentence takes.
const LONGEST: f32 = 7200.0;

/// Files that are named by the folder they are in or, where there are no folders of them, by nothing. Where
/// there are pictures, only these count.
fn without_table(path: &Path) -> Result<Vec<Entry>> {
    let (folders, files): (Vec<_>, Vec<_>) = list(path)?.into_iter().partition(|p| p.is_dir());
    let kinds: [fn(&str) -> bool; 2] = [files::is_picture, files::is_heard];
    for counts in kinds {
        let found = classes(&folders, counts)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    for counts in kinds {
        let found = files.iter().map(|file| name(file)).filter(|name| counts(name));
        let found: Vec<Entry> =
            found.map(|name| Ok(Record::untold(vec![Source::File(name)]))).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Error::Format {
        path: path.to_owned(),
        expected: "metadata.csv, .jsonl or .parquet, or a folder of pictures for each class",
        got: format!("{} files and {} folders without pictures", files.len(), folders.len()),
        hint: HINT,
    })
}

/// The files that count in each folder, which names them where no `.txt` beside them does.
fn classes(folders: &[PathBuf], counts: fn(&str) -> bool) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for folder in folders {
        let class = name(folder);
        let media = list(folder)?.into_iter().filter(|file| counts(&name(file)));
        entries.extend(media.map(|file| {
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
