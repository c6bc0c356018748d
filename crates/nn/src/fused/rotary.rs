//! Rotary position embedding (Su et al. 2021), in the half-split form of the published Llama code.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor};
use sensorium_kernels::buffer;
use sensorium_kernels::rotary as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

/// Cosines and sines of positions, `[T, K/2]` each, or `[B, T, K/2]`.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    /// Both on a device without kernels, from the first layer that asks there on.
    elsewhere: Arc<OnceLock<[Tensor<1>; 2]>>,
}

impl RotaryTable {
    fn of(cos: Vec<f32>, sin: Vec<f32>) -> Self {
        Self { cos: cos.into(), sin: sin.into(), elsewhere: Arc::default() }
    }

    /// Cosines and sines, `[1 or B, T, 1, K/2]`, of T tokens.
    fn tensors(&self, t: usize, half: usize, device: &Device) -> [Tensor<4>; 2] {
        let device = device.clone().without_autodiff();
        let put = |values: &[f32]| Tensor::from_floats(values, &device);
        let tables = self.elsewhere.get_or_init(|| [put(&self.cos), put(&self.sin)]);
        let rows = self.cos.len() / (t * half).max(1);
        tables.clone().map(|table| table.reshape([rows, t, 1, half]))
    }

    /// Angles `position · theta^(-2i/K)` for head width `k`.
    pub fn new(theta: f32, k: usize, positions: Range<usize>) -> Self {
        let (cos, sin) = kernel::rotary_tables(theta, k, positions);
        Self::of(cos, sin)
    }

    /// Angles `position · rate`, with a rate for each pair of channels. Positions are those of T
    /// tokens, or of each of `B x T`.
    pub fn at(rates: &[f32], positions: impl IntoIterator<Item = usize>) -> Self {
        let (cos, sin) = kernel::rotary_tables_at(rates, positions);
        Self::of(cos, sin)
    }

    /// As [`at`](Self::at), of positions on several axes: `axes` says by which of them each pair of
    /// channels turns.
    ///
    /// # Panics
    /// When there is not an axis for each rate.
    pub fn on<const A: usize>(
        rates: &[f32],
        axes: &[usize],
        positions: impl IntoIterator<Item = [usize; A]>,
    ) -> Self {
        let (cos, sin) = kernel::rotary_tables_on(rates, axes, positions);
        Self::of(cos, sin)
    }

    /// These angles: `K/2` of each of T tokens, one token after the other.
    pub fn of_angles(angles: &[f32]) -> Self {
        let all = |turn: fn(f32) -> f32| angles.iter().map(|angle| turn(*angle)).collect();
        Self::of(all(f32::cos), all(f32::sin))
    }

    /// The same angles; what they turn is multiplied by `factor` too.
    pub fn scaled(self, factor: f32) -> Self {
        if factor == 1.0 {
            return self;
        }
        let [cos, sin] = [self.cos, self.sin].map(|x| x.iter().map(|x| x * factor).collect());
        Self::of(cos, sin)
    }

    /// One table behind the other.
    pub fn join(tables: impl IntoIterator<Item = Self>) -> Self {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for table in tables {
            cos.extend_from_slice(&table.cos);
            sin.extend_from_slice(&table.sin);
        }
        Self::of(cos, sin)
    }
}

#[derive(Debug)]
struct Rotary(RotaryTable);

impl Operation for Rotary {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let x = &inputs[0];
        let [b, t, h, k] = x.shape()[..] else { unreachable!("rotary takes [B, T, H, K]") };
        let mut y = buffer(x.values().len());
        kernel::rotary(b, t, h, k, x.values(), &self.0.cos, &self.0.sin, &mut y);
        (Array::new(y, &x.shape()), Vec::new())
    }

    fn backward(&self, call: &Call, grad: &Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let x = &call.inputs[0];
        let [b, t, h, k] = x.shape()[..] else { unreachable!("rotary takes [B, T, H, K]") };
        let mut dx = buffer(x.values().len());
        kernel::rotary_backward(b, t, h, k, grad.values(), &self.0.cos, &self.0.sin, &mut dx);
        vec![shaped(Some(dx), x)]
    }
}

/// `[B, T, H, K] -> [B, T, H, K]`: each pair of channels turned by its position's angle.
pub fn rotary(x: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    apply1(Rotary(table.clone()), x, |x| {
        let [_, t, _, k] = x.dims();
        let half = k / 2;
        let [cos, sin] = table.tensors(t, half, &x.device());
        let (a, b) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        let left = a.clone() * cos.clone() - b.clone() * sin.clone();
        Tensor::cat(vec![left, b * cos + a * sin], 3)
    })
}
