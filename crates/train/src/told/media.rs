//! Media and captions to what a generator's steps read.

use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::text::Texts;
use sensorium_media::stft::{BANDS, FLOOR, RATE, Stft};
use sensorium_media::{ImageProcessor, Modality};
use sensorium_pretrained::Words;

use crate::batch::{draw, texts};
use crate::error::Result;

/// What makes a step's batches.
pub(crate) struct Maker {
    pub(crate) modality: Modality,
    /// Frames of each medium: 1 of a picture, columns of a sound's spectrogram.
    pub(crate) frames: usize,
    /// Side of the pictures in pixels.
    pub(crate) image_size: u32,
    pub(crate) words: Words,
    pub(crate) batch_size: usize,
}

/// What a step reads.
pub(crate) struct Batch {
    /// Planes of all frames, `[B·F, 3, side, side]`, from -1 to 1; of sounds, log-mel features, `[B, F, bands]`.
    pub(crate) planes: Vec<f32>,
    /// What is said of each medium.
    pub(crate) texts: Texts,
}

/// What an example has not.
pub(crate) fn lacks(example: &Example, modality: Modality) -> Option<&'static str> {
    match &example.media[..] {
        _ if example.text.is_none() => Some("captions"),
        [medium] if medium.modality() == modality => None,
        _ => Some("one picture, video or sound each, as modality says"),
    }
}

impl Maker {
    pub(crate) fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<Batch> {
        let drawn = draw(examples, step, self.batch_size, progress)?;
        let processor = ImageProcessor::padded(self.image_size);
        let media = drawn.iter().flat_map(|example| example.media.first());
        let stft = Stft::default();
        let planes = media.flat_map(|medium| match self.modality {
            Modality::Audio => self.spectrogram(medium, &stft),
            _ => self.planes(medium, &processor),
        });
        let planes = planes.collect();
        let captions: Vec<&str> =
            drawn.iter().map(|example| example.text.as_deref().unwrap_or_default()).collect();
        Ok(Batch { planes, texts: texts(&self.words.input, &captions)? })
    }

    /// Log-mel features of a sound's beginning, silence behind a shorter one.
    fn spectrogram(&self, medium: &Media, stft: &Stft) -> Vec<f32> {
        let sound = medium.sound().map(|sound| sound.clone().at_rate(RATE));
        let mut mel = sound.map_or_else(Vec::new, |sound| stft.log_mel(&sound.samples));
        mel.resize(self.frames * BANDS, FLOOR.ln());
        mel
    }

    /// Frames that lie evenly in a medium, some of them twice where it has fewer.
    fn planes(&self, medium: &Media, processor: &ImageProcessor) -> Vec<f32> {
        let pictures: Vec<_> = medium.pictures().collect();
        let at = |i: usize| pictures[i * pictures.len() / self.frames];
        (0..self.frames).flat_map(|i| processor.process(at(i))).collect()
    }
}
