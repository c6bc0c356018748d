//! How long phonemes last, how high the voice is and how loud, by the style.

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use super::KokoroConfig;
use super::style::{AdaNorm, StyledBlock};
use crate::audio::pointwise;

/// See the [module](self).
#[derive(Module, Debug)]
pub(super) struct Prosody {
    layers: Vec<DurationLayer>,
    lstm: BiLstm,
    durations: Linear,
    shared: BiLstm,
    pitch: Vec<StyledBlock>,
    pitch_out: Conv1d,
    energy: Vec<StyledBlock>,
    energy_out: Conv1d,
}

sensorium_nn::pack!(Prosody: layers, durations, pitch, pitch_out, energy, energy_out);

/// In turn.
#[derive(Module, Debug)]
enum DurationLayer {
    /// What was read before and behind.
    Lstm(BiLstm),
    /// As the style says.
    Norm(AdaNorm),
}

impl Pack for DurationLayer {
    fn matrices(&mut self, path: &str, visit: &mut pack::Visit<'_>) {
        if let Self::Norm(norm) = self {
            norm.matrices(path, visit);
        }
    }
}

impl Prosody {
    pub(super) fn init(config: &KokoroConfig, init: &mut Init) -> Self {
        let (d, style) = (config.hidden_size, config.style);
        let lstm = |init: &mut Init| BiLstm::init([d + style, d / 2], init);
        let layer = |i: usize, init: &mut Init| match i % 2 {
            0 => DurationLayer::Lstm(lstm(init)),
            _ => DurationLayer::Norm(AdaNorm::init([style, d], init)),
        };
        let blocks = |init: &mut Init| {
            vec![
                StyledBlock::init([d; 2], style, false, init),
                StyledBlock::init([d, d / 2], style, true, init),
                StyledBlock::init([d / 2; 2], style, false, init),
            ]
        };
        Self {
            layers: (0..2 * config.n_layers).map(|i| layer(i, init)).collect(),
            lstm: lstm(init),
            durations: Linear::init(d, config.max_frames, true, (d as f64).powf(-0.5), init),
            shared: lstm(init),
            pitch: blocks(init),
            pitch_out: pointwise([d / 2, 1], init),
            energy: blocks(init),
            energy_out: pointwise([d / 2, 1], init),
        }
    }

    /// Phonemes with their style, `x [1, T, D], style [1, 1, S] -> [1, T, D + S]`.
    pub(super) fn phonemes(&self, x: Tensor<3>, style: &Tensor<3>) -> Tensor<3> {
        let t = x.dims()[1];
        let beside = |x: Tensor<3>| Tensor::cat(vec![x, style.clone().repeat_dim(1, t)], 2);
        self.layers.iter().fold(beside(x), |x, layer| match layer {
            DurationLayer::Lstm(lstm) => lstm.forward(x),
            DurationLayer::Norm(norm) => beside(norm.frames(x, style)),
        })
    }

    /// Frames of each phoneme at the voice's own speed, of `x [1, T, D + S]`; no whole numbers yet.
    pub(super) fn frames(&self, x: Tensor<3>) -> Vec<f32> {
        let each = fused::sigmoid(self.durations.forward(self.lstm.forward(x)));
        read(each.sum_dim(2))
    }

    /// Height in Hz and loudness of each half frame, `x [1, F, D + S] -> 2 x [1, 2 F, 1]`.
    pub(super) fn curves(&self, x: Tensor<3>, style: &Tensor<3>) -> [Tensor<3>; 2] {
        let x = self.shared.forward(x);
        let curve = |blocks: &[StyledBlock], out: &Conv1d| {
            out.forward(blocks.iter().fold(x.clone(), |x, block| block.forward(x, style)))
        };
        [curve(&self.pitch, &self.pitch_out), curve(&self.energy, &self.energy_out)]
    }
}
