//! What commands that take media of all kinds have in common.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use sensorium_media::video::Sampling;
use sensorium_media::{Media, MediaDecoder, Modality};

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
