//! Pictures as a language model says them: a token for each place of a grid, and a decoder of the grid.
//!
//! Esser et al. 2021, <https://arxiv.org/abs/2012.09841>, section 3; as Janus has it, Wu et al. 2024,
//! <https://arxiv.org/abs/2410.13848>, section 3.2
//!
//! ```text
//! token ──table, aligner──▶ [1, D] ──language model──▶ [1, D] ──head──▶ logits of the next token [V]
//! tokens [N] ──codebook──▶ [c, n, n] ──decoder──▶ picture [3, f·n, f·n]
//! ```

use sensorium_nn::prelude::*;

use crate::diffusion::autoencoder_kl::AttentionBlock;
use crate::diffusion::resnet::{Norms, ResnetBlock2D, Upsample2D, conv1, conv3};

/// Groups and epsilon of every norm, which no settings state.
const NORMS: Norms = Norms { groups: 32, eps: 1e-6 };

/// Channels are multiples of it.
pub const GROUPS: usize = NORMS.groups;

/// Shape of an [`ImageTokens`].
#[derive(Clone, Debug, PartialEq)]
pub struct ImageTokensConfig {
    /// Tokens V that a place may be.
    pub num_embeddings: usize,
    /// Numbers of a token, in the codebook and in the language model's table.
    pub embed_dim: usize,
    /// Width D of the language model.
    pub width: usize,
    /// Width inside the head.
    pub head: usize,
    /// Activation of the aligner and the head.
    pub activation: Activation,
    /// Channels before the decoder.
    pub latent_channels: usize,
    /// Channels at each size, the largest size first.
    pub channels: Vec<usize>,
    /// Residual blocks at each size, less one.
    pub num_res_blocks: usize,
    /// Places along an edge.
    pub side: usize,
}

impl ImageTokensConfig {
    /// Tokens of a picture.
    pub fn tokens(&self) -> usize {
        self.side * self.side
    }

    /// Edge of a picture in pixels.
    pub fn pixels(&self) -> usize {
        self.side << self.channels.len().saturating_sub(1)
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| ImageTokens::init(self, init))
    }
}

/// What a language model needs beside itself to say pictures.
#[derive(Module, Debug)]
pub struct ImageTokens {
    embedding: Embedding,
    aligner: Mlp,
    head: Mlp,
    codebook: Embedding,
    post_quant_conv: Conv2d,
    decoder: Decoder,
    #[module(skip)]
    side: usize,
}

sensorium_nn::pack!(ImageTokens: aligner, head, decoder);

impl ImageTokens {
    /// Seeded weights.
    pub fn init(config: &ImageTokensConfig, init: &mut Init) -> Self {
        let ImageTokensConfig { num_embeddings: v, embed_dim: c, width: d, .. } = *config;
        let std = |width: usize| (width as f64).powf(-0.5);
        let act = config.activation;
        Self {
            embedding: Embedding::init(v, c, 1.0, init),
            aligner: Mlp::init([c, d, d], act, [std(c), std(d)], init),
            head: Mlp::init([d, config.head, v], act, [std(d), std(config.head)], init),
            codebook: Embedding::init(v, c, 1.0, init),
            post_quant_conv: conv1([c, config.latent_channels], true, init),
            decoder: Decoder::init(config, init),
            side: config.side,
        }
    }

    /// What the language model reads after each of `tokens [B]`: `[B, 1, D]`.
    pub fn embed(&self, tokens: &[u32]) -> Tensor<3> {
        self.aligner.forward(self.embedding.forward(tokens, [tokens.len(), 1]))
    }

    /// What the language model thought last to logits of the next token: `[B, D] -> [B, V]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }

    /// All `tokens [N]` of a picture, row by row, to the picture as the decoder has it: `[1, 3, h, w]`.
    pub fn decode(&self, tokens: &[u32]) -> Tensor<4> {
        let side = self.side;
        let x = self.codebook.forward(tokens, [1, tokens.len()]); // [1, N, c]
        let c = x.dims()[2];
        let norm = (x.clone() * x.clone()).sum_dim(2).sqrt().clamp_min(1e-12);
        let x = (x / norm).reshape([1, side, side, c]).permute([0, 3, 1, 2]);
        self.decoder.forward(self.post_quant_conv.forward(x))
    }
}

/// `[B, c, n, n] -> [B, 3, f·n, f·n]`
#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

sensorium_nn::pack!(Decoder: mid, up);

impl Decoder {
    fn init(config: &ImageTokensConfig, init: &mut Init) -> Self {
        let channels = &config.channels;
        let (n, first) = (channels.len(), channels[0]);
        let last = channels[n - 1];
        Self {
            conv_in: conv3([config.latent_channels, last], init),
            mid: Mid::init(last, init),
            up: (0..n).rev().map(|i| Level::init(config, i, init)).collect(),
            norm_out: NORMS.init(first, init),
            conv_out: conv3([first, 3], init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.mid.forward(self.conv_in.forward(x));
        let x = self.up.iter().fold(x, |x, level| level.forward(x));
        self.conv_out.forward(self.norm_out.silu(x))
    }
}

/// A residual block, attention, a residual block.
#[derive(Module, Debug)]
struct Mid {
    block_1: ResnetBlock2D,
    attn_1: AttentionBlock,
    block_2: ResnetBlock2D,
}

sensorium_nn::pack!(Mid: attn_1);

impl Mid {
    fn init(c: usize, init: &mut Init) -> Self {
        Self {
            block_1: ResnetBlock2D::init([c, c], None, NORMS, init),
            attn_1: AttentionBlock::init(c, 1, NORMS, init),
            block_2: ResnetBlock2D::init([c, c], None, NORMS, init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attn_1.forward(self.block_1.forward(x, None));
        self.block_2.forward(x, None)
    }
}

/// Residual blocks of one size, at the smallest each with attention behind it, then twice of the size.
#[derive(Module, Debug)]
struct Level {
    block: Vec<ResnetBlock2D>,
    attn: Vec<AttentionBlock>,
    upsample: Option<Upsample2D>,
}

sensorium_nn::pack!(Level: attn);

impl Level {
    /// Of the size `i`, the largest being 0.
    fn init(config: &ImageTokensConfig, i: usize, init: &mut Init) -> Self {
        let channels = &config.channels;
        let (c_in, c) = (channels[(i + 1).min(channels.len() - 1)], channels[i]);
        let blocks = config.num_res_blocks + 1;
        let attends = if i + 1 == channels.len() { blocks } else { 0 };
        let block = |j, init: &mut Init| {
            let from = if j == 0 { c_in } else { c };
            ResnetBlock2D::init([from, c], None, NORMS, init)
        };
        Self {
            block: (0..blocks).map(|j| block(j, init)).collect(),
            attn: (0..attends).map(|_| AttentionBlock::init(c, 1, NORMS, init)).collect(),
            upsample: (i > 0).then(|| Upsample2D::init(c, init)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.block.iter().enumerate().fold(x, |x, (j, block)| {
            let x = block.forward(x, None);
            self.attn.get(j).into_iter().fold(x, |x, attn| attn.forward(x))
        });
        self.upsample.iter().fold(x, |x, larger| larger.forward(x))
    }
}
