//! How long each letter lasts: drawn by a flow from noise (Kim et al. 2021, section 2.2.2), or told.

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::spline::inverse;
use super::{DurationConfig, VitsConfig};
use crate::audio::{pointwise, same};

/// One or the other.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
pub(super) enum Durations {
    /// Drawn.
    Stochastic(StochasticDurations),
    /// Told.
    Plain(PlainDurations),
}

impl Durations {
    /// Logarithms of frames, `[T]`, of `noise` `[2, T]`.
    pub(super) fn logs(&self, x: Tensor<3>, voice: Option<Tensor<3>>, noise: &[f32]) -> Vec<f32> {
        match self {
            Self::Stochastic(durations) => durations.logs(x, voice, noise),
            Self::Plain(durations) => read(durations.logs(x, voice)),
        }
    }
}

impl Pack for Durations {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        match self {
            Self::Stochastic(durations) => durations.matrices(path, visit),
            Self::Plain(durations) => durations.matrices(path, visit),
        }
    }
}

/// Two convolutions, each behind it a norm.
#[derive(Module, Debug)]
pub(super) struct PlainDurations {
    voice: Option<Conv1d>,
    conv1: Conv1d,
    norm1: LayerNorm,
    conv2: Conv1d,
    norm2: LayerNorm,
    out: Conv1d,
}

sensorium_nn::pack!(PlainDurations: voice, conv1, conv2, out);

impl PlainDurations {
    pub(super) fn init(config: &VitsConfig, speaker: Option<usize>, init: &mut Init) -> Self {
        let DurationConfig::Plain { channels, kernel, eps } = config.durations else {
            unreachable!("these durations are told")
        };
        let d = config.hidden_size;
        Self {
            voice: speaker.map(|width| pointwise([width, d], init)),
            conv1: same([d, channels], kernel, 1, init),
            norm1: LayerNorm::init(channels, eps, init),
            conv2: same([channels; 2], kernel, 1, init),
            norm2: LayerNorm::init(channels, eps, init),
            out: pointwise([channels, 1], init),
        }
    }

    fn logs(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
        let x = told(x, &self.voice, voice);
        let x = self.norm1.forward(self.conv1.activated(x, Activation::Relu));
        let x = self.norm2.forward(self.conv2.activated(x, Activation::Relu));
        self.out.forward(x)
    }
}

/// Letters with what is known of the voice.
fn told(x: Tensor<3>, layer: &Option<Conv1d>, voice: Option<Tensor<3>>) -> Tensor<3> {
    match layer.as_ref().zip(voice) {
        Some((layer, voice)) => x + layer.forward(voice),
        None => x,
    }
}

/// A flow of two channels, of which the first becomes the logarithm of frames.
#[derive(Module, Debug)]
pub(super) struct StochasticDurations {
    pre: Conv1d,
    voice: Option<Conv1d>,
    convs: Separable,
    proj: Conv1d,
    /// Subtracted last, `[2, 1]`.
    translate: Param<Tensor<2>>,
    /// Logarithms of what is then divided by, `[2, 1]`.
    log_scale: Param<Tensor<2>>,
    /// Those that are run, in the order of training.
    flows: Vec<SplineFlow>,
}

sensorium_nn::pack!(StochasticDurations: pre, voice, convs, proj, flows);

impl StochasticDurations {
    pub(super) fn init(config: &VitsConfig, speaker: Option<usize>, init: &mut Init) -> Self {
        let DurationConfig::Stochastic { flows, .. } = config.durations else {
            unreachable!("these durations are drawn")
        };
        let d = config.hidden_size;
        Self {
            pre: pointwise([d, d], init),
            voice: speaker.map(|width| pointwise([width, d], init)),
            convs: Separable::init(config, init),
            proj: pointwise([d, d], init),
            translate: init.constant([2, 1], 0.0),
            log_scale: init.constant([2, 1], 0.0),
            flows: (0..flows).map(|_| SplineFlow::init(config, init)).collect(),
        }
    }

