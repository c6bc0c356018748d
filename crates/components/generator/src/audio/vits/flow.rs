//! From noise around what letters say to what is decoded: layers that each move half of the channels by what the
//! other half says (Dinh et al. 2017, <https://arxiv.org/abs/1605.08803>), through gated convolutions (van den Oord
//! et al. 2016, <https://arxiv.org/abs/1609.03499>).

use sensorium_nn::prelude::*;

use super::VitsConfig;
use crate::audio::{pointwise, same};

/// The layers, in the order of training.
#[derive(Module, Debug)]
pub(super) struct Flow {
    layers: Vec<Coupling>,
}

sensorium_nn::pack!(Flow: layers);

impl Flow {
    pub(super) fn init(config: &VitsConfig, speaker: Option<usize>, init: &mut Init) -> Self {
        let layers = 0..config.flow.flows;
        Self { layers: layers.map(|_| Coupling::init(config, speaker, init)).collect() }
    }

    /// `[1, F, C] -> [1, F, C]`, from the last layer to the first.
    pub(super) fn backwards(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
        let layers = self.layers.iter().rev();
        layers.fold(x, |x, layer| layer.backwards(x.flip([2]), voice.clone()))
    }
}

/// Moves the second half of the channels by what the first half says.
#[derive(Module, Debug)]
struct Coupling {
    pre: Conv1d,
    gates: Vec<Conv1d>,
    outs: Vec<Conv1d>,
    voice: Option<Conv1d>,
    post: Conv1d,
}

sensorium_nn::pack!(Coupling: pre, gates, outs, voice, post);

impl Coupling {
    fn init(config: &VitsConfig, speaker: Option<usize>, init: &mut Init) -> Self {
        let (d, half, flow) = (config.hidden_size, config.channels / 2, &config.flow);
        let n = flow.layers;
        let dilation = |i: usize| flow.dilation.saturating_pow(i as u32);
        let gate = |i, init: &mut Init| same([d, 2 * d], flow.kernel, dilation(i), init);
        // The last one only adds to what comes out.
        let out = |i, init: &mut Init| pointwise([d, if i + 1 < n { 2 * d } else { d }], init);
        Self {
            pre: pointwise([half, d], init),
            gates: (0..n).map(|i| gate(i, init)).collect(),
            outs: (0..n).map(|i| out(i, init)).collect(),
            voice: speaker.map(|width| pointwise([width, 2 * d * n], init)),
            post: pointwise([d, half], init),
        }
    }

    /// `[1, F, C] -> [1, F, C]`
    fn backwards(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
        let half = x.dims()[2] / 2;
        let [first, second] = [0, half].map(|at| x.clone().narrow(2, at, half));
        let moved = self.post.forward(self.gated(self.pre.forward(first.clone()), voice));
        Tensor::cat(vec![first, second - moved], 2)
    }

    /// What the gated convolutions add up to, `[1, F, D] -> [1, F, D]`.
    fn gated(&self, x: Tensor<3>, voice: Option<Tensor<3>>) -> Tensor<3> {
        let d = x.dims()[2];
        let told = self.voice.as_ref().zip(voice).map(|(layer, voice)| layer.forward(voice));
        let (mut x, mut sum) = (x.clone(), x.zeros_like());
        for (i, (gate, out)) in self.gates.iter().zip(&self.outs).enumerate() {
            let y = gate.forward(x.clone());
            let y = match &told {
                Some(told) => y + told.clone().narrow(2, 2 * d * i, 2 * d),
                None => y,
            };
            let y = y.clone().narrow(2, 0, d).tanh() * fused::sigmoid(y.narrow(2, d, d));
            let y = out.forward(y);
            if i + 1 < self.gates.len() {
                x = x + y.clone().narrow(2, 0, d);
                sum = sum + y.narrow(2, d, d);
            } else {
                sum = sum + y;
            }
        }
        sum
    }
}
