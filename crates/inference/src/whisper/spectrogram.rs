//! The spectrogram of a file of any length, in bounded memory.

use std::path::Path;
use std::time::Instant;

use sensorium_media::SoundReader;
use sensorium_media::mel::{Mel, RATE};

use crate::error::Result;

/// Most frames that are kept: ten minutes. A longer sound is read a second time, for how loud it is
/// is known only at its end.
const KEPT: usize = 60_000;

/// What Whisper sees of a sound.
pub(super) struct Spectrogram {
    mel: Mel,
    /// A long sound, once more.
    again: Option<SoundReader>,
    /// Samples at [`RATE`].
    pub(super) samples: usize,
    /// That the file was cut.
    pub(super) warning: Option<String>,
    /// Seconds of reading and decoding, and of the features.
    pub(super) seconds: [f64; 2],
}

impl Spectrogram {
    /// Reads a file to its end.
    pub(super) fn open(path: &Path, bands: usize) -> Result<Self> {
        let begun = Instant::now();
        let (mut sound, mut mel) = (reader(path)?, Mel::empty(bands));
        let mut features = 0.0;
        while let Some(piece) = sound.next() {
            let piece = piece.map_err(sensorium_media::Error::from)?;
            let begun = Instant::now();
            mel.push(&piece);
            if mel.frames > KEPT {
                mel.forget(mel.frames);
            }
            features += begun.elapsed().as_secs_f64();
        }
        mel.finish();
        let (samples, warning) = (mel.count(), sound.warning());
        let mut again = None;
        if mel.frames > KEPT {
            again = Some(reader(path)?);
            let loudest = mel.loudest;
            mel = Mel::empty(bands);
            mel.loudest = loudest;
        }
        let seconds = [begun.elapsed().as_secs_f64() - features, features];
        Ok(Self { mel, again, samples, warning, seconds })
    }

    /// Frames `first..first + count`, as [`Mel::window`]; `first` never falls.
    pub(super) fn window(&mut self, first: usize, count: usize) -> Result<Vec<f32>> {
        while let Some(sound) = self.again.as_mut().filter(|_| self.mel.frames < first + count) {
            match sound.next() {
                Some(piece) => self.mel.push(&piece.map_err(sensorium_media::Error::from)?),
                None => {
                    self.mel.finish();
                    self.again = None;
                }
            }
            self.mel.forget(first);
        }
        Ok(self.mel.window(first, count))
    }
}

fn reader(path: &Path) -> Result<SoundReader> {
    Ok(SoundReader::open(path, RATE).map_err(sensorium_media::Error::from)?)
}
