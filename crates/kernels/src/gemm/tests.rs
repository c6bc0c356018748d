use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::testing::{assert_close, assert_same_on_all_pools, random};

const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// The product in f64 of the numbers as the precision rounds them.
fn naive(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_t: bool,
    b: &[f32],
    b_t: bool,
) -> Vec<f64> {
    let round = |x: f32| match precision {
        Precision::F32 => f64::from(x),
        Precision::Bf16 => f64::from(bf16::from_f32(x)),
    };
    let at = |i: usize, j: usize| round(if a_t { a[j * m + i] } else { a[i * k + j] });
    let bt = |i: usize, j: usize| round(if b_t { b[j * k + i] } else { b[i * n + j] });
    (0..m * n).map(|ij| (0..k).map(|l| at(ij / n, l) * bt(l, ij % n)).sum()).collect()
}

fn compare(m: usize, n: usize, k: usize, a_t: bool, b_t: bool, accumulate: bool) {
    for precision in BOTH {
        let (a, b, mut c) = (random(1, m * k), random(2, k * n), random(3, m * n));
        let mut want = naive(precision, m, n, k, &a, a_t, &b, b_t);
        if accumulate {
            want.iter_mut().zip(&c).for_each(|(want, &c)| *want += f64::from(c));
        } else {
            // What was there must not be read.
            c.fill(f32::NAN);
        }
        gemm(precision, m, n, k, &a, a_t, &b, b_t, &mut c, accumulate);
        assert_close(&c, &want, 1e-6 * (k as f64).sqrt().max(4.0) * 2.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn small_shapes_match_f64(m in 0..40_usize, n in 0..70_usize, k in 0..50_usize, a_t: bool, b_t: bool, accumulate: bool) {
        compare(m, n, k, a_t, b_t, accumulate);
    }
}

#[test]
fn large_shapes_match_f64() {
    for (m, n, k) in [(130, 70, 600), (1, 300, 1100), (300, 1, 257), (201, 33, 129), (97, 530, 64)]
    {
        for flags in 0..8 {
            compare(m, n, k, flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_it_has_among_others() {
    let (m, n, k) = (250, 100, 700);
    let (a, b) = (random(1, m * k), random(2, k * n));
    let (mut all, mut one) = (vec![0.0; m * n], vec![0.0; n]);
    for precision in BOTH {
        gemm(precision, m, n, k, &a, false, &b, true, &mut all, false);
        for row in [0, 5, 123, 249] {
            let a = &a[row * k..(row + 1) * k];
            gemm(precision, 1, n, k, a, false, &b, true, &mut one, false);
            assert_eq!(one, all[row * n..(row + 1) * n]);
        }
    }
}

#[test]
fn portable_tiles_have_the_same_bits() {
    for (m, n, k) in [(5, 17, 9), (13, 33, 40), (6, 16, 350), (37, 70, 500), (25, 32, 800)] {
        let (a, b, c) = (random(1, m * k), random(2, k * n), random(3, m * n));
        for flags in 0..8 {
            crate::testing::assert_same_portably(|| {
                let mut c = c.clone();
                let (a_t, b_t) = (flags & 1 > 0, flags & 2 > 0);
                // On this thread: the others have the fastest version.
                let a = Strided {
                    at: a.as_ptr(),
                    row: if a_t { 1 } else { k },
                    column: if a_t { m } else { 1 },
                };
                let b = Strided {
                    at: b.as_ptr(),
                    row: if b_t { 1 } else { n },
                    column: if b_t { k } else { 1 },
                };
                // SAFETY: of the lengths above.
                unsafe {
                    gemm_strided(
                        Precision::F32,
                        m,
                        n,
                        k,
                        0.7,
                        a,
                        b,
                        c.as_mut_ptr(),
                        n,
                        flags & 4 > 0,
                    );
                }
                c
            });
        }
    }
}

/// The instruction adds the two products of a word in an order of its own.
#[test]
fn portable_bf16_is_as_close_as_rounding() {
    for (m, n, k) in [(5, 17, 9), (13, 33, 40), (25, 64, 351)] {
        for flags in 0..4 {
            let (a, b) = (random(1, m * k), random(2, k * n));
            let product = || {
                let mut c = vec![0.0; m * n];
                let (a_t, b_t) = (flags & 1 > 0, flags & 2 > 0);
                gemm(Precision::Bf16, m, n, k, &a, a_t, &b, b_t, &mut c, false);
                c
            };
            let fast = product();
            let portable = crate::testing::at_most(crate::simd::Level::Portable, product);
            assert_eq!(crate::testing::at_most(crate::simd::Level::Lanes, product), portable);
            assert_close(&fast, &crate::testing::wide(&portable), 1e-5);
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    for (m, n, k) in [
        (200, 300, 700),
        (1, 3000, 100),
        (64, 64, 5000),
        (500, 7, 90),
        (1000, 1, 300),
        (259, 133, 65),
    ] {
        for (flags, precision) in [0, 1, 2, 3].into_iter().flat_map(|f| BOTH.map(|p| (f, p))) {
            let (a, b) = (random(1, m * k), random(2, k * n));
            assert_same_on_all_pools(|| {
                let mut c = vec![0.0; m * n];
                gemm(precision, m, n, k, &a, flags & 1 > 0, &b, flags & 2 > 0, &mut c, false);
                c
            });
        }
    }
}
