//! wav2vec 2.0 and HuBERT: samples themselves, convolutions, a transformer, and a head for transcripts.
//!
//! Baevski et al. 2020, <https://arxiv.org/abs/2006.11477>; Hsu et al. 2021, <https://arxiv.org/abs/2106.07447>;
//! the head is that of CTC (Graves et al. 2006, <https://www.cs.toronto.edu/~graves/icml_2006.pdf>).
//!
//! ```text
//! samples [B, T] ──convolutions──▶ [B, N, c] ──proj──▶ [B, N, E] ──positions, blocks──▶ [B, N, E] ──head──▶ [B, N, V]
//! ```

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;

/// Shape of a [`Wav2Vec2`].
#[derive(Clone, Debug, PartialEq)]
pub struct Wav2Vec2Config {
    /// Classes V of the head, the blank among them.
    pub vocab_size: usize,
    /// What samples go through.
    pub convs: Vec<SampleConv>,
    /// Whether the convolutions have biases.
    pub conv_bias: bool,
    /// What is normalised in them.
    pub conv_norm: ConvNorm,
    /// Behind each of them, and behind the one that tells positions.
    pub conv_activation: Activation,
    /// Whether a norm stands before the projection to the blocks' width (not in some of HuBERT).
    pub proj_norm: bool,
    /// Positions that the convolution reads which tells positions.
    pub position_kernel: usize,
    /// Its groups of channels.
    pub position_groups: usize,
    /// Width E.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Whether norms stand before attention and MLPs (`do_stable_layer_norm`), or after.
    pub pre_norm: bool,
    /// Epsilon of the norms behind the convolutions.
    pub eps: f64,
}

/// One of the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleConv {
    /// Channels out.
    pub channels: usize,
    /// Positions of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
}

/// What is normalised in the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvNorm {
    /// The first one's channels over time (`feat_extract_norm` `group`).
    Channels,
    /// Every position of each (`layer`).
    Positions,
}

/// Epsilon of the convolutions' norms: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

impl Wav2Vec2Config {
    /// Samples from one position to the next; at most `usize::MAX`, whatever the settings.
    pub fn hop(&self) -> usize {
        self.convs.iter().fold(1, |hop, conv| hop.saturating_mul(conv.stride))
    }

    /// Samples that a position sees: fewer than those give none.
    pub fn receptive_field(&self) -> usize {
        let wider = |field: usize, conv: &SampleConv| {
            (field - 1).saturating_mul(conv.stride).saturating_add(conv.kernel)
        };
        self.convs.iter().rev().fold(1, wider)
    }

    /// Positions of so many samples.
    pub fn positions(&self, samples: usize) -> usize {
        let fewer = |n: usize, conv: &SampleConv| match n.checked_sub(conv.kernel) {
            Some(rest) => rest / conv.stride + 1,
            None => 0,
        };
        self.convs.iter().fold(samples, fewer)
    }

    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Wav2Vec2::init(self, init))
    }
}

/// Samples by convolutions, and what a transformer makes of them.
#[derive(Module, Debug)]
pub struct Wav2Vec2 {
    convs: Vec<ConvLayer>,
    proj_norm: Option<LayerNorm>,
    proj: Linear,
    position: GroupedConv1d,
    norm: LayerNorm,
    blocks: Blocks,
    head: Linear,
    #[module(skip)]
    conv_activation: Activation,
}

sensorium_nn::pack!(Wav2Vec2: convs, proj, position, blocks, head);

impl Wav2Vec2 {
    /// Weights by the blocks' scheme.
    pub fn init(config: &Wav2Vec2Config, init: &mut Init) -> Self {
        let (e, c) = (config.hidden_size, config.convs.last().map_or(1, |conv| conv.channels));
        let c_in = std::iter::once(1).chain(config.convs.iter().map(|conv| conv.channels));
        let convs = c_in.zip(&config.convs).enumerate();
        Self {
            convs: convs.map(|(i, io)| ConvLayer::init(config, i, io, init)).collect(),
            proj_norm: config.proj_norm.then(|| LayerNorm::init(c, config.eps, init)),
            proj: Linear::init(c, e, true, (c as f64).powf(-0.5), init),
            position: GroupedConv1d::init(
                [e, config.position_groups, config.position_kernel],
                init,
            ),
            norm: LayerNorm::init(e, config.eps, init),
            blocks: Blocks::init(config, init),
            head: Linear::init(e, config.vocab_size, true, (e as f64).powf(-0.5), init),
            conv_activation: config.conv_activation,
        }
    }

    /// The same with what tells positions learned as lengths and directions, as it is published.
    pub fn with_lengths(self, init: &mut Init) -> Self {
        Self { position: self.position.with_lengths(init), ..self }
    }

    /// What the convolutions hear, `[B, T] -> [B, N, c]`.
    pub fn heard(&self, samples: Tensor<2>) -> Tensor<3> {
        let x = samples.unsqueeze_dim(2); // [B, T, 1]
        self.convs.iter().fold(x, |x, conv| conv.forward(x, self.conv_activation))
    }

