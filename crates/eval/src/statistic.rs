//! From what each example scored to the figure of all, and how sure that is.

use std::collections::BTreeMap;

use sensorium_data::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::figure::wilson;
use crate::metrics::bleu::bleu;

/// Times that examples are drawn anew for an interval.
pub const RESAMPLES: usize = 1000;

/// The stream of random numbers that examples are drawn anew from.
const STREAM: u64 = 0xB007;

/// How the numbers that examples scored become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// The mean of all numbers.
    Mean,
    /// The share of numbers below this: of ranks from 0, the recall at it.
    Below(u32),
    /// The median of ranks, which are kept from 0 and told from 1.
    MedianRank,
    /// The sum of the first numbers over the sum of the second.
    Ratio,
    /// `exp` of that.
    Perplexity,
    /// BLEU up to so many words, of counts.
    Bleu(u32),
    /// Of a class and a number, the mean over classes of each one's mean.
    ClassMean,
    /// Of a number and whether (1 or 0) it should be high, the area under the ROC curve: how often it is
    /// higher where it should be than where it should not.
    Auc,
}

impl Aggregate {
    /// The figure of the examples' numbers; 0 of none.
    pub fn of(self, rows: &[&[f64]]) -> f64 {
        let numbers = || rows.iter().flat_map(|row| row.iter().copied());
        match self {
            Self::Mean => mean(numbers()),
            Self::Below(k) => mean(numbers().map(|x| f64::from(u8::from(x < f64::from(k))))),
            Self::MedianRank => median(numbers().collect()),
            Self::Ratio => ratio(rows),
            Self::Perplexity => ratio(rows).exp(),
            Self::Bleu(n) => bleu(&sums(rows, 10), n as usize),
            Self::ClassMean => class_mean(rows),
            Self::Auc => auc(rows),
        }
    }

    /// The 95 % interval: Wilson's of a share of examples, else that of figures of examples drawn anew
    /// with replacement (Efron 1979).
    pub fn interval(self, rows: &[&[f64]], seed: u64) -> (f64, f64) {
        if let Some(right) = self.right(rows) {
            return wilson(right, rows.len());
        }
        let mut figures: Vec<f64> = (0..RESAMPLES as u64)
            .map(|time| {
                let drawn: Vec<&[f64]> =
                    resample(rows.len(), seed, time).map(|i| rows[i]).collect();
                self.of(&drawn)
            })
            .collect();
        percentiles(&mut figures)
    }

    /// How many examples are right, where each is right or wrong.
    pub fn right(self, rows: &[&[f64]]) -> Option<usize> {
        let is_right: fn(f64, u32) -> Option<bool> = match self {
            Self::Below(_) => |x, k| Some(x < f64::from(k)),
            Self::Mean => |x, _| (x == 0.0 || x == 1.0).then_some(x == 1.0),
            _ => return None,
        };
        let k = if let Self::Below(k) = self { k } else { 0 };
        let each = rows.iter().map(|row| match row {
            [x] => is_right(*x, k).map(usize::from),
            _ => None,
        });
        each.sum()
    }

    /// Numbers that count: of a mean all, of counts those of one example are one.
    pub fn n(self, rows: &[&[f64]]) -> usize {
        match self {
            Self::Mean | Self::Below(_) | Self::MedianRank => {
                rows.iter().map(|row| row.len()).sum()
            }
            _ => rows.len(),
        }
    }
}

/// Which of `n` examples are drawn at this time; the same for the same `n`, so that two models are measured
/// on the same.
pub fn resample(n: usize, seed: u64, time: u64) -> impl Iterator<Item = usize> {
    let mut rng = Rng::at(seed, STREAM, time);
    (0..n).map(move |_| rng.below(n))
}

/// Between which 95 % of the numbers lie; sorts them.
pub fn percentiles(numbers: &mut [f64]) -> (f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * numbers.len().saturating_sub(1) as f64;
        numbers.get(place.round() as usize).copied().unwrap_or_default()
    };
    (at(0.025), at(0.975))
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    sum / f64::from(n.max(1))
}

fn median(mut ranks: Vec<f64>) -> f64 {
    ranks.sort_by(f64::total_cmp);
    let middle = |i: usize| ranks.get(i).copied().unwrap_or_default();
    1.0 + (middle(ranks.len() / 2) + middle(ranks.len().saturating_sub(1) / 2)) / 2.0
}

fn sums(rows: &[&[f64]], width: usize) -> Vec<f64> {
    let column = |i: usize| rows.iter().filter_map(|row| row.get(i)).sum();
    (0..width).map(column).collect()
}

