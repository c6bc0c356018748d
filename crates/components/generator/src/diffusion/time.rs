//! How a UNet is told at which time it is (Vaswani et al. 2017, section 3.5, as Ho et al. 2020 use it).

use sensorium_nn::prelude::*;

use super::resnet::linear;

/// A time as waves of lengths from 2π to 20,000π.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeWaves {
    pub width: usize,
    pub cosines_first: bool,
    pub freq_shift: f32,
}

impl TimeWaves {
    /// `[B, width]`, in the order of rounding that the models have learned with.
    pub fn at(&self, time: f32, batch: usize, device: &Device) -> Tensor<2> {
        let half = self.width / 2;
        let rate =
            |i: usize| (-(10_000f32.ln()) * i as f32 / (half as f32 - self.freq_shift)).exp();
        let angles: Vec<f32> = (0..half).map(|i| time * rate(i)).collect();
        let (sines, cosines) = (angles.iter().map(|x| x.sin()), angles.iter().map(|x| x.cos()));
        let mut row: Vec<f32> = match self.cosines_first {
            true => cosines.chain(sines).collect(),
            false => sines.chain(cosines).collect(),
        };
        row.resize(self.width, 0.0);
        Tensor::from_data(TensorData::new(row.repeat(batch), [batch, self.width]), device)
    }
}

/// `linear_2(silu(linear_1(x)))`: what reads a time reads it behind one more SiLU.
#[derive(Module, Debug)]
pub(super) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
}

sensorium_nn::pack!(TimestepEmbedding: linear_1, linear_2);

impl TimestepEmbedding {
    /// Of `c` to `t` numbers.
    pub fn init([c, t]: [usize; 2], init: &mut Init) -> Self {
        Self { linear_1: linear([c, t], true, init), linear_2: linear([t, t], true, init) }
    }

    /// `[B, c] -> [B, t]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(silu(self.linear_1.forward(x)))
    }
}

pub(super) fn silu(x: Tensor<2>) -> Tensor<2> {
    Activation::Silu.forward(x)
}
