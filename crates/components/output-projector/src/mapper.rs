//! Learned queries ask what a backbone thought at its signal tokens, or a text tower at a text's.
//!
//! Koh et al. 2023 (GILL), section 3.2, <https://arxiv.org/abs/2305.17216>; Wu et al. 2023 (NExT-GPT),
//! <https://arxiv.org/abs/2309.05519>: PyTorch's `nn.Transformer`, norms first.
//!
//! ```text
//! hidden [B, T, D] ──fc──▶ [B, T, h] ──encoder──┐ keys, values
//! queries [Q, h] ──decoder layers───────────────┴──▶ [B, Q, h] ──out──▶ [B, Q, C]
//! ```

use std::sync::Arc;

use sensorium_flow::{Condition, Conditions, Hidden};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Mapper`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapperConfig {
    /// Width D of what is read.
    pub input: usize,
    /// Width inside.
    pub hidden_size: usize,
    /// Queries Q: 77 for Stable Diffusion's texts.
    pub queries: usize,
    /// Layers over what is read.
    pub n_encoder_layers: usize,
    /// Layers of the queries.
    pub n_decoder_layers: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Width C of the conditions.
    pub width: usize,
}

impl MapperConfig {
    /// GILL's: from a backbone of width `input` to the 77 texts' tokens of Stable Diffusion 1.
    pub fn gill(input: usize) -> Self {
        Self {
            input,
            hidden_size: 512,
            queries: 77,
            n_encoder_layers: 4,
            n_decoder_layers: 4,
            n_heads: 4,
            intermediate_size: 2048,
            activation: Activation::Relu,
            width: 768,
        }
    }

    /// The embedded model's: two layers of 192, 8 queries.
    pub fn small(input: usize, width: usize) -> Self {
        Self {
            input,
            hidden_size: 192,
            queries: 8,
            n_encoder_layers: 0,
            n_decoder_layers: 2,
            n_heads: 6,
            intermediate_size: 384,
            activation: Activation::Gelu,
            width,
        }
    }
}

/// Epsilon of every norm: PyTorch's default.
const EPS: f64 = 1e-5;

/// Learned queries that ask what was thought.
#[derive(Module, Debug)]
pub struct Mapper {
    fc: Linear,
    encoder: Vec<Block>,
    encoder_norm: LayerNorm,
    queries: Param<Tensor<2>>,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    out: Linear,
}

sensorium_nn::pack!(Mapper: fc, encoder, decoder, out);

impl Mapper {
    /// Matrices of `fan_in^-0.5`, queries of 1.
    pub fn init(config: &MapperConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let linear = |in_: usize, out: usize, init: &mut Init| {
            Linear::init(in_, out, true, (in_ as f64).powf(-0.5), init)
        };
        let block = BlockConfig {
            d,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: config.activation,
            eps: EPS,
            n_layers: config.n_encoder_layers,
        };
        Self {
            fc: linear(config.input, d, init),
            encoder: (0..config.n_encoder_layers).map(|_| Block::init(&block, init)).collect(),
            encoder_norm: LayerNorm::init(d, EPS, init),
            queries: init.normal([config.queries, d], 1.0),
            decoder: (0..config.n_decoder_layers)
                .map(|_| DecoderLayer::init(config, init))
                .collect(),
            decoder_norm: LayerNorm::init(d, EPS, init),
            out: linear(d, config.width, init),
        }
    }
}

impl Condition for Mapper {
    fn condition(&self, Hidden(x): Hidden, lengths: Option<&Arc<[usize]>>) -> Conditions {
        let b = x.dims()[0];
        let x = self.fc.forward(x);
        let x = self.encoder.iter().fold(x, |x, block| block.forward(x, &Mask::Full, lengths));
        let memory = self.encoder_norm.forward(x);
        let [q, d] = self.queries.dims();
        let queries = self.queries.val().unsqueeze::<3>().expand([b, q, d]);
        let layer = |x, layer: &DecoderLayer| layer.forward(x, memory.clone(), lengths);
        let x = self.decoder.iter().fold(queries, layer);
        Conditions(self.out.forward(self.decoder_norm.forward(x)))
    }
}

/// `x + attention(norm1(x))`, `x + attention(norm2(x), memory)`, `x + mlp(norm3(x))`.
#[derive(Module, Debug)]
struct DecoderLayer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    cross_attention: Attention,
    norm3: LayerNorm,
    mlp: Mlp,
}

sensorium_nn::pack!(DecoderLayer: attention, cross_attention, mlp);

impl DecoderLayer {
    fn init(config: &MapperConfig, init: &mut Init) -> Self {
        let d = config.hidden_size;
        let std = (d as f64).powf(-0.5);
        let stds = [std, (config.intermediate_size as f64).powf(-0.5)];
        Self {
            norm1: LayerNorm::init(d, EPS, init),
            attention: Attention::init(d, config.n_heads, [std, std], init),
            norm2: LayerNorm::init(d, EPS, init),
            cross_attention: Attention::init(d, config.n_heads, [std, std], init),
            norm3: LayerNorm::init(d, EPS, init),
            mlp: Mlp::init([d, config.intermediate_size, d], config.activation, stds, init),
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        memory: Tensor<3>,
        lengths: Option<&Arc<[usize]>>,
    ) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attention.add_self(x, y, Mask::Full, None);
        let y = self.norm2.forward(x.clone());
        let x = x + self.cross_attention.forward(y, memory, Mask::Full, lengths.cloned());
        let y = self.norm3.forward(x.clone());
        self.mlp.add_to(x, y)
    }
}
