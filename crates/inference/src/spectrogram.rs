//! The spectrogram of a file of any length, in bounded memory.

use std::path::Path;
use std::time::Instant;

use sensorium_media::MediaDecoder;
use sensorium_media::media_decoder::SoundPieces;
use sensorium_media::mel::{Mel, RATE};

use crate::error::Result;

/// Most frames that are kept: ten minutes. A longer sound is read a second time, for how loud it is
/// is known only at its end.
const KEPT: usize = 60_000;

/// What a model sees of a sound.
pub(crate) struct Spectrogram {
    mel: Mel,
    /// A long sound, once more.
    again: Option<SoundPieces>,
    /// Samples at [`RATE`].
    pub(crate) samples: usize,
    /// That the file was cut.
    pub(crate) warning: Option<String>,
    /// Seconds of reading and decoding, and of the features.
    pub(crate) seconds: [f64; 2],
}

impl Spectrogram {
    /// Reads a file to its end.
    pub(crate) fn open(path: &Path, decoder: &MediaDecoder, bands: usize) -> Result<Self> {
        let begun = Instant::now();
        let (mut sound, mut mel) = (pieces(path, decoder)?, Mel::empty(bands));
        let mut features = 0.0;
        for piece in sound.by_ref() {
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
            again = Some(pieces(path, decoder)?);
            let loudest = mel.loudest;
            mel = Mel::empty(bands);
            mel.loudest = loudest;
        }
        let seconds = [begun.elapsed().as_secs_f64() - features, features];
        Ok(Self { mel, again, samples, warning, seconds })
    }

    /// Frames `first..first + count`, as [`Mel::window`]; `first` never falls.
    pub(crate) fn window(&mut self, first: usize, count: usize) -> Result<Vec<f32>> {
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

fn pieces(path: &Path, decoder: &MediaDecoder) -> Result<SoundPieces> {
    Ok(decoder.sound(path, RATE).map_err(sensorium_media::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensorium_media::Sound;

    /// 16-bit noise of a period, for `seconds`.
    fn wav(seconds: u32) -> Vec<u8> {
        let rate = 250_u32;
        let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend([rate, 2 * rate].map(u32::to_le_bytes).concat());
        wav.extend(b"\x02\0\x10\0data\xff\xff\xff\xff");
        wav.extend((0..seconds * rate).flat_map(|i| ((i % 977 * 20) as i16).to_le_bytes()));
        wav
    }

    /// What is read a second time is as what is kept.
    #[test]
    fn long_sounds_are_seen_as_short_ones_are() {
        let folder = tempfile::tempdir().expect("a folder");
        for (seconds, again) in [(3, false), (599, false), (601, true)] {
            let path = folder.path().join("sound.wav");
            std::fs::write(&path, wav(seconds)).expect("written");
            let samples = Sound::read(&path).expect("a sound").at_rate(RATE).samples;
            let whole = Mel::new(&samples, 80);
            let mut got = Spectrogram::open(&path, &MediaDecoder::here(), 80).expect("a sound");
            assert_eq!((got.samples, got.again.is_some()), (samples.len(), again));
            for first in [0, 100, 2999, 3000, 59_000, 60_099, 70_000] {
                let (got, want) =
                    (got.window(first, 3000).expect("read"), whole.window(first, 3000));
                assert!(got == want, "{seconds} s, frame {first}");
            }
        }
    }
}
