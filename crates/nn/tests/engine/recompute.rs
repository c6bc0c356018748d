//! Blocks that make their activations again have the bits of those that keep them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_nn::params::{gradients, read, set_trainable};
use sensorium_nn::prelude::*;

use crate::case::{draw, tensor};

const SHAPE: [usize; 3] = [3, 20, 32];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Output and gradients of two blocks, and of their input if it wants one.
fn step(recompute: bool, frozen: &str, input: bool) -> BTreeMap<String, Vec<u32>> {
    let device = Device::flex().autodiff();
    let mut init = Init::new(3, &device).recomputing(recompute);
    let config = BlockConfig {
        d: SHAPE[2],
        heads: 4,
        hidden: 64,
        activation: Activation::Gelu,
        eps: 1e-6,
        n_layers: 2,
    };
    let blocks = vec![Block::init(&config, &mut init), Block::init(&config, &mut init)];
    let blocks = set_trainable(blocks, |name| frozen.is_empty() || !name.contains(frozen));
    let x = tensor(&draw(4, SHAPE.iter().product()), SHAPE, &device).set_require_grad(input);
    let lengths: Arc<[usize]> = Arc::from([20, 7, 1]);
    let y = blocks.iter().fold(x.clone(), |x, block| block.forward(x, &Mask::Full, Some(&lengths)));
    let mut all = BTreeMap::from([("output".to_string(), bits(&read(y.clone())))]);
    let mut slopes = y.square().mean().backward();
    if input {
        let dx = x.grad_remove(&mut slopes).expect("the input is in the loss");
        all.insert("input".to_string(), bits(&read(dx)));
    }
    let found = gradients(&blocks, slopes).expect("all that is trained is in the loss");
    all.extend(found.into_iter().map(|(name, values)| (name, bits(&values.into_vec()))));
    all
}

#[test]
fn results_and_gradients_keep_their_bits() {
    for (frozen, input, count) in
        [("", true, 34), ("", false, 33), ("attention", true, 18), ("0.", false, 17)]
    {
        let (kept, again) = (step(false, frozen, input), step(true, frozen, input));
        assert_eq!(kept.len(), count, "without {frozen:?}");
        assert!(kept.keys().eq(again.keys()), "without {frozen:?}");
        for (name, bits) in &kept {
            assert!(bits == &again[name], "{name} without {frozen:?}, input {input}");
        }
    }
}

#[test]
fn a_running_model_keeps_nothing_anyway() {
    let device = Device::flex();
    let config = BlockConfig {
        d: 8,
        heads: 2,
        hidden: 16,
        activation: Activation::Gelu,
        eps: 1e-6,
        n_layers: 1,
    };
    let x = tensor(&draw(4, 5 * 8), [1, 5, 8], &device);
    let run = |recompute| {
        let block = Block::init(&config, &mut Init::new(3, &device).recomputing(recompute));
        bits(&read(block.forward(x.clone(), &Mask::Full, None)))
    };
    assert_eq!(run(true), run(false));
}
