//! Dense layers: weights `[out, in]`, as PyTorch keeps them.

use crate::gemm::gemm;
use crate::parallel::{chunked, rows_per_block, rows_per_task};
use crate::simd::vectorised;

/// `y[rows, out] = x[rows, in] · wᵀ + bias[out]`.
pub fn linear(rows: usize, in_: usize, out: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let Some(bias) = bias else {
        return gemm(rows, out, in_, x, false, w, true, y, false);
    };
    assert_eq!(bias.len(), out, "linear: bias");
    assert_eq!(y.len(), rows * out, "linear: y");
    if out == 0 {
        return;
    }
    chunked!(y.len(), rows_per_task(out); [], [y * out] => |y: &mut [f32]| {
        y.chunks_exact_mut(out).for_each(|row| row.copy_from_slice(bias));
    });
    gemm(rows, out, in_, x, false, w, true, y, true);
}

/// Gradients of [`linear`], each overwritten if asked for.
pub fn linear_backward(
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
        gemm(rows, in_, out, dy, false, w, false, dx, false);
    }
    if let Some(dw) = dw {
        gemm(out, in_, rows, dy, true, x, false, dw, false);
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
    let mut partial = vec![0.0; rows.div_ceil(block) * d];
    let parts = &mut partial[..];
    chunked!(x.len(), 1; [x * block * d], [parts * d] => add_rows);
    add_rows(&partial, sums);
}
