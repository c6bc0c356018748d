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

/// Fails unless all versions of `f` that this machine has give the same bits (call with sizes small
/// enough to stay on this thread).
#[track_caller]
pub(crate) fn assert_same_portably(f: impl Fn() -> Vec<f32>) {
    let bits = |x: Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let fast = bits(f());
    for level in [Level::Avx2, Level::Lanes, Level::Portable] {
        assert!(bits(at_most(level, &f)) == fast, "{level:?} gives other bits");
    }
}

/// `f` as a CPU computes it that has nothing above a level.
pub(crate) fn at_most<R>(level: Level, f: impl FnOnce() -> R) -> R {
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

/// Numbers before or behind which nothing may be touched: a page without rights follows, or
/// precedes, and the test dies of it.
#[cfg(target_os = "linux")]
pub(crate) struct Guarded {
    map: *mut u8,
    bytes: usize,
    at: *mut f32,
    n: usize,
}

#[cfg(target_os = "linux")]
mod system {
    unsafe extern "C" {
        pub fn mmap(at: *mut u8, n: usize, rights: i32, flags: i32, fd: i32, from: i64) -> *mut u8;
        pub fn mprotect(at: *mut u8, n: usize, rights: i32) -> i32;
        pub fn munmap(at: *mut u8, n: usize) -> i32;
    }
}

#[cfg(target_os = "linux")]
impl Guarded {
    /// A copy of `values` that ends at a page without rights, or begins after one.
    pub(crate) fn new(values: &[f32], behind: bool) -> Self {
        const PAGE: usize = 64 << 10;
        let inside = size_of_val(values).next_multiple_of(PAGE).max(PAGE);
        let bytes = inside + 2 * PAGE;
        // SAFETY: a new private anonymous mapping; the middle of it is ours to read and write.
        unsafe {
            let map = system::mmap(std::ptr::null_mut(), bytes, 0, 0x22, -1, 0);
            assert_ne!(map as isize, -1, "mmap");
            assert_eq!(system::mprotect(map.add(PAGE), inside, 3), 0, "mprotect");
            let skipped = if behind { inside - size_of_val(values) } else { 0 };
            let at = map.add(PAGE + skipped).cast::<f32>();
            at.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { map, bytes, at, n: values.len() }
        }
    }
}

#[cfg(target_os = "linux")]
impl std::ops::Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `n` numbers inside the mapping, written when it was made.
        unsafe { std::slice::from_raw_parts(self.at, self.n) }
    }
}

#[cfg(target_os = "linux")]
impl std::ops::DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.n) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole.
        unsafe { system::munmap(self.map, self.bytes) };
    }
}
