//! Variational autoencoder of pictures: what generators of pictures and clips work on in their place.
//!
//! Kingma and Welling 2013, <https://arxiv.org/abs/1312.6114>; as the first stage of a generator, Rombach et al.
//! 2022, section 3.1, <https://arxiv.org/abs/2112.10752>; of plain convolutions without norms, as TAESD's.
//!
//! ```text
//! picture [B, 3, h, w] ──encode──▶ mean, log variance [B, c, h/f, w/f] ──sample──▶ z ──decode──▶ [B, 3, h, w]
//! ```
//! Pixels are taken and given as squares of `patch`, so that no convolution runs at full size.

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Shape of a [`Vae`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Side of the square of pixels that is one position of the first convolution.
    pub patch: usize,
    /// Channels at each size; each is half as large as the one before.
    pub channels: Vec<usize>,
    /// Blocks at each size, on either side.
    pub n_blocks: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
}

impl VaeConfig {
    /// The embedded model's: an eighth of the size, 8 channels, 1.0 M parameters.
    pub fn small() -> Self {
        Self { patch: 2, channels: vec![32, 64, 128], n_blocks: 1, latent_channels: 8 }
    }

    /// How many pixels a side one latent stands for.
    pub fn factor(&self) -> usize {
        self.patch << self.channels.len().saturating_sub(1)
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let zero = self.patch * self.n_blocks * self.latent_channels == 0;
        (zero || self.channels.is_empty() || self.channels.contains(&0)).then(|| {
            ("a patch, channels, blocks and latent channels of at least 1", format!("{self:?}"))
        })
    }

    /// Floating-point operations of one picture's way there and back, an estimate: all but the convolutions is
    /// left out.
    pub fn flops(&self, side: usize) -> f64 {
        let level = |(i, c): (usize, &usize)| {
            let positions = (side / (self.patch << i)).pow(2);
            positions * 9 * c * c * 2 * (2 * self.n_blocks + 1)
        };
        2.0 * self.channels.iter().enumerate().map(level).sum::<usize>() as f64
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Vae::init(self, init))
    }
}

/// Pictures to latents and back.
#[derive(Module, Debug)]
pub struct Vae {
    /// Pictures to latents.
    pub encoder: VaeEncoder,
    /// Latents to pictures.
    pub decoder: VaeDecoder,
}

/// What an encoder holds possible: a normal distribution for each number.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[B, c, h, w]`
    pub mean: Tensor<4>,
    /// Log of the variance, `[B, c, h, w]`.
    pub log_variance: Tensor<4>,
}

impl Posterior {
    /// One of them, by `noise` of mean 0 and deviation 1.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }

    /// Divergence from a normal distribution of mean 0 and deviation 1, in nats a number.
    pub fn divergence(&self) -> Tensor<1> {
        let Self { mean, log_variance } = self.clone();
        (mean.square() + log_variance.clone().exp() - log_variance - 1.0).mean() * 0.5
    }
}

impl Vae {
    /// Weights of He et al.
    pub fn init(config: &VaeConfig, init: &mut Init) -> Self {
        let encoder = VaeEncoder::init(config, init);
        Self { encoder, decoder: VaeDecoder::init(config, init) }
    }

    /// Pictures from -1 to 1, `[B, 3, h, w]`, to what they may be in short, `[B, c, h/f, w/f]`.
    pub fn encode(&self, pictures: Tensor<4>) -> Posterior {
        self.encoder.forward(pictures)
    }

    /// `[B, c, h/f, w/f] -> [B, 3, h, w]`; what lies beyond -1 and 1 is left to whoever shows it.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(latents)
    }
}

/// `[B, 3, h, w] -> [B, c, h/f, w/f]`, twice.
#[derive(Module, Debug)]
pub struct VaeEncoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    conv_out: Conv2d,
    #[module(skip)]
    patch: usize,
}

/// Blocks of one size; `resize` leads to it from the size before.
#[derive(Module, Debug)]
struct Level {
    resize: Option<Conv2d>,
    blocks: Vec<ConvBlock>,
}

