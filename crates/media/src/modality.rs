//! Kinds of media.

use crate::{Picture, Sound, Table, Video};
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Words.
    Text,
    /// Pictures.
    Image,
    /// Sounds.
    Audio,
    /// Pictures in time.
    Video,
    /// Rows and columns.
    Table,
}

impl Modality {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Text, Self::Image, Self::Audio, Self::Video, Self::Table];

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|modality| modality.to_string() == name)
    }

    /// What a file of this name is read as, by its ending.
    pub fn of_file(name: &str) -> Option<Self> {
        let ending = name.rsplit_once('.')?.1.to_lowercase();
        ENDINGS.iter().find(|(_, all)| all.contains(&&*ending)).map(|(modality, _)| *modality)
    }
}

/// Endings of files' names.
const ENDINGS: [(Modality, &[&str]); 4] = [
    (Modality::Image, &["png", "jpg", "jpeg", "gif", "webp", "bmp"]),
    (
        Modality::Audio,
        &["wav", "mp3", "flac", "ogg", "oga", "opus", "m4a", "aac", "aiff", "au", "caf", "weba"],
    ),
    (Modality::Video, &["mp4", "mov", "mkv", "webm", "apng"]),
    (Modality::Table, &["csv", "tsv", "jsonl", "ndjson", "parquet", "xlsx"]),
];

impl Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Table => "table",
        })
    }
}

/// Something seen, heard or looked up. A variant more is a compile error at every match that must learn it.
#[derive(Clone, Debug, PartialEq)]
pub enum Media {
    /// A picture.
    Image(Picture),
    /// Pictures in time.
    Video(Video),
    /// A sound.
    Audio(Sound),
    /// Rows and columns.
    Table(Table),
}

impl Media {
    /// The pictures that are seen: one, a video's frames in order, or of others none.
    pub fn pictures(&self) -> impl Iterator<Item = &Picture> {
        let (image, video) = match self {
            Self::Image(picture) => (Some(picture), None),
            Self::Video(video) => (None, Some(video)),
            Self::Audio(_) | Self::Table(_) => (None, None),
        };
        image.into_iter().chain(video.into_iter().flat_map(Video::pictures))
    }

    /// What is heard, of a sound.
    pub fn sound(&self) -> Option<&Sound> {
        match self {
            Self::Audio(sound) => Some(sound),
            Self::Image(_) | Self::Video(_) | Self::Table(_) => None,
        }
    }

    /// What it is.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Video(_) => Modality::Video,
            Self::Audio(_) => Modality::Audio,
            Self::Table(_) => Modality::Table,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_what_files_are() {
        for (name, modality) in [
            ("a/b.C/photo.JPEG", Some(Modality::Image)),
            ("voice.opus", Some(Modality::Audio)),
            ("x.webm", Some(Modality::Video)),
            ("x.tar.csv", Some(Modality::Table)),
            ("x.txt", None),
            ("png", None),
        ] {
            assert_eq!(Modality::of_file(name), modality, "{name}");
        }
    }

    #[test]
    fn files_and_messages_spell_them_alike() {
        for modality in Modality::ALL {
            assert_eq!(serde_json::json!(modality), serde_json::json!(modality.to_string()));
            assert_eq!(Modality::named(&modality.to_string()), Some(modality));
        }
    }
}
