//! Multinomial logistic regression with a decay: `mean(cross-entropy) + decay/2·|W|²`, in f32, the same
//! whatever the number of threads.

use rayon::prelude::*;

/// Examples: features of one width, and the class.
pub type Rows<'a> = Vec<(&'a [f32], usize)>;

/// Steps at most.
const STEPS: usize = 1000;

/// A slope so small that nothing is left to learn.
const FLAT: f32 = 1e-4;

/// Rows that are summed by themselves: the order of all sums depends on it alone.
const CHUNK: usize = 64;

/// A linear map of standardised features to the logits of the classes.
#[derive(Clone, Debug)]
pub struct Logistic {
    mean: Vec<f32>,
    /// One over the standard deviation.
    scale: Vec<f32>,
    /// `[D + 1, K]`, the biases last.
    weights: Vec<f32>,
    classes: usize,
}

impl Logistic {
    /// Fits the rows, beginning at zero or where another fit of the same rows has ended. Nesterov's
    /// accelerated descent with restarts (O'Donoghue and Candès 2012, <https://arxiv.org/abs/1204.3982>),
    /// whose step is the inverse of the steepest curvature.
    pub fn fit(rows: &Rows<'_>, classes: usize, decay: f32, start: Option<Self>) -> Self {
        let mut fitted = start.unwrap_or_else(|| Self::zeros(rows, classes));
        let x: Vec<Vec<f32>> = rows.iter().map(|(x, _)| fitted.standardised(x)).collect();
        let labels: Vec<usize> = rows.iter().map(|(_, class)| *class).collect();
        // Softmax curves by half at most.
        let step = 1.0 / (0.5 * largest(&x) + decay);
        let (mut ahead, mut momentum) = (fitted.weights.clone(), 1.0f32);
        for _ in 0..STEPS {
            let slope = slope(&x, &labels, &ahead, classes, decay);
            if slope.iter().all(|slope| slope.abs() < FLAT) {
                break;
            }
            let next: Vec<f32> = ahead.iter().zip(&slope).map(|(w, s)| w - step * s).collect();
            let moved = next.iter().zip(&fitted.weights).map(|(next, last)| next - last);
            let uphill =
                slope.iter().zip(moved.clone()).map(|(s, moved)| s * moved).sum::<f32>() > 0.0;
            let grown =
                if uphill { 1.0 } else { (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0 };
            let keep = if uphill { 0.0 } else { (momentum - 1.0) / grown };
            ahead = next.iter().zip(moved).map(|(next, moved)| next + keep * moved).collect();
            (fitted.weights, momentum) = (next, grown);
        }
        fitted
    }

    /// Knows nothing but how the features are spread.
    fn zeros(rows: &Rows<'_>, classes: usize) -> Self {
        let (n, d) = (rows.len().max(1) as f32, rows.first().map_or(0, |(x, _)| x.len()));
        let mean_of = |f: &dyn Fn(&[f32], usize) -> f32| -> Vec<f32> {
            (0..d).map(|i| rows.iter().map(|(x, _)| f(x, i)).sum::<f32>() / n).collect()
        };
        let mean = mean_of(&|x, i| x[i]);
        let variance = mean_of(&|x, i| (x[i] - mean[i]).powi(2));
        // What never changes tells nothing.
        let scale = |variance: f32| if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 };
        let scale = variance.into_iter().map(scale).collect();
        Self { mean, scale, weights: vec![0.0; (d + 1) * classes], classes }
    }

    /// With a last feature of 1, which the biases are for.
    fn standardised(&self, x: &[f32]) -> Vec<f32> {
        let spread = self.mean.iter().zip(&self.scale);
        x.iter().zip(spread).map(|(x, (mean, scale))| (x - mean) * scale).chain([1.0]).collect()
    }

    /// A logit for each class.
    pub fn logits(&self, x: &[f32]) -> Vec<f32> {
        logits(&self.standardised(x), &self.weights, self.classes)
    }
}

fn logits(x: &[f32], weights: &[f32], classes: usize) -> Vec<f32> {
    let mut logits = vec![0.0; classes];
    for (x, weights) in x.iter().zip(weights.chunks_exact(classes)) {
        logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += x * weight);
    }
    logits
}

