//! Normalisation of rows.

use crate::linear::add_rows;
use crate::parallel::{chunked, rows_per_block, rows_per_task};
use crate::simd::{sum_of, sum_of3, vectorised};

/// Layer norm of every row (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>):
/// `y = (x - mean)·rstd·gamma + beta`, with the biased variance.
///
/// `x, y [rows, d]`, `gamma, beta [d]`; `mean` and `rstd` `[rows]` are kept for the gradient.
pub fn layer_norm(
    rows: usize,
    d: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    check(
        rows,
        d,
        &[("x", x), ("y", y)],
        &[("gamma", gamma), ("beta", beta)],
        &[("mean", mean), ("rstd", rstd)],
    );
    if d == 0 {
        return;
    }
    chunked!(x.len(), rows_per_task(d); [x * d], [y * d, mean * 1, rstd * 1] => |x, y, mean, rstd| {
        layer_norm_rows(x, gamma, beta, eps, y, mean, rstd);
    });
}

vectorised! {
    fn layer_norm_rows(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32], mean: &mut [f32], rstd: &mut [f32]) {
        let d = gamma.len();
        let kept = mean.iter_mut().zip(rstd);
        for ((x, y), (mean, rstd)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(kept) {
            let m = sum_of(x, |x| x) / d as f32;
            let variance = sum_of(x, |x| (x - m) * (x - m)) / d as f32;
            let r = 1.0 / (variance + eps).sqrt();
            for (((y, &x), &gamma), &beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = ((x - m) * r).mul_add(gamma, beta);
            }
            (*mean, *rstd) = (m, r);
        }
    }
}

/// Gradients of [`layer_norm`], overwritten: `dx [rows, d]`, `dgamma, dbeta [d]`.
pub fn layer_norm_backward(
    rows: usize,
    d: usize,
    x: &[f32],
    gamma: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let vectors: [(&str, &[f32]); 3] = [("gamma", gamma), ("dgamma", dgamma), ("dbeta", dbeta)];
    check(
        rows,
        d,
        &[("x", x), ("dy", dy), ("dx", dx)],
        &vectors,
        &[("mean", mean), ("rstd", rstd)],
    );
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    if d == 0 {
        return;
    }
    let block = rows_per_block(rows, d);
    let mut parts_gamma = vec![0.0; rows.div_ceil(block) * d];
    let mut parts_beta = parts_gamma.clone();
    let (dg, db) = (&mut parts_gamma[..], &mut parts_beta[..]);
    chunked!(x.len(), 1;
        [x * block * d, mean * block, rstd * block, dy * block * d],
        [dx * block * d, dg * d, db * d] => |x, mean, rstd, dy, dx, dg, db| {
        layer_norm_rows_backward(x, gamma, mean, rstd, dy, dx, dg, db);
    });
    add_rows(&parts_gamma, dgamma);
    add_rows(&parts_beta, dbeta);
}

vectorised! {
    fn layer_norm_rows_backward(x: &[f32], gamma: &[f32], mean: &[f32], rstd: &[f32], dy: &[f32], dx: &mut [f32], dgamma: &mut [f32], dbeta: &mut [f32]) {
        let d = gamma.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((x, dy), dx), (&m, &r)) in rows.zip(mean.iter().zip(rstd)) {
            // One short loop for each result: longer ones do not become vector code.
            let sum = sum_of3(x, dy, gamma, |_, dy, gamma| dy * gamma) / d as f32;
            let product = sum_of3(x, dy, gamma, |x, dy, gamma| dy * gamma * ((x - m) * r)) / d as f32;
            for (dx, ((&x, &dy), &gamma)) in dx.iter_mut().zip(x.iter().zip(dy).zip(gamma)) {
                *dx = r * (dy.mul_add(gamma, -sum) - (x - m) * r * product);
            }
            for (dgamma, (&x, &dy)) in dgamma.iter_mut().zip(x.iter().zip(dy)) {
                *dgamma += dy * ((x - m) * r);
            }
            for (dbeta, &dy) in dbeta.iter_mut().zip(dy) {
                *dbeta += dy;
            }
        }
    }
}

/// RMS norm of every row (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>):
/// `y = x·rstd·gamma` with `rstd = 1/√(mean(x²) + eps)`.
///
/// `x, y [rows, d]`, `gamma [d]`; `rstd [rows]` is kept for the gradient.
pub fn rms_norm(
    rows: usize,
    d: usize,
    x: &[f32],
    gamma: &[f32],
    eps: f32,
    y: &mut [f32],
    rstd: &mut [f32],
) {
    check(rows, d, &[("x", x), ("y", y)], &[("gamma", gamma)], &[("rstd", rstd)]);
    if d == 0 {
        return;
    }
    chunked!(x.len(), rows_per_task(d); [x * d], [y * d, rstd * 1] => |x, y, rstd| {
        rms_norm_rows(x, gamma, eps, y, rstd);
    });
}

vectorised! {
    fn rms_norm_rows(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
        let d = gamma.len();
        for ((x, y), rstd) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(rstd) {
            let r = 1.0 / (sum_of(x, |x| x * x) / d as f32 + eps).sqrt();
            for ((y, &x), &gamma) in y.iter_mut().zip(x).zip(gamma) {
                *y = x * r * gamma;
            }
            *rstd = r;
        }
    }
}

