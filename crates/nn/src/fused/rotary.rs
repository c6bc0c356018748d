//! Rotary position embedding (Su et al. 2021), in the half-split form of the published Llama code.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Shape, Tensor, TensorData};
use sensorium_kernels::buffer;
use sensorium_kernels::rotary as kernel;

use super::backend::{Array, Call, Operation, apply1, shaped};

/// Cosines and sines of positions, `[T, K/2]` each, or `[B, T, K/2]`.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
}

impl RotaryTable {
    /// Angles `position · theta^(-2i/K)` for head width `k`.
    pub fn new(theta: f32, k: usize, positions: Range<usize>) -> Self {
        let (cos, sin) = kernel::rotary_tables(theta, k, positions);
        Self { cos: cos.into(), sin: sin.into() }
    }

    /// Angles `position · rate`, with a rate for each pair of channels. Positions are those of T
    /// tokens, or of each of `B x T`.
    pub fn at(rates: &[f32], positions: impl IntoIterator<Item = usize>) -> Self {
        let (cos, sin) = kernel::rotary_tables_at(rates, positions);
        Self { cos: cos.into(), sin: sin.into() }
    }

    /// The same angles; what they turn is multiplied by `factor` too.
    pub fn scaled(self, factor: f32) -> Self {
        if factor == 1.0 {
            return self;
        }
        let [cos, sin] = [self.cos, self.sin].map(|x| x.iter().map(|x| x * factor).collect());
        Self { cos, sin }
    }

    /// One table behind the other.
    pub fn join(tables: impl IntoIterator<Item = Self>) -> Self {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for table in tables {
            cos.extend_from_slice(&table.cos);
            sin.extend_from_slice(&table.sin);
        }
        Self { cos: cos.into(), sin: sin.into() }
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
        let angles = |values: &[f32]| {
            let shape = Shape::from([values.len() / (t * half), t, 1, half]);
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &x.device())
        };
        let (cos, sin) = (angles(&table.cos), angles(&table.sin)); // [1 or B, T, 1, K/2]
        let (a, b) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        let left = a.clone() * cos.clone() - b.clone() * sin.clone();
        Tensor::cat(vec![left, b * cos + a * sin], 3)
    })
}
