//! Files by a pattern, as WebDataset's users write it, and what they are by their endings.

use std::path::{Path, PathBuf};

use sensorium_media::Modality;

/// Most files that a pattern may name.
const MAX_FILES: usize = 1 << 16;

/// Whether a file of this name is a picture.
pub fn is_picture(name: &str) -> bool {
    Modality::of_file(name) == Some(Modality::Image)
}

/// Whether it is a sound.
pub fn is_sound(name: &str) -> bool {
    Modality::of_file(name) == Some(Modality::Audio)
}

/// Whether it is a film.
pub fn is_film(name: &str) -> bool {
    Modality::of_file(name) == Some(Modality::Video)
}

/// Whether it is a sound or a film.
pub fn is_heard(name: &str) -> bool {
    is_sound(name) || is_film(name)
}

/// The files that `pattern` names, in its order: paths joined by `::`, each with numbers in braces
/// (`{000..123}`) or stars; of a folder, those that end in `end`.
///
/// # Errors
/// There are none, or too many; what stands in braces is no range.
pub fn named(pattern: &str, end: &str) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for part in pattern.split("::") {
        for path in numbered(part).ok_or_else(|| format!("{part:?}"))? {
            match path.contains('*') {
                true => all.extend(starred(&path)),
                false if Path::new(&path).is_dir() => {
                    all.extend(starred(&format!("{path}/*.{end}")))
                }
                false => all.push(path.into()),
            }
        }
    }
    match all.len() {
        0 => Err("no files".into()),
        n if n > MAX_FILES => Err(format!("{n} files, more than {MAX_FILES}")),
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
    if numbers.clone().count() > MAX_FILES {
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
            named(pattern, "tar")
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
