//! Shards of pictures and captions: tar files, as WebDataset reads and img2dataset writes them.
//!
//! ```text
//! photos-{000000..000123}.tar        000000017.jpg  000000017.txt  000000017.json
//! ```
//!
//! Neighbouring files of one name up to its first dot are a sample: a picture (`jpg`, `jpeg`, `png`,
//! `webp`), and its caption, from `txt`, or from `caption` or `text` in `json`. Pictures stay in their
//! shard until they are asked for; what img2dataset could not fetch is left out.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Entry, Record, Source, files};
use crate::{Error, Result};

const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Longest caption or JSON file that is read.
const MAX_TEXT: u64 = 1 << 20;

/// The entries of all shards that `pattern` names, as [`files::named`].
///
/// # Errors
/// A pattern that names nothing, or a shard that does not open. Where one ends early, an entry says so
/// and those before it are there.
pub fn read(pattern: &str) -> Result<Vec<Entry>> {
    let shards = files::named(pattern, "tar").map_err(|got| wrong(pattern, got))?;
    let mut entries = Vec::new();
    for shard in shards {
        let file = File::open(&shard)
            .map_err(|error| wrong(pattern, format!("{}: {error}", shard.display())))?;
        entries.extend(samples(&shard.into(), BufReader::new(file)));
    }
    Ok(entries)
}

fn wrong(pattern: &str, got: String) -> Error {
    Error::Format {
        path: pattern.into(),
        expected: "tar files of pictures and captions",
        got,
        hint: "as photos-{000..123}.tar or photos-*.tar, several joined by ::",
    }
}

/// The samples of one shard.
fn samples(shard: &Arc<Path>, file: BufReader<File>) -> Vec<Entry> {
    let name = shard.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut entries, mut sample) = (Vec::new(), Sample::default());
    let mut archive = tar::Archive::new(file);
    let members = match archive.entries_with_seek() {
        Ok(members) => members,
        Err(error) => return vec![Err(format!("{name}: {error}"))],
    };
    for member in members {
        let read = member.and_then(|mut member| sample_of(&mut member));
        match read {
            Ok(Some((key, part))) => {
                if key != sample.key {
                    entries
                        .extend(std::mem::replace(&mut sample, Sample::of(key)).end(&name, shard));
                }
                sample.add(part);
            }
            Ok(None) => {}
            Err(error) => {
                let behind = format!("{name}, behind {:?}: {error}", sample.key);
                entries.extend(sample.end(&name, shard));
                entries.push(Err(behind));
                return entries;
            }
        }
    }
    entries.extend(sample.end(&name, shard));
    entries
}

/// A file of a sample.
enum Part {
    Picture { at: u64, len: u64 },
    Caption(String),
    Settings(Value),
}

/// A member's sample and what it is of it.
fn sample_of<R: Read>(member: &mut tar::Entry<'_, R>) -> std::io::Result<Option<(String, Part)>> {
    if !member.header().entry_type().is_file() {
        return Ok(None);
    }
    let path = member.path()?.to_string_lossy().into_owned();
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let Some(dot) = path[start..].find('.') else { return Ok(None) };
    let (key, end) = (path[..start + dot].to_owned(), path[start + dot + 1..].to_lowercase());
    let (at, len) = (member.raw_file_position(), member.size());
    let mut text = || -> std::io::Result<String> {
        let mut bytes = Vec::new();
        member.take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let part = match &*end {
        "txt" => Part::Caption(text()?),
        "json" => Part::Settings(serde_json::from_str(&text()?).unwrap_or_default()),
        _ if PICTURES.contains(&&*end) => Part::Picture { at, len },
        _ => return Ok(None),
    };
    Ok(Some((key, part)))
}

/// What has been seen of a sample.
#[derive(Default)]
struct Sample {
    key: String,
    picture: Option<(u64, u64)>,
    caption: Option<String>,
    settings: Value,
}

impl Sample {
    fn of(key: String) -> Self {
        Self { key, ..Self::default() }
    }

    fn add(&mut self, part: Part) {
        match part {
            Part::Picture { at, len } => self.picture = Some((at, len)),
            Part::Caption(caption) => self.caption = Some(caption),
            Part::Settings(settings) => self.settings = settings,
        }
    }

    /// The sample as an entry; nothing before the first.
    fn end(self, name: &str, shard: &Arc<Path>) -> Option<Entry> {
        let Self { key, picture, caption, settings } = self;
        if key.is_empty() {
            return None;
        }
        if picture.is_none() && settings.get("status").is_some_and(|status| status != "success") {
            return None;
        }
        let named = |key: &str| settings.get(key).and_then(Value::as_str).map(str::to_owned);
        let text = caption.or_else(|| named("caption")).or_else(|| named("text"));
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (picture, text) = match (picture, text) {
            (Some(picture), Some(text)) => (picture, text),
            (None, _) => return Some(Err(format!("{name}: no picture of {key}"))),
            (_, None) => return Some(Err(format!("{name}: no caption of {key}"))),
        };
        let (at, len) = picture;
        let source = Source::Shard { name: format!("{name}/{key}"), shard: shard.clone(), at, len };
        Some(Ok(Record::with(vec![source], &text)))
    }
}
