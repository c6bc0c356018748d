//! Normalisation of groups of channels, and the SiLU behind it.

use crate::linear::add_rows;
use crate::math::sigmoid;
use crate::parallel::chunked;
use crate::simd::{sum_of, sum_of3, vectorised};

/// Numbers that are summed in f32 before they go on in f64: a group of a large picture has a million.
const RUN: usize = 4096;

/// Sizes of a group norm: `x [batch, channels, pixels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Groups of them that are normed together; a divisor.
    pub groups: usize,
    /// Pixels of a channel.
    pub pixels: usize,
}

impl GroupShape {
    /// Numbers of a group.
    fn width(&self) -> usize {
        self.channels / self.groups * self.pixels
    }

    /// Groups of all samples.
    fn rows(&self) -> usize {
        self.batch * self.groups
    }

    /// Checks lengths: pictures, vectors of a number for each channel, statistics of each group.
    fn check(&self, pictures: &[&[f32]], vectors: &[&[f32]], statistics: &[&[f32]]) {
        let fits = self.groups > 0 && self.channels.is_multiple_of(self.groups);
        assert!(fits, "group norm: groups of {self:?}");
        let n = self.batch * self.channels * self.pixels;
        for (slices, want) in [(pictures, n), (vectors, self.channels), (statistics, self.rows())] {
            assert!(slices.iter().all(|slice| slice.len() == want), "group norm of {self:?}");
        }
    }
}

/// Group norm (Wu and He 2018, <https://arxiv.org/abs/1803.08494>): zero mean and unit variance over each group of
/// channels, then every channel scaled by `gamma` and shifted by `beta`; with `silu`, `y·sigmoid(y)` of that.
///
/// `x, y [batch, channels, pixels]`, `gamma, beta [channels]`; `mean` and `rstd` `[batch, groups]` are kept for
/// the gradient.
pub fn group_norm(
    shape: GroupShape,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    silu: bool,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    shape.check(&[x, y], &[gamma, beta], &[mean, rstd]);
    let d = shape.width();
    if d == 0 {
        return;
    }
    // The group of a piece is told by its place: nothing else says which channels it has.
    let rows: Vec<f32> = (0..shape.rows()).map(|row| (row % shape.groups) as f32).collect();
    let groups = &rows[..];
    chunked!(usize::MAX, 1; [x * d, groups * 1], [y * d, mean * 1, rstd * 1] => |x: &[f32], group: &[f32], y: &mut [f32], mean: &mut [f32], rstd: &mut [f32]| {
        let channels = shape.channels / shape.groups;
        let first = group[0] as usize * channels;
        let (m, r) = statistics(x, eps);
        (mean[0], rstd[0]) = (m, r);
        for (c, (x, y)) in x.chunks_exact(shape.pixels).zip(y.chunks_exact_mut(shape.pixels)).enumerate() {
            let (scale, shift) = (gamma[first + c], beta[first + c]);
            match silu {
                true => scaled_silu(x, m, r, scale, shift, y),
                false => scaled(x, m, r, scale, shift, y),
            }
        }
    });
}

/// Mean and reciprocal of the standard deviation.
fn statistics(x: &[f32], eps: f32) -> (f32, f32) {
    let d = x.len() as f64;
    let mean = (x.chunks(RUN).map(|x| f64::from(sum(x))).sum::<f64>() / d) as f32;
    let squares: f64 = x.chunks(RUN).map(|x| f64::from(squares(x, mean))).sum();
    (mean, 1.0 / ((squares / d) as f32 + eps).sqrt())
}

vectorised! {
    fn sum(x: &[f32]) -> f32 {
        sum_of(x, |x| x)
    }
}

vectorised! {
    fn squares(x: &[f32], mean: f32) -> f32 {
        sum_of(x, |x| (x - mean) * (x - mean))
    }
}

vectorised! {
    fn scaled(x: &[f32], mean: f32, rstd: f32, scale: f32, shift: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = ((x - mean) * rstd).mul_add(scale, shift);
        }
    }
}

