//! The limits of this machine, as JSON: what `cargo xtask bench` takes shares of.
//!
//! ```text
//! cargo run --release --package sensorium-kernels --example probe
//! {"bf16":460.1,"f32":230.5,"int8":921.7,"read":27.3,"threads":2}
//! ```
//! Arithmetic on registers alone in G operations a second (a multiply-add is two), and memory read
//! in GB a second; two threads, the best of several runs.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

const THREADS: usize = 2;
const SECONDS: f64 = 0.4;
/// Bytes each thread reads, far above what a cache holds.
const BYTES: usize = 256 << 20;

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global();
    pool.expect("the pool is made once");
    let mut limits = arithmetic();
    limits.push(("read", read()));
    limits.sort_by_key(|&(name, _)| name);
    let numbers: Vec<String> =
        limits.iter().map(|(name, limit)| format!("\"{name}\":{limit:.1},")).collect();
    println!("{{{}\"threads\":{THREADS}}}", numbers.concat());
}

/// G a second of `amount` a run of `f` on every thread.
fn best(amount: f64, f: impl Fn() + Sync) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < SECONDS {
        let run = Instant::now();
        rayon::broadcast(|_| f());
        best = best.min(run.elapsed().as_secs_f64());
    }
    THREADS as f64 * amount / best / 1e9
}

fn read() -> f64 {
    let memory: Vec<Vec<u64>> = (0..THREADS).map(|n| vec![n as u64 + 1; BYTES / 8]).collect();
    best(BYTES as f64, || {
        let memory = &memory[rayon::current_thread_index().unwrap_or(0)];
        let mut sums = [0u64; 16];
        for line in memory.chunks_exact(16) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum ^= value;
            }
        }
        black_box(sums);
    })
}

/// Registers that are summed in at a time: enough to hide the latency of an addition.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SUMS: usize = 12;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const STEPS: usize = 200_000;

/// Operations on numbers of `size` bits in registers of `bits`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn operations(bits: usize, size: usize) -> f64 {
    (STEPS * SUMS * bits / size * 2) as f64
}

/// A function that multiplies and adds on registers alone.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! multiply_adds {
    ($name:ident, $features:literal, $step:ident, $start:expr, $factor:expr) => {
        #[target_feature(enable = $features)]
        fn $name() {
            let (mut sums, factor) = ([$start; SUMS], black_box($factor));
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = $step(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn arithmetic() -> Vec<(&'static str, f64)> {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
        _mm512_fmadd_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    };

    multiply_adds!(ymm, "avx2,fma", _mm256_fmadd_ps, _mm256_set1_ps(1.0), _mm256_set1_ps(0.999));
    multiply_adds!(zmm, "avx512f", _mm512_fmadd_ps, _mm512_set1_ps(1.0), _mm512_set1_ps(0.999));
    multiply_adds!(bf16, "avx512f,avx512bf16", _mm512_dpbf16_ps, _mm512_set1_ps(1.0), {
        // SAFETY: both are 64 bytes, and any bits are bfloat16; these are pairs of 1.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0x3f80_3f80)) }
    });
    multiply_adds!(
        int8,
        "avx512f,avx512vnni",
        _mm512_dpbusd_epi32,
        _mm512_set1_epi32(1),
        _mm512_set1_epi8(1)
    );

    let mut limits = Vec::new();
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features were just found.
        limits.push(("f32", best(operations(256, 32), || unsafe { ymm() })));
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just found.
        let wide = best(operations(512, 32), || unsafe { zmm() });
        // Some processors take two steps for a wide register.
        limits.iter_mut().for_each(|(_, narrow)| *narrow = narrow.max(wide));
        if is_x86_feature_detected!("avx512bf16") {
            // SAFETY: the features were just found.
            limits.push(("bf16", best(operations(512, 16), || unsafe { bf16() })));
        }
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the features were just found.
            limits.push(("int8", best(operations(512, 8), || unsafe { int8() })));
        }
    }
    limits
}

#[cfg(target_arch = "aarch64")]
fn arithmetic() -> Vec<(&'static str, f64)> {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};

    multiply_adds!(neon, "neon", vfmaq_f32, vdupq_n_f32(1.0), vdupq_n_f32(0.999));

    if !std::arch::is_aarch64_feature_detected!("neon") {
        return Vec::new();
    }
    // SAFETY: the feature was just found.
    vec![("f32", best(operations(128, 32), || unsafe { neon() }))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn arithmetic() -> Vec<(&'static str, f64)> {
    Vec::new()
}
