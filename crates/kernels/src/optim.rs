//! Optimiser steps over flat arrays.

use crate::parallel::{CHUNK, chunked};
use crate::simd::vectorised;

/// What an AdamW step multiplies by; computed once for all elements.
#[derive(Clone, Copy)]
struct Rates {
    keep: f32,
    rate: f32,
    beta1: f32,
    beta2: f32,
    inv_root: f32,
    eps: f32,
    grad_scale: f32,
}

/// One AdamW step (Loshchilov and Hutter 2017, <https://arxiv.org/abs/1711.05101>; PyTorch's
/// form): weights `p`, gradients `g` (multiplied by `grad_scale`), moments `m` and `v`.
///
/// `step` counts from 1 and corrects the moments' bias. Decay is decoupled: `p *= 1 - lr·decay`.
pub fn adamw(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    lr: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
    step: u64,
    grad_scale: f32,
) {
    assert_eq!(p.len(), g.len(), "adamw: p and g");
    assert_eq!(p.len(), m.len(), "adamw: p and m");
    assert_eq!(p.len(), v.len(), "adamw: p and v");
    assert!(step > 0, "adamw: step counts from 1");
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let rates = Rates {
        keep: (1.0 - f64::from(lr) * f64::from(weight_decay)) as f32,
        rate: (f64::from(lr) / correction(beta1)) as f32,
        beta1,
        beta2,
        inv_root: (1.0 / correction(beta2).sqrt()) as f32,
        eps,
        grad_scale,
    };
    chunked!(p.len(), CHUNK; [g * 1], [p * 1, m * 1, v * 1] => |g, p, m, v| adamw_loop(rates, p, g, m, v));
}

vectorised! {
    fn adamw_loop(rates: Rates, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let moments = m.iter_mut().zip(v);
        for ((p, &g), (m, v)) in p.iter_mut().zip(g).zip(moments) {
            let g = g * rates.grad_scale;
            *m = (1.0 - rates.beta1).mul_add(g - *m, *m);
            *v = (1.0 - rates.beta2).mul_add(g * g, rates.beta2 * *v);
            let root = v.sqrt().mul_add(rates.inv_root, rates.eps);
            *p = p.mul_add(rates.keep, -(rates.rate * *m / root));
        }
    }
}

/// Sum of squares, for the gradient norm: f64, in a fixed order.
pub fn sum_squares(x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    let parts = &mut sums[..];
    // At most CHUNK numbers are one piece.
    chunked!(x.len(), 1; [x * CHUNK], [parts * 1] => |x, parts: &mut [f64]| parts.fill(squares(x)));
    sums.iter().sum()
}

vectorised! {
    fn squares(x: &[f32]) -> f64 {
        const LANES: usize = 16;
        let mut sums = [0.0_f64; LANES];
        let (body, tail) = x.as_chunks::<LANES>();
        for x in body {
            for i in 0..LANES {
                let wide = f64::from(x[i]);
                sums[i] = wide.mul_add(wide, sums[i]);
            }
        }
        let tail: f64 = tail.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        sums.iter().sum::<f64>() + tail
    }
}

vectorised! {
    fn ema_loop(decay: f32, shadow: &mut [f32], p: &[f32]) {
        for (shadow, &p) in shadow.iter_mut().zip(p) {
            *shadow = (1.0 - decay).mul_add(p - *shadow, *shadow);
        }
    }
}

/// Moving average of weights: `shadow = decay·shadow + (1 - decay)·p`.
pub fn ema(shadow: &mut [f32], p: &[f32], decay: f32) {
    assert_eq!(shadow.len(), p.len(), "ema: shadow and p");
    chunked!(p.len(), CHUNK; [p * 1], [shadow * 1] => |p, shadow| ema_loop(decay, shadow, p));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_same_on_all_pools, assert_same_portably, random, wide,
    };

    /// Three steps; weights and moments one after another.
    fn three_steps(n: usize) -> Vec<f32> {
        let (mut p, mut m, mut v) = (random(1, n), vec![0.0; n], vec![0.0; n]);
        for step in 1..=3 {
            adamw(
                &mut p,
                &random(1 + step, n),
                &mut m,
                &mut v,
                1e-2,
                0.9,
                0.999,
                1e-8,
                0.1,
                step,
                0.5,
            );
        }
        [p, m, v].concat()
    }

    #[test]
    fn adamw_matches_f64() {
        for n in [1, 7, 100] {
            let (mut p, mut m, mut v) = (wide(&random(1, n)), vec![0.0; n], vec![0.0; n]);
            for step in 1..=3 {
                let g = wide(&random(1 + step, n));
                for i in 0..n {
                    let g = 0.5 * g[i];
                    p[i] *= 1.0 - 1e-2 * 0.1;
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let (mh, vh): (f64, f64) = (
                        m[i] / (1.0 - 0.9_f64.powi(step as i32)),
                        v[i] / (1.0 - 0.999_f64.powi(step as i32)),
                    );
                    p[i] -= 1e-2 * mh / (vh.sqrt() + 1e-8);
                }
            }
            assert_close(&three_steps(n), &[p, m, v].concat(), 1e-5);
        }
    }

    #[test]
    fn sums_and_averages_match_f64() {
        let x = random(1, 40_003);
        let want: f64 = wide(&x).iter().map(|x| x * x).sum();
        assert!((sum_squares(&x) / want - 1.0).abs() < 1e-12);
        assert_eq!(sum_squares(&[]), 0.0);
        let mut shadow = vec![1.0, -2.0];
        ema(&mut shadow, &[3.0, 2.0], 0.75);
        assert_close(&shadow, &[1.5, -1.0], 1e-6);
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let x = random(1, 100_000);
        assert_same_on_all_pools(|| {
            let norm = sum_squares(&x).to_bits();
            let halves = [f32::from_bits(norm as u32), f32::from_bits((norm >> 32) as u32)];
            [three_steps(60_001), halves.to_vec()].concat()
        });
        assert_same_portably(|| three_steps(501));
    }
}
