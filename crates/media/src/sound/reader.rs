//! Sounds of any length, piece by piece at one rate.

use std::fs::File;
use std::path::Path;

use super::packets::{Block, Packets};
use super::sinc::Resampler;
use super::{Result, Source};

/// Blocks of any rates, at one.
pub(super) struct AtRate {
    pub(super) rate: u32,
    /// Of the last block's rate.
    resampler: Option<(u32, Resampler)>,
}

impl AtRate {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, resampler: None }
    }

    /// Adds to `output` what can be told by now.
    pub(super) fn push(&mut self, block: &Block, output: &mut Vec<f32>) {
        if self.resampler.as_ref().is_some_and(|(rate, _)| *rate != block.rate) {
            self.finish(output);
        }
        if block.rate == self.rate {
            return output.extend_from_slice(&block.samples);
        }
        let new = || (block.rate, Resampler::new(block.rate, self.rate));
        self.resampler.get_or_insert_with(new).1.push(&block.samples, output);
    }

    /// Adds the rest.
    pub(super) fn finish(&mut self, output: &mut Vec<f32>) {
        if let Some((_, resampler)) = self.resampler.take() {
            resampler.finish(output);
        }
    }
}

/// A file that is decoded as it is read, whatever its length: pieces of one channel at one rate, the
/// same samples as those of [`Sound::read`](super::Sound::read) and
/// [`Sound::at_rate`](super::Sound::at_rate).
pub struct SoundReader {
    packets: Packets<'static>,
    at_rate: AtRate,
}

impl SoundReader {
    /// Opens a file whose pieces are to have `rate` samples a second; a rate of 0 becomes 1.
    ///
    /// # Errors
    /// The file is missing, empty, foreign, or damaged where it begins.
    pub fn open(path: &Path, rate: u32) -> Result<Self> {
        let source = Source { origin: path.display().to_string() };
        let file = source.open(path)?;
        Self::new(source, file, rate)
    }

    /// As [`open`](Self::open), of a file that is open.
    pub(crate) fn new(source: Source, file: File, rate: u32) -> Result<Self> {
        let length = file.metadata().map_err(|error| source.unreadable(&error))?.len();
        let packets = Packets::open::<File>(source, file, length)?;
        Ok(Self { packets, at_rate: AtRate::new(rate.max(1)) })
    }

    /// That the file was cut, once it was read to its end.
    pub fn warning(&self) -> Option<String> {
        self.packets.warning()
    }

    fn piece(&mut self) -> Result<Option<Vec<f32>>> {
        let mut piece = Vec::new();
        while piece.is_empty() {
            match self.packets.next()? {
                Some(block) => self.at_rate.push(&block, &mut piece),
                None => {
                    self.at_rate.finish(&mut piece);
                    return Ok(Some(piece).filter(|piece| !piece.is_empty()));
                }
            }
        }
        Ok(Some(piece))
    }
}

impl Iterator for SoundReader {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}
