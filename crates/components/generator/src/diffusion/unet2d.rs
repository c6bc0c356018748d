//! What tells of a noisy picture, at a time and of a class or an amount, what it is without noise: `UNet2DModel`.
//!
//! Dhariwal and Nichol 2021, section 3, <https://arxiv.org/abs/2105.05233>, as consistency models have it (Song et al.
//! 2023, appendix C, <https://arxiv.org/abs/2303.01469>): residual blocks halve and double sizes, all of them are scaled
//! and shifted by the time and the label, and small sizes attend to themselves in several heads.
//!
//! ```text
//! picture ─conv_in─▶ down_blocks, what each leaves is kept ─▶ mid_block ─▶ up_blocks, each with what was kept ─▶ conv_out
//! ```

use sensorium_nn::prelude::*;

use super::autoencoder_kl::AttentionBlock;
use super::resnet::{Norms, Resize, ResnetBlock2D, conv3};
use super::time::{TimeWaves, TimestepEmbedding, silu};

/// What a [`UNet2DModel`] is told beside the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// One of so many classes.
    Classes(usize),
    /// How much of something, from 0 to 1.
    Amount,
}

/// Shape of a [`UNet2DModel`]. Lists have an entry for each level, the largest size first.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2DConfig {
    /// Height and width of the pictures that it was trained with.
    pub sample_size: [usize; 2],
    /// Channels of the pictures.
    pub channels: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level on its way down; one more on the way up.
    pub layers_per_block: usize,
    /// Channels of a head.
    pub attention_head_dim: usize,
    /// Whether each level attends to itself on its way down.
    pub attends_down: Vec<bool>,
    /// Whether each level attends to itself on its way up.
    pub attends_up: Vec<bool>,
    /// What it is told.
    pub labels: Labels,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// Epsilon of every norm.
    pub norm_eps: f64,
    /// Whether the cosines of a time stand before its sines.
    pub flip_sin_to_cos: bool,
    /// What is taken off the number of waves that their lengths are spread over.
    pub freq_shift: f64,
}

impl UNet2DConfig {
    /// What both sides of pictures are multiples of.
    pub fn factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| UNet2DModel::init(self, init))
    }

    fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    fn norms(&self) -> Norms {
        Norms { groups: self.norm_num_groups, eps: self.norm_eps }
    }

    /// Width of a time inside.
    fn time(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    fn resnet(&self, channels: [usize; 2], resize: Resize, init: &mut Init) -> ResnetBlock2D {
        ResnetBlock2D::scaled(channels, self.time(), resize, self.norms(), init)
    }

    fn attention(&self, channels: usize, init: &mut Init) -> AttentionBlock {
        AttentionBlock::init(channels, channels / self.attention_head_dim, self.norms(), init)
    }
}

/// What says of a noisy picture, a time and a label what the picture is (diffusers' `UNet2DModel`).
#[derive(Module, Debug)]
pub struct UNet2DModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: ClassEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    waves: TimeWaves,
}

sensorium_nn::pack!(UNet2DModel: time_embedding, class_embedding, down_blocks, mid_block, up_blocks);

impl UNet2DModel {
    /// Seeded weights.
    pub fn init(config: &UNet2DConfig, init: &mut Init) -> Self {
        let (n, first) = (config.levels(), config.block_out_channels[0]);
        let waves = TimeWaves {
            width: first,
            cosines_first: config.flip_sin_to_cos,
            freq_shift: config.freq_shift as f32,
        };
        Self {
            conv_in: conv3([config.channels, first], init),
            time_embedding: TimestepEmbedding::init([first, config.time()], init),
            class_embedding: ClassEmbedding::init(config, init),
            down_blocks: (0..n).map(|level| DownBlock::init(config, level, init)).collect(),
            mid_block: MidBlock::init(config, init),
            up_blocks: (0..n).rev().map(|level| UpBlock::init(config, level, init)).collect(),
            conv_norm_out: config.norms().init(first, init),
            conv_out: conv3([first, config.channels], init),
            waves,
        }
    }

    /// `[B, c, h, w] -> [B, c, h, w]` at a time, of the number of a class or of an amount.
    pub fn forward(&self, x: Tensor<4>, time: f32, label: f32) -> Tensor<4> {
        let (b, device) = (x.dims()[0], x.device());
        let time = self.time_embedding.forward(self.waves.at(time, b, &device));
        let told = silu(time + self.class_embedding.forward(label, b, &device)); // [B, t]
        let x = self.conv_in.forward(x);
        let mut kept = vec![x.clone()];
        let x = self.down_blocks.iter().fold(x, |x, block| block.forward(x, &told, &mut kept));
        let x = self.mid_block.forward(x, &told);
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(x, &told, &mut kept));
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }
}

/// A label as what is added to the time.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
enum ClassEmbedding {
    Classes(Embedding),
    Amount(TimestepEmbedding),
}

