//! Media to files: the kinds that are written, what each holds, and files that are whole or not there.
//!
//! ```text
//! path ──extension──▶ Kind ──check──▶ (the medium is made) ──encode──▶ bytes ──sync, rename──▶ file
//! ```

mod film;
mod gif;
mod png;
mod table;
pub mod terminal;
mod wav;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::{Error, Media, Modality, Picture, Result};

pub(crate) use png::still;

/// What is said of a medium in its file: names as PNG has them (`Title`, `Software`; others as one likes), and
/// texts. Tables hold none.
pub type Notes<'a> = &'a [(&'a str, String)];

/// Kinds of files that are written, each of one kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture, as it is.
    Png,
    /// A sound: one channel of 16 bits.
    Wav,
    /// A video that begins again for ever, of 256 colours in each frame.
    Gif,
    /// A video that begins again for ever, as it is.
    Apng,
    /// A video, compressed by H.264; needs the program `ffmpeg`.
    Mp4,
    /// A video, compressed by VP9; needs the program `ffmpeg`.
    Webm,
    /// A table, with commas.
    Csv,
    /// A table, with tabs.
    Tsv,
    /// A table, an object of JSON in each line.
    Jsonl,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Png,
        Self::Wav,
        Self::Gif,
        Self::Apng,
        Self::Mp4,
        Self::Webm,
        Self::Csv,
        Self::Tsv,
        Self::Jsonl,
    ];

    /// How the names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Wav => "wav",
            Self::Gif => "gif",
            Self::Apng => "apng",
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
        }
    }

    /// What it holds.
    pub fn modality(self) -> Modality {
        match self {
            Self::Png => Modality::Image,
            Self::Wav => Modality::Audio,
            Self::Gif | Self::Apng | Self::Mp4 | Self::Webm => Modality::Video,
            Self::Csv | Self::Tsv | Self::Jsonl => Modality::Table,
        }
    }
}

/// Whether a medium of this kind can be written to `path`, and as what: asked before the work of making one.
///
/// # Errors
/// [`Error::Extension`], [`Error::Unwritable`] without a folder to write to, [`Error::NoFfmpeg`].
pub fn check(path: &Path, modality: Modality) -> Result<Kind> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut kinds = Kind::ALL.into_iter().filter(|kind| kind.modality() == modality);
    let Some(kind) = kinds.clone().find(|kind| kind.extension() == extension) else {
        let known: Vec<String> =
            kinds.by_ref().map(|kind| format!(".{}", kind.extension())).collect();
        let other = Kind::ALL.into_iter().find(|kind| kind.extension() == extension);
        return Err(Error::Extension {
            path: path.display().to_string(),
            modality,
            known: known.join(", "),
            got: match (other, extension.as_str()) {
                (Some(kind), _) => format!(".{extension}, which holds {}", kind.modality()),
                (None, "") => "none".into(),
                (None, _) => format!(".{extension}"),
            },
        });
    };
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(unwritable(path, format!("no folder {}", folder.display())));
    }
    if path.is_dir() {
        return Err(unwritable(path, "a folder of that name"));
    }
    match kind {
        Kind::Mp4 | Kind::Webm => film::program(path).map(|_| kind),
        _ => Ok(kind),
    }
}

/// Writes a medium as what the path's extension says, over an older file if there is one. Whatever happens, what
/// is there is the old file or the new one, whole.
///
/// # Errors
/// Those of [`check`] and [`encode`], and [`Error::Unwritable`].
pub fn write(media: &Media, path: &Path, notes: Notes<'_>) -> Result<()> {
    let kind = check(path, media.modality())?;
    let bytes = encode(media, kind, notes)?;
    replace(path, &bytes).map_err(|error| unwritable(path, error))
}

/// A medium as the bytes of a file.
///
/// # Errors
/// [`Error::Encode`] where the kind cannot hold the medium, [`Error::NoFfmpeg`].
pub fn encode(media: &Media, kind: Kind, notes: Notes<'_>) -> Result<Vec<u8>> {
    match (media, kind) {
        (Media::Image(picture), Kind::Png) => png::still(picture, notes),
        (Media::Audio(sound), Kind::Wav) => wav::encode(sound, notes),
        (Media::Video(video), Kind::Gif) => gif::encode(video, notes),
        (Media::Video(video), Kind::Apng) => png::animation(video, notes),
        (Media::Video(video), Kind::Mp4 | Kind::Webm) => film::encode(video, kind, notes),
        (Media::Table(rows), Kind::Csv) => table::separated(rows, b','),
        (Media::Table(rows), Kind::Tsv) => table::separated(rows, b'\t'),
        (Media::Table(rows), Kind::Jsonl) => table::lines(rows),
        _ => Err(refused(kind, format!("a medium of the kind {}", media.modality()))),
    }
}

/// Temporary neighbour, sync, rename, sync of the folder.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = renamed {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // Only Unix can open a folder.
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn unwritable(path: &Path, reason: impl ToString) -> Error {
    Error::Unwritable { path: path.display().to_string(), reason: reason.to_string() }
}

fn refused(kind: Kind, got: impl ToString) -> Error {
    Error::Encode { kind: kind.extension().into(), got: got.to_string() }
}

/// The size of all frames of a video.
fn size(kind: Kind, pictures: &[&Picture]) -> Result<[u32; 2]> {
    let size = |picture: &Picture| [picture.width, picture.height];
    match pictures {
        [] => Err(refused(kind, "a video without frames")),
        [first, rest @ ..] if rest.iter().all(|picture| size(picture) == size(first)) => {
            Ok(size(first))
        }
        _ => Err(refused(kind, "frames of several sizes")),
    }
}

/// Notes of which a kind of files has no fields, a line each.
fn lines<'a>(notes: impl Iterator<Item = &'a (&'a str, String)>) -> String {
    notes.map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("\n")
}
