//! Prompts to batches: padding, labels, and where the pictures go.

use std::sync::Arc;

use sensorium_flow::Span;
use sensorium_media::chat::Prompt;

/// Label of a position at which nothing is learned.
pub const IGNORED: i32 = -100;

/// Prompts padded to one length `T`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids, row-major `[B, T]`.
    pub ids: Vec<u32>,
    /// The next token where it is an answer's, else [`IGNORED`]; `[B*T]`.
    pub labels: Vec<i32>,
    /// What each position has to do with others, `[B*T]`: a picture's are shared.
    pub spans: Arc<[Span]>,
    /// First position of each picture's tokens, counted over the whole batch.
    pub images: Vec<usize>,
    /// B and T.
    pub shape: [usize; 2],
}

impl Batch {
    /// Pads at the right with `pad`. In a causal model padding changes no earlier position.
    pub fn new(prompts: &[Prompt], pad: u32) -> Self {
        let t = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let b = prompts.len();
        let mut ids = vec![pad; b * t];
        let mut labels = vec![IGNORED; b * t];
        let mut spans = vec![Span::None; b * t];
        let mut images = Vec::new();
        for (row, prompt) in prompts.iter().enumerate() {
            let start = row * t;
            ids[start..start + prompt.ids.len()].copy_from_slice(&prompt.ids);
            for (own, &number) in spans[start..].iter_mut().zip(&prompt.spans) {
                *own = span(number);
            }
            images.extend(prompt.images.iter().map(|place| start + place));
            for next in 1..prompt.ids.len() {
                if prompt.answer[next] {
                    labels[start + next - 1] = prompt.ids[next] as i32;
                }
            }
        }
        Self { ids, labels, spans: spans.into(), images, shape: [b, t] }
    }

    /// Labels that count.
    pub fn learned(&self) -> usize {
        self.labels.iter().filter(|&&label| label != IGNORED).count()
    }
}

/// A [`Prompt`]'s number of a position: 0 for text, above 0 the number of a picture, below 0 that of a
/// question that stands apart.
pub fn span(number: i32) -> Span {
    match number {
        0 => Span::None,
        1.. => Span::Shared(number.unsigned_abs()),
        _ => Span::Apart(number.unsigned_abs()),
    }
}
