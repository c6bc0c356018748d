//! A table of pictures' files and captions, as open_clip reads it: columns `filepath` and `title`,
//! separated by tabs, or by commas where the first line has no tab.
//!
//! ```text
//! filepath  title
//! 0001.jpg  a dog in the snow
//! ```

use std::path::Path;

use super::{Entry, Record, bytes};
use crate::{Error, Result};

/// Names of a table's columns, and what is between them.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Of the pictures' files.
    pub image: &'a str,
    /// Of the captions.
    pub caption: &'a str,
    /// One byte; without it, what the first line has.
    pub separator: Option<char>,
}

/// The entries of the table at `path`. Pictures with absolute paths lie below `folder`.
///
/// # Errors
/// It cannot be read, or has no such columns.
pub fn read(path: &Path, folder: &Path, columns: Columns<'_>) -> Result<Vec<Entry>> {
    let bytes = bytes(path, "a table")?;
    let wrong = |got: String| Error::Format {
        path: path.to_owned(),
        expected: "a table with the columns image_key and caption_key, separated by separator",
        got,
        hint: "image_key and caption_key name the columns, separator = \";\" what is between them",
    };
    let has_tab =
        bytes.split(|byte| *byte == b'\n').next().is_some_and(|line| line.contains(&b'\t'));
    let separator = columns.separator.unwrap_or(if has_tab { '\t' } else { ',' });
    let Ok(separator) = u8::try_from(separator) else {
        return Err(wrong(format!("the separator {separator:?}")));
    };
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).delimiter(separator).from_reader(&bytes[..]);
    let names = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let place = |name: &str| names.iter().position(|column| column == name);
    let (Some(image), Some(caption)) = (place(columns.image), place(columns.caption)) else {
        return Err(wrong(format!("{:?}", Vec::from_iter(&names))));
    };
    let entry = |(row, number): (csv::Result<csv::StringRecord>, usize)| {
        let row = row.map_err(|error| format!("row {number}: {error}"))?;
        let cell = |at: usize, name: &str| {
            let cell = row.get(at).map(str::trim).filter(|cell| !cell.is_empty());
            cell.ok_or_else(|| format!("row {number}: no {name}"))
        };
        let (picture, text) = (cell(image, columns.image)?, cell(caption, columns.caption)?);
        Ok(Record::captioned(below(picture, folder), text))
    };
    Ok(reader.into_records().zip(2..).map(entry).collect())
}

/// The path of a file within `folder`, where it is one.
fn below(path: &str, folder: &Path) -> String {
    let within = Path::new(path).strip_prefix(folder).ok();
    within.map_or_else(|| path.to_owned(), |within| within.to_string_lossy().into_owned())
}
