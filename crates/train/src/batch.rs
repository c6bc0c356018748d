//! Samples to tensors, in parallel and in order.

use rayon::prelude::*;
use sensorium_data::conversation::Turn;
use sensorium_encoder::text::Texts;
use sensorium_media::text::{Special, Tokenizer};
use sensorium_media::{ImageProcessor, Message, Part, Picture, Prompt, Role, render};
use sensorium_nn::prelude::*;

/// `make(0), make(1), ...` on all threads, in order.
pub fn gather<T: Send>(n: usize, make: impl Fn(u64) -> T + Sync + Send) -> Vec<T> {
    (0..n as u64).into_par_iter().map(make).collect()
}

/// Pictures to `[B, 3, size, size]`.
pub fn images(pictures: &[&Picture], processor: &ImageProcessor, device: &Device) -> Tensor<4> {
    let planes: Vec<Vec<f32>> =
        pictures.par_iter().map(|picture| processor.process(picture)).collect();
    let size = processor.size as usize;
    let shape = [pictures.len(), 3, size, size];
    Tensor::from_data(TensorData::new(planes.concat(), shape), device)
}

/// Texts for the text tower: encoded, cut to `context` tokens, each ended by its end token.
pub fn texts<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    tokenizer: &Tokenizer,
    context: usize,
) -> Texts {
    let end = tokenizer.special(Special::End);
    let encode = |text: &str| {
        let mut ids = tokenizer.encode(text);
        ids.truncate(context - 1);
        ids.push(end);
        ids
    };
    let ids: Vec<Vec<u32>> = texts.into_iter().map(encode).collect();
    Texts::pad(&ids, tokenizer.special(Special::Pad))
}

/// A conversation about a picture that stands, as `image_tokens` tokens, before the first question.
pub fn conversation(turns: &[Turn], tokenizer: &Tokenizer, image_tokens: usize) -> Prompt {
    let mut messages = Vec::with_capacity(2 * turns.len());
    for (i, [question, answer]) in turns.iter().enumerate() {
        let picture = (i == 0).then_some(Part::Image);
        let parts = picture.into_iter().chain([Part::Text(question.clone())]).collect();
        messages.push(Message { role: Role::User, parts });
        messages.push(Message::text(Role::Assistant, answer.clone()));
    }
    render(tokenizer, &messages, image_tokens, false)
}
