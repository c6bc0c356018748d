//! Small stand-ins for the autoencoders of diffusion models: `AutoencoderTiny`, TAESD and its kin.
//!
//! Bohan 2023, <https://github.com/madebyollin/taesd>: distilled from the large ones, whose latents they read and
//! write. They have no paper.
//!
//! ```text
//! picture [B, 3, f·h, f·w] ──encoder──▶ latents [B, c, h, w] ──decoder──▶ picture
//! ```
//! Both sides are sequences, whose entries are called by their places.

use sensorium_nn::prelude::*;

use super::resnet::{conv1, conv3, doubled};

/// Latents do not reach further than this.
const MOST: f64 = 3.0;

/// Groups of a norm, and how many times as wide it is as what comes in.
const POOL: [usize; 2] = [4, 4];

/// Epsilon of a norm.
const EPS: f64 = 1e-5;

/// One side of an [`AutoencoderTiny`], a list entry for each size in the order that data takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinySide {
    /// Channels.
    pub block_out_channels: Vec<usize>,
    /// Blocks.
    pub num_blocks: Vec<usize>,
}

/// Shape of an [`AutoencoderTiny`].
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderTinyConfig {
    /// Pictures to latents.
    pub encoder: TinySide,
    /// Latents to pictures.
    pub decoder: TinySide,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// What latents are multiplied with for a denoiser.
    pub scaling_factor: f64,
    /// What is taken off them before.
    pub shift_factor: f64,
    /// Whether the blocks of the smallest size look at all positions by a norm (TAEF2).
    pub use_midblock_gn: bool,
}

impl AutoencoderTinyConfig {
    /// How many pixels a side one latent stands for.
    pub fn factor(&self) -> usize {
        1 << self.decoder.num_blocks.len().saturating_sub(1)
    }
}

/// A small distilled autoencoder of pictures (diffusers' `AutoencoderTiny`).
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    encoder: Sequence,
    decoder: Sequence,
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    shift: f64,
}

impl AutoencoderTiny {
    /// Seeded weights.
    pub fn init(config: &AutoencoderTinyConfig, init: &mut Init) -> Self {
        Self {
            encoder: Sequence { layers: encoder(config, init) },
            decoder: Sequence { layers: decoder(config, init) },
            scale: config.scaling_factor,
            shift: config.shift_factor,
        }
    }

    /// Latents as a denoiser has them to pictures: `[B, c, h, w] -> [B, 3, f·h, f·w]`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let z = latents / self.scale + self.shift;
        // It paints from 0 to 1.
        self.decoder.forward((z / MOST).tanh() * MOST) * 2.0 - 1.0
    }

    /// Latents of pictures, as a denoiser has them: `[B, 3, f·h, f·w] -> [B, c, h, w]`.
    pub fn encode(&self, pictures: Tensor<4>) -> Tensor<4> {
        (self.encoder.forward((pictures + 1.0) / 2.0) - self.shift) * self.scale
    }
}

fn encoder(config: &AutoencoderTinyConfig, init: &mut Init) -> Vec<Layer> {
    let TinySide { block_out_channels: channels, num_blocks } = &config.encoder;
    let mut layers = Vec::new();
    for (i, (&c, &blocks)) in channels.iter().zip(num_blocks).enumerate() {
        layers.push(Layer::Conv(if i == 0 { conv3([3, c], init) } else { halving(c, init) }));
        let pools = config.use_midblock_gn && i + 1 == channels.len();
        layers.extend((0..blocks).map(|_| Layer::Block(Block::init(c, pools, init))));
    }
    let last = channels[channels.len() - 1];
    layers.push(Layer::Conv(conv3([last, config.latent_channels], init)));
    layers
}

