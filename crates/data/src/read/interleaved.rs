//! Documents of texts and pictures in turn: MMC4 (Zhu et al. 2023, <https://arxiv.org/abs/2304.06939>) and
//! OBELICS (Laurençon et al. 2023, <https://arxiv.org/abs/2306.16527>), a line of JSON for each.
//!
//! ```json
//! {"text_list": ["A dog.", "A cat."], "image_info": [{"image_name": "a.png", "matched_text_index": 1, "matched_sim": 0.3}]}
//! {"images": ["a.png", null], "texts": [null, "A dog in the snow."]}
//! ```
//!
//! A picture of MMC4 stands before the text that it was matched with, and is `image_name`, a file, or
//! `image_base64`, as in the shards of open_flamingo: tar files with such JSON. OBELICS names its pictures
//! by their addresses: here they are files. A document is one message of the assistant.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sensorium_media::picture::MAX_FILE_BYTES;
use sensorium_media::{Message, Modality, Part, Role};
use serde::Deserialize;

use super::{Entry, Record, Source, bytes, files, lines};
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Mmc4 { text_list: Vec<String>, image_info: Vec<Info> },
    Obelics { images: Vec<Option<String>>, texts: Vec<Option<String>> },
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    image_name: Option<String>,
    /// Whether there is one: it is read when it is asked for.
    #[serde(default, deserialize_with = "is_there")]
    image_base64: bool,
    matched_text_index: usize,
    matched_sim: Option<f32>,
}

fn is_there<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<bool, D::Error> {
    Option::<serde::de::IgnoredAny>::deserialize(from).map(|value| value.is_some())
}

/// The entries of the files that `pattern` names, of JSON lines or tar; of MMC4 without pictures that fit their
/// text less than `min_similarity`, and without what then shows none.
///
/// # Errors
/// There are none, or one does not open.
pub fn read(pattern: &str, min_similarity: f32) -> Result<Vec<Entry>> {
    let wrong = |got: String| Error::Format {
        path: pattern.into(),
        expected: "documents of texts and pictures, a line of JSON each",
        got,
        hint: "files of JSON lines, or tar files of .json, by a pattern as docs-{000..123}.jsonl",
    };
    let mut entries = Vec::new();
    for path in files::named(pattern, "jsonl").map_err(wrong)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|end| end == "tar") {
            let shard = File::open(&path).map_err(|error| wrong(format!("{file}: {error}")))?;
            entries.extend(members(&path.into(), &file, shard, min_similarity));
            continue;
        }
        let (all, path) = (bytes(&path, "documents in JSON, a line each")?, Arc::from(path));
        for (number, line) in lines(&all) {
            let place = Place {
                name: format!("{file}, line {number}"),
                file: &path,
                at: (line.as_ptr() as usize - all.as_ptr() as usize) as u64,
            };
            entries.extend(document(line, &place, min_similarity));
        }
    }
    Ok(entries)
}

/// The documents of a shard, as far as it can be read.
fn members(path: &Arc<Path>, file: &str, shard: File, min_similarity: f32) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut archive = tar::Archive::new(BufReader::new(shard));
    let read = archive.entries_with_seek().and_then(|members| {
        for member in members {
            let mut member = member?;
            let name = member.path()?.to_string_lossy().into_owned();
            if name.ends_with(".json") {
                let at = member.raw_file_position();
                let mut json = Vec::new();
                member.by_ref().take(MAX_FILE_BYTES).read_to_end(&mut json)?;
                let place = Place { name: format!("{file}, {name}"), file: path, at };
                entries.extend(document(&json, &place, min_similarity));
            }
        }
        Ok(())
    });
    entries.extend(read.err().map(|error| Err(format!("{file}: {error}"))));
    entries
}

/// Where a document is.
struct Place<'a> {
    name: String,
    file: &'a Arc<Path>,
    at: u64,
}

