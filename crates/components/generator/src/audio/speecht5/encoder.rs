//! What a text says: a transformer that knows how far apart its characters stand, and where.

use sensorium_nn::prelude::*;

use super::{SpeechT5Config, sinusoids};
use crate::audio::relative::by_place;

/// Characters, places, blocks.
#[derive(Module, Debug)]
pub(super) struct TextEncoder {
    embedding: Embedding,
    /// What places are multiplied by, `[1]`.
    alpha: Param<Tensor<1>>,
    norm: LayerNorm,
    blocks: Vec<EncoderBlock>,
    /// By how far a character stands from another, `[2 relative, K]`: all blocks' and heads'.
    relative_position: Param<Tensor<2>>,
}

sensorium_nn::pack!(TextEncoder: blocks);

impl TextEncoder {
    pub(super) fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let (d, [blocks, heads, _]) = (config.hidden_size, config.encoder);
        Self {
            embedding: Embedding::init(config.vocab_size, d, (d as f64).powf(-0.5), init),
            alpha: init.constant([1], 1.0),
            norm: LayerNorm::init(d, config.eps, init),
            blocks: (0..blocks).map(|_| EncoderBlock::init(config, init)).collect(),
            relative_position: init.normal([2 * config.relative, d / heads], 1.0),
        }
    }

    /// Positions after so many blocks, `[1, T, D]`.
    pub(super) fn hidden(&self, ids: &[u32], blocks: usize) -> Tensor<3> {
        let x = self.embedding.forward(ids, [1, ids.len()]);
        let [_, t, d] = x.dims();
        let places = sinusoids([t, d], 0, &x.device());
        let x = self.norm.forward(x + places * self.alpha.val().reshape([1, 1, 1]));
        let distances = self.distances(t);
        let blocks = self.blocks.iter().take(blocks);
        blocks.fold(x, |x, block| block.forward(x, distances.clone()))
    }

    /// Of keys from `t - 1` places before a query to as many behind it, `[1, 1, K, 2t - 1]`; those that are too far
    /// are as far as can be told.
    fn distances(&self, t: usize) -> Tensor<4> {
        let far = self.relative_position.dims()[0] as i64 / 2;
        let row = |ahead: i64| ((-ahead).clamp(-far, far - 1) + far) as i32;
        let rows = (1 - t as i64..t as i64).map(row).collect();
        fused::embedding(self.relative_position.val(), rows).swap_dims(0, 1).unsqueeze()
    }
}

/// `norm1(x + attention(x))`, then `norm2(x + mlp(x))`.
#[derive(Module, Debug)]
struct EncoderBlock {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm1: LayerNorm,
    mlp: Mlp,
    norm2: LayerNorm,
    #[module(skip)]
    heads: usize,
}

sensorium_nn::pack!(EncoderBlock: q, k, v, o, mlp);

impl EncoderBlock {
    fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let (d, [_, heads, inner]) = (config.hidden_size, config.encoder);
        let std = (d as f64).powf(-0.5);
        let part = |init: &mut Init| Linear::init(d, d, true, std, init);
        Self {
            q: part(init),
            k: part(init),
            v: part(init),
            o: part(init),
            norm1: LayerNorm::init(d, config.eps, init),
            mlp: Mlp::init([d, inner, d], config.activation, [std; 2], init),
            norm2: LayerNorm::init(d, config.eps, init),
            heads,
        }
    }

    /// `[1, T, D] -> [1, T, D]`
    fn forward(&self, x: Tensor<3>, distances: Tensor<4>) -> Tensor<3> {
        let x = self.norm1.forward(self.o.add_to(x.clone(), self.attention(x, distances)));
        self.norm2.forward(self.mlp.add_to(x.clone(), x))
    }

    /// What heads read, `[1, T, D] -> [1, T, D]`.
    fn attention(&self, x: Tensor<3>, distances: Tensor<4>) -> Tensor<3> {
        let ([b, t, d], heads) = (x.dims(), self.heads);
        let split = |y: Tensor<3>| y.reshape([b, t, heads, d / heads]);
        let [q, k, v] = Linear::together([&self.q, &self.k, &self.v], x).map(split);
        let scale = ((d / heads) as f64).powf(-0.5);
        let near = (q.clone() * scale).swap_dims(1, 2).matmul(distances); // [1, H, T, 2T - 1]
        weighted(attention_weights(q, k, by_place(near)), v).reshape([b, t, d])
    }
}
