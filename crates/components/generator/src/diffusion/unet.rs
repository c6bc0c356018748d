//! What tells the noise in latents, at a time and of a text: `UNet2DConditionModel`.
//!
//! Ronneberger et al. 2015, <https://arxiv.org/abs/1505.04597>, with the time of Ho et al. 2020 and the texts of
//! Rombach et al. 2022.
//!
//! ```text
//! latents ─conv_in─▶ down_blocks, what each leaves is kept ─▶ mid_block ─▶ up_blocks, each with what was kept ─▶ conv_out
//! ```

use sensorium_nn::prelude::*;

use super::resnet::{Downsample2D, Norms, ResnetBlock2D, Upsample2D, conv3};
use super::time::{TimeWaves, TimestepEmbedding, silu};
use super::transformer::{Transformer2DModel, TransformerConfig};

/// Shape of a [`UNet2DConditionModel`]. Lists have an entry for each level, the largest size first.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2DConditionConfig {
    /// Height and width of the latents that it was trained with.
    pub sample_size: [usize; 2],
    /// Channels that go in.
    pub in_channels: usize,
    /// Channels that come out.
    pub out_channels: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level on its way down; one more on the way up.
    pub layers_per_block: Vec<usize>,
    /// Blocks of each transformer of each level.
    pub transformer_layers_per_block: Vec<usize>,
    /// Heads of each level: what the files call `attention_head_dim`.
    pub heads: Vec<usize>,
    /// Whether each level has transformers on its way down.
    pub attends_down: Vec<bool>,
    /// Whether each level has transformers on its way up.
    pub attends_up: Vec<bool>,
    /// Width C of the texts.
    pub cross_attention_dim: usize,
    /// Whether the transformers' maps at both ends are matrices.
    pub use_linear_projection: bool,
    /// Groups of every norm.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' norms.
    pub norm_eps: f64,
    /// Whether the cosines of a time stand before its sines.
    pub flip_sin_to_cos: bool,
    /// What is taken off the number of waves that their lengths are spread over.
    pub freq_shift: f64,
}

impl UNet2DConditionConfig {
    /// What both sides of latents are multiples of.
    pub fn factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| UNet2DConditionModel::init(self, init))
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

    /// The transformers of a level.
    fn transformer(&self, level: usize) -> TransformerConfig {
        TransformerConfig {
            channels: self.block_out_channels[level],
            heads: self.heads[level],
            layers: self.transformer_layers_per_block[level],
            width: self.cross_attention_dim,
            groups: self.norm_num_groups,
            linear: self.use_linear_projection,
        }
    }

    fn resnet(&self, channels: [usize; 2], init: &mut Init) -> ResnetBlock2D {
        ResnetBlock2D::init(channels, Some(self.time()), self.norms(), init)
    }
}

/// What says of noisy latents, a time and a text how they are less noisy (diffusers' `UNet2DConditionModel`).
#[derive(Module, Debug)]
pub struct UNet2DConditionModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    waves: TimeWaves,
}

sensorium_nn::pack!(UNet2DConditionModel: time_embedding, down_blocks, mid_block, up_blocks);

impl UNet2DConditionModel {
    /// Seeded weights.
    pub fn init(config: &UNet2DConditionConfig, init: &mut Init) -> Self {
        let (n, first) = (config.levels(), config.block_out_channels[0]);
        let waves = TimeWaves {
            width: first,
            cosines_first: config.flip_sin_to_cos,
            freq_shift: config.freq_shift as f32,
        };
        Self {
            conv_in: conv3([config.in_channels, first], init),
            time_embedding: TimestepEmbedding::init([first, config.time()], init),
            down_blocks: (0..n).map(|level| DownBlock::init(config, level, init)).collect(),
            mid_block: MidBlock::init(config, init),
            up_blocks: (0..n).rev().map(|level| UpBlock::init(config, level, init)).collect(),
            conv_norm_out: config.norms().init(first, init),
            conv_out: conv3([first, config.out_channels], init),
            waves,
        }
    }

    /// `x [B, c, h, w], texts [B, T, C] -> [B, c', h, w]` at a time, a step of those in training.
    pub fn forward(&self, x: Tensor<4>, time: f32, texts: &Tensor<3>) -> Tensor<4> {
        let waves = self.waves.at(time, x.dims()[0], &x.device());
        let time = silu(self.time_embedding.forward(waves));
        let x = self.conv_in.forward(x);
        let mut kept = vec![x.clone()];
        let x =
            self.down_blocks.iter().fold(x, |x, block| block.forward(x, &time, texts, &mut kept));
        let x = self.mid_block.forward(x, &time, texts);
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(x, &time, texts, &mut kept));
        self.conv_out.forward(self.conv_norm_out.silu(x))
    }
}

