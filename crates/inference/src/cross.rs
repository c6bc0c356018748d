//! What models have in common whose language model looks at pictures beside the text.

use sensorium_backbone::CrossCache;
use sensorium_flow::{self as flow, Features, Forward, Hidden};
use sensorium_media::{ImageProcessor, Picture};
use sensorium_model::clip::batch;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::error::Result;
use crate::generate::{Continuation, OnStep, Request, Sequence};

/// Pictures that are encoded at once: bounds memory whatever their number.
const CHUNK: usize = 4;

/// What `see` makes of pictures that fit `side` pixels, `[M, N, E]`; of none nothing.
pub(crate) fn encode(
    fitted: &[Picture],
    processor: &ImageProcessor,
    side: usize,
    device: &Device,
    see: impl Fn(Tensor<4>) -> Features,
) -> Option<Features> {
    let see = |chunk: &[Picture]| {
        let planes = chunk.iter().flat_map(|picture| processor.planes(picture));
        see(batch(planes.collect(), [side; 2], device)).0
    };
    let seen: Vec<Tensor<3>> = fitted.chunks(CHUNK).map(see).collect();
    (!seen.is_empty()).then(|| Features(Tensor::cat(seen, 0)))
}

/// What follows a prompt, each of whose tokens sees that one of the media in `cache` that `seen [T]` names;
/// new tokens see what the last one does.
///
/// # Errors
/// As [`Sequence::run`].
pub(crate) fn extend(
    language: &impl Forward<Cache = CrossCache>,
    seen: &[Option<usize>],
    mut cache: CrossCache,
    request: Request<'_>,
    on_step: OnStep<'_>,
) -> Result<Continuation> {
    let (prompt, last) = (request.processor.prompt.clone(), seen.last().copied().flatten());
    let next = |id: Option<u32>| match id {
        Some(id) => logits(language, &[id], &[last], &mut cache),
        None => logits(language, &prompt, seen, &mut cache),
    };
    Sequence::new(request)?.run(next, on_step)
}

/// Logits `[V]` of the token after `ids`.
fn logits(
    language: &impl Forward<Cache = CrossCache>,
    ids: &[u32],
    seen: &[Option<usize>],
    cache: &mut CrossCache,
) -> Vec<f32> {
    let cross_attention = Some(seen.into());
    let sequence = flow::Sequence { cross_attention, ..flow::Sequence::default() };
    let embeds = language.embed(ids, [1, ids.len()]);
    let Hidden(hidden) = language.forward(embeds, &sequence, Some(cache));
    let [_, t, d] = hidden.dims();
    read(language.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
}