impl VaeEncoder {
    fn init(config: &VaeConfig, init: &mut Init) -> Self {
        let channels = &config.channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let level = |i: usize, init: &mut Init| Level {
            resize: (i > 0).then(|| conv([channels[i - 1], channels[i]], 2, init)),
            blocks: blocks(channels[i], config.n_blocks, init),
        };
        Self {
            conv_in: conv([3 * config.patch.pow(2), first], 1, init),
            levels: (0..channels.len()).map(|i| level(i, init)).collect(),
            conv_out: conv([last, 2 * config.latent_channels], 1, init),
            patch: config.patch,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Posterior {
        let x = self.conv_in.forward(space_to_depth(x, self.patch));
        let level = |x, level: &Level| {
            let x = level.resize.iter().fold(x, |x, conv| conv.forward(x));
            level.blocks.iter().fold(x, |x, block| block.forward(x))
        };
        let x = self.conv_out.forward(self.levels.iter().fold(x, level));
        let c = x.dims()[1] / 2;
        let mean = x.clone().narrow(1, 0, c);
        Posterior { mean, log_variance: x.narrow(1, c, c).clamp(-30.0, 20.0) }
    }
}

/// `[B, c, h/f, w/f] -> [B, 3, h, w]`
#[derive(Module, Debug)]
pub struct VaeDecoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    conv_out: Conv2d,
    #[module(skip)]
    patch: usize,
}

impl VaeDecoder {
    fn init(config: &VaeConfig, init: &mut Init) -> Self {
        let channels: Vec<usize> = config.channels.iter().copied().rev().collect();
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let level = |i: usize, init: &mut Init| Level {
            resize: (i > 0).then(|| conv([channels[i - 1], 4 * channels[i]], 1, init)),
            blocks: blocks(channels[i], config.n_blocks, init),
        };
        Self {
            conv_in: conv([config.latent_channels, first], 1, init),
            levels: (0..channels.len()).map(|i| level(i, init)).collect(),
            conv_out: conv([last, 3 * config.patch.pow(2)], 1, init),
            patch: config.patch,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let level = |x, level: &Level| {
            let larger = |x, conv: &Conv2d| depth_to_space(conv.forward(x), 2);
            let x = level.resize.iter().fold(x, larger);
            level.blocks.iter().fold(x, |x, block| block.forward(x))
        };
        let x = self.levels.iter().fold(self.conv_in.forward(x), level);
        depth_to_space(self.conv_out.forward(x), self.patch)
    }
}

/// `relu(x + conv2(relu(conv1(x))))`
#[derive(Module, Debug)]
struct ConvBlock {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl ConvBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = Activation::Relu.forward(self.conv1.forward(x.clone()));
        Activation::Relu.forward(x + self.conv2.forward(y))
    }
}

fn blocks(c: usize, n: usize, init: &mut Init) -> Vec<ConvBlock> {
    let block =
        |init: &mut Init| ConvBlock { conv1: conv([c, c], 1, init), conv2: conv([c, c], 1, init) };
    (0..n).map(|_| block(init)).collect()
}

fn conv([c_in, c_out]: [usize; 2], stride: usize, init: &mut Init) -> Conv2d {
    Conv2d::init(Conv2dConfig { c_in, c_out, kernel: 3, stride, padding: 1, bias: true }, init)
}

/// `[B, c, h·r, w·r] -> [B, c·r², h, w]`, as PyTorch's `pixel_unshuffle`.
fn space_to_depth(x: Tensor<4>, r: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c, h / r, r, w / r, r]).permute([0, 1, 3, 5, 2, 4]);
    x.reshape([b, c * r * r, h / r, w / r])
}

/// `[B, c·r², h, w] -> [B, c, h·r, w·r]`, as PyTorch's `pixel_shuffle`.
fn depth_to_space(x: Tensor<4>, r: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, c / (r * r), r, r, h, w]).permute([0, 1, 4, 2, 5, 3]);
    x.reshape([b, c / (r * r), h * r, w * r])
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn latents_are_smaller_by_the_factor() {
        let config = VaeConfig::small();
        let mut init = Init::new(1, &Device::flex());
        let vae = Vae::init(&config, &mut init);
        let pictures = init.normal([2, 3, 32, 16], 1.0).val();
        let posterior = vae.encode(pictures);
        assert_eq!(posterior.mean.dims(), [2, 8, 4, 2]);
        assert_eq!(posterior.log_variance.dims(), [2, 8, 4, 2]);
        assert_eq!((config.factor(), vae.decode(posterior.mean).dims()), (8, [2, 3, 32, 16]));
    }

    #[test]
    fn squares_of_pixels_come_back() {
        let x = Init::new(1, &Device::flex()).normal([2, 3, 4, 6], 1.0).val();
        assert_eq!(read(depth_to_space(space_to_depth(x.clone(), 2), 2)), read(x));
    }

    #[test]
    fn what_is_normal_already_diverges_by_nothing() {
        let zeros = Tensor::<4>::zeros([1, 2, 3, 3], &Device::flex());
        let posterior = Posterior { mean: zeros.clone(), log_variance: zeros.clone() };
        assert_eq!(read(posterior.divergence()), [0.0]);
        let off = Posterior { mean: zeros.clone() + 2.0, log_variance: zeros };
        assert_eq!(read(off.divergence()), [2.0]);
    }
}