/// Residual blocks, each with a transformer behind it or none, then half the size.
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
    downsamplers: Vec<Downsample2D>,
}

sensorium_nn::pack!(DownBlock: resnets, attentions);

impl DownBlock {
    fn init(config: &UNet2DConditionConfig, level: usize, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let (before, c) = (channels[level.saturating_sub(1)], channels[level]);
        let layers = config.layers_per_block[level];
        let attends = if config.attends_down[level] { layers } else { 0 };
        let resnet =
            |i: usize, init: &mut Init| config.resnet([if i == 0 { before } else { c }, c], init);
        let transformer = config.transformer(level);
        let last = level + 1 == config.levels();
        Self {
            resnets: (0..layers).map(|i| resnet(i, init)).collect(),
            attentions: (0..attends)
                .map(|_| Transformer2DModel::init(&transformer, init))
                .collect(),
            downsamplers: (0..usize::from(!last))
                .map(|_| Downsample2D::init(c, false, init))
                .collect(),
        }
    }

    fn forward(
        &self,
        mut x: Tensor<4>,
        time: &Tensor<2>,
        texts: &Tensor<3>,
        kept: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = attended(resnet.forward(x, Some(time)), self.attentions.get(i), texts);
            kept.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            kept.push(x.clone());
        }
        x
    }
}

/// What a transformer makes of it, where there is one.
fn attended(
    x: Tensor<4>,
    transformer: Option<&Transformer2DModel>,
    texts: &Tensor<3>,
) -> Tensor<4> {
    transformer.into_iter().fold(x, |x, transformer| transformer.forward(x, texts))
}

/// A residual block, a transformer, a residual block.
#[derive(Module, Debug)]
struct MidBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
}

sensorium_nn::pack!(MidBlock: resnets, attentions);

impl MidBlock {
    fn init(config: &UNet2DConditionConfig, init: &mut Init) -> Self {
        let last = config.levels() - 1;
        let c = config.block_out_channels[last];
        Self {
            resnets: (0..2).map(|_| config.resnet([c, c], init)).collect(),
            attentions: vec![Transformer2DModel::init(&config.transformer(last), init)],
        }
    }

    fn forward(&self, x: Tensor<4>, time: &Tensor<2>, texts: &Tensor<3>) -> Tensor<4> {
        self.resnets.iter().enumerate().fold(x, |x, (i, resnet)| {
            attended(resnet.forward(x, Some(time)), self.attentions.get(i), texts)
        })
    }
}

/// Residual blocks that each read what a block on the way down left, then twice the size.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
    upsamplers: Vec<Upsample2D>,
}

sensorium_nn::pack!(UpBlock: resnets, attentions);

impl UpBlock {
    fn init(config: &UNet2DConditionConfig, level: usize, init: &mut Init) -> Self {
        let channels = &config.block_out_channels;
        let c = channels[level];
        // What comes from the level below, and what the last block finds kept: of the level above.
        let below = channels[(level + 1).min(channels.len() - 1)];
        let above = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block[level] + 1;
        let attends = if config.attends_up[level] { layers } else { 0 };
        let resnet = |i: usize, init: &mut Init| {
            let kept = if i + 1 == layers { above } else { c };
            config.resnet([if i == 0 { below } else { c } + kept, c], init)
        };
        let transformer = config.transformer(level);
        Self {
            resnets: (0..layers).map(|i| resnet(i, init)).collect(),
            attentions: (0..attends)
                .map(|_| Transformer2DModel::init(&transformer, init))
                .collect(),
            upsamplers: (0..usize::from(level > 0)).map(|_| Upsample2D::init(c, init)).collect(),
        }
    }

    fn forward(
        &self,
        mut x: Tensor<4>,
        time: &Tensor<2>,
        texts: &Tensor<3>,
        kept: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            // As many are kept as are asked for: both are counted by the config.
            let beside = kept.pop().into_iter();
            let both = Tensor::cat([x].into_iter().chain(beside).collect(), 1);
            x = attended(resnet.forward(both, Some(time)), self.attentions.get(i), texts);
        }
        self.upsamplers.iter().fold(x, |x, upsampler| upsampler.forward(x))
    }
}
