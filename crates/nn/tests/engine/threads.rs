//! Same bits on one, two and three threads: a resumed run may land on another machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_nn::params::{gradients, read};
use sensorium_nn::prelude::*;

use crate::case::{draw, tensor};

/// Large enough that every kernel cuts its work into chunks.
const SHAPE: [usize; 3] = [4, 70, 96];

#[test]
fn a_block_has_the_same_bits_on_any_number_of_threads() {
    let [one, two, three] = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(step)
    });
    for (threads, other) in [(2, two), (3, three)] {
        assert_eq!(one.0, other.0, "output on {threads} threads");
        for (name, bits) in &one.1 {
            assert!(bits == &other.1[name], "gradient of {name} on {threads} threads");
        }
    }
}

/// The bits of a block's output and gradients, with a loss over a vocabulary behind it.
fn step() -> (Vec<u32>, BTreeMap<String, Vec<u32>>) {
    let [b, t, d] = SHAPE;
    let device = Device::flex().autodiff();
    let mut init = Init::new(3, &device);
    let config = BlockConfig {
        d,
        heads: 4,
        hidden: 4 * d,
        activation: Activation::Gelu,
        eps: 1e-6,
        n_layers: 1,
    };
    let block = Block::init(&config, &mut init);
    let table = Embedding::init(300, d, 0.5, &mut init);
    let ids: Vec<u32> = (0..(b * t) as u32).map(|i| i * 7 % 300).collect();
    let targets = ids.iter().map(|&id| ((id + 1) % 300) as i32).collect();

    let x = table.forward(&ids, [b, t]) + tensor(&draw(4, b * t * d), SHAPE, &device);
    let lengths: Arc<[usize]> = Arc::from([70, 33, 64, 1]);
    let x = block.forward(x, &Mask::Full, Some(&lengths));
    let x = block.forward(x, &Mask::Causal { offset: 0 }, None);
    let output = x.clone();
    let loss = fused::cross_entropy(table.unembed(x.reshape([b * t, d])), targets, 1e-4);
    let gradient_of_loss = loss.backward();
    let found = gradients(&block, gradient_of_loss).expect("the whole block is in the loss");
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    (
        bits(read(output)),
        found.into_iter().map(|(name, values)| (name, bits(values.into_vec()))).collect(),
    )
}
