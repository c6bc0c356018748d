//! Media and captions to what a generator's steps read.

use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::text::Texts;
use sensorium_media::{ImageProcessor, Modality};
use sensorium_pretrained::Words;

use crate::batch::{draw, texts};
use crate::error::Result;

/// What makes a step's batches.
pub(super) struct Maker {
    /// Frames of each medium: 1 of a picture.
    pub(super) frames: usize,
    /// Side of the pictures in pixels.
    pub(super) image_size: u32,
    pub(super) words: Words,
    pub(super) batch_size: usize,
}

/// What a step reads.
pub(super) struct Batch {
    /// Planes of all frames, `[B·F, 3, side, side]`, from -1 to 1.
    pub(super) planes: Vec<f32>,
    /// What is said of each medium.
    pub(super) texts: Texts,
}

/// What an example has not.
pub(super) fn lacks(example: &Example, modality: Modality) -> Option<&'static str> {
    match &example.media[..] {
        _ if example.text.is_none() => Some("captions"),
        [medium] if medium.modality() == modality => None,
        _ => Some("one picture or video each, as modality says"),
    }
}

impl Maker {
    pub(super) fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<Batch> {
        let drawn = draw(examples, step, self.batch_size, progress)?;
        let processor = ImageProcessor::padded(self.image_size);
        let media = drawn.iter().flat_map(|example| example.media.first());
        let planes = media.flat_map(|medium| self.planes(medium, &processor)).collect();
        let captions: Vec<&str> =
            drawn.iter().map(|example| example.text.as_deref().unwrap_or_default()).collect();
        Ok(Batch { planes, texts: texts(&self.words.input, &captions)? })
    }

    /// Frames that lie evenly in a medium, some of them twice where it has fewer.
    fn planes(&self, medium: &Media, processor: &ImageProcessor) -> Vec<f32> {
        let pictures: Vec<_> = medium.pictures().collect();
        let at = |i: usize| pictures[i * pictures.len() / self.frames];
        (0..self.frames).flat_map(|i| processor.process(at(i))).collect()
    }
}
