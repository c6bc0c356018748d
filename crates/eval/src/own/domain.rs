//! How many pictures a model finds unlike all that it has learned from.

use sensorium_inference::ChatModel;

use super::set::Set;
use super::zero_shot::pictures;
use super::{Measured, Metric};
use crate::error::{EvalError, Result};
use crate::statistic::Aggregate;

const OUTSIDE: &str = "outside";

/// The share of pictures outside: of pictures like the training set's, false alarms.
pub(super) fn measure(model: &dyn ChatModel, set: &mut Set<'_>) -> Result<Measured> {
    let examples = set.each(|set, item| {
        let picture = pictures(&[set.example(item)?], "domain")?.remove(0);
        let far = model.distance(&picture).ok_or(EvalError::NoDomain)?;
        let told = if far.is_outside() { OUTSIDE } else { "inside" };
        let mut scored = item.scored(String::new(), format!("{told}, {:.1}", far.distance));
        scored.worth = f64::from(far.distance);
        let numbers = vec![f64::from(u8::from(far.is_outside()))];
        scored.numbers.insert(OUTSIDE.into(), numbers);
        Ok(vec![scored])
    })?;
    let metrics = vec![Metric::new("pictures", OUTSIDE, OUTSIDE, Aggregate::Mean)];
    Ok(Measured { examples, metrics, notes: Vec::new() })
}
