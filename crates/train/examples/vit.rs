//! CLIP's ViT-B/32 with random weights, timed: ours beside `bench/peers/vit.py`.
//!
//! ```text
//! cargo run --release --workspace --example vit -- [f32|bf16|int8] [BATCH] [RUNS] [THREADS]
//! ```

use std::time::Instant;

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let format = match args.first().map(String::as_str) {
        Some("int8") => pack::Format::Int8,
        Some("bf16") => pack::Format::Bf16,
        _ => pack::Format::F32,
    };
    let mut numbers = args.iter().filter_map(|arg| arg.parse::<usize>().ok());
    let batch = numbers.next().unwrap_or(16);
    let runs = numbers.next().unwrap_or(10);
    let threads = numbers.next().unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.expect("the pool is made once");
    // On one of its threads: work handed in from outside costs a wake-up each time.
    rayon::scope(|_| measure(format, batch, runs, threads));
}

fn measure(format: pack::Format, batch: usize, runs: usize, threads: usize) {
    let device = running_device();
    let mut init = Init::new(1, &device);
    let mut vit = Vit::init(&VitConfig::clip_base_patch32(), &mut init);
    let pictures = init.normal([batch, 3, 224, 224], 1.0).val();
    let exact = read(vit.embed(pictures.clone()));
    vit.pack_as(format);
    let packed = read(vit.embed(pictures.clone()));
    let worst = exact.chunks(512).zip(packed.chunks(512)).map(cosine).fold(1.0, f64::min);

    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        std::hint::black_box(read(vit.embed(pictures.clone())));
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{format:?}, batch {batch}: median of {runs} {:.1} ms ({:.1} to {:.1}), {threads} threads, \
         smallest cosine to f32 {worst:.6}",
        times[runs / 2],
        times[0],
        times[runs - 1]
    );
}

fn cosine((a, b): (&[f32], &[f32])) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
