//! The autoencoder of Stable Diffusion, SD 3 and FLUX: `AutoencoderKL`.
//!
//! Rombach et al. 2022, section 3.1 and appendix G, <https://arxiv.org/abs/2112.10752>.
//!
//! ```text
//! picture [B, 3, f·h, f·w] ──encoder, quant_conv──▶ mean, log variance [B, c, h, w], as a denoiser has it:
//!     (z - shift)·scale
//! z ──post_quant_conv, decoder──▶ picture
//! ```

use sensorium_nn::prelude::*;

use super::resnet::{Downsample2D, Norms, ResnetBlock2D, Upsample2D, conv1, conv3};
use super::transformer::CrossAttention;

/// Epsilon of every norm.
const EPS: f64 = 1e-6;

/// What the log of a variance is kept between.
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// Shape of an [`AutoencoderKl`].
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Channels at each size, the largest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each size on the way in; one more on the way out.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// What latents are multiplied with for a denoiser.
    pub scaling_factor: f64,
    /// What is taken off them before.
    pub shift_factor: f64,
    /// Whether a 1x1 convolution stands behind the encoder.
    pub use_quant_conv: bool,
    /// Whether one stands before the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the positions of the smallest size attend to each other.
    pub mid_block_add_attention: bool,
}

impl AutoencoderKlConfig {
    /// How many pixels a side one latent stands for.
    pub fn factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    fn norms(&self) -> Norms {
        Norms { groups: self.norm_num_groups, eps: EPS }
    }
}

/// An autoencoder of pictures with a Gaussian of latents (diffusers' `AutoencoderKL`).
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    shift: f64,
}

sensorium_nn::pack!(AutoencoderKl: encoder, decoder);

impl AutoencoderKl {
    /// Seeded weights.
    pub fn init(config: &AutoencoderKlConfig, init: &mut Init) -> Self {
        let c = config.latent_channels;
        let conv =
            |wanted: bool, c: usize, init: &mut Init| wanted.then(|| conv1([c, c], true, init));
        Self {
            encoder: Encoder::init(config, init),
            quant_conv: conv(config.use_quant_conv, 2 * c, init),
            post_quant_conv: conv(config.use_post_quant_conv, c, init),
            decoder: Decoder::init(config, init),
            scale: config.scaling_factor,
            shift: config.shift_factor,
        }
    }

    /// Latents as a denoiser has them to pictures: `[B, c, h, w] -> [B, 3, f·h, f·w]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let z = latents / self.scale + self.shift;
        self.decoder.forward(self.post_quant_conv.iter().fold(z, |z, conv| conv.forward(z)))
    }

    /// The mean of what pictures may be, as a denoiser has it: `[B, 3, f·h, f·w] -> [B, c, h, w]`.
    pub fn encode(&self, pictures: Tensor<4>) -> Tensor<4> {
        let x = self.moments(pictures);
        let c = x.dims()[1] / 2;
        (x.narrow(1, 0, c) - self.shift) * self.scale
    }

    /// One of those that pictures may be, by normal numbers of the latents' shape.
    pub fn sample(&self, pictures: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
        let x = self.moments(pictures);
        let c = x.dims()[1] / 2;
        let [mean, log] = [0, c].map(|from| x.clone().narrow(1, from, c));
        let [least, most] = LOG_VARIANCE;
        let z = mean + (log.clamp(least, most) * 0.5).exp() * noise;
        (z - self.shift) * self.scale
    }

    /// Mean and log of the variance of what pictures may be, `[B, 2c, h, w]`, as the encoder has them.
    pub fn moments(&self, pictures: Tensor<4>) -> Tensor<4> {
        let x = self.encoder.forward(pictures);
        self.quant_conv.iter().fold(x, |x, conv| conv.forward(x))
    }
}

/// `[B, 3, f·h, f·w] -> [B, 2c, h, w]`
#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

sensorium_nn::pack!(Encoder: mid_block);

/// Residual blocks of one size, then half of it.
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    downsamplers: Vec<Downsample2D>,
}

