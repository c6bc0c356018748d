//! Samples to tensors, in parallel and in order.

use rayon::prelude::*;
use sensorium_data::conversation::Turn;
use sensorium_encoder::text::Texts;
use sensorium_media::{ImageProcessor, Message, Part, Picture, Prompt, Role, render};
use sensorium_media::{Modality, Special, Tokenizer};
use sensorium_nn::prelude::*;

use crate::Result;

/// `make(0), make(1), ...` on all threads, in order.
pub fn gather<T: Send>(n: usize, make: impl Fn(u64) -> T + Sync + Send) -> Vec<T> {
    (0..n as u64).into_par_iter().map(make).collect()
}

/// Edge of the squares that a processor makes, in pixels.
pub fn side(processor: &ImageProcessor) -> u32 {
    processor.size().map_or(0, |[_, width]| width)
}

/// Pictures to `[B, 3, size, size]`.
pub fn images(pictures: &[&Picture], processor: &ImageProcessor, device: &Device) -> Tensor<4> {
    let planes: Vec<Vec<f32>> =
        pictures.par_iter().map(|picture| processor.process(picture)).collect();
    let [height, width] = processor.size().unwrap_or_default().map(|n| n as usize);
    let shape = [pictures.len(), 3, height, width];
    Tensor::from_data(TensorData::new(planes.concat(), shape), device)
}

/// Texts for the text tower: encoded, cut to `context` tokens, each ended by its end token.
///
/// # Errors
/// The tokenizer is not one that is trained here.
pub fn texts<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    tokenizer: &Tokenizer,
    context: usize,
) -> Result<Texts> {
    let end = tokenizer.special(Special::End)?;
    let encode = |text: &str| {
        let mut ids = tokenizer.encode(text)?;
        ids.truncate(context - 1);
        ids.push(end);
        Ok(ids)
    };
    let ids = texts.into_iter().map(encode).collect::<Result<Vec<_>>>()?;
    Ok(Texts::pad(&ids, tokenizer.special(Special::Pad)?))
}

/// Questions about a picture that stands, as `image_tokens` tokens, before each: every one is asked
/// as if it were the first, for none can be answered from the answers before it. All share the
/// picture's tokens, and each stands in a span of its own below 0.
///
/// # Errors
/// The tokenizer is not one that is trained here.
pub fn questions(turns: &[Turn], tokenizer: &Tokenizer, image_tokens: usize) -> Result<Prompt> {
    let alone = |turn| conversation(std::slice::from_ref(turn), tokenizer, image_tokens);
    let mut prompts = turns.iter().map(alone);
    let Some(mut all) = prompts.next().transpose()? else { return Ok(Prompt::default()) };
    let shared = all.slots[0].at + image_tokens + 1;
    all.spans[shared..].fill(-1);
    for (prompt, span) in prompts.zip((i32::MIN..-1).rev()) {
        let prompt = prompt?;
        all.ids.extend(&prompt.ids[shared..]);
        all.answer.extend(&prompt.answer[shared..]);
        all.spans.resize(all.ids.len(), span);
    }
    Ok(all)
}

/// A conversation about a picture that stands, as `image_tokens` tokens, before the first question.
///
/// # Errors
/// The tokenizer is not one that is trained here.
pub fn conversation(turns: &[Turn], tokenizer: &Tokenizer, image_tokens: usize) -> Result<Prompt> {
    let mut messages = Vec::with_capacity(2 * turns.len());
    for (i, [question, answer]) in turns.iter().enumerate() {
        let picture = (i == 0).then_some(Part::Media(Modality::Image));
        let parts = picture.into_iter().chain([Part::Text(question.clone())]).collect();
        messages.push(Message { role: Role::User, parts });
        messages.push(Message::text(Role::Assistant, answer.clone()));
    }
    Ok(render(tokenizer, &messages, image_tokens, false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_share_the_picture_and_nothing_else() {
        let corpus = ["what colour is the circle red how many two where left"; 4];
        let tokenizer =
            Tokenizer::train(corpus.into_iter().map(String::from), 512).expect("it trains");
        let turns = [["what colour is it", "red"], ["how many", "two"], ["where", "left"]];
        let turns = turns.map(|turn| turn.map(String::from));
        let all = questions(&turns, &tokenizer, 4).expect("our own format");
        assert_eq!(all.slots[0].at, 3);
        assert_eq!(all.spans[..8], [0, 0, 1, 1, 1, 1, 1, 1]);
        for (turn, span) in turns.iter().zip([-1, -2, -3]) {
            let alone = conversation(std::slice::from_ref(turn), &tokenizer, 4).expect("as above");
            let at = |i: &usize| all.spans[*i] >= 0 || all.spans[*i] == span;
            let seen: Vec<usize> = (0..all.ids.len()).filter(at).collect();
            assert_eq!(seen.iter().map(|&i| all.ids[i]).collect::<Vec<_>>(), alone.ids);
            assert_eq!(seen.iter().map(|&i| all.answer[i]).collect::<Vec<_>>(), alone.answer);
        }
    }
}
