//! Prints what each kernel reaches on this machine: `cargo run --release -p sensorium-kernels
//! --example speed [filter]`. The best of several runs; noise of other work only slows. The example
//! `probe` prints the machine's own limits.

use std::time::Instant;

use sensorium_kernels::Precision;
use sensorium_kernels::activation::{Gelu, gelu, gelu_backward, swiglu, swiglu_backward};
use sensorium_kernels::attention::{AttentionShape, Mask, attention, attention_backward};
use sensorium_kernels::conv::{ConvShape, conv2d, conv2d_backward};
use sensorium_kernels::cross_entropy::{cross_entropy, cross_entropy_backward};
use sensorium_kernels::elementwise::add;
use sensorium_kernels::gemm::gemm;
use sensorium_kernels::linear::{linear, linear_backward};
use sensorium_kernels::norm::{layer_norm, layer_norm_backward};
use sensorium_kernels::optim::{adamw, sum_squares};
use sensorium_kernels::packed::{Blocked, Format, Packed};

fn main() {
    sensorium_kernels::memory::keep_freed_pages();
    let filter = std::env::args().nth(1).unwrap_or_default();
    let wanted = |name: &str| name.contains(&filter);
    if wanted("fork") {
        forks();
    }
    if wanted("gemm") {
        products();
    }
    if wanted("linear") {
        dense();
    }
    if wanted("packed") {
        packed();
    }
    if wanted("attention") {
        attentions();
    }
    if wanted("loops") {
        loops();
    }
    if wanted("conv") {
        convolutions();
    }
}

/// Seconds of the fastest of several runs, and the processor seconds of the cheapest.
fn best(mut f: impl FnMut()) -> (f64, f64) {
    let start = Instant::now();
    let (mut best, mut cheapest) = (f64::INFINITY, f64::INFINITY);
    while start.elapsed().as_secs_f64() < 0.5 {
        let (run, cpu) = (Instant::now(), processor_seconds());
        f();
        best = best.min(run.elapsed().as_secs_f64());
        cheapest = cheapest.min(processor_seconds() - cpu);
    }
    (best, cheapest)
}

/// Time that all our threads have been running, on Linux; it stays comparable on a busy machine.
fn processor_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let run = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    threads.flatten().filter_map(run).sum::<f64>() / 1e9
}

fn report(name: &str, amount: f64, unit: &str, f: impl FnMut()) {
    let (seconds, cpu) = best(f);
    let (all, core) = (amount / seconds / 1e9, amount / cpu / 1e9);
    println!("{name:<42} {:>9.3} ms {all:>7.1} G{unit}/s {core:>7.1} per core", seconds * 1e3);
}

fn values(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Loops too short for two threads to help much: what handing out the work costs.
fn forks() {
    for n in [16 * 1024, 32 * 1024, 128 * 1024] {
        let (x, y, mut out) = (values(n), values(n), vec![0.0; n]);
        let start = Instant::now();
        const LOOPS: usize = 20_000;
        for _ in 0..LOOPS {
            add(&x, &y, &mut out);
        }
        let each = start.elapsed().as_secs_f64() / LOOPS as f64;
        println!("fork: add {n} numbers {:>9.2} us on average", each * 1e6);
    }
}

fn products() {
    let shapes = [
        ("x wT", 2048, 1536, 384, false, true),
        ("x wT", 2048, 384, 1536, false, true),
        ("dy w", 2048, 384, 1536, false, false),
        ("dy w", 2048, 1536, 384, false, false),
        ("dyT x", 1536, 384, 2048, true, false),
        ("dyT x", 384, 384, 2048, true, false),
        ("x wT", 2048, 1152, 384, false, true),
        ("x wT", 2048, 1000, 384, false, true),
        ("x wT", 16384, 768, 192, false, true),
        ("dyT x", 768, 192, 16384, true, false),
        ("x wT", 50, 3072, 768, false, true),
        ("x wT", 1, 3072, 768, false, true),
    ];
    for (name, m, n, k, a_t, b_t) in shapes {
        let (a, b, mut c) = (values(m * k), values(k * n), vec![0.0; m * n]);
        for precision in [Precision::F32, Precision::Bf16] {
            let title = format!("gemm: {name} m {m} n {n} k {k} {precision:?}");
            report(&title, 2.0 * (m * n * k) as f64, "FLOP", || {
                gemm(precision, m, n, k, &a, a_t, &b, b_t, &mut c, false);
            });
        }
    }
}

fn dense() {
    for (rows, in_, out) in [(2048, 384, 1536), (16384, 192, 768)] {
        let (x, w, bias, dy) =
            (values(rows * in_), values(in_ * out), values(out), values(rows * out));
        let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), w.clone(), bias.clone());
        let flop = 2.0 * (rows * in_ * out) as f64;
        for precision in [Precision::F32, Precision::Bf16] {
            let title = format!("{rows} x {in_} -> {out} {precision:?}");
            report(&format!("linear: {title}"), flop, "FLOP", || {
                linear(precision, rows, in_, out, &x, &w, Some(&bias), &mut y);
            });
            report(&format!("linear backward: {title}"), 2.0 * flop, "FLOP", || {
                let grads = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
                linear_backward(precision, rows, in_, out, &x, &w, &dy, grads.0, grads.1, grads.2);
            });
        }
    }
}