/// Gradients of [`rms_norm`], overwritten: `dx [rows, d]`, `dgamma [d]`.
pub fn rms_norm_backward(
    rows: usize,
    d: usize,
    x: &[f32],
    gamma: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
) {
    let vectors: [(&str, &[f32]); 2] = [("gamma", gamma), ("dgamma", dgamma)];
    check(rows, d, &[("x", x), ("dy", dy), ("dx", dx)], &vectors, &[("rstd", rstd)]);
    dgamma.fill(0.0);
    if d == 0 {
        return;
    }
    let block = rows_per_block(rows, d);
    let mut parts = vec![0.0; rows.div_ceil(block) * d];
    let dg = &mut parts[..];
    chunked!(x.len(), 1; [x * block * d, rstd * block, dy * block * d], [dx * block * d, dg * d] => |x, rstd, dy, dx, dg| {
        rms_norm_rows_backward(x, gamma, rstd, dy, dx, dg);
    });
    add_rows(&parts, dgamma);
}

vectorised! {
    fn rms_norm_rows_backward(x: &[f32], gamma: &[f32], rstd: &[f32], dy: &[f32], dx: &mut [f32], dgamma: &mut [f32]) {
        let d = gamma.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((x, dy), dx), &r) in rows.zip(rstd) {
            let product = sum_of3(x, dy, gamma, |x, dy, gamma| dy * gamma * (x * r)) / d as f32;
            for (dx, ((&x, &dy), &gamma)) in dx.iter_mut().zip(x.iter().zip(dy).zip(gamma)) {
                *dx = r * dy.mul_add(gamma, -(x * r * product));
            }
            for (dgamma, (&x, &dy)) in dgamma.iter_mut().zip(x.iter().zip(dy)) {
                *dgamma += dy * (x * r);
            }
        }
    }
}

/// Named slices, for messages.
type Named<'a> = &'a [(&'a str, &'a [f32])];

/// Checks lengths: matrices `rows * d`, vectors `d`, statistics `rows`.
fn check(rows: usize, d: usize, matrices: Named, vectors: Named, statistics: Named) {
    for (slices, want) in [(matrices, rows * d), (vectors, d), (statistics, rows)] {
        for (name, slice) in slices {
            assert_eq!(slice.len(), want, "norm of {rows} rows of {d}: length of {name}");
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

    /// Layer norm, or RMS norm without `beta`, in f64.
    fn naive(d: usize, x: &[f64], gamma: &[f64], beta: Option<&[f64]>) -> Vec<f64> {
        let row = |x: &[f64]| {
            let mean = if beta.is_some() { x.iter().sum::<f64>() / d as f64 } else { 0.0 };
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let rstd = 1.0 / (variance + EPS).sqrt();
            (0..d)
                .map(|i| (x[i] - mean) * rstd * gamma[i] + beta.map_or(0.0, |b| b[i]))
                .collect::<Vec<_>>()
        };
        x.chunks(d).flat_map(row).collect()
    }

    fn dot(x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    /// y, dx, dgamma, dbeta of layer norm, then y, dx, dgamma of RMS norm.
    fn all(
        rows: usize,
        d: usize,
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        dy: &[f32],
    ) -> [Vec<f32>; 7] {
        let nan = |n| vec![f32::NAN; n];
        let (mut y, mut dx, mut dgamma, mut dbeta) = (nan(rows * d), nan(rows * d), nan(d), nan(d));
        let (mut mean, mut rstd) = (nan(rows), nan(rows));
        layer_norm(rows, d, x, gamma, beta, EPS as f32, &mut y, &mut mean, &mut rstd);
        layer_norm_backward(rows, d, x, gamma, &mean, &rstd, dy, &mut dx, &mut dgamma, &mut dbeta);
        let (mut y2, mut dx2, mut dgamma2) = (nan(rows * d), nan(rows * d), nan(d));
        rms_norm(rows, d, x, gamma, EPS as f32, &mut y2, &mut rstd);
        rms_norm_backward(rows, d, x, gamma, &rstd, dy, &mut dx2, &mut dgamma2);
        [y, dx, dgamma, dbeta, y2, dx2, dgamma2]
    }

    #[test]
    fn values_and_gradients_match_f64() {
        for (rows, d) in [(1, 1), (2, 3), (5, 17), (3, 40), (1, 64)] {
            let (x, gamma, beta, dy) =
                (random(1, rows * d), random(2, d), random(3, d), random(4, rows * d));
            let (xs, gs, bs, ds) = (wide(&x), wide(&gamma), wide(&beta), wide(&dy));
            let [y, dx, dgamma, dbeta, y2, dx2, dgamma2] = all(rows, d, &x, &gamma, &beta, &dy);
            let layer = |x: &[f64], g: &[f64], b: &[f64]| dot(&naive(d, x, g, Some(b)), &ds);
            let rms = |x: &[f64], g: &[f64]| dot(&naive(d, x, g, None), &ds);
            assert_close(&y, &naive(d, &xs, &gs, Some(&bs)), 1e-5);
            assert_close(&dx, &gradient(&xs, |x| layer(x, &gs, &bs)), 2e-4);
            assert_close(&dgamma, &gradient(&gs, |g| layer(&xs, g, &bs)), 1e-5);
            assert_close(&dbeta, &gradient(&bs, |b| layer(&xs, &gs, b)), 1e-5);
            assert_close(&y2, &naive(d, &xs, &gs, None), 1e-5);
            assert_close(&dx2, &gradient(&xs, |x| rms(x, &gs)), 2e-4);
            assert_close(&dgamma2, &gradient(&gs, |g| rms(&xs, g)), 1e-5);
        }
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let run = |rows: usize, d: usize| {
            all(rows, d, &random(1, rows * d), &random(2, d), &random(3, d), &random(4, rows * d))
                .concat()
        };
        assert_same_on_all_pools(|| run(1001, 37));
        assert_same_portably(|| run(7, 101));
    }
}
