//! One measured number with all that is needed to judge it.

use serde::{Deserialize, Serialize};

/// A share of items that came out right, between 0 and 1, or another measure of them, beside what one gets
/// without looking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was asked, for example `scenes: count`.
    pub task: String,
    /// How it is scored, for example `accuracy` or `recall@5`.
    pub metric: String,
    /// Of a share `right / n`; 0 without items.
    pub value: f64,
    /// Lower end of the 95 % interval: of a share Wilson's.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Items that came out right, where each is right or wrong.
    pub right: Option<usize>,
    /// Items.
    pub n: usize,
    /// Expected of a guess among the answers in question, where there is such a thing.
    pub chance: Option<f64>,
    /// Reached by the best answer to the words alone, where words alone tell something.
    pub prior: Option<f64>,
    /// Whether it is told in percent.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub percent: bool,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

impl Figure {
    /// A figure from counts.
    pub fn new(task: &str, metric: &str, [right, n]: [usize; 2], chance: f64) -> Self {
        let (low, high) = wilson(right, n);
        let value = if n == 0 { 0.0 } else { right as f64 / n as f64 };
        let (task, metric) = (task.to_owned(), metric.to_owned());
        let (right, chance) = (Some(right), Some(chance));
        Self { task, metric, value, low, high, right, n, chance, prior: None, percent: true }
    }

    /// The figure with the prior of the words alone.
    pub fn with_prior(self, prior: f64) -> Self {
        Self { prior: Some(prior), ..self }
    }

    /// What the value must exceed to mean anything.
    pub fn floor(&self) -> f64 {
        self.prior.unwrap_or(0.0).max(self.chance.unwrap_or(0.0))
    }
}

/// The 95 % score interval of a share (Wilson 1927, <https://doi.org/10.2307/2276774>): sound for
/// few items and for shares near 0 and 1. Without items, everything is possible.
pub fn wilson(right: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    // The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (n as f64, right as f64 / n as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).clamp(0.0, p), (middle + half).clamp(p, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_agree_with_published_values() {
        // Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
        let table = [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (right, n, low, high) in table {
            let (l, h) = wilson(right, n);
            assert!((l - low).abs() < 6e-5 && (h - high).abs() < 6e-5, "{right}/{n}: {l} {h}");
        }
        assert_eq!((wilson(0, 0), wilson(7, 7).1), ((0.0, 1.0), 1.0));
    }

    #[test]
    fn floors_are_the_better_of_chance_and_prior() {
        let figure = Figure::new("a", "accuracy", [1, 2], 0.5);
        assert_eq!((figure.value, figure.floor()), (0.5, 0.5));
        assert_eq!(figure.with_prior(0.7).floor(), 0.7);
        assert_eq!(Figure::new("a", "accuracy", [0, 0], 0.5).value, 0.0);
    }
}