fn packed() {
    for (rows, in_, out) in [
        (800, 768, 3072),
        (800, 3072, 768),
        (50, 768, 3072),
        (1, 768, 3072),
        (512, 576, 1536),
        (1, 576, 49152),
    ] {
        let (x, w) = (values(rows * in_), values(in_ * out));
        let blocks = [Blocked::Q8_0, Blocked::Q4_0, Blocked::Q4_1].map(Format::Blocks);
        for format in [Format::F32, Format::Bf16, Format::Int8].into_iter().chain(blocks) {
            let packed = Packed::new(format, out, in_, &w);
            let title = format!("packed: {rows} x {in_} -> {out} {format:?}");
            report(&title, 2.0 * (rows * in_ * out) as f64, "FLOP", || {
                std::hint::black_box(packed.linear(rows, &x, None));
            });
        }
    }
}

fn attentions() {
    let causal = Mask::Causal { offset: 0 };
    for (batch, t, heads, kv_heads, width, mask) in [
        (32, 64, 6, 6, 64, causal),
        (256, 64, 6, 6, 32, Mask::Full),
        (64, 50, 8, 4, 32, Mask::Full),
        (2, 1024, 6, 6, 64, causal),
    ] {
        let shape = AttentionShape { batch, queries: t, keys: t, heads, kv_heads, width };
        let (nq, nk) = (batch * t * heads * width, batch * t * kv_heads * width);
        let (q, k, v, d_o) = (values(nq), values(nk), values(nk), values(nq));
        let (mut o, mut lse) = (vec![0.0; nq], vec![0.0; batch * heads * t]);
        let (mut dq, mut dk, mut dv) = (q.clone(), k.clone(), v.clone());
        let flop = 4.0 * (nq * t) as f64;
        for precision in [Precision::F32, Precision::Bf16] {
            let title =
                format!("attention: B{batch} T{t} H{heads}/{kv_heads} K{width} {precision:?}");
            report(&title, flop, "FLOP", || {
                attention(precision, shape, &q, &k, &v, 0.125, mask, None, &mut o, &mut lse);
            });
            report("attention backward", 2.5 * flop, "FLOP", || {
                attention_backward(
                    precision, shape, &q, &k, &v, 0.125, mask, None, &o, &lse, &d_o, &mut dq,
                    &mut dk, &mut dv,
                );
            });
        }
    }
}

