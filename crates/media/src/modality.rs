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
}

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
    fn files_and_messages_spell_them_alike() {
        for modality in Modality::ALL {
            assert_eq!(serde_json::json!(modality), serde_json::json!(modality.to_string()));
        }
    }
}
