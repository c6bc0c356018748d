//! Telling where something is: boxes in answers beside boxes in the data's answers.

use sensorium_inference::ChatModel;

use super::questions::{Asker, each_answer, template};
use super::set::Set;
use super::{Measured, Metric, Own};
use crate::error::{EvalError, Result};
use crate::metrics::boxes::{self, iou};
use crate::statistic::Aggregate;

/// Tokens of an answer with a box.
const MAX_TOKENS: usize = 48;

/// What a model without a chat template continues.
const BARE: &str = "{}";

const HIT: &str = "hit";
const IOU: &str = "iou";

/// The share of boxes that overlap by half or more, and the mean overlap. An answer without a box misses.
pub(super) fn measure(model: &dyn ChatModel, set: &mut Set<'_>, own: &Own<'_>) -> Result<Measured> {
    let words = template(model, own, BARE)?;
    let max_new_tokens = own.max_tokens.unwrap_or(MAX_TOKENS);
    let asker = Asker { model, shown: None, words, max_new_tokens, choices: &[] };
    let answered = set.each(|set, item| {
        each_answer(&asker, set, item, |question, mut scored| {
            // Turns without a box are about something else.
            let truth = boxes::find(&question.answer)?;
            let found = boxes::find(&scored.got);
            let overlap = found.map_or(0.0, |found| iou(found, truth));
            scored.worth = overlap;
            scored.numbers.insert(IOU.into(), vec![overlap]);
            scored.numbers.insert(HIT.into(), vec![hit(overlap)]);
            Some((scored, truth, found.is_some()))
        })
    })?;
    let answered: Vec<_> = answered.into_iter().flatten().collect();
    if answered.is_empty() {
        let lacks = "boxes such as [0.1, 0.2, 0.5, 0.9] in the answers";
        return Err(EvalError::Lacks { task: "grounding", lacks });
    }
    let n = answered.len() as f64;
    let mean: boxes::Box = std::array::from_fn(|side| {
        answered.iter().map(|(_, truth, _)| truth[side]).sum::<f64>() / n
    });
    let prior = |worth: fn(f64) -> f64| {
        Some(answered.iter().map(|(_, truth, _)| worth(iou(mean, *truth))).sum::<f64>() / n)
    };
    let metric = |name: &str, numbers: &str, prior| {
        let metric = Metric::new("boxes", name, numbers, Aggregate::Mean);
        Metric { prior, ..metric }
    };
    let metrics = vec![
        metric("accuracy at IoU 0.5", HIT, prior(hit)),
        metric("mean IoU", IOU, prior(|overlap| overlap)),
    ];
    let without = answered.iter().filter(|(_, _, found)| !found).count();
    let notes = vec![
        asker.note(),
        format!("answers without a box, which miss: {without}"),
        "the prior is the mean of all boxes of these very data".into(),
    ];
    let examples = answered.into_iter().map(|(scored, _, _)| scored).collect();
    Ok(Measured { examples, metrics, notes })
}

fn hit(overlap: f64) -> f64 {
    f64::from(u8::from(overlap >= 0.5))
}
