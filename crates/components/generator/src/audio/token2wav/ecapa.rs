//! ECAPA-TDNN: a recording's spectrogram to a vector of its voice.
//!
//! Desplanques et al. 2020, <https://arxiv.org/abs/2005.07143>, without its norms.
//!
//! ```text
//! log-mel [B, T, bands] ──TDNN──▶ [B, T, c] ──SE-Res2 blocks, side by side──▶ [B, T, c'] ──pool──▶ [B, 1, 2 c'] ──▶ [B, 1, E]
//! ```

use sensorium_nn::prelude::*;

use crate::audio::pointwise;

/// Shape of an [`Ecapa`].
#[derive(Clone, Debug, PartialEq)]
pub struct EcapaConfig {
    /// Bands of a frame.
    pub bands: usize,
    /// Channels, kernel and dilation of the first layer, of each block, and of the layer that reads all blocks.
    pub layers: Vec<[usize; 3]>,
    /// Parts into which a block takes its channels.
    pub scale: usize,
    /// Channels that a block's gates are told in.
    pub squeezed: usize,
    /// Channels that the pool's weights are told in.
    pub attention: usize,
    /// Width E of the vector.
    pub width: usize,
}

impl EcapaConfig {
    /// Frames of the shortest recording: what is read beyond its ends is mirrored there.
    pub fn least(&self) -> usize {
        self.layers.iter().map(|[_, kernel, dilation]| kernel / 2 * dilation).max().unwrap_or(0) + 1
    }
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Ecapa {
    blocks: Vec<Layer>,
    all: Tdnn,
    pool: StatisticsPool,
    fc: Conv1d,
}

sensorium_nn::pack!(Ecapa: blocks, all, pool, fc);

/// What follows each other: published files number both alike.
#[expect(clippy::large_enum_variant, reason = "there are a few of them in a model")]
#[derive(Module, Debug)]
enum Layer {
    First(Tdnn),
    Block(SeRes2Block),
}

impl Pack for Layer {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::First(tdnn) => tdnn.matrices(path, visit),
            Self::Block(block) => block.matrices(path, visit),
        }
    }
}

impl Ecapa {
    /// Seeded weights.
    ///
    /// # Panics
    /// When there are less than two layers.
    pub fn init(config: &EcapaConfig, init: &mut Init) -> Self {
        let [first, blocks @ .., last] = &config.layers[..] else {
            panic!("ECAPA-TDNN of {} layers", config.layers.len())
        };
        let first = Layer::First(Tdnn::init(config.bands, *first, init));
        let blocks = blocks.iter();
        let blocks = blocks.map(|layer| Layer::Block(SeRes2Block::init(*layer, config, init)));
        Self {
            blocks: std::iter::once(first).chain(blocks).collect(),
            all: Tdnn::init(last[0], *last, init),
            pool: StatisticsPool::init([last[0], config.attention], init),
            fc: pointwise([2 * last[0], config.width], init),
        }
    }

    /// `[B, T, bands] -> [B, 1, E]`
    pub fn forward(&self, log_mel: Tensor<3>) -> Tensor<3> {
        let (mut x, mut all) = (log_mel, Vec::with_capacity(self.blocks.len()));
        for layer in &self.blocks {
            match layer {
                Layer::First(tdnn) => x = tdnn.forward(x),
                Layer::Block(block) => {
                    x = block.forward(x);
                    all.push(x.clone());
                }
            }
        }
        let x = self.all.forward(Tensor::cat(all, 2));
        self.fc.forward(self.pool.forward(x))
    }
}

/// A convolution that keeps the length, the sequence mirrored at its ends, and ReLU.
#[derive(Module, Debug)]
struct Tdnn {
    conv: Conv1d,
    #[module(skip)]
    reach: usize,
}

sensorium_nn::pack!(Tdnn: conv);

impl Tdnn {
    fn init(c_in: usize, [c_out, kernel, dilation]: [usize; 3], init: &mut Init) -> Self {
        let config = Conv1dConfig { c_in, c_out, kernel, stride: 1, padding: 0 };
        Self { conv: Conv1d::init(config, init).dilated(dilation), reach: kernel / 2 * dilation }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.conv.activated(mirrored(x, self.reach), Activation::Relu)
    }
}

