//! What the tests of this crate share: seeded numbers, comparisons, thread pools.

use crate::simd::{LEVEL, Level};

/// Numbers in [-1, 1) from a seed (splitmix64 of the index).
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mut z =
                seed.wrapping_mul(0x9e37_79b9).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The same in f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Fails unless every pair is within `tolerance`, relative to the larger of 1 and the value.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs() / w.abs().max(1.0);
        assert!(error <= tolerance, "element {i}: got {g}, want {w}, error {error:e}");
    }
}

/// Fails unless `f` returns the same bits in pools of 1, 2, 3 and 4 threads.
#[track_caller]
pub(crate) fn assert_same_on_all_pools(f: impl Fn() -> Vec<f32> + Sync + Send) {
    let run = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
        pool.install(&f).iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let one = run(1);
    for n in 2..=4 {
        assert!(run(n) == one, "{n} threads give other bits than one");
    }
}

/// Fails unless the portable, the AVX2 and the AVX-512 version of `f` give the same bits (call with
/// sizes small enough to stay on this thread).
#[track_caller]
pub(crate) fn assert_same_portably(f: impl Fn() -> Vec<f32>) {
    let bits = |x: Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let fast = bits(f());
    for level in [Level::Avx2, Level::Portable] {
        assert!(bits(at_most(level, &f)) == fast, "{level:?} gives other bits");
    }
}

/// `f` as a CPU computes it that has nothing above a level.
pub(crate) fn at_most<R>(level: Level, f: impl Fn() -> R) -> R {
    LEVEL.set(level);
    let result = f();
    LEVEL.set(Level::Avx512);
    result
}

/// Central difference of `f` at `x[i]`, in f64.
pub(crate) fn difference(x: &[f64], i: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
    const STEP: f64 = 1e-5;
    let moved = |by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        f(&x)
    };
    (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
}

/// Central differences of `f` at every element of `x`.
pub(crate) fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    (0..x.len()).map(|i| difference(x, i, &f)).collect()
}