fn ratio(rows: &[&[f64]]) -> f64 {
    let sums = sums(rows, 2);
    if sums[1] == 0.0 { 0.0 } else { sums[0] / sums[1] }
}

fn class_mean(rows: &[&[f64]]) -> f64 {
    let mut classes: BTreeMap<u64, [f64; 2]> = BTreeMap::new();
    for row in rows {
        if let [class, number] = row {
            let sums = classes.entry(*class as u64).or_default();
            *sums = [sums[0] + number, sums[1] + 1.0];
        }
    }
    mean(classes.values().map(|[sum, n]| sum / n))
}

/// By ranks (Mann and Whitney 1947): equal numbers count half. 0 where all are of one class.
fn auc(rows: &[&[f64]]) -> f64 {
    let mut pairs: Vec<(f64, bool)> = rows
        .iter()
        .filter_map(|row| match row {
            [number, class] => Some((*number, *class == 1.0)),
            _ => None,
        })
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for equal in pairs.chunk_by(|a, b| a.0 == b.0) {
        let high = equal.iter().filter(|pair| pair.1).count() as f64;
        let low = equal.len() as f64 - high;
        wins += high * (below + low / 2.0);
        below += low;
    }
    let high = pairs.len() as f64 - below;
    if below * high == 0.0 { 0.0 } else { wins / (below * high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(aggregate: Aggregate, rows: &[&[f64]]) -> f64 {
        aggregate.of(rows)
    }

    #[test]
    fn figures_by_hand() {
        let ranks: [&[f64]; 3] = [&[0.0], &[4.0, 9.0], &[2.0]];
        assert_eq!(of(Aggregate::Mean, &ranks), 15.0 / 4.0);
        assert_eq!(of(Aggregate::Below(1), &ranks), 0.25);
        assert_eq!(of(Aggregate::Below(5), &ranks), 0.75);
        assert_eq!(of(Aggregate::MedianRank, &ranks), 4.0);
        assert_eq!((Aggregate::Below(1).n(&ranks), Aggregate::Ratio.n(&ranks)), (4, 3));
        let pairs: [&[f64]; 3] = [&[0.0, 1.0], &[0.0, 0.0], &[1.0, 1.0]];
        assert_eq!(of(Aggregate::Ratio, &pairs), 0.5);
        assert_eq!(of(Aggregate::Perplexity, &pairs), 0.5f64.exp());
        assert_eq!(of(Aggregate::ClassMean, &pairs), 0.75);
        // scikit-learn's roc_auc_score of the same.
        let scores: [&[f64]; 4] = [&[0.1, 0.0], &[0.4, 0.0], &[0.35, 1.0], &[0.8, 1.0]];
        assert_eq!(of(Aggregate::Auc, &scores), 0.75);
        assert_eq!(of(Aggregate::Auc, &[&[0.5, 0.0], &[0.5, 1.0]]), 0.5);
        assert_eq!(of(Aggregate::Auc, &scores[..2]), 0.0);
        let counts = [4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 0.0, 1.0];
        assert!((of(Aggregate::Bleu(3), &[&counts]) - 1.0).abs() < 1e-6);
        for aggregate in [Aggregate::Mean, Aggregate::Ratio, Aggregate::ClassMean] {
            assert_eq!(of(aggregate, &[]), 0.0);
        }
    }

    #[test]
    fn intervals_are_wilsons_of_shares_and_near_the_normal_of_others() {
        let shares: [&[f64]; 4] = [&[1.0], &[0.0], &[1.0], &[1.0]];
        assert_eq!(Aggregate::Mean.interval(&shares, 0), wilson(3, 4));
        assert_eq!(Aggregate::Below(1).interval(&shares, 0), wilson(1, 4));
        let numbers: Vec<[f64; 1]> = (0..400).map(|i| [f64::from(i % 20)]).collect();
        let rows: Vec<&[f64]> = numbers.iter().map(<[f64; 1]>::as_slice).collect();
        let (low, high) = Aggregate::Mean.interval(&rows, 0);
        // The standard error of the mean of 0 to 19: sqrt(33.25 / 400).
        let half = 1.96 * (33.25f64 / 400.0).sqrt();
        assert!(
            (low - (9.5 - half)).abs() < 0.1 && (high - (9.5 + half)).abs() < 0.1,
            "{low} {high}"
        );
        assert_eq!(Aggregate::Mean.interval(&[], 0), (0.0, 1.0));
    }
}