impl ClassEmbedding {
    fn init(config: &UNet2DConfig, init: &mut Init) -> Self {
        let t = config.time();
        match config.labels {
            Labels::Classes(n) => Self::Classes(Embedding::init(n, t, 1.0, init)),
            Labels::Amount => Self::Amount(TimestepEmbedding::init([1, t], init)),
        }
    }

    /// `[B, t]`
    fn forward(&self, label: f32, b: usize, device: &Device) -> Tensor<2> {
        match self {
            Self::Classes(table) => {
                let t = table.weight.dims()[1];
                table.forward(&vec![label as u32; b], [b, 1]).reshape([b, t])
            }
            Self::Amount(embedding) => {
                let amounts = TensorData::new(vec![label; b], [b, 1]);
                embedding.forward(Tensor::from_data(amounts, device))
            }
        }
    }
}

impl Pack for ClassEmbedding {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        // A table's rows are read, not multiplied.
        if let Self::Amount(embedding) = self {
            embedding.matrices(path, visit);
        }
    }
}

/// Residual blocks, each with attention behind it or none, then one of half the size.
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<AttentionBlock>,
    downsamplers: Vec<ResnetBlock2D>,
}

sensorium_nn::pack!(DownBlock: resnets, attentions, downsamplers);

impl DownBlock {
    fn init(config: &UNet2DConfig, level: usize, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let (before, c) = (channels[level.saturating_sub(1)], channels[level]);
        let layers = config.layers_per_block;
        let attends = if config.attends_down[level] { layers } else { 0 };
        let from = |i: usize| if i == 0 { before } else { c };
        let smaller = usize::from(level + 1 < config.levels());
        Self {
            resnets: (0..layers).map(|i| config.resnet([from(i), c], Resize::Same, init)).collect(),
            attentions: (0..attends).map(|_| config.attention(c, init)).collect(),
            downsamplers: (0..smaller).map(|_| config.resnet([c, c], Resize::Half, init)).collect(),
        }
    }

    fn forward(&self, mut x: Tensor<4>, told: &Tensor<2>, kept: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = attended(resnet.forward(x, Some(told)), self.attentions.get(i));
            kept.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x, Some(told));
            kept.push(x.clone());
        }
        x
    }
}

/// What attention makes of it, where there is some.
fn attended(x: Tensor<4>, attention: Option<&AttentionBlock>) -> Tensor<4> {
    attention.into_iter().fold(x, |x, attention| attention.forward(x))
}

/// A residual block, attention, a residual block.
#[derive(Module, Debug)]
struct MidBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<AttentionBlock>,
}

sensorium_nn::pack!(MidBlock: resnets, attentions);

impl MidBlock {
    fn init(config: &UNet2DConfig, init: &mut Init) -> Self {
        let c = config.block_out_channels[config.levels() - 1];
        Self {
            resnets: (0..2).map(|_| config.resnet([c, c], Resize::Same, init)).collect(),
            attentions: vec![config.attention(c, init)],
        }
    }

    fn forward(&self, x: Tensor<4>, told: &Tensor<2>) -> Tensor<4> {
        self.resnets.iter().enumerate().fold(x, |x, (i, resnet)| {
            attended(resnet.forward(x, Some(told)), self.attentions.get(i))
        })
    }
}

/// Residual blocks that each read what a block on the way down left, then one of twice the size.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<AttentionBlock>,
    upsamplers: Vec<ResnetBlock2D>,
}

sensorium_nn::pack!(UpBlock: resnets, attentions, upsamplers);

impl UpBlock {
    fn init(config: &UNet2DConfig, level: usize, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let c = channels[level];
        // What comes from the level below, and what the last block finds kept: of the level above.
        let below = channels[(level + 1).min(channels.len() - 1)];
        let above = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block + 1;
        let attends = if config.attends_up[level] { layers } else { 0 };
        let from = |i: usize| {
            let kept = if i + 1 == layers { above } else { c };
            if i == 0 { below + kept } else { c + kept }
        };
        let larger = usize::from(level > 0);
        Self {
            resnets: (0..layers).map(|i| config.resnet([from(i), c], Resize::Same, init)).collect(),
            attentions: (0..attends).map(|_| config.attention(c, init)).collect(),
            upsamplers: (0..larger).map(|_| config.resnet([c, c], Resize::Double, init)).collect(),
        }
    }

    fn forward(&self, mut x: Tensor<4>, told: &Tensor<2>, kept: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            // As many are kept as are asked for: both are counted by the config.
            let beside = kept.pop().into_iter();
            let both = Tensor::cat([x].into_iter().chain(beside).collect(), 1);
            x = attended(resnet.forward(both, Some(told)), self.attentions.get(i));
        }
        self.upsamplers.iter().fold(x, |x, upsampler| upsampler.forward(x, Some(told)))
    }
}
