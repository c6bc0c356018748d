//! Examples to what models read. Nothing here may wait for the pool of threads: batches are made on
//! threads of their own while the pool computes a step, and a pool of one waits for them.

use sensorium_data::{Example, Examples, Media};
use sensorium_encoder::text::Texts;
use sensorium_media::Picture;
use sensorium_nn::prelude::*;
use sensorium_pretrained::TextInput;

use crate::Result;

/// The `n` examples of a step; others take the place of those that cannot be read.
///
/// # Errors
/// Nearly all of a data set cannot be read.
pub fn draw(examples: &Examples, step: u64, n: usize, progress: f32) -> Result<Vec<Example>> {
    let first = step * n as u64;
    let drawn = (first..first + n as u64).map(|index| examples.draw(index, progress));
    Ok(drawn.collect::<sensorium_data::Result<_>>()?)
}

/// The pictures of an example.
pub fn pictures(example: &Example) -> impl Iterator<Item = &Picture> {
    example.media.iter().flat_map(Media::pictures)
}

/// Texts for the text tower.
///
/// # Errors
/// The tokenizer fails at a text.
pub fn texts(input: &TextInput, texts: &[&str]) -> Result<Texts> {
    let ids = texts.iter().map(|text| input.ids(text));
    Ok(input.pad(&ids.collect::<sensorium_pretrained::Result<Vec<_>>>()?))
}

/// The mean of losses, each of so many equally weighty parts.
pub(crate) fn mean(losses: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (loss, weight) in losses {
        sum += loss * weight;
        weights += weight;
    }
    sum / f64::max(weights, 1.0)
}

/// Planes as a tensor `[n, 3, h, w]`, a constant.
pub fn images(planes: Vec<f32>, size: [usize; 2], device: &Device) -> Tensor<4> {
    sensorium_model::clip::batch(planes, size, &device.clone().without_autodiff())
}
