//! A linear probe: how much of a picture's class can be read off frozen features, with few labels and with
//! many. Of an encoder that was trained without words, it is the figure.
//!
//! A fifth of each class is measured on; labels are drawn from the others, so that all classes have their
//! share of every number of labels, and a smaller number's are among a larger one's. A fifth of the labels
//! chooses the decay.

use sensorium_data::rng::Rng;
use sensorium_inference::EmbeddingModel;

use super::set::Set;
use super::{Measured, Metric, Own, Scored};
use crate::error::{EvalError, Result};
use crate::label::best;
use crate::logistic::{Logistic, Rows};
use crate::statistic::Aggregate;

/// Of so many examples or labels, one is measured on, or chooses the decay.
const FIFTH: usize = 5;

/// The stream of random numbers that tells examples apart.
const STREAM: u64 = 0x9B0;

/// What an example is told by.
struct Seen {
    class: usize,
    features: Vec<f32>,
    scored: Scored,
}

/// Top-1 accuracy for each number of labels.
pub(super) fn measure(
    model: &dyn EmbeddingModel,
    set: &mut Set<'_>,
    own: &Own<'_>,
) -> Result<Measured> {
    let classes = set.classes.clone();
    if classes.len() < 2 {
        return Err(EvalError::Classes { got: classes.len() });
    }
    let mut seen = Vec::new();
    set.together(|items, read| {
        let first = |example: &sensorium_data::Example| example.media.first().cloned();
        let media: Option<Vec<_>> = read.iter().map(first).collect();
        let lacks = EvalError::Lacks { task: "probe", lacks: "pictures or sounds" };
        let features = model.features(&media.ok_or(lacks)?)?;
        seen.extend(items.iter().zip(features).map(|(item, features)| {
            let truth = item.texts.first().cloned().unwrap_or_default();
            let class = classes.binary_search(&truth).unwrap_or_default();
            Seen { class, features, scored: item.scored(truth, String::new()) }
        }));
        Ok(())
    })?;
    let (mut test, pool) = split(seen, own.seed, classes.len());
    let numbers = match own.labels {
        [] => vec![pool.len()],
        labels => labels.to_vec(),
    };
    if let Some(&labels) = numbers.iter().find(|n| !(classes.len()..=pool.len()).contains(*n)) {
        return Err(EvalError::Labels { labels, classes: classes.len(), pool: pool.len() });
    }
    let (mut metrics, mut notes) = (Vec::new(), Vec::new());
    for &labels in &numbers {
        let (probe, decay) = fit(&pool[..labels], classes.len());
        metrics.push(metric(&mut test, &probe, &classes, labels));
        notes.push(format!("{labels} labels: decay {decay:e}"));
    }
    notes.push(format!(
        "features of {} numbers, standardised on the labelled examples; multinomial logistic regression; a fifth of each class is measured on",
        test.first().map_or(0, |seen| seen.features.len())
    ));
    Ok(Measured { examples: test.into_iter().map(|seen| seen.scored).collect(), metrics, notes })
}

/// What is measured on, and the others in the order in which they are drawn: any number of them has of each
/// class its share.
fn split(seen: Vec<Seen>, seed: u64, classes: usize) -> (Vec<Seen>, Vec<Seen>) {
    let mut of_class: Vec<Vec<Seen>> = (0..classes).map(|_| Vec::new()).collect();
    seen.into_iter().for_each(|seen| of_class[seen.class].push(seen));
    let (mut test, mut pool) = (Vec::new(), Vec::new());
    for (class, mut all) in of_class.into_iter().enumerate() {
        Rng::at(seed, STREAM, class as u64).shuffle(&mut all);
        let rest = all.split_off(all.len().div_ceil(FIFTH));
        test.extend(all);
        let n = rest.len() as f64;
        pool.extend(rest.into_iter().enumerate().map(|(i, seen)| ((i as f64 + 0.5) / n, seen)));
    }
    // Stable: of equal places the lower class comes first.
    pool.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    (test, pool.into_iter().map(|(_, seen)| seen).collect())
}

/// A probe of these labels, and the decay that a part of them chose.
fn fit(labelled: &[Seen], classes: usize) -> (Logistic, f32) {
    let rows = |keep: fn(usize) -> bool| {
        let kept = labelled.iter().enumerate().filter(|(i, _)| keep(*i));
        kept.map(|(_, seen)| (seen.features.as_slice(), seen.class)).collect::<Rows>()
    };
    let (learned, chooses) = (rows(|i| i % FIFTH != 0), rows(|i| i % FIFTH == 0));
    let right = |probe: &Logistic| {
        let is_right = |(x, class): &&(&[f32], usize)| best(&probe.logits(x)) == *class;
        chooses.iter().filter(is_right).count()
    };
    // From strong to weak, each from where the one before has ended; of equals the first.
    let mut found = (0, DECAYS[0]);
    let mut probe = None;
    for decay in DECAYS {
        let fitted = Logistic::fit(&learned, classes, decay, probe.take());
        if right(&fitted) > found.0 {
            found = (right(&fitted), decay);
        }
        probe = Some(fitted);
    }
    (Logistic::fit(&rows(|_| true), classes, found.1, None), found.1)
}

/// Weights of the squared length of the matrix, beside the mean loss.
const DECAYS: [f32; 6] = [10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4];

/// Notes what a probe tells of what is measured on.
fn metric(test: &mut [Seen], probe: &Logistic, classes: &[String], labels: usize) -> Metric {
    let name = format!("{labels} labels");
    let mut counts = vec![0; classes.len()];
    for Seen { class, features, scored } in test.iter_mut() {
        let told = best(&probe.logits(features));
        let right = f64::from(u8::from(told == *class));
        counts[*class] += 1;
        scored.got = classes[told].clone();
        scored.worth = right;
        scored.numbers.insert(name.clone(), vec![right]);
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let of = format!("top-1 of {}, {name}", classes.len());
    let metric = Metric::new("all classes", &of, &name, Aggregate::Mean);
    let prior = Some(f64::from(most) / test.len().max(1) as f64);
    Metric { chance: Some(1.0 / classes.len() as f64), prior, ..metric }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(class: usize, i: usize) -> Seen {
        let scored = Scored { index: i as u64, ..Scored::default() };
        Seen { class, features: vec![i as f32], scored }
    }

    #[test]
    fn every_number_of_labels_has_of_each_class_its_share() {
        let all = || (0..100).map(|i| seen(usize::from(i % 4 == 0), i)).collect();
        let (test, pool) = split(all(), 7, 2);
        assert_eq!((test.len(), pool.len()), (20, 80));
        assert_eq!(test.iter().filter(|seen| seen.class == 1).count(), 5);
        for labels in [8, 20, 40, 80] {
            let rare = pool[..labels].iter().filter(|seen| seen.class == 1).count();
            assert!(rare.abs_diff(labels / 4) <= 1, "{rare} of {labels}");
        }
        let indices = |(test, pool): (Vec<Seen>, Vec<Seen>)| {
            test.into_iter().chain(pool).map(|seen| seen.scored.index).collect::<Vec<_>>()
        };
        assert_eq!(indices(split(all(), 7, 2)), indices(split(all(), 7, 2)));
        assert_ne!(indices(split(all(), 7, 2)), indices(split(all(), 8, 2)));
    }
}
