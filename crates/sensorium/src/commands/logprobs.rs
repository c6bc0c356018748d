//! How likely the chosen token was, and the most likely ones beside it.

use sensorium_inference::Step;
use serde::Serialize;

/// A chosen token. Logarithms are natural, of the model's own distribution: before temperature.
#[derive(Serialize)]
pub struct Chosen {
    token_id: u32,
    /// What it adds; U+FFFD where it ends within a character.
    text: String,
    logprob: f64,
    /// The most likely tokens, best first.
    top: Vec<Likely>,
}

#[derive(Serialize)]
struct Likely {
    token_id: u32,
    text: String,
    logprob: f64,
}

/// The token of `step` and the `k` most likely in its place; `text` spells one, and is empty where it
/// cannot be spelt alone.
pub fn chosen(text: &impl Fn(u32) -> String, step: Step<'_>, k: usize) -> Chosen {
    let logits = step.logits;
    let logprob = step.log_probability();

    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let better =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, better);
        order.truncate(k);
    }
    order.sort_unstable_by(better);
    let likely = |token_id| Likely { token_id, text: text(token_id), logprob: logprob(token_id) };
    let top = order.into_iter().map(likely).collect();
    Chosen { token_id: step.id, text: text(step.id), logprob: logprob(step.id), top }
}
