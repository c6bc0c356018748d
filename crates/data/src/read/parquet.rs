//! Parquet files, as the hub's data sets and img2dataset have them. What a row is follows from its columns:
//!
//! | columns | a row is |
//! |---|---|
//! | `messages`, or `prompt` and `completion` | a conversation, as in [`messages`] |
//! | `conversations` | one as in [`llava_json`] |
//! | `images` and `texts`, lists | a document, as in [`interleaved`]; of `user` and `assistant`, a conversation |
//! | `question` and `answer` | both about the picture |
//! | `text` or `caption`, a list too, or `label` | captions of the picture or, without pictures, a text |
//!
//! Pictures are bytes, or structs of `bytes` and `path`, in `image`, `images`, `jpg`, `png` or `img`; they stay
//! in their file until they are asked for. A `label` has its name from the data set's features.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sensorium_media::parquet::Table;
use sensorium_media::{Message, Role};
use serde_json::Value;

use super::{Entry, Record, Source, files, interleaved, llava_json, messages, vqa};
use crate::drawn::scene::Split;
use crate::{Error, Result};

const PICTURES: [&str; 5] = ["image", "images", "jpg", "png", "img"];
const CAPTIONS: [&str; 5] = ["text", "caption", "captions", "TEXT", "label"];
const OTHERS: [&str; 10] = [
    "messages",
    "prompt",
    "completion",
    "conversations",
    "texts",
    "question",
    "answer",
    "multiple_choice_answer",
    "status",
    "answers",
];

/// Names of columns, where they are not the usual ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// Of the pictures.
    pub image: Option<&'a str>,
    /// Of the captions.
    pub caption: Option<&'a str>,
}

/// The entries of the files that `pattern` names, as [`files::named`]; of a folder with `train`, `validation` and
/// `test` files, those of the part that is asked for.
///
/// # Errors
/// There are none, or one is no whole Parquet file or has no such columns.
pub fn read(pattern: &str, split: Split, columns: Columns<'_>) -> Result<Vec<Entry>> {
    let all = files::named(pattern, "parquet").map_err(|got| wrong(pattern.as_ref(), got))?;
    let mut entries = Vec::new();
    for path in of_split(all, Path::new(pattern).is_dir(), split) {
        let table = Table::open(&path).map_err(|got| wrong(&path, got))?;
        entries.extend(Rows::new(table, columns).map_err(|got| wrong(&path, got))?.entries());
    }
    Ok(entries)
}

fn wrong(path: &Path, got: String) -> Error {
    Error::Format {
        path: path.to_owned(),
        expected: "a Parquet file of pictures with captions, conversations, documents or texts",
        got,
        hint: "image_key and caption_key name the columns; files by a pattern as data/train-*.parquet",
    }
}

fn of_split(files: Vec<PathBuf>, is_folder: bool, split: Split) -> Vec<PathBuf> {
    let is_of = |path: &Path, split| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let starts: &[&str] = match split {
            Split::Train => &["train"],
            Split::Val => &["val", "dev"],
            Split::HeldOut => &["test"],
        };
        starts.iter().any(|start| name.starts_with(start))
    };
    let all = [Split::Train, Split::Val, Split::HeldOut];
    match is_folder && files.iter().any(|file| all.iter().any(|split| is_of(file, *split))) {
        true => files.into_iter().filter(|file| is_of(file, split)).collect(),
        false => files,
    }
}

/// A file's rows.
struct Rows {
    table: Arc<Table>,
    /// The column of pictures, and what of it holds their bytes: nothing where none does.
    image: Option<(String, Arc<[String]>)>,
    caption: Option<String>,
    /// Names of labels.
    classes: Vec<String>,
}

impl Rows {
    fn new(table: Table, columns: Columns) -> std::result::Result<Self, String> {
        let names: Vec<&str> = table.columns().collect();
        let has = |name: &str| names.contains(&name);
        let find = |named: Option<&str>, usual: &[&str]| match named {
            Some(name) if !has(name) => Err(format!("no column {name} among {names:?}")),
            Some(name) => Ok(Some(name.to_owned())),
            None => Ok(usual.iter().find(|name| has(name)).map(|name| (*name).to_owned())),
        };
        let (image, caption) = (find(columns.image, &PICTURES)?, find(columns.caption, &CAPTIONS)?);
        let talks = ["messages", "completion", "conversations", "texts", "answer"];
        let asks = talks.into_iter().chain(["multiple_choice_answer"]).any(has);
        if caption.is_none() && !asks {
            return Err(format!("the columns {names:?}"));
        }
        let image = image.map(|name| -> std::result::Result<_, String> {
            let held = [vec![name.clone()], vec![name.clone(), "bytes".into()]];
            let held = held
                .into_iter()
                .find(|path| table.has_bytes(&path.iter().map(String::as_str).collect::<Vec<_>>()));
            if held.is_none() && !table.is_told(&name) {
                // How many there are in a row is not told beside them.
                return Err(format!(
                    "lists of bare bytes in {name}; their entries may be structs of bytes and path"
                ));
            }
            Ok((name, held.unwrap_or_default().into()))
        });
        let image = image.transpose()?;
        let classes = caption.as_deref().map_or(Vec::new(), |caption| classes(&table, caption));
        Ok(Self { table: Arc::new(table), image, caption, classes })
    }

