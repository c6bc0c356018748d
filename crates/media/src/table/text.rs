//! Tables that are texts: CSV with any separator, JSON lines.

use serde_json::Value;

use super::{Cell, FLAT, MAX_COLUMNS, Raw, empty, of_json, within, wrong};
use crate::error::quote;
use crate::header::{Kind, describe};
use crate::{Error, Result};

/// What may stand between cells. Of those in the first line, the most frequent does, the earlier of equals.
const SEPARATORS: [u8; 4] = [b'\t', b',', b';', b'|'];

pub fn read(bytes: &[u8], origin: &str) -> Result<Raw> {
    let text = decoded(bytes, origin)?;
    match text.trim_start().bytes().next() {
        None => Err(empty(origin, "only white space")),
        Some(b'{') => lines(&text, origin),
        Some(b'[') => Err(wrong(
            origin,
            "the file",
            "an object in each line",
            "a list",
            "`jq -c '.[]' FILE` writes each of its entries into a line",
        )),
        Some(_) => separated(&text, origin),
    }
}

/// UTF-8, or UTF-16 that says so.
fn decoded(bytes: &[u8], origin: &str) -> Result<String> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.as_chunks().0.iter().map(|pair| unit(*pair));
        let text: std::result::Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|error| {
            let got = format!("the unit {:#06x}", error.unpaired_surrogate());
            wrong(origin, "the file", "whole UTF-16", got, "save the table as CSV in UTF-8")
        })
    };
    match bytes {
        [0xFF, 0xFE, rest @ ..] => return wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => return wide(rest, u16::from_be_bytes),
        _ if bytes.contains(&0) => {
            let picture = Kind::sniff(bytes).map(|kind| format!("a {} picture", kind.name()));
            let found = picture.unwrap_or_else(|| describe(bytes));
            return Err(Error::NotATable { origin: origin.to_owned(), found });
        }
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let at = error.valid_up_to();
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let got = format!("the byte {:#04x}", bytes[at]);
        let hint =
            "`iconv -f latin1 -t utf-8 FILE` converts older files; spreadsheets save \"CSV UTF-8\"";
        wrong(origin, format!("line {line}"), "UTF-8", got, hint)
    })
}

fn separated(text: &str, origin: &str) -> Result<Raw> {
    let separator = separator(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let mut rows = reader.records().map(|row| {
        row.map_err(|error| wrong(origin, "the file", "CSV", error, "save the table again"))
    });
    let names = rows.next().ok_or_else(|| empty(origin, "no rows"))??;
    let mut raw = Raw::named(names.iter().map(str::to_owned), origin)?;
    raw.spelt = true;
    for row in rows {
        raw.push(row?.iter().map(|cell| Cell::Category(cell.to_owned())).collect(), origin)?;
    }
    Ok(raw)
}

/// What stands between the cells of the first line, outside quotes.
fn separator(text: &str) -> u8 {
    let (mut counts, mut quoted) = ([0; SEPARATORS.len()], false);
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => {
                SEPARATORS.iter().zip(&mut counts).for_each(|(s, n)| *n += usize::from(*s == byte))
            }
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    match SEPARATORS.iter().zip(counts).find(|(_, n)| most > 0 && *n == most) {
        Some((separator, _)) => *separator,
        None => b',',
    }
}

/// Columns are the keys of all objects, in the order in which they come.
fn lines(text: &str, origin: &str) -> Result<Raw> {
    let mut names = Object::new();
    for object in objects(text, origin) {
        for name in object?.1.into_iter().map(|(name, _)| name) {
            names.entry(name).or_insert(Value::Null);
        }
        within(origin, "columns", names.len(), MAX_COLUMNS)?;
    }
    let names = names.into_iter().map(|(name, _)| name).collect();
    of_objects(names, objects(text, origin), origin)
}

/// A row of each numbered object, with a cell for each of these names.
pub fn of_objects(
    names: Vec<String>,
    objects: impl Iterator<Item = Result<(usize, Object)>>,
    origin: &str,
) -> Result<Raw> {
    let mut raw = Raw::named(names.iter().cloned(), origin)?;
    for object in objects {
        let (n, mut object) = object?;
        let cell = |name: &String| {
            of_json(object.remove(name).unwrap_or_default()).map_err(|got| {
                let hint = "one level of keys: its parts as keys of their own";
                wrong(origin, format!("line {n}, column `{name}`"), FLAT, got, hint)
            })
        };
        let row = names.iter().map(cell).collect::<Result<_>>()?;
        raw.push(row, origin)?;
    }
    Ok(raw)
}

pub type Object = serde_json::Map<String, Value>;

/// The object in each line, with the line's number.
fn objects(text: &str, origin: &str) -> impl Iterator<Item = Result<(usize, Object)>> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(move |(line, n)| {
        let object = serde_json::from_str(line).map_err(|error| {
            let got = format!("{} ({error})", quote(line));
            let hint = "each line is a row: {\"age\": 3, \"name\": \"Ada\"}";
            wrong(origin, format!("line {n}"), "an object in JSON", got, hint)
        })?;
        Ok((n, object))
    })
}