vectorised! {
    fn scaled_silu(x: &[f32], mean: f32, rstd: f32, scale: f32, shift: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            let t = ((x - mean) * rstd).mul_add(scale, shift);
            *y = t * sigmoid(t);
        }
    }
}

/// Gradients of [`group_norm`], overwritten: `dx [batch, channels, pixels]`, `dgamma, dbeta [channels]`.
pub fn group_norm_backward(
    shape: GroupShape,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    rstd: &[f32],
    silu: bool,
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    shape.check(&[x, dy, dx], &[gamma, beta, dgamma, dbeta], &[mean, rstd]);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    let (d, channels) = (shape.width(), shape.channels / shape.groups);
    if d == 0 {
        return;
    }
    let rows: Vec<f32> = (0..shape.rows()).map(|row| (row % shape.groups) as f32).collect();
    let groups = &rows[..];
    // A number for each channel of each sample.
    let mut parts_gamma = vec![0.0; shape.batch * shape.channels];
    let mut parts_beta = parts_gamma.clone();
    let (dg, db) = (&mut parts_gamma[..], &mut parts_beta[..]);
    chunked!(usize::MAX, 1;
    [x * d, groups * 1, mean * 1, rstd * 1, dy * d],
    [dx * d, dg * channels, db * channels] =>
    |x: &[f32], group: &[f32], mean: &[f32], rstd: &[f32], dy: &[f32], dx: &mut [f32], dg: &mut [f32], db: &mut [f32]| {
        let first = group[0] as usize * channels;
        let (gamma, beta) = (&gamma[first..first + channels], &beta[first..first + channels]);
        group_backward(shape.pixels, silu, [x, dy, gamma, beta], [mean[0], rstd[0]], dx, dg, db);
    });
    add_rows(&parts_gamma, dgamma);
    add_rows(&parts_beta, dbeta);
}

/// Of one group.
fn group_backward(
    pixels: usize,
    silu: bool,
    [x, dy, gamma, beta]: [&[f32]; 4],
    [mean, rstd]: [f32; 2],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let (mut sum, mut product) = (0.0_f64, 0.0_f64);
    for (c, dt) in dx.chunks_exact_mut(pixels).enumerate() {
        let place = c * pixels..(c + 1) * pixels;
        let (x, dy) = (&x[place.clone()], &dy[place]);
        match silu {
            true => silu_backward(x, mean, rstd, gamma[c], beta[c], dy, dt),
            false => dt.copy_from_slice(dy),
        }
        let (beta, gamma_) = sums(x, mean, rstd, dt);
        (dbeta[c], dgamma[c]) = (beta as f32, gamma_ as f32);
        sum += beta * f64::from(gamma[c]);
        product += gamma_ * f64::from(gamma[c]);
    }
    let d = x.len() as f64;
    let (sum, product) = ((sum / d) as f32, (product / d) as f32);
    for (c, (dx, x)) in dx.chunks_exact_mut(pixels).zip(x.chunks_exact(pixels)).enumerate() {
        centred(x, mean, rstd, gamma[c], sum, product, dx);
    }
}

/// Sums of `dt` and of `dt` times what the channel was normed to.
fn sums(x: &[f32], mean: f32, rstd: f32, dt: &[f32]) -> (f64, f64) {
    let runs = x.chunks(RUN).zip(dt.chunks(RUN));
    runs.fold((0.0, 0.0), |(all, products), (x, dt)| {
        let product = sum_of_products(x, mean, rstd, dt);
        (all + f64::from(sum(dt)), products + f64::from(product))
    })
}

vectorised! {
    fn sum_of_products(x: &[f32], mean: f32, rstd: f32, dt: &[f32]) -> f32 {
        sum_of3(x, dt, dt, |x, dt, _| (x - mean) * rstd * dt)
    }
}

