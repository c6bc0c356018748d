//! Matrix products.

use gemm::Parallelism;

/// Multiply-adds below which a product stays on its thread.
const SMALL: usize = 64 * 64 * 64;

/// `C[m,n] = op(A) op(B)`, or `C += ...` with `accumulate`.
///
/// `a` is `[m,k]`, or stored `[k,m]` if `a_t`; `b` is `[k,n]`, or stored `[n,k]` if `b_t`.
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_t: bool,
    b: &[f32],
    b_t: bool,
    c: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(a.len(), m * k, "gemm: a is {m} x {k}");
    assert_eq!(b.len(), k * n, "gemm: b is {k} x {n}");
    assert_eq!(c.len(), m * n, "gemm: c is {m} x {n}");
    let a = Strided { at: a.as_ptr(), row: if a_t { 1 } else { k }, column: if a_t { m } else { 1 } };
    let b = Strided { at: b.as_ptr(), row: if b_t { 1 } else { n }, column: if b_t { k } else { 1 } };
    let threads = if m * n * k <= SMALL { Parallelism::None } else { Parallelism::Rayon(0) };
    // SAFETY: the lengths were checked against the strides above; `c` is borrowed alone.
    unsafe { multiply(m, n, k, 1.0, a, b, c.as_mut_ptr(), n, accumulate, threads) }
}

/// A matrix anywhere in memory: element `(i, j)` is `at[i·row + j·column]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub(crate) at: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl Strided {
    /// Contiguous elements in a row, rows `row` apart.
    pub(crate) fn rows(at: *const f32, row: usize) -> Self {
        Self { at, row, column: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { at: self.at, row: self.column, column: self.row }
    }
}

/// `C = scale·A·B` (or `C += ...`) on this thread; rows of `C` are `c_row` apart.
///
/// # Safety
/// `a [m,k]` and `b [k,n]` must be readable and `c [m,n]` writable by this thread alone.
pub(crate) unsafe fn gemm_strided(
    m: usize,
    n: usize,
    k: usize,
    scale: f32,
    a: Strided,
    b: Strided,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    // SAFETY: promised by the caller.
    unsafe { multiply(m, n, k, scale, a, b, c, c_row, accumulate, Parallelism::None) }
}

/// # Safety
/// As [`gemm_strided`].
unsafe fn multiply(
    m: usize,
    n: usize,
    k: usize,
    scale: f32,
    a: Strided,
    b: Strided,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
    threads: Parallelism,
) {
    let (a_rs, a_cs) = (a.row as isize, a.column as isize);
    let (b_rs, b_cs) = (b.row as isize, b.column as isize);
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            m, n, k, c, 1, c_row as isize, accumulate, a.at, a_cs, a_rs, b.at, b_cs, b_rs, 1.0, scale,
            false, false, false, threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, random};

    fn naive(m: usize, n: usize, k: usize, a: &[f32], a_t: bool, b: &[f32], b_t: bool) -> Vec<f64> {
        let at = |i: usize, j: usize| f64::from(if a_t { a[j * m + i] } else { a[i * k + j] });
        let bt = |i: usize, j: usize| f64::from(if b_t { b[j * k + i] } else { b[i * n + j] });
        (0..m * n).map(|ij| (0..k).map(|l| at(ij / n, l) * bt(l, ij % n)).sum()).collect()
    }

    fn compare(m: usize, n: usize, k: usize, a_t: bool, b_t: bool, accumulate: bool) {
        let (a, b, mut c) = (random(1, m * k), random(2, k * n), random(3, m * n));
        let mut want = naive(m, n, k, &a, a_t, &b, b_t);
        if accumulate {
            want.iter_mut().zip(&c).for_each(|(want, &c)| *want += f64::from(c));
        } else {
            // What was there must not be read.
            c.fill(f32::NAN);
        }
        gemm(m, n, k, &a, a_t, &b, b_t, &mut c, accumulate);
        assert_close(&c, &want, 1e-6 * (k as f64).sqrt().max(4.0) * 2.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn small_shapes_match_f64(m in 0..40_usize, n in 0..70_usize, k in 0..50_usize, a_t: bool, b_t: bool, accumulate: bool) {
            compare(m, n, k, a_t, b_t, accumulate);
        }
    }

    #[test]
    fn large_shapes_match_f64() {
        for (m, n, k) in [(130, 70, 600), (1, 300, 1100), (300, 1, 257), (201, 33, 129), (97, 530, 64)] {
            for flags in 0..8 {
                compare(m, n, k, flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
            }
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        for (m, n, k) in [(200, 300, 700), (1, 3000, 100), (64, 64, 5000), (500, 7, 90), (1000, 1, 300), (259, 133, 65)] {
            for flags in 0..4 {
                let (a, b) = (random(1, m * k), random(2, k * n));
                assert_same_on_all_pools(|| {
                    let mut c = vec![0.0; m * n];
                    gemm(m, n, k, &a, flags & 1 > 0, &b, flags & 2 > 0, &mut c, false);
                    c
                });
            }
        }
    }
}
