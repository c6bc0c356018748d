//! Where a picture's positions attend to each other and to a text (Rombach et al. 2022, section 3.3).

use sensorium_nn::prelude::*;

use super::resnet::{Norms, conv1, linear};

/// Epsilon of the norm in front.
const EPS: f64 = 1e-6;

/// Epsilon of the blocks' norms.
const BLOCK_EPS: f64 = 1e-5;

/// A transformer's sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransformerConfig {
    pub channels: usize,
    pub heads: usize,
    pub layers: usize,
    /// Width C of the texts.
    pub width: usize,
    pub groups: usize,
    /// Whether the maps at both ends are published as matrices, not as convolutions.
    pub linear: bool,
}

/// `x + proj_out(blocks(proj_in(norm(x))))`
#[derive(Module, Debug)]
pub(super) struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<BasicTransformerBlock>,
    proj_out: Projection,
}

sensorium_nn::pack!(Transformer2DModel: proj_in, transformer_blocks, proj_out);

/// The map of each position, in either of its published shapes.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a UNet's are all of one kind")]
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

impl Projection {
    fn init(config: &TransformerConfig, init: &mut Init) -> Self {
        let sizes = [config.channels; 2];
        match config.linear {
            true => Self::Linear(linear(sizes, true, init)),
            false => Self::Conv(conv1(sizes, true, init)),
        }
    }

    /// `[B, N, c] -> [B, N, c]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Linear(linear) => linear.forward(x),
            Self::Conv(conv) => conv.patches(x),
        }
    }
}

impl Pack for Projection {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        if let Self::Linear(linear) = self {
            linear.matrices(path, visit);
        }
    }
}

impl Transformer2DModel {
    pub fn init(config: &TransformerConfig, init: &mut Init) -> Self {
        let norms = Norms { groups: config.groups, eps: EPS };
        let block = |init: &mut Init| BasicTransformerBlock::init(config, init);
        Self {
            norm: norms.init(config.channels, init),
            proj_in: Projection::init(config, init),
            transformer_blocks: (0..config.layers).map(|_| block(init)).collect(),
            proj_out: Projection::init(config, init),
        }
    }

    /// `x [B, c, h, w], texts [B, T, C] -> [B, c, h, w]`
    pub fn forward(&self, x: Tensor<4>, texts: &Tensor<3>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let rows = self.norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2); // [B, N, c]
        let rows = self.proj_in.forward(rows);
        let rows = self.transformer_blocks.iter().fold(rows, |x, block| block.forward(x, texts));
        let rows = self.proj_out.forward(rows).swap_dims(1, 2); // [B, c, N]
        x + rows.reshape([b, c, h, w])
    }
}

/// `x + attn1(norm1(x))`, `x + attn2(norm2(x), texts)`, `x + ff(norm3(x))`
#[derive(Module, Debug)]
struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: CrossAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff: GatedMlp,
}

sensorium_nn::pack!(BasicTransformerBlock: attn1, attn2, ff);

impl BasicTransformerBlock {
    fn init(config: &TransformerConfig, init: &mut Init) -> Self {
        let TransformerConfig { channels: d, heads, width, .. } = *config;
        Self {
            norm1: LayerNorm::init(d, BLOCK_EPS, init),
            attn1: CrossAttention::init([d, d], heads, false, init),
            norm2: LayerNorm::init(d, BLOCK_EPS, init),
            attn2: CrossAttention::init([d, width], heads, false, init),
            norm3: LayerNorm::init(d, BLOCK_EPS, init),
            ff: GatedMlp::init(d, init),
        }
    }

    /// `x [B, N, D], texts [B, T, C] -> [B, N, D]`
    fn forward(&self, x: Tensor<3>, texts: &Tensor<3>) -> Tensor<3> {
        let y = self.norm1.forward(x.clone());
        let x = self.attn1.add_to(x, y.clone(), y);
        let y = self.norm2.forward(x.clone());
        let x = self.attn2.add_to(x, y, texts.clone());
        let y = self.norm3.forward(x.clone());
        self.ff.add_to(x, y)
    }
}

/// Attention whose queries, keys and values may have no biases.
#[derive(Module, Debug)]
pub(super) struct CrossAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

sensorium_nn::pack!(CrossAttention: to_q, to_k, to_v, to_out);

impl CrossAttention {
    /// Of width D to keys and values of width C.
    pub fn init([d, c]: [usize; 2], heads: usize, bias: bool, init: &mut Init) -> Self {
        Self {
            to_q: linear([d, d], bias, init),
            to_k: linear([c, d], bias, init),
            to_v: linear([c, d], bias, init),
            to_out: linear([d, d], true, init),
            heads,
            precision: init.precision(),
        }
    }

    /// `stream + attention(x, context)`: `x [B, N, D], context [B, T, C] -> [B, N, D]`.
    pub fn add_to(&self, stream: Tensor<3>, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let split = |y: Tensor<3>| {
            let [b, t, d] = y.dims();
            y.reshape([b, t, self.heads, d / self.heads])
        };
        let q = split(self.to_q.forward(x));
        let [k, v] = Linear::together([&self.to_k, &self.to_v], context).map(split);
        let o = fused::attention(self.precision, q, k, v, Mask::Full, None);
        let [b, n, h, k] = o.dims();
        self.to_out.add_to(stream, o.reshape([b, n, h * k]))
    }
}

/// `out(a·gelu(b))` of the halves of `proj(x)` (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).
#[derive(Module, Debug)]
struct GatedMlp {
    proj: Linear,
    out: Linear,
}

sensorium_nn::pack!(GatedMlp: proj, out);

impl GatedMlp {
    fn init(d: usize, init: &mut Init) -> Self {
        Self { proj: linear([d, 8 * d], true, init), out: linear([4 * d, d], true, init) }
    }

    /// `stream + forward(x)`, `[B, N, D]`
    fn add_to(&self, stream: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let y = self.proj.forward(x);
        let half = y.dims()[2] / 2;
        let gate = Activation::Gelu.forward(y.clone().narrow(2, half, half));
        self.out.add_to(stream, y.narrow(2, 0, half) * gate)
    }
}
