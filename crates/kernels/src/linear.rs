//! Dense layers: weights `[out, in]`, as PyTorch keeps them.

use crate::Precision;
use crate::gemm::{Start, gemm, gemm_from};
use crate::parallel::{chunked, rows_per_block};
use crate::simd::vectorised;

/// `y[rows, out] = x[rows, in] · wᵀ + bias[out]`.
pub fn linear(
    precision: Precision,
    rows: usize,
    in_: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let start = bias.map_or(Start::Zero, Start::Row);
    gemm_from(precision, rows, out, in_, x, false, w, true, y, start);
}

/// Gradients of [`linear`], each overwritten if asked for.
pub fn linear_backward(
    precision: Precision,
    rows: usize,
    in_: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    if let Some(dx) = dx {
        gemm(precision, rows, in_, out, dy, false, w, false, dx, false);
    }
    if let Some(dw) = dw {
        gemm(precision, out, in_, rows, dy, true, x, false, dw, false);
    }
    if let Some(db) = db {
        column_sums(rows, out, dy, db);
    }
}

vectorised! {
    /// Adds every row of `x` to `sums`.
    pub(crate) fn add_rows(x: &[f32], sums: &mut [f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

/// `sums[d] = Σ rows of x[rows, d]`.
fn column_sums(rows: usize, d: usize, x: &[f32], sums: &mut [f32]) {
    assert_eq!(x.len(), rows * d, "linear_backward: dy");
    assert_eq!(sums.len(), d, "linear_backward: db");
    sums.fill(0.0);
    if d == 0 {
        return;
    }
    let block = rows_per_block(rows, d);
    let mut partial = vec![0.0; rows.div_ceil(block).max(1) * d];
    let parts = &mut partial[..];
    chunked!(x.len(), 1; [x * block * d], [parts * d] => add_rows);
    add_rows(&partial, sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, gradient, random, wide};

    fn naive(rows: usize, in_: usize, out: usize, x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
        let y = |r: usize, o: usize| {
            bias[o] + (0..in_).map(|i| x[r * in_ + i] * w[o * in_ + i]).sum::<f64>()
        };
        (0..rows * out).map(|ro| y(ro / out, ro % out)).collect()
    }

    #[test]
    fn values_and_gradients_match_f64() {
        for (rows, in_, out) in [(1, 1, 1), (3, 5, 7), (17, 9, 4), (2, 33, 1)] {
            let (x, w, bias, dy) = (
                random(1, rows * in_),
                random(2, in_ * out),
                random(3, out),
                random(4, rows * out),
            );
            let (xs, ws, bs, ds) = (wide(&x), wide(&w), wide(&bias), wide(&dy));
            let mut y = vec![f32::NAN; rows * out];
            linear(Precision::F32, rows, in_, out, &x, &w, Some(&bias), &mut y);
            assert_close(&y, &naive(rows, in_, out, &xs, &ws, &bs), 1e-5);
            linear(Precision::F32, rows, in_, out, &x, &w, None, &mut y);
            assert_close(&y, &naive(rows, in_, out, &xs, &ws, &vec![0.0; out]), 1e-5);

            let (mut dx, mut dw, mut db) =
                (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()], vec![f32::NAN; out]);
            linear_backward(
                Precision::F32,
                rows,
                in_,
                out,
                &x,
                &w,
                &dy,
                Some(&mut dx),
                Some(&mut dw),
                Some(&mut db),
            );
            let loss = |x: &[f64], w: &[f64], b: &[f64]| {
                naive(rows, in_, out, x, w, b).iter().zip(&ds).map(|(y, d)| y * d).sum::<f64>()
            };
            assert_close(&dx, &gradient(&xs, |x| loss(x, &ws, &bs)), 1e-5);
            assert_close(&dw, &gradient(&ws, |w| loss(&xs, w, &bs)), 1e-5);
            assert_close(&db, &gradient(&bs, |b| loss(&xs, &ws, b)), 1e-5);
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        linear(Precision::F32, 0, 3, 2, &[], &[0.0; 6], Some(&[1.0; 2]), &mut []);
        let mut y = [0.0; 4];
        linear(Precision::F32, 2, 0, 2, &[], &[], Some(&[1.0, 2.0]), &mut y);
        assert_eq!(y, [1.0, 2.0, 1.0, 2.0]);
        let mut db = [5.0; 2];
        linear_backward(Precision::F32, 0, 3, 2, &[], &[0.0; 6], &[], None, None, Some(&mut db));
        assert_eq!(db, [0.0; 2]);
    }

    #[test]
    fn threads_do_not_change_bits() {
        let (rows, in_, out) = (517, 96, 130);
        let (x, w, bias, dy) =
            (random(1, rows * in_), random(2, in_ * out), random(3, out), random(4, rows * out));
        assert_same_on_all_pools(|| {
            let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), w.clone(), bias.clone());
            linear(Precision::F32, rows, in_, out, &x, &w, Some(&bias), &mut y);
            linear_backward(
                Precision::F32,
                rows,
                in_,
                out,
                &x,
                &w,
                &dy,
                Some(&mut dx),
                Some(&mut dw),
                Some(&mut db),
            );
            [y, dx, dw, db].concat()
        });
    }
}