vectorised! {
    fn silu_backward(x: &[f32], mean: f32, rstd: f32, scale: f32, shift: f32, dy: &[f32], dt: &mut [f32]) {
        for ((dt, &x), &dy) in dt.iter_mut().zip(x).zip(dy) {
            let t = ((x - mean) * rstd).mul_add(scale, shift);
            let s = sigmoid(t);
            *dt = dy * (t * s).mul_add(1.0 - s, s);
        }
    }
}

vectorised! {
    /// `dx`, which holds `dt`, without what moves the group's mean and variance.
    fn centred(x: &[f32], mean: f32, rstd: f32, scale: f32, sum: f32, product: f32, dx: &mut [f32]) {
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = rstd * (dx.mul_add(scale, -sum) - (x - mean) * rstd * product);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_same_on_all_pools, assert_same_portably, gradient, random, wide,
    };

    const EPS: f64 = 1e-5;

    fn naive(s: GroupShape, x: &[f64], gamma: &[f64], beta: &[f64], silu: bool) -> Vec<f64> {
        let d = s.width();
        let row = |(row, x): (usize, &[f64])| {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let rstd = 1.0 / (variance + EPS).sqrt();
            let first = row % s.groups * (s.channels / s.groups);
            let one = |i: usize| {
                let c = first + i / s.pixels;
                let t = (x[i] - mean) * rstd * gamma[c] + beta[c];
                if silu { t / (1.0 + (-t).exp()) } else { t }
            };
            (0..d).map(one).collect::<Vec<_>>()
        };
        x.chunks(d).enumerate().flat_map(row).collect()
    }

    /// y, dx, dgamma, dbeta.
    fn all(s: GroupShape, silu: bool) -> [Vec<f32>; 4] {
        let n = s.batch * s.channels * s.pixels;
        let (x, gamma, beta, dy) =
            (random(1, n), random(2, s.channels), random(3, s.channels), random(4, n));
        let nan = |n| vec![f32::NAN; n];
        let (mut y, mut dx) = (nan(n), nan(n));
        let (mut dgamma, mut dbeta) = (nan(s.channels), nan(s.channels));
        let (mut mean, mut rstd) = (nan(s.rows()), nan(s.rows()));
        group_norm(s, &x, &gamma, &beta, EPS as f32, silu, &mut y, &mut mean, &mut rstd);
        group_norm_backward(
            s,
            &x,
            &gamma,
            &beta,
            &mean,
            &rstd,
            silu,
            &dy,
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
        [y, dx, dgamma, dbeta]
    }

    #[test]
    fn values_and_gradients_match_f64() {
        for (batch, channels, groups, pixels) in [(1, 2, 1, 3), (2, 6, 3, 7), (3, 4, 4, 5)] {
            let s = GroupShape { batch, channels, groups, pixels };
            let n = batch * channels * pixels;
            let (x, gamma, beta) = (random(1, n), random(2, channels), random(3, channels));
            let (x, gamma, beta, dy) = (wide(&x), wide(&gamma), wide(&beta), wide(&random(4, n)));
            for silu in [false, true] {
                let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
                    naive(s, x, gamma, beta, silu).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
                };
                let [y, dx, dgamma, dbeta] = all(s, silu);
                assert_close(&y, &naive(s, &x, &gamma, &beta, silu), 1e-5);
                assert_close(&dx, &gradient(&x, |x| loss(x, &gamma, &beta)), 2e-4);
                assert_close(&dgamma, &gradient(&gamma, |gamma| loss(&x, gamma, &beta)), 1e-5);
                assert_close(&dbeta, &gradient(&beta, |beta| loss(&x, &gamma, beta)), 1e-5);
            }
        }
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let run = |pixels: usize| {
            let s = GroupShape { batch: 2, channels: 6, groups: 3, pixels };
            all(s, true).concat()
        };
        assert_same_on_all_pools(|| run(6000));
        assert_same_portably(|| run(101));
    }
}