fn decoder(config: &AutoencoderTinyConfig, init: &mut Init) -> Vec<Layer> {
    let TinySide { block_out_channels: channels, num_blocks } = &config.decoder;
    let first = Layer::Conv(conv3([config.latent_channels, channels[0]], init));
    let mut layers = vec![first, Layer::Plain(Plain { step: Step::Relu })];
    for (i, (&c, &blocks)) in channels.iter().zip(num_blocks).enumerate() {
        let pools = config.use_midblock_gn && i == 0;
        layers.extend((0..blocks).map(|_| Layer::Block(Block::init(c, pools, init))));
        if i + 1 == channels.len() {
            layers.push(Layer::Conv(conv3([c, 3], init)));
        } else {
            layers.push(Layer::Plain(Plain { step: Step::Double }));
            layers.push(Layer::Conv(bare([c, c], 1, init)));
        }
    }
    layers
}

/// A convolution without a bias that halves both sides.
fn halving(c: usize, init: &mut Init) -> Conv2d {
    bare([c, c], 2, init)
}

fn bare([c_in, c_out]: [usize; 2], stride: usize, init: &mut Init) -> Conv2d {
    Conv2d::init(Conv2dConfig { c_in, c_out, kernel: 3, stride, padding: 1, bias: false }, init)
}

/// One after the other.
#[derive(Module, Debug)]
struct Sequence {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has twenty of them")]
enum Layer {
    Conv(Conv2d),
    Block(Block),
    Plain(Plain),
}

/// What has no weights but a place.
#[derive(Module, Debug)]
struct Plain {
    #[module(skip)]
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Relu,
    Double,
}

impl Sequence {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(x),
            Layer::Block(block) => block.forward(x),
            Layer::Plain(Plain { step: Step::Relu }) => Activation::Relu.forward(x),
            Layer::Plain(Plain { step: Step::Double }) => doubled(x),
        })
    }
}

/// `relu(y + conv3(relu(conv2(relu(conv1(y))))))`, `y = x + pool(x)` where there is one.
#[derive(Module, Debug)]
struct Block {
    pool: Option<Pool>,
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
}

impl Block {
    fn init(c: usize, pools: bool, init: &mut Init) -> Self {
        Self {
            pool: pools.then(|| Pool::init(c, init)),
            conv1: conv3([c, c], init),
            conv2: conv3([c, c], init),
            conv3: conv3([c, c], init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let relu = |x: Tensor<4>| Activation::Relu.forward(x);
        let x = self.pool.iter().fold(x, |x, pool| x.clone() + pool.forward(x));
        let y = relu(self.conv2.forward(relu(self.conv1.forward(x.clone()))));
        relu(x + self.conv3.forward(y))
    }
}

/// `outward(relu(norm(inward(x))))`
#[derive(Module, Debug)]
struct Pool {
    inward: Conv2d,
    norm: GroupNorm,
    outward: Conv2d,
}

impl Pool {
    fn init(c: usize, init: &mut Init) -> Self {
        let [groups, times] = POOL;
        Self {
            inward: conv1([c, times * c], false, init),
            norm: GroupNorm::init(times * c, groups, EPS, init),
            outward: conv1([times * c, c], false, init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm.forward(self.inward.forward(x));
        self.outward.forward(Activation::Relu.forward(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As its files have them: 1,338,528 parameters one way, 1,338,499 back.
    #[test]
    fn taef2_has_the_published_parameters() {
        let side = |num_blocks: [usize; 4]| TinySide {
            block_out_channels: vec![64; 4],
            num_blocks: num_blocks.to_vec(),
        };
        let config = AutoencoderTinyConfig {
            encoder: side([1, 3, 3, 3]),
            decoder: side([3, 3, 3, 1]),
            latent_channels: 32,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            use_midblock_gn: true,
        };
        let vae = AutoencoderTiny::init(&config, &mut Init::empty(&Device::flex()));
        assert_eq!(params::count(&vae.encoder), 1_338_528);
        assert_eq!(params::count(&vae.decoder), 1_338_499);
        assert_eq!(config.factor(), 8);
    }
}
