//! What commands that take media of all kinds have in common.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use sensorium_media::video::Sampling;
use sensorium_media::{Media, MediaDecoder, Modality, Part};

use crate::commands::video::Videos;

/// Pictures, sounds, videos and tables.
#[derive(Args, Debug)]
pub struct MediaFiles {
    /// A picture: PNG, JPEG, GIF, WebP or BMP. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    #[command(flatten)]
    pub videos: Videos,
    /// A sound, or the track of a film, for models with an encoder of sounds. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub audio: Vec<PathBuf>,
    /// A table: CSV, TSV, JSON lines, Parquet or XLSX, for models with an encoder of tables. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub table: Vec<PathBuf>,
}

impl MediaFiles {
    /// What they are, in the order of [`read`](Self::read).
    pub fn modalities(&self) -> Vec<Modality> {
        self.files().map(|(modality, _)| modality).collect()
    }

    /// Each file with its kind.
    pub fn files(&self) -> impl Iterator<Item = (Modality, &Path)> {
        let kinds = [
            (Modality::Image, &self.image),
            (Modality::Video, &self.videos.video),
            (Modality::Audio, &self.audio),
            (Modality::Table, &self.table),
        ];
        kinds.into_iter().flat_map(|(kind, paths)| paths.iter().map(move |path| (kind, &**path)))
    }

    /// Reads them.
    ///
    /// # Errors
    /// A file is damaged, too large, or not what its option says.
    pub fn read(&self, decoder: &MediaDecoder) -> Result<Vec<Media>> {
        self.files().map(|(modality, path)| self.medium(modality, path, decoder)).collect()
    }

    /// Parts and media in their order, with the sound of each video's own file behind it.
    ///
    /// # Errors
    /// A video has none.
    pub fn with_own_sounds(
        &self,
        parts: Vec<Part>,
        media: Vec<Media>,
        decoder: &MediaDecoder,
    ) -> Result<(Vec<Part>, Vec<Media>)> {
        let mut films = self.videos.video.iter();
        let mut all = Vec::with_capacity(media.len());
        for medium in media {
            let film = matches!(medium, Media::Video(_)).then(|| films.next()).flatten();
            all.push(medium);
            if let Some(film) = film {
                all.push(self.medium(Modality::Audio, film, decoder)?);
            }
        }
        let doubled = |part| match part {
            Part::Media(Modality::Video) => vec![part, Part::Media(Modality::Audio)],
            part => vec![part],
        };
        Ok((parts.into_iter().flat_map(doubled).collect(), all))
    }

    /// Reads one of them, or another file as they are read.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn medium(&self, modality: Modality, path: &Path, decoder: &MediaDecoder) -> Result<Media> {
        let frames = match modality {
            Modality::Video => self.videos.sampling()?,
            _ => Sampling::default(),
        };
        Ok(decoder.medium(modality, path, frames)?)
    }
}
