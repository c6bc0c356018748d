//! Frames after frames: what reads the last one, what asks the text, what looks at all of them once more.

use sensorium_nn::fused::KeyValues;
use sensorium_nn::prelude::*;

use super::{SpeechT5Config, sinusoids};
use crate::audio::same;

/// A frame, its place, and whose voice it is.
#[derive(Module, Debug)]
pub(super) struct Prenet {
    layers: Vec<Linear>,
    last: Linear,
    /// What places are multiplied by, `[1]`.
    alpha: Param<Tensor<1>>,
    voice: Linear,
    #[module(skip)]
    dropout: f64,
}

sensorium_nn::pack!(Prenet: layers, last, voice);

impl Prenet {
    pub(super) fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let (d, [layers, width]) = (config.hidden_size, config.prenet);
        let map = |c_in: usize, c_out: usize, init: &mut Init| {
            Linear::init(c_in, c_out, true, (c_in as f64).powf(-0.5), init)
        };
        let reads = |i: usize| if i == 0 { config.bands } else { width };
        Self {
            layers: (0..layers).map(|i| map(reads(i), width, init)).collect(),
            last: map(width, d, init),
            alpha: init.constant([1], 1.0),
            voice: map(d + config.speaker, d, init),
            dropout: config.prenet_dropout,
        }
    }

    /// The frame at a place, `[1, 1, bands] -> [1, 1, D]`, for a voice `[1, 1, S]`.
    pub(super) fn forward(
        &self,
        frame: Tensor<3>,
        place: usize,
        voice: &Tensor<3>,
        kept: &mut dyn FnMut(usize) -> Vec<bool>,
    ) -> Tensor<3> {
        let device = frame.device();
        let x = self.layers.iter().fold(frame, |x, layer| {
            let y = Activation::Relu.forward(layer.forward(x));
            let width = y.dims()[2];
            let scale = 1.0 / (1.0 - self.dropout) as f32;
            let scales = kept(width).into_iter().map(|kept| if kept { scale } else { 0.0 });
            let scales = TensorData::new(scales.collect(), [1, 1, width]);
            y * Tensor::from_data(scales, &device)
        });
        let x = self.last.forward(x);
        let places = sinusoids([1, x.dims()[2]], place, &device);
        let x = x + places * self.alpha.val().reshape([1, 1, 1]);
        let x = Tensor::cat(vec![x, voice.clone()], 2);
        Activation::Relu.forward(self.voice.forward(x))
    }
}

/// Blocks that read what was said, and the text.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    blocks: Vec<DecoderBlock>,
}

sensorium_nn::pack!(Decoder: blocks);

/// What each block keeps of the steps, and of the text.
pub(super) struct Decoding {
    blocks: Vec<(KeyValues, [Tensor<4>; 2])>,
}

impl Decoder {
    pub(super) fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let blocks = 0..config.decoder[0];
        Self { blocks: blocks.map(|_| DecoderBlock::init(config, init)).collect() }
    }

    /// Before the first step, of a text `[1, T, D]`.
    pub(super) fn begin(&self, text: &Tensor<3>) -> Decoding {
        let asked = |block: &DecoderBlock| block.cross.keys_values(text.clone());
        let blocks = self.blocks.iter().map(|block| (KeyValues::default(), asked(block)));
        Decoding { blocks: blocks.collect() }
    }

    /// A step further, `[1, 1, D] -> [1, 1, D]`.
    pub(super) fn step(&self, x: Tensor<3>, decoding: &mut Decoding) -> Tensor<3> {
        let blocks = self.blocks.iter().zip(&mut decoding.blocks);
        blocks.fold(x, |x, (block, (kept, text))| block.step(x, kept, text))
    }
}

/// `norm1(x + attention(x))`, `norm2(x + cross(x, text))`, `norm3(x + mlp(x))`.
#[derive(Module, Debug)]
struct DecoderBlock {
    attention: Attention,
    norm1: LayerNorm,
    cross: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
}

