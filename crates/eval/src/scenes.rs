//! Questions about drawn scenes by kind, with wordings and pairs that training never sees.

use std::collections::BTreeMap;

use rayon::prelude::*;
use sensorium_data::caption::Phrasing;
use sensorium_data::question::{self, Kind, Sample};
use sensorium_data::scene::Split;
use sensorium_inference::ChatModel;

use crate::Settings;
use crate::answer::{self, Prior, share};
use crate::error::Result;
use crate::report::Report;

/// Training questions of each kind that the priors are learned from. Their pictures are not drawn.
const PRIOR_SAMPLES: u64 = 3000;

/// The three sets, each with all kinds equally often.
const SETS: [(&str, Split, Phrasing); 3] = [
    ("all kinds", Split::Val, Phrasing::Seen),
    ("all kinds, unseen wording", Split::Val, Phrasing::HeldOut),
    ("all kinds, held-out pairs", Split::HeldOut, Phrasing::Seen),
];

/// Exact match on 4,000 questions of each set (by default), the first of them by kind.
///
/// # Errors
/// A question does not fit the model's context.
pub fn measure(model: &dyn ChatModel, settings: &Settings<'_>) -> Result<Report> {
    let kinds = Kind::DRAWN.len();
    let each = settings.samples_or(4000).div_ceil(kinds);
    let priors = priors(settings.seed);
    let total = each * kinds * SETS.len();
    let (mut by_kind, mut overall) = (Vec::new(), Vec::new());
    for (set, (task, split, phrasing)) in SETS.into_iter().enumerate() {
        let samples = draw(split, phrasing, settings.seed, each);
        let done = |i| (settings.progress)(set * each * kinds + i, total);
        let answers = answer::all(model, &samples, settings.size, &done)?;
        let scored: Vec<(&Sample, &String)> = samples.iter().zip(&answers).collect();
        let row = |task: &str, items: &[(&Sample, &String)]| {
            answer::figure(task, items, share(items, |(sample, _)| hits(&priors, sample)))
        };
        overall.push(row(task, &scored));
        if set == 0 {
            let rows = Kind::DRAWN.into_iter().zip(scored.chunks(each));
            by_kind.extend(rows.map(|(kind, items)| row(kind.name(), items)));
        }
    }
    Ok(Report {
        name: "scenes".to_owned(),
        data: "questions about drawn scenes of 1 to 6 objects, validation split".to_owned(),
        seed: settings.seed,
        figures: overall.into_iter().chain(by_kind).collect(),
        notes: vec![
            "answers are balanced within a kind; the prior is the most frequent answer to the same \
             words in training"
                .to_owned(),
        ],
    })
}

/// `each` questions of every kind, kind by kind.
fn draw(split: Split, phrasing: Phrasing, seed: u64, each: usize) -> Vec<Sample> {
    let of = |kind| move |i: usize| question::sample_of(kind, phrasing, split, seed, i as u64);
    Kind::DRAWN
        .into_iter()
        .flat_map(|kind| (0..each).into_par_iter().map(of(kind)).collect::<Vec<_>>())
        .collect()
}

fn priors(seed: u64) -> BTreeMap<Kind, Prior> {
    let learn = |kind| {
        let sample = |i| question::sample_of(kind, Phrasing::Seen, Split::Train, seed, i);
        (kind, Prior::learn((0..PRIOR_SAMPLES).map(sample)))
    };
    Kind::DRAWN.into_par_iter().map(learn).collect()
}

fn hits(priors: &BTreeMap<Kind, Prior>, sample: &Sample) -> bool {
    priors.get(&sample.kind).is_some_and(|prior| prior.hits(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_every_kind_equally_often_and_repeat() {
        let samples = draw(Split::Val, Phrasing::Seen, 1, 3);
        assert_eq!(samples.len(), 60);
        let again = draw(Split::Val, Phrasing::Seen, 1, 3);
        assert!(samples.iter().zip(&again).all(|(a, b)| a.question == b.question));
    }
}
