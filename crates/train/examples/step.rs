//! One training step of a 11.4 M-parameter GPT, timed: ours beside `bench/peers/torch_step.py`.
//!
//! ```text
//! cargo run --release -p sensorium-train --example step -- [STEPS] [THREADS] [bf16]
//! ```
//! 6 pre-norm blocks of width 384, 6 heads, 32 x 64 tokens, vocabulary 1000; forward,
//! backward and AdamW.

use std::time::Instant;

use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::training_device;
use sensorium_train::optim::{AdamW, OptimConfig, norm};

const LAYERS: usize = 6;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const BATCH: usize = 32;
const TOKENS: usize = 64;
const VOCABULARY: usize = 1000;
const PARAMETERS: usize = 11_441_128;

#[derive(Module, Debug)]
struct Gpt {
    embedding: Embedding,
    position: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn init(init: &mut Init) -> Self {
        let block = BlockConfig {
            d: WIDTH,
            heads: HEADS,
            hidden: 4 * WIDTH,
            activation: Activation::Gelu,
            eps: 1e-5,
            n_layers: LAYERS,
        };
        Self {
            embedding: Embedding::init(VOCABULARY, WIDTH, 0.02, init),
            position: init.normal([TOKENS, WIDTH], 0.02),
            blocks: (0..LAYERS).map(|_| Block::init(&block, init)).collect(),
            norm: LayerNorm::init(WIDTH, 1e-5, init),
            head: Linear::init(WIDTH, VOCABULARY, true, 0.02, init),
        }
    }

    /// `[B, T] -> [B, T, V]`
    fn forward(&self, ids: &[u32]) -> Tensor<3> {
        let x = self.embedding.forward(ids, [BATCH, TOKENS]) + self.position.val().unsqueeze();
        let mask = Mask::Causal { offset: 0 };
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &mask, None));
        self.head.forward(self.norm.forward(x))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = args.iter().filter_map(|arg| arg.parse::<usize>().ok());
    let steps = numbers.next().unwrap_or(10);
    let threads = numbers.next().unwrap_or(2);
    let bf16 = args.iter().any(|arg| arg == "bf16");
    let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.expect("the pool is made once");
    // On one of its threads: work handed in from outside costs a wake-up each time.
    rayon::scope(|_| measure(steps, threads, precision));
}

fn measure(steps: usize, threads: usize, precision: Precision) {
    let device = training_device();
    let mut model = Gpt::init(&mut Init::new(1, &device).with(precision));
    assert_eq!(params::count(&model), PARAMETERS);
    let mut optim = AdamW::new(OptimConfig { clip: 0.0, ..OptimConfig::default() });
    let ids: Vec<u32> = (0..BATCH * TOKENS).map(|i| (i * 7919 % VOCABULARY) as u32).collect();
    let labels: Vec<i32> = ids.iter().map(|&id| ((id + 1) % VOCABULARY as u32) as i32).collect();

    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let start = Instant::now();
        let logits = model.forward(&ids);
        let loss = loss::next_token(logits, labels.clone(), 0.0);
        let value = read(loss.clone())[0];
        let forward = start.elapsed();
        let gradients = params::gradients(&model, loss.backward()).expect("all are trained");
        let backward = start.elapsed();
        let norm = norm(&gradients);
        model = optim.step(model, &gradients, norm, |_| 1e-3);
        let total = start.elapsed();
        println!(
            "step {step}: loss {value:.4}, {:.0} ms (forward {:.0}, backward {:.0}, optimiser {:.0})",
            ms(total),
            ms(forward),
            ms(backward) - ms(forward),
            ms(total) - ms(backward)
        );
        times.push(ms(total));
    }
    let mut timed = times.split_off(2);
    timed.sort_by(f64::total_cmp);
    println!("median of {steps}: {:.0} ms, {threads} threads", timed[timed.len() / 2]);
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
