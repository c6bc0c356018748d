//! Whether a picture is like those that a model has learned from: how far its features lie from theirs.
//!
//! The Mahalanobis distance of Lee et al. 2018, <https://arxiv.org/abs/1807.03888>, section 2.1, of one class;
//! the covariance is drawn to the unit matrix a little, so that directions that hardly vary do not rule all.
//!
//! ```text
//! features [E] ──minus mean──▶ ──whitening [E, E]──▶ length ──▶ more than the limit: outside
//! ```

use sensorium_checkpoint::{Error, Result, Tensor, Tensors, strict_shapes};
use sensorium_flow::Features;
use sensorium_nn::params::read;

/// What features of the training set are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    mean: Vec<f32>,
    /// Lower triangle, row by row: the inverse of the covariance's Cholesky factor.
    whitening: Vec<f32>,
    /// The longest distance of what is inside.
    limit: f32,
}

/// How far a picture's features lie from those of the training set.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Distance {
    /// In deviations of the training set's features.
    pub distance: f32,
    /// More than this is outside.
    pub limit: f32,
}

impl Distance {
    /// Whether the picture is unlike all that was learned from.
    pub fn is_outside(self) -> bool {
        self.distance > self.limit
    }
}

/// What is compared: the mean over the positions of what an encoder saw, for each picture.
pub fn pooled(Features(x): Features) -> Vec<Vec<f32>> {
    let width = x.dims()[2];
    read(x.mean_dim(1)).chunks(width).map(<[f32]>::to_vec).collect()
}

/// Share of the mean variance that is added to all.
const SHRINKAGE: f64 = 1e-3;

impl Domain {
    /// Of the features `seen` in training, and of `others` of the same kind, of which a share of `false_alarms`
    /// is to lie outside. All have one width, and there is at least one of each.
    pub fn fit(seen: &[Vec<f32>], others: &[Vec<f32>], false_alarms: f64) -> Self {
        let width = seen[0].len();
        let n = seen.len() as f64;
        let mean: Vec<f64> =
            (0..width).map(|i| seen.iter().map(|row| f64::from(row[i])).sum::<f64>() / n).collect();
        let mut covariance = vec![0.0; width * width];
        for row in seen {
            let off: Vec<f64> =
                row.iter().zip(&mean).map(|(x, mean)| f64::from(*x) - mean).collect();
            for (i, a) in off.iter().enumerate() {
                let to = &mut covariance[i * width..][..=i];
                to.iter_mut().zip(&off).for_each(|(to, b)| *to += a * b / n);
            }
        }
        let trace: f64 = (0..width).map(|i| covariance[i * width + i]).sum();
        let ridge = (SHRINKAGE * trace / width as f64).max(f64::MIN_POSITIVE);
        (0..width).for_each(|i| covariance[i * width + i] += ridge);
        let whitening = inverse(&cholesky(covariance, width), width);
        let mean = mean.into_iter().map(|x| x as f32).collect();
        let whitening = whitening.into_iter().map(|x| x as f32).collect();
        let mut domain = Self { mean, whitening, limit: 0.0 };
        let mut distances: Vec<f32> = others.iter().map(|row| domain.far(row)).collect();
        distances.sort_by(f32::total_cmp);
        let inside = ((1.0 - false_alarms) * distances.len() as f64).ceil() as usize;
        domain.limit = distances[inside.clamp(1, distances.len()) - 1];
        domain
    }

    /// How far features lie from those of the training set.
    ///
    /// # Panics
    /// When they are of another width.
    pub fn distance(&self, features: &[f32]) -> Distance {
        Distance { distance: self.far(features), limit: self.limit }
    }

    fn far(&self, features: &[f32]) -> f32 {
        let width = self.mean.len();
        assert_eq!(features.len(), width, "features of another width");
        let off: Vec<f32> = features.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let white = |i: usize| -> f32 {
            let row = &self.whitening[i * width..][..=i];
            row.iter().zip(&off).map(|(a, b)| a * b).sum()
        };
        (0..width).map(|i| white(i).powi(2)).sum::<f32>().sqrt()
    }

    /// Name and shape of every tensor, for features of so many numbers.
    pub fn parameters(width: usize) -> Vec<(String, Vec<usize>)> {
        [("mean", vec![width]), ("whitening", vec![width, width]), ("limit", vec![1])]
            .map(|(name, shape)| (name.to_owned(), shape))
            .into()
    }

    /// As named tensors.
    ///
    /// # Errors
    /// Never in practice: the shapes fit.
    pub fn tensors(&self) -> Result<Tensors> {
        let values = [self.mean.clone(), self.whitening.clone(), vec![self.limit]];
        let mut all = Tensors::default();
        for ((name, shape), values) in Self::parameters(self.mean.len()).into_iter().zip(values) {
            all.tensors.insert(name, Tensor::new(shape, values)?);
        }
        Ok(all)
    }

    /// From tensors of features of so many numbers.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn read(tensors: &Tensors, width: usize) -> Result<Self> {
        let found = tensors.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
        strict_shapes(&Self::parameters(width), &found.collect())?;
        let values = |name| Ok::<_, Error>(tensors.get(name)?.data().to_vec());
        Ok(Self {
            mean: values("mean")?,
            whitening: values("whitening")?,
            limit: values("limit")?[0],
        })
    }
}

/// The lower Cholesky factor of a symmetric matrix, of which the lower triangle is read.
fn cholesky(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - sum;
            // Rounding can make of nothing less than nothing.
            a[i * n + j] = if i == j { rest.max(1e-30).sqrt() } else { rest / a[j * n + j] };
        }
        a[i * n + i + 1..][..n - i - 1].fill(0.0);
    }
    a
}

/// The inverse of a lower triangular matrix.
fn inverse(l: &[f64], n: usize) -> Vec<f64> {
    let mut x = vec![0.0; n * n];
    for i in 0..n {
        x[i * n + i] = 1.0 / l[i * n + i];
        for j in 0..i {
            let sum: f64 = (j..i).map(|k| l[i * n + k] * x[k * n + j]).sum();
            x[i * n + j] = -sum / l[i * n + i];
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around (1, 2) that vary most along the diagonal.
    fn points(n: usize) -> Vec<Vec<f32>> {
        let point = |i: usize| {
            let [along, across] = [(i as f32 * 0.7).sin(), 0.1 * (i as f32 * 1.3).cos()];
            vec![1.0 + along + across, 2.0 + along - across]
        };
        (0..n).map(point).collect()
    }

    #[test]
    fn what_lies_across_is_further_than_what_lies_along() {
        let domain = Domain::fit(&points(1000), &points(1000), 0.01);
        let far = |x: f32, y: f32| domain.distance(&[x, y]);
        assert!(far(1.0, 2.0).distance < 0.1);
        assert!(!far(1.9, 2.9).is_outside() && far(1.9, 1.1).is_outside());
        // sqrt(½·1²) and sqrt(½·0.1²) are the deviations along and across, √2 the diagonal's unit.
        assert!((far(2.0, 3.0).distance - 2f32.sqrt()).abs() < 0.05, "{:?}", far(2.0, 3.0));
        let outside = points(1000).iter().filter(|x| domain.distance(x).is_outside()).count();
        assert!(outside <= 10, "{outside}");
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let domain = Domain::fit(&points(50), &points(50), 0.1);
        let tensors = domain.tensors().expect("shapes that fit");
        assert_eq!(Domain::read(&tensors, 2).expect("its own"), domain);
        assert!(Domain::read(&tensors, 3).is_err());
    }
}
