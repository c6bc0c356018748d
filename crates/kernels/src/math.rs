//! Branch-free `exp` and its family, written so that a loop over them becomes vector code.

/// `e^x` to about 1 ulp between -87.3 and 88.3; 0 below, 2.4e38 above; NaN stays NaN.
///
/// Cody and Waite's reduction `x = n·ln2 + r` with a degree-6 polynomial in `r` (Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding 1.5·2²³ rounds to an integer and leaves it in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let y = if x > 88.37 { 88.37 } else { x };
    let shifted = y.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, y);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.336 { 0.0 } else { p * power }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal distribution `Φ(x)` and `e^(-x²/2)`, both to a few ulp of themselves
/// (also in the far left tail, where `1 + erf` would cancel).
///
/// `Φ(-|x|) = ½·e^(-x²/2)·erfcx(|x|/√2)`, and `erfcx(z) = t·P(t)` with `t = 1/(1 + 0.4z)`; P was
/// interpolated at Chebyshev nodes, relative error 9e-8.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    // Further out the tail is 0; the square must not overflow.
    let a = if x.abs() > 20.0 { 20.0 } else { x.abs() };
    let t = 1.0 / a.mul_add(0.4 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let p = 0.037_383_836_f32;
    let p = p.mul_add(t, -0.121_834_666);
    let p = p.mul_add(t, 0.046_533_912);
    let p = p.mul_add(t, 0.129_888_4);
    let p = p.mul_add(t, 0.051_478_725);
    let p = p.mul_add(t, 0.205_131_16);
    let p = p.mul_add(t, 0.198_966_06);
    let p = p.mul_add(t, 0.226_841_1);
    let p = p.mul_add(t, 0.225_611_54);
    // The rounding error of the square would be multiplied by the square itself: put it back.
    let square = a * a;
    let lost = a.mul_add(a, -square);
    let bell = exp(-0.5 * square);
    let bell = (-0.5 * lost).mul_add(bell, bell);
    let tail = 0.5 * t * p * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(got: f32, want: f64) -> f64 {
        let ulp = f64::from((want as f32).abs().next_up()) - f64::from((want as f32).abs());
        (f64::from(got) - want).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_ulps() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            assert!(ulps(exp(x), f64::from(x).exp()) < 2.0, "exp({x}) = {}", exp(x));
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1e30).is_finite());
    }

    #[test]
    fn normal_is_exact_in_the_tail() {
        // Mills-ratio continued fraction for the tail, in f64.
        let upper = |x: f64| {
            let fraction = (1..200).rev().fold(x, |f, i| x + f64::from(i) / f);
            (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() / fraction
        };
        for i in 200..1200 {
            let x = i as f32 * 1e-2;
            let want = upper(f64::from(x));
            let got = f64::from(normal(-x).0);
            assert!((got / want - 1.0).abs() < 1e-6, "{x}: {got} {want}");
            assert!((f64::from(normal(x).0) - (1.0 - want)).abs() < 1e-7);
        }
        assert!((normal(0.0).0 - 0.5).abs() < 1e-7);
    }
}
