//! Training steps of an 11.4 M-parameter GPT, the model of `bench/peers/torch_step.py`: P7 and P8.
//!
//! 6 pre-norm blocks of width 384, 6 heads, 32 x 64 tokens, vocabulary 1000; forward, backward and
//! AdamW.

use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::profile;
use sensorium_train::optim::{AdamW, OptimConfig};
use serde_json::Map;

use crate::{Task, device, timed};

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

/// A model, its optimiser and the one batch it learns.
struct Training {
    model: Option<Gpt>,
    optim: AdamW,
    ids: Vec<u32>,
    labels: Vec<i32>,
}

pub fn task(precision: Precision) -> Task {
    let model = Gpt::init(&mut Init::new(1, &device().autodiff()).with(precision));
    assert_eq!(params::count(&model), PARAMETERS);
    let ids: Vec<u32> = (0..BATCH * TOKENS).map(|i| (i * 7919 % VOCABULARY) as u32).collect();
    let labels = ids.iter().map(|&id| ((id + 1) % VOCABULARY as u32) as i32).collect();
    let optim = AdamW::new(OptimConfig { clip: 0.0, ..OptimConfig::default() });
    let mut training = Training { model: Some(model), optim, ids, labels };
    let run = Box::new(move || timed(|| training.step()).1);
    Task { facts: Map::new(), run }
}

impl Training {
    fn step(&mut self) {
        let model = self.model.take().expect("a step puts the model back");
        let logits = model.forward(&self.ids);
        let loss = loss::next_token(logits, self.labels.clone(), 0.0);
        let value = read(loss.clone())[0];
        assert!(value.is_finite(), "the loss is {value}");
        let backward = loss.backward();
        let gradients = params::gradients(&model, backward).expect("all are trained");
        // Nothing is clipped, so no norm is needed.
        let step = || self.optim.step(model, &gradients, 0.0, |_| 1e-3);
        self.model = Some(profile::time("AdamW", step));
        // The CPU has nothing to wait for.
        device().sync().expect("the device answers");
    }
}
