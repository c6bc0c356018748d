//! The modified ResNet of CLIP: convolutions, and attention in place of the last average.
//!
//! Radford et al. 2021, section 2.4, <https://arxiv.org/abs/2103.00020>: the ResNet-D of He et al.
//! 2019 (<https://arxiv.org/abs/1812.01187>) with the antialiasing of Zhang 2019
//! (<https://arxiv.org/abs/1904.11486>). In training every convolution has a batch norm behind it; for
//! running these are constants, and belong to the weights and biases of the convolutions
//! ([`Resnet::folded`]).
//!
//! ```text
//! image [B, 3, h, w] ──3 convolutions, mean of 2x2──▶ [B, W, h/4, w/4]
//!     ──4 stages of bottlenecks──▶ [B, E, h/32, w/32] ──attention pool──▶ [B, C]      E = 32·W
//! ```

use sensorium_flow::{Encode, Features};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// Channels of a stage over those inside its bottlenecks.
const EXPANSION: usize = 4;

/// Shape of a [`Resnet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetConfig {
    /// Side of the input picture in pixels, a multiple of 32.
    pub image: usize,
    /// Bottlenecks of each stage.
    pub layers: [usize; 4],
    /// Channels W after the stem, an even number.
    #[serde(alias = "width")]
    pub hidden_size: usize,
    /// Heads of the attention pool.
    pub n_heads: usize,
    /// Width C of the shared space.
    pub embed: usize,
}

impl ResnetConfig {
    /// CLIP RN50: 38,316,896 parameters.
    pub fn clip_rn50() -> Self {
        Self { image: 224, layers: [3, 4, 6, 3], hidden_size: 64, n_heads: 32, embed: 1024 }
    }

    /// Channels E after the last stage.
    pub fn channels(&self) -> usize {
        32 * self.hidden_size
    }

    /// Positions after the last stage.
    pub fn places(&self) -> usize {
        (self.image / 32).pow(2)
    }

    /// Floating-point operations of one picture's forward pass, two for each multiply-add.
    pub fn flops(&self) -> f64 {
        let convs: usize = self.convs().iter().map(|[reads, written]| reads * written).sum();
        let (n, e) = (self.places() + 1, self.channels());
        2.0 * (convs + 2 * n * e * (e + 1) + e * (e + self.embed)) as f64
    }

    /// Values of one picture that a backward pass needs at the least: what each convolution writes, and
    /// what its norm makes of that.
    pub fn activations(&self) -> usize {
        self.convs().iter().map(|[_, written]| 2 * written).sum()
    }

    /// Of each convolution, how many values make one that it writes, and how many it writes of a picture.
    fn convs(&self) -> Vec<[usize; 2]> {
        let mut side = self.image / 2;
        let area = |side: usize| side * side;
        let stem = self.stem().map(|[c_in, c_out, _]| [9 * c_in, c_out * area(side)]);
        let mut all = stem.to_vec();
        side /= 2;
        for shape in self.stages().into_iter().flatten() {
            let Shape { c_in, planes, step } = shape;
            let (out, after) = (EXPANSION * planes, area(side / step));
            let planes_here = planes * area(side);
            all.extend([[c_in, planes_here], [9 * planes, planes_here], [planes, out * after]]);
            all.extend(shape.reshapes().then_some([c_in, out * after]));
            side /= step;
        }
        all
    }

    /// Name and shape of every parameter and statistic, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Resnet::init(self, init))
    }

    /// Channels in, channels out and step of the stem's convolutions.
    fn stem(&self) -> [[usize; 3]; 3] {
        let half = self.hidden_size / 2;
        [[3, half, 2], [half, half, 1], [half, self.hidden_size, 1]]
    }

    /// The bottlenecks of each stage; all stages but the first halve the picture.
    fn stages(&self) -> [Vec<Shape>; 4] {
        let mut c_in = self.hidden_size;
        let mut stage = 0;
        self.layers.map(|count| {
            let planes = self.hidden_size << stage;
            let step = if stage == 0 { 1 } else { 2 };
            stage += 1;
            (0..count)
                .map(|i| {
                    let shape = Shape { c_in, planes, step: if i == 0 { step } else { 1 } };
                    c_in = EXPANSION * planes;
                    shape
                })
                .collect()
        })
    }
}

/// Shape of a [`Bottleneck`].
#[derive(Clone, Copy)]
struct Shape {
    c_in: usize,
    /// Channels inside.
    planes: usize,
    step: usize,
}

