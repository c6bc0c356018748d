//! Elementwise nonlinearities.

use crate::math::{exp, normal, sigmoid};
use crate::parallel::{CHUNK, chunked};
use crate::simd::vectorised;

/// `1/√(2π)`.
const INV_SQRT_2PI: f32 = 0.398_942_3;
/// `√(2/π)`.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// Cubic coefficient of the tanh form.
const CUBIC: f32 = 0.044_715;
/// Slope of QuickGELU.
const QUICK: f32 = 1.702;

/// Which GELU (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x·Φ(x)`, exact.
    Erf,
    /// `x/2·(1 + tanh(√(2/π)(x + 0.044715x³)))`, of GPT-2.
    Tanh,
    /// `x·sigmoid(1.702x)`, of OpenAI's CLIP.
    Quick,
}

vectorised! {
    fn gelu_erf(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal(x).0;
        }
    }
}

vectorised! {
    fn gelu_tanh(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            // ½(1 + tanh(u)) = sigmoid(2u)
            let u = SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x);
            *y = x * sigmoid(2.0 * u);
        }
    }
}

vectorised! {
    fn gelu_quick(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(QUICK * x);
        }
    }
}

/// GELU: `y = gelu(x)`, elementwise, any length.
pub fn gelu(kind: Gelu, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "gelu: x and y");
    let kernel = match kind {
        Gelu::Erf => gelu_erf,
        Gelu::Tanh => gelu_tanh,
        Gelu::Quick => gelu_quick,
    };
    chunked!(x.len(), CHUNK; [x * 1], [y * 1] => kernel);
}

vectorised! {
    fn gelu_erf_in_place(y: &mut [f32]) {
        for y in y {
            *y *= normal(*y).0;
        }
    }
}

vectorised! {
    fn gelu_tanh_in_place(y: &mut [f32]) {
        for y in y {
            let u = SQRT_2_OVER_PI * (CUBIC * *y * *y).mul_add(*y, *y);
            *y *= sigmoid(2.0 * u);
        }
    }
}

vectorised! {
    fn gelu_quick_in_place(y: &mut [f32]) {
        for y in y {
            *y *= sigmoid(QUICK * *y);
        }
    }
}

/// [`gelu`] of what is in the cache, on this thread.
pub(crate) fn gelu_in_place(kind: Gelu, y: &mut [f32]) {
    match kind {
        Gelu::Erf => gelu_erf_in_place(y),
        Gelu::Tanh => gelu_tanh_in_place(y),
        Gelu::Quick => gelu_quick_in_place(y),
    }
}

vectorised! {
    /// `gate = silu(gate)·up`, on this thread.
    pub(crate) fn swiglu_in_place(gate: &mut [f32], up: &[f32]) {
        for (gate, &up) in gate.iter_mut().zip(up) {
            *gate = *gate * sigmoid(*gate) * up;
        }
    }
}

vectorised! {
    fn gelu_erf_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            let (below, bell) = normal(x);
            *dx = dy * (x * INV_SQRT_2PI).mul_add(bell, below);
        }
    }
}

vectorised! {
    fn gelu_tanh_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            let u = SQRT_2_OVER_PI * (CUBIC * x * x).mul_add(x, x);
            let slope = SQRT_2_OVER_PI * (3.0 * CUBIC * x).mul_add(x, 1.0);
            *dx = dy * sigmoid_product_slope(x, 2.0 * u, 2.0 * slope);
        }
    }
}

vectorised! {
    fn gelu_quick_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = dy * sigmoid_product_slope(x, QUICK * x, QUICK);
        }
    }
}

/// Derivative of `x·sigmoid(u(x))`, given `u` and its slope.
#[inline(always)]
fn sigmoid_product_slope(x: f32, u: f32, slope: f32) -> f32 {
    let s = sigmoid(u);
    (x * slope * s).mul_add(1.0 - s, s)
}

/// Gradient of [`gelu`]: `dx = dy·gelu'(x)`.
pub fn gelu_backward(kind: Gelu, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dy.len(), "gelu_backward: x and dy");
    assert_eq!(x.len(), dx.len(), "gelu_backward: x and dx");
    let kernel = match kind {
        Gelu::Erf => gelu_erf_backward,
        Gelu::Tanh => gelu_tanh_backward,
        Gelu::Quick => gelu_quick_backward,
    };
    chunked!(x.len(), CHUNK; [x * 1, dy * 1], [dx * 1] => kernel);
}

vectorised! {
    fn swiglu_loop(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate * sigmoid(gate) * up;
        }
    }
}

