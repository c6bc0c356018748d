//! Every loop as AVX-512, AVX2, lanes of four and none of them compute it, bit for bit, on odd and
//! tiny shapes; and that none of them touches what lies beside its slices.

use proptest::prelude::*;

use crate::Precision;
use crate::activation::{Gelu, gelu, gelu_backward, swiglu, swiglu_backward};
use crate::attention::{AttentionShape, Mask, attention, attention_backward};
use crate::conv::{ConvShape, conv2d, conv2d_backward};
use crate::cross_entropy::{cross_entropy, cross_entropy_backward};
use crate::elementwise::add;
use crate::gemm::gemm;
use crate::linear::{linear, linear_backward};
use crate::norm::{layer_norm, layer_norm_backward, rms_norm, rms_norm_backward};
use crate::optim::{adamw, ema, sum_squares};
use crate::packed::{Blocked, Format, Packed};
use crate::rotary::{rotary, rotary_backward, rotary_tables};
use crate::testing::{assert_same_portably, random};

/// All but bfloat16, whose instruction adds in an order of its own.
const FORMATS: [Format; 6] = [
    Format::Int8,
    Format::Blocks(Blocked::Q8_0),
    Format::Blocks(Blocked::Q4_0),
    Format::Blocks(Blocked::Q4_1),
    Format::Blocks(Blocked::Q4_K),
    Format::Blocks(Blocked::Q6_K),
];
const KINDS: [Gelu; 3] = [Gelu::Erf, Gelu::Tanh, Gelu::Quick];

fn scaled(seed: u64, n: usize, by: f32) -> Vec<f32> {
    random(seed, n).iter().map(|x| x * by).collect()
}

/// To be overwritten.
fn nan(n: usize) -> Vec<f32> {
    vec![f32::NAN; n]
}

fn activations(n: usize, x: &[f32], up: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut all = Vec::new();
    for kind in KINDS {
        let (mut y, mut dx) = (nan(n), nan(n));
        gelu(kind, x, &mut y);
        gelu_backward(kind, x, dy, &mut dx);
        all.extend([y, dx].concat());
    }
    let (mut y, mut dgate, mut dup) = (nan(n), nan(n), nan(n));
    swiglu(x, up, &mut y);
    swiglu_backward(x, up, dy, &mut dgate, &mut dup);
    all.extend([y.clone(), dgate, dup].concat());
    add(x, up, &mut y);
    [all, y].concat()
}

fn norms(rows: usize, d: usize, x: &[f32], gamma: &[f32], beta: &[f32], dy: &[f32]) -> Vec<f32> {
    let n = rows * d;
    let (mut y, mut dx, mut dgamma, mut dbeta) = (nan(n), nan(n), nan(d), nan(d));
    let (mut mean, mut rstd) = (nan(rows), nan(rows));
    layer_norm(rows, d, x, gamma, beta, 1e-5, &mut y, &mut mean, &mut rstd);
    layer_norm_backward(rows, d, x, gamma, &mean, &rstd, dy, &mut dx, &mut dgamma, &mut dbeta);
    let layer = [y, dx, dgamma, dbeta].concat();
    let (mut y, mut dx, mut dgamma) = (nan(n), nan(n), nan(d));
    rms_norm(rows, d, x, gamma, 1e-5, &mut y, &mut rstd);
    rms_norm_backward(rows, d, x, gamma, &rstd, dy, &mut dx, &mut dgamma);
    [layer, y, dx, dgamma].concat()
}

fn products(
    rows: usize,
    in_: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    dy: &[f32],
) -> Vec<f32> {
    let mut y = nan(rows * out);
    linear(Precision::F32, rows, in_, out, x, w, Some(bias), &mut y);
    let (mut dx, mut dw, mut db) = (nan(x.len()), nan(w.len()), nan(out));
    let gradients = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
    let precision = Precision::F32;
    linear_backward(precision, rows, in_, out, x, w, dy, gradients.0, gradients.1, gradients.2);
    [y, dx, dw, db].concat()
}

fn attentions(
    precision: Precision,
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    d_o: &[f32],
) -> Vec<f32> {
    let mask = Mask::Causal { offset: 1 };
    let (mut o, mut lse) = (nan(q.len()), nan(shape.batch * shape.heads * shape.queries));
    attention(precision, shape, q, k, v, 0.4, mask, None, &mut o, &mut lse);
    let (mut dq, mut dk, mut dv) = (nan(q.len()), nan(k.len()), nan(k.len()));
    attention_backward(
        precision, shape, q, k, v, 0.4, mask, None, &o, &lse, d_o, &mut dq, &mut dk, &mut dv,
    );
    [o, lse, dq, dk, dv].concat()
}