/// So many positions more at each end, those beside it backwards.
fn mirrored(x: Tensor<3>, reach: usize) -> Tensor<3> {
    if reach == 0 {
        return x;
    }
    let t = x.dims()[1];
    let part = |at| x.clone().narrow(1, at, reach).flip([1]);
    Tensor::cat(vec![part(1), x.clone(), part(t - 1 - reach)], 1)
}

/// A linear map, convolutions over parts of the channels of which each reads the one before too, a linear map, and
/// gates that follow from the means of all positions.
#[derive(Module, Debug)]
struct SeRes2Block {
    tdnn1: Tdnn,
    res2: Vec<Tdnn>,
    tdnn2: Tdnn,
    squeeze: Conv1d,
    excite: Conv1d,
}

sensorium_nn::pack!(SeRes2Block: tdnn1, res2, tdnn2, squeeze, excite);

impl SeRes2Block {
    fn init([c, kernel, dilation]: [usize; 3], config: &EcapaConfig, init: &mut Init) -> Self {
        let part = c / config.scale;
        Self {
            tdnn1: Tdnn::init(c, [c, 1, 1], init),
            res2: (1..config.scale)
                .map(|_| Tdnn::init(part, [part, kernel, dilation], init))
                .collect(),
            tdnn2: Tdnn::init(c, [c, 1, 1], init),
            squeeze: pointwise([c, config.squeezed], init),
            excite: pointwise([config.squeezed, c], init),
        }
    }

    /// `[B, T, c] -> [B, T, c]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.tdnn2.forward(self.res2(self.tdnn1.forward(x.clone())));
        let told = self.squeeze.activated(y.clone().mean_dim(1), Activation::Relu);
        x + y * fused::sigmoid(self.excite.forward(told))
    }

    fn res2(&self, x: Tensor<3>) -> Tensor<3> {
        let part = x.dims()[2] / (self.res2.len() + 1);
        let mut parts = vec![x.clone().narrow(2, 0, part)];
        for (i, tdnn) in self.res2.iter().enumerate() {
            let own = x.clone().narrow(2, (i + 1) * part, part);
            // The first part is not read again.
            let own = if i == 0 { own } else { own + parts[i].clone() };
            parts.push(tdnn.forward(own));
        }
        Tensor::cat(parts, 2)
    }
}

/// Means and deviations of each channel, over positions that count as much as is told (section 3.1).
#[derive(Module, Debug)]
struct StatisticsPool {
    tdnn: Tdnn,
    conv: Conv1d,
}

sensorium_nn::pack!(StatisticsPool: tdnn, conv);

/// The least variance.
const EPS: f64 = 1e-12;

impl StatisticsPool {
    fn init([c, attention]: [usize; 2], init: &mut Init) -> Self {
        Self {
            tdnn: Tdnn::init(3 * c, [attention, 1, 1], init),
            conv: pointwise([attention, c], init),
        }
    }

    /// `[B, T, c] -> [B, 1, 2 c]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let t = x.dims()[1];
        let alike = x.ones_like() / t as f64;
        let [mean, deviation] = statistics(&x, alike).map(|all| all.repeat_dim(1, t));
        let told = self.tdnn.forward(Tensor::cat(vec![x.clone(), mean, deviation], 2));
        let weights = fused::softmax(self.conv.forward(told.tanh()), 1);
        Tensor::cat(statistics(&x, weights).into(), 2)
    }
}

/// Mean and deviation over positions with these weights, `[B, T, c] -> 2 x [B, 1, c]`.
fn statistics(x: &Tensor<3>, weights: Tensor<3>) -> [Tensor<3>; 2] {
    let mean = (x.clone() * weights.clone()).sum_dim(1);
    let variance = ((x.clone() - mean.clone()).square() * weights).sum_dim(1);
    [mean, variance.clamp_min(EPS).sqrt()]
}
