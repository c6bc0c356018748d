//! Shards of pictures and captions: tar files, as WebDataset reads and img2dataset writes them.
//!
//! ```text
//! photos-{000000..000123}.tar        000000017.jpg  000000017.txt  000000017.json
//! ```
//!
//! Neighbouring files of one name up to its first dot are a sample: a picture (`jpg`, `jpeg`, `png`,
//! `webp`), and its caption, from `txt`, or from `caption` or `text` in `json`. Pictures stay in their
//! shard until they are asked for.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{Entry, Record, Source};
use crate::{Error, Result};

const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Longest caption or JSON file that is read.
const MAX_TEXT: u64 = 1 << 20;

/// Most shards that a pattern may name.
const MAX_SHARDS: usize = 1 << 16;

/// The entries of all shards that `pattern` names: paths joined by `::`, each with numbers in braces
/// (`{000..123}`) or stars.
///
/// # Errors
/// A pattern that names nothing, or a shard that does not open. Where one ends early, an entry says so
/// and those before it are there.
pub fn read(pattern: &str) -> Result<Vec<Entry>> {
    let shards = shards(pattern)?;
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
        Some(Ok(Record { picture: Some(source), text: Some(text), messages: Vec::new() }))
    }
}

/// The files that a pattern names, in its order.
fn shards(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for part in pattern.split("::") {
        let numbered = numbered(part).ok_or_else(|| wrong(pattern, format!("{part:?}")))?;
        for path in numbered {
            match path.contains('*') {
                true => all.extend(starred(&path)),
                false => all.push(path.into()),
            }
        }
    }
    match all.len() {
        0 => Err(wrong(pattern, "no files".into())),
        n if n > MAX_SHARDS => Err(wrong(pattern, format!("{n} files, more than {MAX_SHARDS}"))),
        _ => Ok(all),
    }
}

/// A path with the numbers in its braces written out; nothing where they are none.
fn numbered(path: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = path.split_once('{') else { return Some(vec![path.to_owned()]) };
    let (range, after) = rest.split_once('}')?;
    let (first, last) = range.split_once("..")?;
    let [low, high] = [first, last].map(|number| number.parse::<usize>().ok());
    let numbers = low?..=high?;
    if numbers.clone().count() > MAX_SHARDS {
        return None;
    }
    let width = first.len();
    numbered(after).map(|ends| {
        let with = |n: usize| ends.iter().map(move |end| format!("{before}{n:0width$}{end}"));
        numbers.flat_map(with).collect()
    })
}

/// The files of a folder whose name fits one with stars, sorted.
fn starred(path: &str) -> Vec<PathBuf> {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let files = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let fits =
        |file: &PathBuf| fits(&name, &file.file_name().unwrap_or_default().to_string_lossy());
    let mut files: Vec<_> = files.filter(fits).collect();
    files.sort();
    files
}

/// Whether a name is a pattern's, in which a star stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(behind) = name.strip_prefix(start) else { return false };
    let tails = (0..=behind.len()).filter(|at| behind.is_char_boundary(*at));
    tails.into_iter().any(|at| fits(rest, &behind[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_shards() {
        let of = |pattern: &str| {
            shards(pattern)
                .map(|all| all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(of("a-{008..010}.tar").unwrap(), ["a-008.tar", "a-009.tar", "a-010.tar"]);
        assert_eq!(of("a{0..1}{3..4}::b").unwrap(), ["a03", "a04", "a13", "a14", "b"]);
        for bad in ["a{1..", "a{x..2}", "a{0..99999999}", "gone/*.tar", "a{3..1}"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for (pattern, name, wanted) in [
            ("*.tar", "a.tar", true),
            ("a*b*.tar", "axxb1.tar", true),
            ("a*b", "a.tar", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