impl Encoder {
    fn init(config: &AutoencoderKlConfig, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let (n, first) = (channels.len(), channels[0]);
        let level = |i: usize, init: &mut Init| DownBlock {
            resnets: resnets(
                [channels[i.saturating_sub(1)], channels[i]],
                config.layers_per_block,
                config,
                init,
            ),
            downsamplers: (0..usize::from(i + 1 < n))
                .map(|_| Downsample2D::init(channels[i], true, init))
                .collect(),
        };
        Self {
            conv_in: conv3([3, first], init),
            down_blocks: (0..n).map(|i| level(i, init)).collect(),
            mid_block: MidBlock::init(config, init),
            conv_norm_out: config.norms().init(channels[n - 1], init),
            conv_out: conv3([channels[n - 1], 2 * config.latent_channels], init),
        }
    }

    fn forward(&self, pictures: Tensor<4>) -> Tensor<4> {
        let x = self.conv_in.forward(pictures);
        let level = |x, level: &DownBlock| {
            let x = level.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
            level.downsamplers.iter().fold(x, |x, smaller| smaller.forward(x))
        };
        let x = self.mid_block.forward(self.down_blocks.iter().fold(x, level));
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }
}

/// `[B, c, h, w] -> [B, 3, f·h, f·w]`
#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

sensorium_nn::pack!(Decoder: mid_block);

/// Residual blocks of one size, then twice of it.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    upsamplers: Vec<Upsample2D>,
}

impl Decoder {
    fn init(config: &AutoencoderKlConfig, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let (n, first) = (channels.len(), channels[0]);
        let level = |i: usize, init: &mut Init| UpBlock {
            resnets: resnets(
                [channels[(i + 1).min(n - 1)], channels[i]],
                config.layers_per_block + 1,
                config,
                init,
            ),
            upsamplers: (0..usize::from(i > 0))
                .map(|_| Upsample2D::init(channels[i], init))
                .collect(),
        };
        Self {
            conv_in: conv3([config.latent_channels, channels[n - 1]], init),
            mid_block: MidBlock::init(config, init),
            up_blocks: (0..n).rev().map(|i| level(i, init)).collect(),
            conv_norm_out: config.norms().init(first, init),
            conv_out: conv3([first, 3], init),
        }
    }

    fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let x = self.mid_block.forward(self.conv_in.forward(z));
        let level = |x, level: &UpBlock| {
            let x = level.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
            level.upsamplers.iter().fold(x, |x, larger| larger.forward(x))
        };
        self.conv_out.forward(self.conv_norm_out.silu(self.up_blocks.iter().fold(x, level)))
    }
}

/// So many blocks, of which the first changes the channels.
fn resnets(
    [c_in, c]: [usize; 2],
    n: usize,
    config: &AutoencoderKlConfig,
    init: &mut Init,
) -> Vec<ResnetBlock2D> {
    let from = |i: usize| if i == 0 { c_in } else { c };
    (0..n).map(|i| ResnetBlock2D::init([from(i), c], None, config.norms(), init)).collect()
}

/// A residual block, attention where there is some, a residual block.
#[derive(Module, Debug)]
struct MidBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<AttentionBlock>,
}

sensorium_nn::pack!(MidBlock: attentions);

impl MidBlock {
    fn init(config: &AutoencoderKlConfig, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let c = channels[channels.len() - 1];
        let attentions = 0..usize::from(config.mid_block_add_attention);
        Self {
            resnets: resnets([c, c], 2, config, init),
            attentions: attentions
                .map(|_| AttentionBlock::init(c, 1, config.norms(), init))
                .collect(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.resnets.iter().enumerate().fold(x, |x, (i, resnet)| {
            let x = resnet.forward(x, None);
            self.attentions.get(i).into_iter().fold(x, |x, attention| attention.forward(x))
        })
    }
}

/// `x + attention(group_norm(x))` of all positions.
#[derive(Module, Debug)]
pub(crate) struct AttentionBlock {
    group_norm: GroupNorm,
    attention: CrossAttention,
}

sensorium_nn::pack!(AttentionBlock: attention);

impl AttentionBlock {
    pub fn init(c: usize, heads: usize, norms: Norms, init: &mut Init) -> Self {
        let group_norm = norms.init(c, init);
        Self { group_norm, attention: CrossAttention::init([c, c], heads, true, init) }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let rows = |x: Tensor<4>| x.reshape([b, c, h * w]).swap_dims(1, 2); // [B, N, c]
        let y = rows(self.group_norm.forward(x.clone()));
        let y = self.attention.add_to(rows(x), y.clone(), y);
        y.swap_dims(1, 2).reshape([b, c, h, w])
    }
}