    /// Positions after so many blocks, `[B, T] -> [B, N, E]`: after none, what the first one reads.
    pub fn hidden(&self, samples: Tensor<2>, blocks: usize) -> Tensor<3> {
        let x = self.heard(samples);
        let x = match &self.proj_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let x = self.proj.forward(x); // [B, N, E]
        let x = x.clone() + self.conv_activation.forward(self.position.forward(x));
        match &self.blocks {
            Blocks::Pre(all) => {
                all.iter().take(blocks).fold(x, |x, block| block.forward(x, &Mask::Full, None))
            }
            Blocks::Post(all) => {
                let x = self.norm.forward(x);
                all.iter().take(blocks).fold(x, |x, block| block.forward(x, &Mask::Full, None))
            }
        }
    }

    /// The head's logits, `[B, N, E] -> [B, N, V]`.
    pub fn logits(&self, Features(x): Features) -> Tensor<3> {
        self.head.forward(x)
    }
}

impl Encode for Wav2Vec2 {
    type Input = Tensor<2>;

    /// Sounds of one length, of [`receptive_field`](Wav2Vec2Config::receptive_field) samples or more:
    /// `[B, T] -> [B, N, E]`.
    fn encode(&self, samples: Tensor<2>) -> Features {
        let x = self.hidden(samples, usize::MAX);
        Features(match &self.blocks {
            Blocks::Pre(_) => self.norm.forward(x),
            Blocks::Post(_) => x,
        })
    }
}

/// The transformer's.
#[derive(Module, Debug)]
enum Blocks {
    /// Norms before; one more behind the last block.
    Pre(Vec<Block>),
    /// Norms after; one more before the first block.
    Post(Vec<PostBlock>),
}

impl Blocks {
    fn init(config: &Wav2Vec2Config, init: &mut Init) -> Self {
        let block = BlockConfig {
            d: config.hidden_size,
            heads: config.n_heads,
            hidden: config.intermediate_size,
            activation: config.activation,
            eps: config.eps,
            n_layers: config.n_layers,
        };
        let n = 0..config.n_layers;
        match config.pre_norm {
            true => Self::Pre(n.map(|_| Block::init(&block, init)).collect()),
            false => Self::Post(n.map(|_| PostBlock::init(&block, init)).collect()),
        }
    }
}

impl Pack for Blocks {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Pre(blocks) => blocks.matrices(path, visit),
            Self::Post(blocks) => blocks.matrices(path, visit),
        }
    }
}

/// A convolution and its norm.
#[derive(Module, Debug)]
struct ConvLayer {
    conv: Conv1d,
    norm: Option<Normed>,
}

/// A convolution's norm.
#[derive(Module, Debug)]
enum Normed {
    /// Of each channel.
    Channels(ChannelNorm),
    /// Of each position.
    Positions(LayerNorm),
}

sensorium_nn::pack!(ConvLayer: conv);

impl ConvLayer {
    fn init(
        config: &Wav2Vec2Config,
        i: usize,
        (c_in, &SampleConv { channels, kernel, stride }): (usize, &SampleConv),
        init: &mut Init,
    ) -> Self {
        let shape = Conv1dConfig { c_in, c_out: channels, kernel, stride, padding: 0 };
        let conv = Conv1d::init(shape, init);
        let norm = match config.conv_norm {
            ConvNorm::Channels if i > 0 => None,
            ConvNorm::Channels => Some(Normed::Channels(ChannelNorm::init(channels, init))),
            ConvNorm::Positions => Some(Normed::Positions(LayerNorm::init(channels, EPS, init))),
        };
        Self { conv: if config.conv_bias { conv } else { conv.without_bias() }, norm }
    }

    /// `[B, T, c_in] -> [B, T', c_out]`
    fn forward(&self, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let normed = match &self.norm {
            None => return self.conv.activated(x, activation),
            Some(Normed::Channels(norm)) => norm.forward(self.conv.forward(x)),
            Some(Normed::Positions(norm)) => norm.forward(self.conv.forward(x)),
        };
        activation.forward(normed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ones_have_a_position_every_20_ms() {
        let conv = |kernel, stride| SampleConv { channels: 4, kernel, stride };
        let config = Wav2Vec2Config {
            vocab_size: 5,
            convs: [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
                .map(|(kernel, stride)| conv(kernel, stride))
                .into(),
            conv_bias: false,
            conv_norm: ConvNorm::Channels,
            conv_activation: Activation::Gelu,
            proj_norm: true,
            position_kernel: 4,
            position_groups: 2,
            hidden_size: 6,
            n_layers: 1,
            n_heads: 2,
            intermediate_size: 8,
            activation: Activation::Gelu,
            pre_norm: false,
            eps: 1e-5,
        };
        assert_eq!((config.hop(), config.receptive_field()), (320, 400));
        let mut init = Init::new(1, &Device::flex());
        let model = Wav2Vec2::init(&config, &mut init);
        for (samples, positions) in [(400, 1), (719, 1), (720, 2), (16_000, 49)] {
            let features = model.encode(init.normal([1, samples], 1.0).val());
            assert_eq!(model.logits(features).dims(), [1, positions, 5], "{samples}");
            assert_eq!(config.positions(samples), positions);
        }
        let mut wide = config.clone();
        wide.convs = vec![conv(1 << 24, 1 << 24); 9];
        assert_eq!((wide.hop(), wide.receptive_field()), (usize::MAX, usize::MAX));
    }
}