impl Shape {
    /// Whether what is written has another shape than what is read.
    fn reshapes(self) -> bool {
        self.step > 1 || self.c_in != EXPANSION * self.planes
    }
}

/// An image encoder of convolutions with attention pooling (Radford et al. 2021, section 2.4).
#[derive(Module, Debug)]
pub struct Resnet {
    conv1: ConvBn,
    conv2: ConvBn,
    conv3: ConvBn,
    layer1: Vec<Bottleneck>,
    layer2: Vec<Bottleneck>,
    layer3: Vec<Bottleneck>,
    layer4: Vec<Bottleneck>,
    pool: MeanPool,
}

impl Resnet {
    /// Weights for a ReLU after them; every bottleneck begins as its shortcut (Goyal et al. 2017,
    /// <https://arxiv.org/abs/1706.02677>, section 5.1).
    pub fn init(config: &ResnetConfig, init: &mut Init) -> Self {
        let [conv1, conv2, conv3] = config
            .stem()
            .map(|[c_in, c_out, step]| ConvBn::init([c_in, c_out], 3, step, 1.0, init));
        let [layer1, layer2, layer3, layer4] = config
            .stages()
            .map(|blocks| blocks.into_iter().map(|shape| Bottleneck::init(shape, init)).collect());
        Self {
            conv1,
            conv2,
            conv3,
            layer1,
            layer2,
            layer3,
            layer4,
            pool: MeanPool::init(config, init),
        }
    }

    /// The same encoder for running: norms multiplied into the convolutions before them.
    pub fn folded(self) -> Self {
        let all = |layer: Vec<Bottleneck>| layer.into_iter().map(Bottleneck::folded).collect();
        let Self { conv1, conv2, conv3, layer1, layer2, layer3, layer4, pool } = self;
        let [conv1, conv2, conv3] = [conv1, conv2, conv3].map(ConvBn::folded);
        let [layer1, layer2, layer3, layer4] = [layer1, layer2, layer3, layer4].map(all);
        Self { conv1, conv2, conv3, layer1, layer2, layer3, layer4, pool }
    }

    /// Pictures to the shared space, not yet of unit length: `[B, 3, h, w] -> [B, C]`.
    pub fn embed(&self, image: Tensor<4>) -> Tensor<2> {
        self.pooled(self.encode(image))
    }

    /// The rest of [`embed`](Self::embed) behind [`encode`](Encode::encode): `[B, N, E] -> [B, C]`.
    pub fn pooled(&self, places: Features) -> Tensor<2> {
        self.pool.forward(places)
    }

    /// Places after so many of the four stages, `[B, 3, h, w] -> [B, channels, h', w']`: after none,
    /// what the first one reads.
    pub fn hidden(&self, image: Tensor<4>, stages: usize) -> Tensor<4> {
        let convs = [&self.conv1, &self.conv2, &self.conv3];
        let x = convs.into_iter().fold(image, |x, conv| relu(conv.forward(x)));
        let x = average_pool2d(x, 2); // [B, W, h/4, w/4]
        let all = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        all.into_iter().take(stages).flatten().fold(x, |x, block| block.forward(x))
    }
}

impl Encode for Resnet {
    type Input = Tensor<4>;

    /// Places after the last stage, row by row: `[B, 3, h, w] -> [B, N, E]`.
    fn encode(&self, image: Tensor<4>) -> Features {
        Features(self.hidden(image, 4).flatten::<3>(2, 3).swap_dims(1, 2))
    }
}

sensorium_nn::pack!(Resnet: pool);

/// `relu(shortcut(x) + conv3(mean(conv2(conv1(x)))))`: the mean over squares of a step comes before
/// channels are mixed again, so that a step passes over no pixel.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: ConvBn,
    conv2: ConvBn,
    conv3: ConvBn,
    downsample: Option<ConvBn>,
    #[module(skip)]
    step: usize,
}

impl Bottleneck {
    fn init(shape: Shape, init: &mut Init) -> Self {
        let Shape { c_in, planes, step } = shape;
        let out = EXPANSION * planes;
        Self {
            conv1: ConvBn::init([c_in, planes], 1, 1, 1.0, init),
            conv2: ConvBn::init([planes, planes], 3, 1, 1.0, init),
            conv3: ConvBn::init([planes, out], 1, 1, 0.0, init),
            downsample: shape.reshapes().then(|| ConvBn::init([c_in, out], 1, 1, 1.0, init)),
            step,
        }
    }