sensorium_nn::pack!(DecoderBlock: attention, cross, mlp);

impl DecoderBlock {
    fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let (d, [_, heads, inner]) = (config.hidden_size, config.decoder);
        let std = [(d as f64).powf(-0.5); 2];
        let norm = |init: &mut Init| LayerNorm::init(d, config.eps, init);
        Self {
            attention: Attention::init(d, heads, std, init),
            norm1: norm(init),
            cross: Attention::init(d, heads, std, init),
            norm2: norm(init),
            mlp: Mlp::init([d, inner, d], config.activation, std, init),
            norm3: norm(init),
        }
    }

    fn step(&self, x: Tensor<3>, kept: &mut KeyValues, text: &[Tensor<4>; 2]) -> Tensor<3> {
        let x = self.attention.extend_self(x.clone(), x, Mask::Full, kept);
        let x = self.norm1.forward(x);
        let x = self.norm2.forward(self.cross.add_across(x.clone(), x, text));
        self.norm3.forward(self.mlp.add_to(x.clone(), x))
    }
}

/// From the decoder's positions to frames, and convolutions over all of them.
#[derive(Module, Debug)]
pub(super) struct Postnet {
    frames: Linear,
    ends: Linear,
    layers: Vec<NormedConv>,
    #[module(skip)]
    reduction: usize,
}

sensorium_nn::pack!(Postnet: frames, ends, layers);

impl Postnet {
    pub(super) fn init(config: &SpeechT5Config, init: &mut Init) -> Self {
        let (d, bands, reduction) = (config.hidden_size, config.bands, config.reduction);
        let [layers, width, kernel] = config.postnet;
        let std = (d as f64).powf(-0.5);
        let reads = |i: usize| if i == 0 { bands } else { width };
        let gives = |i: usize| if i + 1 == layers { bands } else { width };
        let layer = |i: usize, init: &mut Init| {
            NormedConv::init([reads(i), gives(i)], kernel, i + 1 < layers, init)
        };
        Self {
            frames: Linear::init(d, bands * reduction, true, std, init),
            ends: Linear::init(d, reduction, true, std, init),
            layers: (0..layers).map(|i| layer(i, init)).collect(),
            reduction,
        }
    }

    /// Frames of a step.
    pub(super) fn reduction(&self) -> usize {
        self.reduction
    }

    /// `[1, 1, D] -> [1, r, bands]`
    pub(super) fn frames(&self, x: Tensor<3>) -> Tensor<3> {
        let frames = self.frames.forward(x);
        let (r, all) = (self.reduction, frames.dims()[2]);
        frames.reshape([1, r, all / r])
    }

    /// How probable it is that each frame is the last, `[1, 1, D] -> [1, 1, r]`.
    pub(super) fn ends(&self, x: Tensor<3>) -> Tensor<3> {
        fused::sigmoid(self.ends.forward(x))
    }

    /// `[1, F, bands] -> [1, F, bands]`
    pub(super) fn forward(&self, frames: Tensor<3>) -> Tensor<3> {
        frames.clone() + self.layers.iter().fold(frames, |x, layer| layer.forward(x))
    }
}

/// `tanh(norm(conv(x)))`, the last one without `tanh`.
#[derive(Module, Debug)]
struct NormedConv {
    conv: Conv1d,
    norm: BatchNorm2d,
    #[module(skip)]
    bends: bool,
}

sensorium_nn::pack!(NormedConv: conv);

impl NormedConv {
    fn init(channels: [usize; 2], kernel: usize, bends: bool, init: &mut Init) -> Self {
        let conv = same(channels, kernel, 1, init).without_bias();
        Self { conv, norm: BatchNorm2d::init(channels[1], 1.0, init), bends }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.conv.forward(x).swap_dims(1, 2).unsqueeze_dim::<4>(3); // [1, c, F, 1]
        let x = self.norm.forward(x).squeeze_dim::<3>(3).swap_dims(1, 2);
        if self.bends { x.tanh() } else { x }
    }
}