/// The document in `json`; nothing where no picture fits.
fn document(json: &[u8], place: &Place, min_similarity: f32) -> Option<Entry> {
    let bad = |reason: String| format!("{}: {reason}", place.name);
    let entry = match serde_json::from_slice(json) {
        Ok(Document::Obelics { images, texts }) => {
            record(images.into_iter().map(|image| image.map(Source::File)).collect(), texts)
        }
        Ok(Document::Mmc4 { text_list, image_info }) => {
            mmc4(text_list, image_info, place, json.len() as u64, min_similarity)?
        }
        Err(error) => Err(match error.classify() {
            serde_json::error::Category::Data => {
                "expected text_list and image_info, or images and texts".into()
            }
            _ => error.to_string(),
        }),
    };
    Some(entry.map_err(bad))
}

fn mmc4(
    texts: Vec<String>,
    pictures: Vec<Info>,
    place: &Place,
    len: u64,
    min_similarity: f32,
) -> Option<Entry> {
    let fits = |info: &Info| info.matched_sim.is_none_or(|similarity| similarity >= min_similarity);
    let mut before: Vec<Vec<Source>> = vec![Vec::new(); texts.len()];
    for (nth, info) in pictures.into_iter().enumerate().filter(|(_, info)| fits(info)) {
        let Some(before) = before.get_mut(info.matched_text_index) else {
            let (got, all) = (info.matched_text_index, texts.len());
            return Some(Err(format!("matched_text_index {got} of {all} texts")));
        };
        before.push(match (info.image_base64, info.image_name) {
            (true, _) => {
                let (name, file) = (format!("{}, picture {nth}", place.name), place.file.clone());
                Source::Base64 { name, file, at: place.at, len, nth }
            }
            (_, Some(name)) => Source::File(name),
            _ => return Some(Err(format!("picture {nth} without image_name and image_base64"))),
        });
    }
    if before.iter().all(Vec::is_empty) {
        return None;
    }
    let (mut images, mut words) = (Vec::new(), Vec::new());
    for (text, before) in texts.into_iter().zip(before) {
        words.extend(vec![None; before.len()]);
        images.extend(before.into_iter().map(Some));
        images.push(None);
        words.push(Some(text));
    }
    Some(record(images, words))
}

/// A document of as many pictures as texts, at each place one of the two.
pub(super) fn record(images: Vec<Option<Source>>, texts: Vec<Option<String>>) -> Entry {
    if images.len() != texts.len() {
        return Err(format!("{} images for {} texts", images.len(), texts.len()));
    }
    let (mut parts, mut pictures) = (Vec::new(), Vec::new());
    for (image, text) in images.into_iter().zip(texts) {
        if let Some(picture) = image {
            if let Source::File(name) = &picture
                && name.contains("://")
            {
                return Err(format!("expected a file, got {name}: fetch the pictures first"));
            }
            pictures.push(picture);
            parts.push(Part::Media(Modality::Image));
        }
        parts.extend(text.filter(|text| !text.trim().is_empty()).map(Part::Text));
    }
    if !parts.iter().any(|part| matches!(part, Part::Text(_))) {
        return Err("no text".into());
    }
    let messages = vec![Message { role: Role::Assistant, parts }];
    Ok(Record { pictures, text: None, messages, spoken: None })
}

/// The `nth` picture of a document of MMC4 in `json`.
pub(super) fn embedded(json: &[u8], nth: usize) -> std::result::Result<Vec<u8>, String> {
    #[derive(Deserialize)]
    struct Pictures {
        image_info: Vec<Picture>,
    }
    #[derive(Deserialize)]
    struct Picture {
        image_base64: Option<String>,
    }
    let all: Pictures = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let picture = all.image_info.into_iter().nth(nth).and_then(|picture| picture.image_base64);
    BASE64_STANDARD.decode(picture.ok_or("no image_base64")?).map_err(|error| error.to_string())
}
