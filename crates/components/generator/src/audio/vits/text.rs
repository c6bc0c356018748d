//! What letters say: a transformer that knows how far apart they stand (Shaw et al. 2018,
//! <https://arxiv.org/abs/1803.02155>), with convolutions in place of MLPs.

use sensorium_nn::prelude::*;

use super::VitsConfig;
use crate::audio::relative::{by_distance, by_place};
use crate::audio::{pointwise, same};

/// Letters, blocks, and what they are spoken like.
#[derive(Module, Debug)]
pub(super) struct TextEncoder {
    embedding: Embedding,
    blocks: Vec<TextBlock>,
    project: Conv1d,
    #[module(skip)]
    scale: f64,
}

sensorium_nn::pack!(TextEncoder: blocks, project);

impl TextEncoder {
    pub(super) fn init(config: &VitsConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        Self {
            embedding: Embedding::init(config.vocab_size, d, (d as f64).powf(-0.5), init),
            blocks: (0..config.n_layers).map(|_| TextBlock::init(config, init)).collect(),
            project: pointwise([d, 2 * config.channels], init),
            scale: (d as f64).sqrt(),
        }
    }

    /// Positions after so many blocks, `[1, T, D]`.
    pub(super) fn hidden(&self, letters: &[u32], blocks: usize) -> Tensor<3> {
        let x = self.embedding.forward(letters, [1, letters.len()]) * self.scale;
        self.blocks.iter().take(blocks).fold(x, |x, block| block.forward(x))
    }

    /// Means and logarithms of deviations, `[1, T, D] -> 2 x [1, T, C]`.
    pub(super) fn prior(&self, hidden: Tensor<3>) -> [Tensor<3>; 2] {
        let x = self.project.forward(hidden);
        let c = x.dims()[2] / 2;
        [x.clone().narrow(2, 0, c), x.narrow(2, c, c)]
    }
}

/// `norm1(x + attention(x))`, then `norm2(x + conv2(act(conv1(x))))`.
#[derive(Module, Debug)]
struct TextBlock {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// What keys gain by where they stand, `[1, 2w + 1, K]`.
    relative_keys: Param<Tensor<3>>,
    /// The same of values.
    relative_values: Param<Tensor<3>>,
    norm1: LayerNorm,
    conv1: Conv1d,
    conv2: Conv1d,
    norm2: LayerNorm,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    activation: Activation,
}

sensorium_nn::pack!(TextBlock: q, k, v, o, conv1, conv2);

impl TextBlock {
    fn init(config: &VitsConfig, init: &mut Init) -> Self {
        let (d, heads) = (config.hidden_size, config.n_heads);
        let std = (d as f64).powf(-0.5);
        let part = |init: &mut Init| Linear::init(d, d, config.bias, std, init);
        let near = [1, 2 * config.window + 1, d / heads];
        let relative_std = ((d / heads) as f64).powf(-0.5);
        let sizes = [d, config.intermediate_size];
        Self {
            q: part(init),
            k: part(init),
            v: part(init),
            o: part(init),
            relative_keys: init.normal(near, relative_std),
            relative_values: init.normal(near, relative_std),
            norm1: LayerNorm::init(d, config.eps, init),
            conv1: same(sizes, config.kernel, 1, init),
            conv2: same([sizes[1], d], config.kernel, 1, init),
            norm2: LayerNorm::init(d, config.eps, init),
            heads,
            activation: config.activation,
        }
    }

    /// `[1, T, D] -> [1, T, D]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.norm1.forward(self.o.add_to(x.clone(), self.attention(x)));
        let y = self.conv2.forward(self.conv1.activated(x.clone(), self.activation));
        self.norm2.forward(x + y)
    }

    /// What heads read, `[1, T, D] -> [1, T, D]`.
    fn attention(&self, x: Tensor<3>) -> Tensor<3> {
        let ([b, t, d], heads) = (x.dims(), self.heads);
        let split = |y: Tensor<3>| y.reshape([b, t, heads, d / heads]);
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(split);
        let scale = ((d / heads) as f64).powf(-0.5);
        let keys = self.relative_keys.val().unsqueeze::<4>().swap_dims(2, 3); // [1, 1, K, 2w + 1]
        let near = (q.clone() * scale).swap_dims(1, 2).matmul(keys); // [1, H, T, 2w + 1]
        let weights = attention_weights(q, k, by_place(near));
        let values = self.relative_values.val().unsqueeze::<4>();
        let [_, _, n, _] = values.dims();
        let gained = by_distance(weights.clone(), n).matmul(values).swap_dims(1, 2); // [1, T, H, K]
        (weighted(weights, v) + gained).reshape([b, t, d])
    }
}
