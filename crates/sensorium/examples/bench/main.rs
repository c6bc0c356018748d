//! Sensorium's side of `cargo xtask bench`: one piece of work, timed once for every line of input.
//!
//! ```text
//! cargo build --release --workspace --example bench
//! yes | head | target/release/examples/bench step bf16
//!                                            vit int8 16
//!                                            prefill FILE.gguf 512
//!                                            decode FILE.gguf 128
//!                                            batch FILE.gguf 8 128
//!                                            load FILE.gguf
//!                                            clip 256
//!                                            start PICTURE
//!                                            see DIRECTORY PICTURE f32
//!                                            hear DIRECTORY SOUND f32
//! target/release/examples/bench profile vit int8 16
//! ```
//! It warms up, prints `{"ready": ...}`, then one `{"ms": ...}` a line, as the peers in
//! `bench/peers` do. `--threads N` goes first; two otherwise. `profile` prints where the time of
//! ten repetitions goes instead. `SENSORIUM_DEVICE` names another device than the CPU.

mod batch;
mod clip;
mod llm;
mod see;
mod start;
mod step;
mod vit;

use std::io::{BufRead, Write};
use std::time::Instant;

use sensorium_nn::device::from_env;
use sensorium_nn::prelude::*;
use sensorium_nn::{keep_freed_pages, profile};
use serde_json::{Map, Value, json};

const USAGE: &str = "usage: bench [--threads N] [profile] step f32|bf16
       bench [--threads N] [profile] vit f32|bf16|int8 BATCH
       bench [--threads N] [profile] prefill|decode FILE.gguf TOKENS
       bench [--threads N] [profile] batch FILE.gguf TEXTS TOKENS
       bench [--threads N] [profile] load FILE.gguf
       bench [--threads N] [profile] clip BATCH
       bench [--threads N] [profile] start PICTURE
       bench [--threads N] [profile] see DIRECTORY PICTURE f32|bf16|int8
       bench [--threads N] [profile] hear DIRECTORY SOUND f32|bf16|int8";
const WARM_UPS: usize = 2;
const PROFILED: usize = 10;

/// The CPU, or what `SENSORIUM_DEVICE` names.
fn device() -> Device {
    from_env().unwrap_or_else(|error| panic!("{error}"))
}

/// Work that is done again and again.
struct Task {
    /// What is known of it after the warm-ups.
    facts: Map<String, Value>,
    /// Does it once; milliseconds of what is to be compared.
    run: Box<dyn FnMut() -> f64>,
}

fn main() {
    keep_freed_pages();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (threads, words) = match words.as_slice() {
        ["--threads", n, rest @ ..] => (n.parse().unwrap_or_else(|_| usage()), rest),
        rest => (2, rest),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.expect("the pool is made once");
    // On one of its threads, as the command does: work handed in from outside costs a wake-up.
    rayon::scope(|_| match words {
        ["profile", task @ ..] => print_profile(self::task(task)),
        task => serve(self::task(task)),
    });
}

fn task(words: &[&str]) -> Task {
    let number = |text: &str| text.parse().unwrap_or_else(|_| usage());
    let format = |name: &str| match name {
        "f32" => pack::Format::F32,
        "bf16" => pack::Format::Bf16,
        "int8" => pack::Format::Int8,
        _ => usage(),
    };
    match *words {
        ["step", "f32"] => step::task(Precision::F32),
        ["step", "bf16"] => step::task(Precision::Bf16),
        ["vit", precision, batch] => vit::task(format(precision), number(batch)),
        ["prefill", file, tokens] => llm::prefill(file, number(tokens)),
        ["decode", file, tokens] => llm::decode(file, number(tokens)),
        ["batch", file, texts, tokens] => batch::decode(file, number(texts), number(tokens)),
        ["load", file] => llm::load(file),
        ["clip", batch] => clip::task(number(batch)),
        ["start", picture] => start::task(picture),
        ["see", directory, picture, precision] => {
            see::first_token(directory, picture, format(precision))
        }
        ["hear", directory, sound, precision] => {
            see::transcript(directory, sound, format(precision))
        }
        _ => usage(),
    }
}

/// Ends the program: a file is missing or damaged.
fn fail<T>(error: impl std::fmt::Display) -> T {
    eprintln!("error: {error}");
    std::process::exit(1)
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2)
}

fn serve(mut task: Task) {
    for _ in 0..WARM_UPS {
        (task.run)();
    }
    let mut ready = json!({"ready": concat!("Sensorium ", env!("CARGO_PKG_VERSION"))});
    if let Some(ready) = ready.as_object_mut() {
        ready.append(&mut task.facts);
    }
    say(&ready);
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        say(&json!({"ms": (task.run)()}));
    }
}

fn say(value: &Value) {
    println!("{value}");
    std::io::stdout().flush().expect("standard output is open");
}

fn print_profile(mut task: Task) {
    for _ in 0..WARM_UPS {
        (task.run)();
    }
    profile::start();
    let (_, ms) = timed(|| (0..PROFILED).map(|_| (task.run)()).sum::<f64>());
    print!("{}", profile::table(&profile::stop(), ms / 1e3, PROFILED));
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1e3)
}
