//! Prompts to batches: padding, labels, and where the pictures go.

use std::sync::Arc;

use sensorium_flow::Span;
use sensorium_media::chat::{Prompt, Slot};

/// Label of a position at which nothing is learned.
pub const IGNORED: i32 = -100;

/// Prompts padded to one length `T`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids, row-major `[B, T]`.
    pub ids: Vec<u32>,
    /// The next token where it is an answer's, else [`IGNORED`]; `[B*T]`.
    pub labels: Vec<i32>,
    /// What each token has to do with others, `[B*T]`: a medium's are shared.
    pub spans: Arc<[Span]>,
    /// Where each token stands, `[B*T]`, if rows hold questions that stand apart: each is read as if it
    /// were the only one.
    pub positions: Option<Arc<[u32]>>,
    /// Where the media's tokens go, counted over the whole batch.
    pub slots: Vec<Slot>,
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
        let mut places = vec![0; b * t];
        let mut slots = Vec::new();
        for (row, prompt) in prompts.iter().enumerate() {
            let start = row * t;
            ids[start..start + prompt.ids.len()].copy_from_slice(&prompt.ids);
            for (own, &number) in spans[start..].iter_mut().zip(&prompt.spans) {
                *own = span(number);
            }
            for (own, place) in places[start..].iter_mut().zip(positions(&prompt.spans)) {
                *own = place;
            }
            slots.extend(prompt.slots.iter().map(|slot| Slot { at: start + slot.at, ..*slot }));
            let own = self::labels(&prompt.ids, &prompt.answer);
            labels[start..start + own.len()].copy_from_slice(&own);
        }
        let apart = spans.iter().any(|span| matches!(span, Span::Apart(_)));
        let positions = apart.then(|| places.into());
        Self { ids, labels, spans: spans.into(), positions, slots, shape: [b, t] }
    }

    /// Labels that count.
    pub fn learned(&self) -> usize {
        self.labels.iter().filter(|&&label| label != IGNORED).count()
    }
}

/// What is to be said after each of `ids`, where the next of them is an answer's.
pub fn labels(ids: &[u32], answer: &[bool]) -> Vec<i32> {
    let next = ids.iter().zip(answer).skip(1);
    let next = next.map(|(&id, &answer)| if answer { id as i32 } else { IGNORED });
    next.chain([IGNORED]).take(ids.len()).collect()
}

/// Which prompts of these `lengths` share a row of at most `limit` tokens: each goes into the first row that has
/// room for it, the longest first. A longer one has a row of its own.
pub fn rows(lengths: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&n| std::cmp::Reverse(lengths[n]));
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    for n in longest_first {
        match rows.iter_mut().find(|(used, _)| used + lengths[n] <= limit) {
            Some((used, row)) => {
                *used += lengths[n];
                row.push(n);
            }
            None => rows.push((lengths[n], vec![n])),
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Prompts one behind the other in one row, each read as if it were alone. Their media are read from left to
/// right, as text is.
pub fn packed<'a>(prompts: impl IntoIterator<Item = &'a Prompt>) -> Prompt {
    let mut row = Prompt::default();
    for (prompt, span) in prompts.into_iter().zip((i32::MIN..0).rev()) {
        let start = row.ids.len();
        row.ids.extend(&prompt.ids);
        row.answer.extend(&prompt.answer);
        row.spans.resize(row.ids.len(), span);
        row.slots.extend(prompt.slots.iter().map(|slot| Slot { at: start + slot.at, ..*slot }));
    }
    row
}

/// The position of each token among those that it sees: questions that stand apart all begin where what
/// they share ends.
fn positions(spans: &[i32]) -> impl Iterator<Item = u32> {
    let (mut shared, mut question, mut own) = (0, 0, 0);
    spans.iter().map(move |&number| {
        if number >= 0 {
            shared += 1;
            return shared - 1;
        }
        own = if number == question { own + 1 } else { 0 };
        question = number;
        shared + own
    })
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
