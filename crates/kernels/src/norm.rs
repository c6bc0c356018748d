//! Normalisation of rows.

use crate::linear::add_rows;
use crate::parallel::{chunked, rows_per_block, rows_per_task};
use crate::simd::{sum_of, sums_of3, vectorised};

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
    check(rows, d, &[("x", x), ("y", y)], &[("gamma", gamma), ("beta", beta)], &[("mean", mean), ("rstd", rstd)]);
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
    check(rows, d, &[("x", x), ("dy", dy), ("dx", dx)], &vectors, &[("mean", mean), ("rstd", rstd)]);
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
            let (sum, product) = sums_of3(x, dy, gamma, |x, dy, gamma| {
                let g = dy * gamma;
                (g, g * ((x - m) * r))
            });
            let (sum, product) = (sum / d as f32, product / d as f32);
            let sums = dgamma.iter_mut().zip(dbeta.iter_mut());
            let inputs = x.iter().zip(dy).zip(gamma);
            for ((dx, ((&x, &dy), &gamma)), (dgamma, dbeta)) in dx.iter_mut().zip(inputs).zip(sums) {
                let unit = (x - m) * r;
                *dx = r * (dy.mul_add(gamma, -sum) - unit * product);
                *dgamma += dy * unit;
                *dbeta += dy;
            }
        }
    }
}

/// RMS norm of every row (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>):
/// `y = x·rstd·gamma` with `rstd = 1/√(mean(x²) + eps)`.
///
/// `x, y [rows, d]`, `gamma [d]`; `rstd [rows]` is kept for the gradient.
pub fn rms_norm(rows: usize, d: usize, x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
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
            let (product, _) = sums_of3(x, dy, gamma, |x, dy, gamma| (dy * gamma * (x * r), 0.0));
            let product = product / d as f32;
            let inputs = x.iter().zip(dy).zip(gamma);
            for ((dx, ((&x, &dy), &gamma)), dgamma) in dx.iter_mut().zip(inputs).zip(dgamma.iter_mut()) {
                let unit = x * r;
                *dx = r * dy.mul_add(gamma, -(unit * product));
                *dgamma += dy * unit;
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