    fn entries(&self) -> Vec<Entry> {
        let known = |name: &str| {
            let is = |other: Option<&str>| other.is_some_and(|other| other == name);
            is(self.caption.as_deref())
                || is(self.image.as_ref().map(|(name, _)| &**name))
                || OTHERS.contains(&name)
        };
        let file = self.table.file_name();
        let rows = self.table.rows(known).into_iter();
        let entries = rows.flat_map(|(number, row)| {
            let bad = |reason| format!("{file}, row {number}: {reason}");
            let entries = match row {
                Ok(row) => self.row(row, number, &file),
                Err(error) => vec![Err(error)],
            };
            entries.into_iter().map(move |entry| entry.map_err(bad)).collect::<Vec<_>>()
        });
        entries.collect()
    }

    /// What a row is: several entries where it has several captions, none where it could not be fetched.
    fn row(&self, mut row: Value, number: usize, file: &str) -> Vec<Entry> {
        if row.get("status").and_then(Value::as_str).is_some_and(|status| status != "success") {
            return Vec::new();
        }
        let images = self.image.as_ref().map(|(name, _)| row[name].take()).unwrap_or_default();
        let listed = match images {
            Value::Array(images) => images,
            // Bytes alone are not told.
            Value::Null if self.image.as_ref().is_none_or(|(_, held)| held.len() != 1) => {
                Vec::new()
            }
            one => vec![one],
        };
        let mut nth = 0;
        let mut source = |image: Value| {
            let path = image.as_str().or(image.get("path").and_then(Value::as_str));
            let (_, column) = self.image.as_ref()?;
            if image.is_null() && column.len() != 1 {
                nth += 1;
                return None;
            }
            let name = format!("{file}, row {number}");
            nth += 1;
            Some(Source::Cell {
                name: path.map_or(name.clone(), |path| format!("{name}, {path}")),
                table: self.table.clone(),
                column: column.clone(),
                at: [number, nth - 1],
                file: path.map(str::to_owned),
            })
        };
        let sources: Vec<Option<Source>> = listed.into_iter().map(&mut source).collect();
        let texts = row["texts"].take();
        if let Value::Array(texts) = texts {
            return vec![document(sources, texts)];
        }
        let pictures: Vec<Source> = sources.into_iter().flatten().collect();
        if !row["conversations"].is_null() {
            return vec![llava_json::conversations(row["conversations"].take(), pictures)];
        }
        if !row["messages"].is_null() || !row["completion"].is_null() {
            return vec![messages::conversation(row, pictures)];
        }
        let word = |key: &str| row[key].as_str().or(row[key][0].as_str()).map(str::trim);
        let answer = word("answer").or(word("multiple_choice_answer"));
        if let (Some(question), Some(answer)) = (word("question"), answer) {
            return vec![Ok(vqa::asked(pictures, question, answer))];
        }
        let captions = self.captions(self.caption.as_ref().map(|key| row[key].take()));
        let entry = |caption: String| Ok(Record::with(pictures.clone(), &caption));
        match captions.is_empty() {
            true => vec![Err("no caption".into())],
            false => captions.into_iter().map(entry).collect(),
        }
    }

    fn captions(&self, value: Option<Value>) -> Vec<String> {
        let values = match value {
            Some(Value::Array(values)) => values,
            one => one.into_iter().collect(),
        };
        let text = |value: Value| {
            let class = value.as_u64().and_then(|label| self.classes.get(label as usize));
            let text = value.as_str().or(class.map(String::as_str)).unwrap_or_default().trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        values.into_iter().filter_map(text).collect()
    }
}

/// Pictures and texts in turn, or questions and answers about pictures.
fn document(images: Vec<Option<Source>>, texts: Vec<Value>) -> Entry {
    if texts.iter().any(Value::is_object) {
        let pictures: Vec<Source> = images.into_iter().flatten().collect();
        let turn = |text: &Value| {
            let message = |role, key: &str| Some(Message::text(role, text[key].as_str()?));
            [message(Role::User, "user"), message(Role::Assistant, "assistant")]
        };
        let messages = texts.iter().flat_map(turn).flatten().collect();
        return messages::shown(messages, pictures);
    }
    let text = |text: Value| text.as_str().map(str::to_owned);
    interleaved::record(images, texts.into_iter().map(text).collect())
}

/// Names of the labels in a column, as the hub's library notes them: `_` becomes a space.
fn classes(table: &Table, column: &str) -> Vec<String> {
    let note = table.note("huggingface").and_then(|note| serde_json::from_str::<Value>(note).ok());
    let names = note.as_ref().map(|note| &note["info"]["features"][column]["names"]);
    let names = names.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(|name| name.replace('_', " ")).collect()
}