/// The gradient of the mean loss with its decay, which biases have none of.
fn slope(
    x: &[Vec<f32>],
    labels: &[usize],
    weights: &[f32],
    classes: usize,
    decay: f32,
) -> Vec<f32> {
    let n = x.len().max(1) as f32;
    let of_chunk = |(x, labels): (&[Vec<f32>], &[usize])| {
        let mut sum = vec![0.0; weights.len()];
        for (x, &label) in x.iter().zip(labels) {
            let mut off = logits(x, weights, classes);
            let most = off.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            off.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
            let whole: f32 = off.iter().sum();
            off.iter_mut().for_each(|share| *share /= whole * n);
            off[label] -= 1.0 / n;
            for (x, sum) in x.iter().zip(sum.chunks_exact_mut(classes)) {
                sum.iter_mut().zip(&off).for_each(|(sum, off)| *sum += x * off);
            }
        }
        sum
    };
    let chunks: Vec<_> = x.chunks(CHUNK).zip(labels.chunks(CHUNK)).collect();
    let sums: Vec<Vec<f32>> = chunks.into_par_iter().map(of_chunk).collect();
    let decayed = weights.len() - classes;
    let mut slope: Vec<f32> = weights[..decayed].iter().map(|w| decay * w).collect();
    slope.resize(weights.len(), 0.0);
    for sum in sums {
        slope.iter_mut().zip(sum).for_each(|(slope, sum)| *slope += sum);
    }
    slope
}

/// The largest eigenvalue of the rows' mean outer product, a little too large: power iteration.
fn largest(x: &[Vec<f32>]) -> f32 {
    let n = x.len().max(1) as f32;
    let mut v = vec![1.0; x.first().map_or(0, Vec::len)];
    let mut length = 0.0;
    for _ in 0..30 {
        let mut next = vec![0.0; v.len()];
        for x in x {
            let along: f32 = x.iter().zip(&v).map(|(x, v)| x * v).sum();
            next.iter_mut().zip(x).for_each(|(next, x)| *next += along * x / n);
        }
        length = next.iter().map(|x| x * x).sum::<f32>().sqrt();
        v = next.iter().map(|x| x / length.max(f32::MIN_POSITIVE)).collect();
    }
    1.1 * length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds in the plane: what scikit-learn's `LogisticRegression` finds for them (`C` is one over
    /// decay and rows) is stationary, so the gradient vanishes, and the clouds are told apart.
    #[test]
    fn clouds_are_told_apart_and_nothing_is_left_to_learn() {
        let centres = [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]];
        let point = |i: usize| {
            let [x, y] = centres[i % 3];
            let off = |k: usize| ((i * k % 17) as f32 / 17.0 - 0.5) * 1.5;
            vec![x + off(5), 10.0 * (y + off(7)), 3.0]
        };
        let points: Vec<Vec<f32>> = (0..150).map(point).collect();
        let rows: Rows = points.iter().zip(0..).map(|(x, i)| (&x[..], i % 3)).collect();
        let fitted = Logistic::fit(&rows, 3, 1e-2, None);
        let best = |x: &[f32]| crate::label::best(&fitted.logits(x));
        assert!(rows.iter().all(|(x, class)| best(x) == *class));
        let x: Vec<Vec<f32>> = rows.iter().map(|(x, _)| fitted.standardised(x)).collect();
        let labels: Vec<usize> = rows.iter().map(|row| row.1).collect();
        let left = slope(&x, &labels, &fitted.weights, 3, 1e-2);
        assert!(left.iter().all(|slope| slope.abs() < FLAT), "{left:?}");
        // A feature that never changes has no weight.
        assert_eq!(fitted.weights[6..9], [0.0; 3]);
        let again = Logistic::fit(&rows, 3, 1e-2, Some(fitted.clone()));
        assert_eq!(again.weights, fitted.weights);
    }

    /// With two classes and one feature of mean 0 the slope at the optimum is known: decay·w = mean of
    /// (label - p)·x, which the sigmoid of the difference of the logits gives.
    #[test]
    fn one_feature_by_hand() {
        let points = [[-1.0], [-1.0], [1.0], [1.0]];
        let rows: Rows = points.iter().zip([0, 1, 1, 1]).map(|(x, y)| (&x[..], y)).collect();
        let fitted = Logistic::fit(&rows, 2, 0.1, None);
        let p = |x: f32| {
            let logits = fitted.logits(&[x]);
            1.0 / (1.0 + (logits[0] - logits[1]).exp())
        };
        let (left, right) = (p(-1.0), p(1.0));
        // The bias has no decay: the mean of what is told is the mean of what is true.
        assert!(((left + right) / 2.0 - 0.75).abs() < 1e-3, "{left} {right}");
        let weight = fitted.weights[1];
        let slope = (-(0.5 - left) + (1.0 - right)) / 2.0;
        assert!((0.1 * weight - slope).abs() < 1e-3, "{weight} {slope}");
    }
}
