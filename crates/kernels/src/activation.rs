//! Elementwise nonlinearities.

use crate::math::{exp, normal, sigmoid};
use crate::parallel::{CHUNK, chunked};
use crate::simd::vectorised;

/// `1/√(2π)`.
const INV_SQRT_2PI: f32 = 0.398_942_28;
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
    for (name, n) in [("up", up.len()), ("dy", dy.len()), ("dgate", dgate.len()), ("dup", dup.len())] {
        assert_eq!(gate.len(), n, "swiglu_backward: gate and {name}");
    }
    chunked!(gate.len(), CHUNK; [gate * 1, up * 1, dy * 1], [dgate * 1, dup * 1] => swiglu_backward_loop);
}