fn convolutions(s: ConvShape, x: &[f32], w: &[f32], bias: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut y = nan(dy.len());
    conv2d(Precision::F32, s, x, w, Some(bias), &mut y);
    let (mut dx, mut dw, mut db) = (nan(x.len()), nan(w.len()), nan(s.c_out));
    let gradients = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
    conv2d_backward(Precision::F32, s, x, w, dy, gradients.0, gradients.1, gradients.2);
    [y, dx, dw, db].concat()
}

fn outputs(s: &ConvShape) -> usize {
    let (h, w) = s.output();
    s.batch * s.c_out * h * w
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn of_activations(n in 0..150_usize, seed: u64, size in 0..4_i32) {
        let by = 10_f32.powi(size - 1);
        let (x, up, dy) = (scaled(seed, n, by), scaled(seed ^ 1, n, by), random(seed ^ 2, n));
        assert_same_portably(|| activations(n, &x, &up, &dy));
    }

    #[test]
    fn of_norms(rows in 0..7_usize, d in 0..80_usize, seed: u64) {
        let (n, gamma, beta) = (rows * d, random(seed, d), random(seed ^ 1, d));
        let (x, dy) = (random(seed ^ 2, n), random(seed ^ 3, n));
        assert_same_portably(|| norms(rows, d, &x, &gamma, &beta, &dy));
    }

    #[test]
    fn of_losses(rows in 0..7_usize, v in 1..80_usize, seed: u64, z in 0..2) {
        let (logits, dloss) = (scaled(seed, rows * v, 8.0), random(seed ^ 1, rows));
        let target = |r: usize| if r % 3 == 1 { -100 } else { ((seed as usize % v + r) % v) as i32 };
        let targets: Vec<i32> = (0..rows).map(target).collect();
        assert_same_portably(|| {
            let (mut losses, mut lse, mut d) = (nan(rows), nan(rows), nan(rows * v));
            let z = z as f32 * 1e-2;
            cross_entropy(rows, v, &logits, &targets, z, &mut losses, &mut lse);
            cross_entropy_backward(rows, v, &logits, &targets, &lse, &dloss, z, &mut d);
            [losses, lse, d].concat()
        });
    }

    #[test]
    fn of_optimisers(n in 0..150_usize, seed: u64, step in 1..50_u64) {
        let (p, g, m) = (random(seed, n), random(seed ^ 1, n), random(seed ^ 2, n));
        let v: Vec<f32> = random(seed ^ 3, n).iter().map(|v| v.abs()).collect();
        assert_same_portably(|| {
            let (mut p, mut m, mut v) = (p.clone(), m.clone(), v.clone());
            adamw(&mut p, &g, &mut m, &mut v, 1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.7);
            let mut shadow = g.clone();
            ema(&mut shadow, &p, 0.9);
            let squares = vec![sum_squares(&g) as f32];
            [p, m, v, shadow, squares].concat()
        });
    }

    #[test]
    fn of_rotations(tokens in 1..6_usize, heads in 1..4_usize, half in 1..20_usize, seed: u64) {
        let (cos, sin) = rotary_tables(1e4, 2 * half, 3..3 + tokens);
        let x = random(seed, tokens * heads * 2 * half);
        assert_same_portably(|| {
            let (mut y, mut dx) = (nan(x.len()), nan(x.len()));
            rotary(1, tokens, heads, 2 * half, &x, &cos, &sin, &mut y);
            rotary_backward(1, tokens, heads, 2 * half, &x, &cos, &sin, &mut dx);
            [y, dx].concat()
        });
    }

    #[test]
    fn of_products(rows in 0..40_usize, in_ in 0..50_usize, out in 1..70_usize, seed: u64) {
        let (x, w) = (random(seed, rows * in_), random(seed ^ 1, out * in_));
        let (bias, dy) = (random(seed ^ 2, out), random(seed ^ 3, rows * out));
        assert_same_portably(|| products(rows, in_, out, &x, &w, &bias, &dy));
    }

    #[test]
    fn of_packed_weights(
        rows in 0..14_usize, in_ in 0..90_usize, blocks in 0..3_usize, out in 1..70_usize, seed: u64,
    ) {
        // Blocks of 32 and of 256 are multiplied as such only where rows are whole ones.
        let in_ = in_.next_multiple_of([1, 32, 256][blocks]);
        let (x, w, bias) = (random(seed, rows * in_), random(seed ^ 1, out * in_), random(seed ^ 2, out));
        for format in FORMATS {
            let packed = Packed::new(format, out, in_, &w);
            assert_same_portably(|| packed.linear(rows, &x, Some(&bias)));
        }
    }

    #[test]
    fn of_attention(
        queries in 1..30_usize, keys in 1..30_usize, heads in 1..3_usize, width in 1..40_usize, seed: u64,
    ) {
        let s = AttentionShape { batch: 1, queries, keys, heads, kv_heads: 1, width };
        let (q, k) = (random(seed, queries * heads * width), random(seed ^ 1, keys * width));
        let (v, d_o) = (random(seed ^ 2, k.len()), random(seed ^ 3, q.len()));
        assert_same_portably(|| attentions(Precision::F32, s, &q, &k, &v, &d_o));
    }

    #[test]
    fn of_convolutions(
        c_in in 1..4_usize, h in 1..12_usize, w in 1..40_usize, c_out in 1..5_usize,
        kernel in 1..5_usize, stride in 1..5_usize, padding in 0..3_usize, seed: u64,
    ) {
        // One sample: more go to other threads.
        let s = ConvShape { batch: 1, c_in, h, w, c_out, kernel, stride, padding };
        prop_assume!(kernel <= h + 2 * padding && kernel <= w + 2 * padding);
        let (x, weights) = (random(seed, c_in * h * w), random(seed ^ 1, c_out * c_in * kernel * kernel));
        let (bias, dy) = (random(seed ^ 2, c_out), random(seed ^ 3, outputs(&s)));
        assert_same_portably(|| convolutions(s, &x, &weights, &bias, &dy));
    }
}