/// `y = silu(gate)·up`, elementwise (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "swiglu: gate and up");
    assert_eq!(gate.len(), y.len(), "swiglu: gate and y");
    chunked!(gate.len(), CHUNK; [gate * 1, up * 1], [y * 1] => swiglu_loop);
}

vectorised! {
    fn swiglu_backward_loop(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(dy);
        for ((dgate, dup), ((&gate, &up), &dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
            let s = 1.0 / (1.0 + exp(-gate));
            *dup = dy * gate * s;
            *dgate = dy * up * (gate * s).mul_add(1.0 - s, s);
        }
    }
}

/// Gradients of [`swiglu`].
pub fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    for (name, n) in
        [("up", up.len()), ("dy", dy.len()), ("dgate", dgate.len()), ("dup", dup.len())]
    {
        assert_eq!(gate.len(), n, "swiglu_backward: gate and {name}");
    }
    chunked!(gate.len(), CHUNK; [gate * 1, up * 1, dy * 1], [dgate * 1, dup * 1] => swiglu_backward_loop);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_same_on_all_pools, assert_same_portably, difference, random, wide,
    };

    /// `Φ(x)` by the Taylor series of erf: exact enough for |x| < 6.
    fn phi(x: f64) -> f64 {
        let z = x / 2.0_f64.sqrt();
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 + sum / std::f64::consts::PI.sqrt()
    }

    fn naive(kind: Gelu, x: f64) -> f64 {
        match kind {
            Gelu::Erf => x * phi(x),
            Gelu::Tanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + u.tanh())
            }
            Gelu::Quick => x / (1.0 + (-1.702 * x).exp()),
        }
    }

    const KINDS: [Gelu; 3] = [Gelu::Erf, Gelu::Tanh, Gelu::Quick];

    #[test]
    fn gelu_and_its_slope_match_f64() {
        let x: Vec<f32> = random(1, 4001).iter().map(|x| x * 4.0).collect();
        for kind in KINDS {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            gelu(kind, &x, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let want = naive(kind, f64::from(x));
                assert!(
                    (f64::from(y) - want).abs() <= 2e-6 * want.abs() + 1e-10,
                    "{kind:?}({x}) = {y}, want {want}"
                );
            }
            gelu_backward(kind, &x, &vec![1.0; x.len()], &mut dx);
            let want: Vec<f64> =
                wide(&x).iter().map(|&x| difference(&[x], 0, |x| naive(kind, x[0]))).collect();
            assert_close(&dx, &want, 3e-6);
        }
    }

    #[test]
    fn gelu_of_extremes() {
        let x = [f32::NEG_INFINITY, -1e30, -200.0, -0.0, 200.0, 1e30];
        for kind in [Gelu::Erf, Gelu::Quick] {
            let mut y = [1.0; 6];
            gelu(kind, &x[1..], &mut y[1..]);
            assert!(y[1..4].iter().all(|y| y.abs() < 1e-6), "{kind:?}: {y:?}");
            assert_eq!(y[4..], x[4..]);
        }
    }

    #[test]
    fn swiglu_and_its_slopes_match_f64() {
        let (gate, up, dy) = (random(1, 513), random(2, 513), random(3, 513));
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let (mut y, mut dgate, mut dup) = (vec![0.0; 513], vec![0.0; 513], vec![0.0; 513]);
        swiglu(&gate, &up, &mut y);
        swiglu_backward(&gate, &up, &dy, &mut dgate, &mut dup);
        for i in 0..513 {
            let (g, u, d) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dy[i]));
            assert_close(&y[i..=i], &[silu(g) * u], 1e-6);
            assert_close(&dgate[i..=i], &[d * u * difference(&[g], 0, |x| silu(x[0]))], 1e-6);
            assert_close(&dup[i..=i], &[d * silu(g)], 1e-6);
        }
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let (x, dy) = (random(1, 50_001), random(2, 50_001));
        for kind in KINDS {
            let run = |n: usize| {
                let mut out = vec![0.0; 4 * n];
                let (y, rest) = out.split_at_mut(n);
                let (dx, rest) = rest.split_at_mut(n);
                let (dgate, dup) = rest.split_at_mut(n);
                gelu(kind, &x[..n], y);
                gelu_backward(kind, &x[..n], &dy[..n], dx);
                swiglu_backward(&x[..n], &dy[..n], &x[..n], dgate, dup);
                out
            };
            assert_same_on_all_pools(|| run(50_001));
            assert_same_portably(|| run(1003));
        }
    }
}