    fn logs(&self, x: Tensor<3>, voice: Option<Tensor<3>>, noise: &[f32]) -> Vec<f32> {
        let x = told(self.pre.forward(x), &self.voice, voice);
        let x = self.proj.forward(self.convs.forward(x));
        let (first, second) = noise.split_at(noise.len() / 2);
        let (mut first, mut second) = (first.to_vec(), second.to_vec());
        for flow in self.flows.iter().rev() {
            // Each layer moves the channel that the one before it left.
            std::mem::swap(&mut first, &mut second);
            flow.backwards(&first, &mut second, x.clone());
        }
        let [translate, log_scale] = [&self.translate, &self.log_scale].map(|x| read(x.val())[0]);
        second.iter().map(|x| (x - translate) * (-log_scale).exp()).collect()
    }
}

/// Moves a channel by splines that the other one and the letters tell.
#[derive(Module, Debug)]
struct SplineFlow {
    pre: Conv1d,
    convs: Separable,
    proj: Conv1d,
    #[module(skip)]
    bins: usize,
    #[module(skip)]
    bound: f64,
}

sensorium_nn::pack!(SplineFlow: pre, convs, proj);

impl SplineFlow {
    fn init(config: &VitsConfig, init: &mut Init) -> Self {
        let DurationConfig::Stochastic { bins, bound, .. } = config.durations else {
            unreachable!("these durations are drawn")
        };
        let d = config.hidden_size;
        Self {
            pre: pointwise([1, d], init),
            convs: Separable::init(config, init),
            proj: pointwise([d, 3 * bins - 1], init),
            bins,
            bound,
        }
    }

    /// `first` and `second` have a number for each letter of `text` `[1, T, D]`.
    fn backwards(&self, first: &[f32], second: &mut [f32], text: Tensor<3>) {
        let d = text.dims()[2];
        let first = TensorData::new(first.to_vec(), [1, first.len(), 1]);
        let first = Tensor::from_data(first, &text.device());
        let x = self.convs.forward(self.pre.forward(first) + text);
        let told = read(self.proj.forward(x));
        let softer = (d as f64).sqrt();
        for (y, told) in second.iter_mut().zip(told.chunks(3 * self.bins - 1)) {
            let sizes = |(i, x): (usize, &f32)| {
                let by = if i < 2 * self.bins { softer } else { 1.0 };
                f64::from(*x) / by
            };
            let told: Vec<f64> = told.iter().enumerate().map(sizes).collect();
            *y = inverse(f64::from(*y), &told, self.bins, self.bound) as f32;
        }
    }
}

/// Convolutions of each channel, further and further apart, and maps of each position.
#[derive(Module, Debug)]
struct Separable {
    depthwise: Vec<DepthwiseConv1d>,
    norms1: Vec<LayerNorm>,
    pointwise: Vec<Conv1d>,
    norms2: Vec<LayerNorm>,
}

sensorium_nn::pack!(Separable: pointwise);

/// Epsilon of its norms: PyTorch's default, which no checkpoint states.
const EPS: f64 = 1e-5;

impl Separable {
    fn init(config: &VitsConfig, init: &mut Init) -> Self {
        let DurationConfig::Stochastic { convs, kernel, .. } = config.durations else {
            unreachable!("these durations are drawn")
        };
        let d = config.hidden_size;
        let depthwise = |i: usize, init: &mut Init| {
            DepthwiseConv1d::init(d, kernel, init).dilated(kernel.saturating_pow(i as u32))
        };
        Self {
            depthwise: (0..convs).map(|i| depthwise(i, init)).collect(),
            norms1: (0..convs).map(|_| LayerNorm::init(d, EPS, init)).collect(),
            pointwise: (0..convs).map(|_| pointwise([d, d], init)).collect(),
            norms2: (0..convs).map(|_| LayerNorm::init(d, EPS, init)).collect(),
        }
    }

    /// `[1, T, D] -> [1, T, D]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        (0..self.depthwise.len()).fold(x, |x, i| {
            let y = self.norms1[i].forward(self.depthwise[i].forward(x.clone()));
            let y = self.pointwise[i].forward(Activation::Gelu.forward(y));
            x + Activation::Gelu.forward(self.norms2[i].forward(y))
        })
    }
}