#[cfg(target_os = "linux")]
mod bounds {
    use super::*;
    use crate::simd::Level;
    use crate::testing::{Guarded, at_most};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn of_products(
            m in 1..30_usize, n in 1..70_usize, k in 1..50_usize, a_t: bool, b_t: bool, add: bool, behind: bool, seed: u64,
        ) {
            let guarded = |seed, n| Guarded::new(&random(seed, n), behind);
            let (a, b) = (guarded(seed, m * k), guarded(seed ^ 1, k * n));
            for precision in [Precision::F32, Precision::Bf16] {
                for level in [Level::Portable, Level::Avx2, Level::Avx512] {
                    let mut c = guarded(seed ^ 2, m * n);
                    let product = || gemm(precision, m, n, k, &a, a_t, &b, b_t, &mut c, add);
                    at_most(level, product);
                }
            }
        }

        #[test]
        fn of_layers(
            rows in 1..30_usize, in_ in 1..70_usize, out in 1..70_usize, behind: bool, seed: u64,
        ) {
            let guarded = |seed, n| Guarded::new(&random(seed, n), behind);
            let (x, w, bias) = (guarded(seed, rows * in_), guarded(seed ^ 1, out * in_), guarded(seed ^ 2, out));
            let dy = guarded(seed ^ 3, rows * out);
            products(rows, in_, out, &x, &w, &bias, &dy);
            activations(dy.len(), &dy, &dy, &dy);
            norms(rows, in_, &x, &w[..in_], &w[..in_], &x);
        }

        #[test]
        fn of_attention(
            queries in 1..30_usize, keys in 1..30_usize, heads in 1..3_usize, width in 1..40_usize, behind: bool, seed: u64,
        ) {
            let guarded = |seed, n| Guarded::new(&random(seed, n), behind);
            let s = AttentionShape { batch: 1, queries, keys, heads, kv_heads: 1, width };
            let (q, k) = (guarded(seed, queries * heads * width), guarded(seed ^ 1, keys * width));
            let (v, d_o) = (guarded(seed ^ 2, k.len()), guarded(seed ^ 3, q.len()));
            for precision in [Precision::F32, Precision::Bf16] {
                attentions(precision, s, &q, &k, &v, &d_o);
            }
        }

        #[test]
        fn of_convolutions(
            c_in in 1..4_usize, h in 1..12_usize, w in 1..40_usize, c_out in 1..5_usize,
            kernel in 1..5_usize, stride in 1..5_usize, padding in 0..3_usize, behind: bool, seed: u64,
        ) {
            let s = ConvShape { batch: 2, c_in, h, w, c_out, kernel, stride, padding };
            prop_assume!(kernel <= h + 2 * padding && kernel <= w + 2 * padding);
            let guarded = |seed, n| Guarded::new(&random(seed, n), behind);
            let (x, weights) = (guarded(seed, 2 * c_in * h * w), guarded(seed ^ 1, c_out * c_in * kernel * kernel));
            let (bias, dy) = (guarded(seed ^ 2, c_out), guarded(seed ^ 3, outputs(&s)));
            convolutions(s, &x, &weights, &bias, &dy);
        }
    }
}
