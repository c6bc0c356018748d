//! Elementwise arithmetic.

use crate::parallel::{CHUNK, chunked};
use crate::simd::vectorised;

vectorised! {
    fn add_loop(x: &[f32], y: &[f32], out: &mut [f32]) {
        for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
            *out = x + y;
        }
    }
}

/// `out = x + y`, any length.
pub fn add(x: &[f32], y: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "add: x and y");
    assert_eq!(x.len(), out.len(), "add: x and out");
    chunked!(x.len(), CHUNK; [x * 1, y * 1], [out * 1] => add_loop);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn sums_are_exact() {
        for n in [0, 1, 100, 40_000] {
            let (x, y) = (random(1, n), random(2, n));
            let mut out = vec![0.0; n];
            add(&x, &y, &mut out);
            assert!(out.iter().zip(x.iter().zip(&y)).all(|(&out, (&x, &y))| out == x + y));
        }
    }
}