    fn folded(self) -> Self {
        let [conv1, conv2, conv3] = [self.conv1, self.conv2, self.conv3].map(ConvBn::folded);
        let downsample = self.downsample.map(ConvBn::folded);
        Self { conv1, conv2, conv3, downsample, step: self.step }
    }

    /// `[B, c, h, w] -> [B, 4·planes, h / step, w / step]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.conv2.forward(relu(self.conv1.forward(x.clone()))));
        let y = self.conv3.forward(self.smaller(y));
        let x = match &self.downsample {
            Some(conv) => conv.forward(self.smaller(x)),
            None => x,
        };
        relu(x + y)
    }

    fn smaller(&self, x: Tensor<4>) -> Tensor<4> {
        if self.step == 1 { x } else { average_pool2d(x, self.step) }
    }
}

fn relu(x: Tensor<4>) -> Tensor<4> {
    Activation::Relu.forward(x)
}

/// A convolution that keeps the picture's size but for its step, and its norm, or a bias in its place.
#[derive(Module, Debug)]
struct ConvBn {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
}

impl ConvBn {
    /// With `weight` as the norm's scale.
    fn init(
        [c_in, c_out]: [usize; 2],
        kernel: usize,
        stride: usize,
        weight: f32,
        init: &mut Init,
    ) -> Self {
        let padding = kernel / 2;
        let config = Conv2dConfig { c_in, c_out, kernel, stride, padding, bias: false };
        let conv = Conv2d::init(config, init);
        Self { conv, norm: Some(BatchNorm2d::init(c_out, weight, init)) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv.forward(x);
        match &self.norm {
            Some(norm) => norm.forward(y),
            None => y,
        }
    }

    fn folded(self) -> Self {
        match self.norm {
            Some(norm) => Self { conv: self.conv.folded(&norm), norm: None },
            None => self,
        }
    }
}

/// What the mean of all places asks of them and of itself.
#[derive(Module, Debug)]
struct MeanPool {
    /// Of the mean, then of every place, `[N + 1, E]`.
    position: Param<Tensor<2>>,
    q: Linear,
    k: Linear,
    v: Linear,
    /// `E -> C`.
    o: Linear,
    #[module(skip)]
    n_heads: usize,
}

impl MeanPool {
    /// Weights of standard deviation `E^-0.5`.
    fn init(config: &ResnetConfig, init: &mut Init) -> Self {
        let e = config.channels();
        let std = (e as f64).powf(-0.5);
        Self {
            position: init.normal([config.places() + 1, e], std),
            q: Linear::init(e, e, true, std, init),
            k: Linear::init(e, e, true, std, init),
            v: Linear::init(e, e, true, std, init),
            o: Linear::init(e, config.embed, true, std, init),
            n_heads: config.n_heads,
        }
    }

    /// `[B, N, E] -> [B, C]`
    fn forward(&self, Features(x): Features) -> Tensor<2> {
        let [b, n, e] = x.dims();
        let x = Tensor::cat(vec![x.clone().mean_dim(1), x], 1); // [B, N + 1, E]
        let x = x + self.position.val().unsqueeze();
        let heads = |y: Tensor<3>, t: usize| y.reshape([b, t, self.n_heads, e / self.n_heads]);
        let q = heads(self.q.forward(x.clone().narrow(1, 0, 1)), 1);
        let [k, v] = Linear::together([&self.k, &self.v], x).map(|y| heads(y, n + 1));
        let found = fused::attention(Precision::F32, q, k, v, Mask::Full, None);
        self.o.forward(found.reshape([b, e]))
    }
}

sensorium_nn::pack!(MeanPool: q, k, v, o);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rn50_has_the_published_number_of_parameters() {
        let resnet = Resnet::init(&ResnetConfig::clip_rn50(), &mut Init::empty(&Device::flex()));
        assert_eq!(params::count(&resnet), 38_316_896);
    }

    /// torch counts open_clip's; its attention pool asks with every place, of which one is read.
    #[test]
    fn rn50_takes_the_operations_that_torch_counts() {
        let asked = 49 * (2048 * 2048 + 2 * 50 * 2048 + 2048 * 1024);
        let counted = 12_222_939_136_u64 - 2 * asked;
        assert_eq!(ResnetConfig::clip_rn50().flops(), counted as f64);
    }
}