fn loops() {
    for (rows, d) in [(2048, 384), (16384, 192)] {
        let (x, gamma, mut beta) = (values(rows * d), values(d), values(d));
        let (mut y, mut mean, mut rstd) = (x.clone(), vec![0.0; rows], vec![0.0; rows]);
        let (mut dx, mut dgamma, bytes) = (x.clone(), gamma.clone(), 4.0 * (rows * d) as f64);
        report(&format!("loops: layer_norm {rows} x {d}"), 2.0 * bytes, "B", || {
            layer_norm(rows, d, &x, &gamma, &gamma, 1e-5, &mut y, &mut mean, &mut rstd);
        });
        report("loops: layer_norm backward", 3.0 * bytes, "B", || {
            layer_norm_backward(
                rows,
                d,
                &x,
                &gamma,
                &mean,
                &rstd,
                &y,
                &mut dx,
                &mut dgamma,
                &mut beta,
            );
        });
    }
    let n = 2048 * 1536;
    let (x, z, mut y, bytes) = (values(n), values(n), vec![0.0; n], 4.0 * n as f64);
    let mut other = y.clone();
    for kind in [Gelu::Erf, Gelu::Tanh, Gelu::Quick] {
        report(&format!("loops: gelu {kind:?} 3.1M"), 2.0 * bytes, "B", || gelu(kind, &x, &mut y));
        report("loops: gelu backward", 3.0 * bytes, "B", || gelu_backward(kind, &x, &z, &mut y));
    }
    report("loops: swiglu 3.1M", 3.0 * bytes, "B", || swiglu(&x, &z, &mut y));
    report("loops: swiglu backward", 5.0 * bytes, "B", || {
        swiglu_backward(&x, &z, &x, &mut y, &mut other);
    });
    report("loops: add 3.1M", 3.0 * bytes, "B", || add(&x, &z, &mut y));
    let (rows, v) = (2048, 4096);
    let (logits, targets) = (values(rows * v), vec![7; rows]);
    let (mut losses, mut lse, mut dlogits) = (vec![0.0; rows], vec![0.0; rows], logits.clone());
    report("loops: cross_entropy 2048 x 4096", 4.0 * (rows * v) as f64, "B", || {
        cross_entropy(rows, v, &logits, &targets, 0.0, &mut losses, &mut lse);
    });
    report("loops: cross_entropy backward", 8.0 * (rows * v) as f64, "B", || {
        cross_entropy_backward(rows, v, &logits, &targets, &lse, &losses, 0.0, &mut dlogits);
    });
    let n = 11_441_128;
    let (mut p, g, mut m, mut s) = (values(n), values(n), vec![0.0; n], vec![0.0; n]);
    report("loops: adamw 11.4M", 28.0 * n as f64, "B", || {
        adamw(&mut p, &g, &mut m, &mut s, 1e-6, 0.9, 0.999, 1e-8, 0.1, 10, 1.0);
    });
    report("loops: sum_squares 11.4M", 4.0 * n as f64, "B", || {
        std::hint::black_box(sum_squares(&g));
    });
}

fn convolutions() {
    // An autoencoder's, one picture on all threads.
    for (channels, side) in [(512, 64), (512, 128), (256, 256), (128, 512), (1280, 16)] {
        let (c_in, c_out) = (channels, channels);
        let shape =
            ConvShape { batch: 1, c_in, h: side, w: side, c_out, kernel: 3, stride: 1, padding: 1 };
        let (n, w) = (channels * side * side, values(9 * channels * channels));
        let (x, mut y) = (values(n), values(n));
        for precision in [Precision::F32, Precision::Bf16] {
            let title = format!("conv: one of {channels} channels at {side} px {precision:?}");
            report(&title, (18 * channels * n) as f64, "FLOP", || {
                conv2d(precision, shape, &x, &w, None, &mut y);
            });
        }
    }
    for (c_in, c_out, side, kernel, stride, padding) in [
        (3, 32, 96, 3, 2, 1),
        (32, 64, 48, 3, 2, 1),
        (64, 64, 24, 3, 1, 1),
        (64, 192, 24, 3, 3, 1),
        (3, 384, 224, 32, 32, 0),
    ] {
        let shape = ConvShape { batch: 64, c_in, h: side, w: side, c_out, kernel, stride, padding };
        let (h, w) = shape.output();
        let (n, m) = (64 * c_in * side * side, 64 * c_out * h * w);
        let (x, weights, dy) = (values(n), values(c_out * c_in * kernel * kernel), values(m));
        let (mut y, mut dx, mut dw, mut db) =
            (dy.clone(), x.clone(), weights.clone(), vec![0.0; c_out]);
        let flop = (2 * kernel * kernel * m * c_in) as f64;
        for precision in [Precision::F32, Precision::Bf16] {
            let title = format!("conv: {c_in} -> {c_out} at {side} px / {stride} {precision:?}");
            report(&title, flop, "FLOP", || {
                conv2d(precision, shape, &x, &weights, None, &mut y);
            });
            report("conv weights' gradient", flop, "FLOP", || {
                let grads = (Some(&mut dw[..]), Some(&mut db[..]));
                conv2d_backward(precision, shape, &x, &weights, &dy, None, grads.0, grads.1);
            });
            report("conv pixels' gradient", flop, "FLOP", || {
                let dx = Some(&mut dx[..]);
                conv2d_backward(precision, shape, &x, &weights, &dy, dx, None, None);
            });
        }
    }
}
