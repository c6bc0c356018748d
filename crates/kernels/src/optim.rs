//! Optimiser steps over flat arrays.

use rayon::prelude::*;

use crate::parallel::{CHUNK, SMALL, chunked};
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
    if x.len() <= SMALL {
        return x.chunks(CHUNK).map(squares).sum();
    }
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(squares).collect();
    parts.iter().sum()
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
