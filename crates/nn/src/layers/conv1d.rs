//! 1-D convolution over a sequence of positions.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Activation;
use crate::fused::{self, Precision};
use crate::init::Init;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit};
use crate::params::read;

/// `[B, T, c_in] -> [B, T', c_out]`, `T' = (T + 2·padding - kernel) / stride + 1`.
///
/// The positions that a kernel reads are laid side by side, and the rest is a linear map.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[c_out, c_in, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[c_out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    packed: Option<Arc<Dense>>,
}

/// Channels, kernel and steps of a [`Conv1d`].
#[derive(Clone, Copy, Debug)]
pub struct Conv1dConfig {
    /// Channels in.
    pub c_in: usize,
    /// Channels out.
    pub c_out: usize,
    /// Positions of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Conv1d {
    /// Normal weights scaled for a GELU after it (He et al. 2015): `std = sqrt(2 / fan_in)`.
    pub fn init(config: Conv1dConfig, init: &mut Init) -> Self {
        let Conv1dConfig { c_in, c_out, kernel, stride, padding } = config;
        let std = (2.0 / (c_in * kernel) as f64).sqrt();
        Self {
            weight: init.normal([c_out, c_in, kernel], std),
            bias: init.constant([c_out], 0.0),
            stride,
            padding,
            precision: init.precision(),
            packed: None,
        }
    }

    /// `act(convolution(x))`: `[B, T, c_in] -> [B, T', c_out]`
    pub fn activated(&self, x: Tensor<3>, act: Activation) -> Tensor<3> {
        let [c_out, c_in, kernel] = self.weight.dims();
        let x = self.side_by_side(x, kernel);
        match (&self.packed, act.kind()) {
            (Some(packed), Some(kind)) => fused::packed_gelu(x, packed, kind),
            (Some(packed), None) => act.forward(fused::packed_linear(x, packed)),
            (None, _) => {
                let weight = self.weight.val().reshape([c_out, c_in * kernel]);
                act.forward(fused::linear(self.precision, x, weight, Some(self.bias.val())))
            }
        }
    }

    /// `[B, T, c] -> [B, T', c·kernel]`: the kernel's positions vary fastest, as in the weights.
    fn side_by_side(&self, x: Tensor<3>, kernel: usize) -> Tensor<3> {
        let [b, t, c] = x.dims();
        let (stride, padding) = (self.stride, self.padding);
        assert!(kernel <= t + 2 * padding, "conv1d: {t} positions, kernel {kernel}");
        let out = (t + 2 * padding - kernel) / stride + 1;
        // Positions in groups of a stride, so that every tap is a narrow view of them.
        let groups = out + (kernel - 1) / stride;
        let zeros = |n: usize| Tensor::zeros([b, n, c], &x.device());
        let after = (groups * stride).saturating_sub(padding + t);
        let padded = Tensor::cat(vec![zeros(padding), x.clone(), zeros(after)], 1);
        let grouped = padded.narrow(1, 0, groups * stride).reshape([b, groups, stride, c]);
        let tap = |k: usize| {
            let tap = grouped.clone().narrow(1, k / stride, out).narrow(2, k % stride, 1);
            tap.reshape([b, out, c, 1])
        };
        let taps = Tensor::cat((0..kernel).map(tap).collect(), 3); // [B, T', c, kernel]
        taps.reshape([b, out, c * kernel])
    }
}

impl Matrix for Conv1d {
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let [c_out, c_in, kernel] = self.weight.dims();
        let rows = self.weight.val().reshape([c_out, c_in * kernel]);
        let Some(weight) = packer(&Param::from_tensor(rows)) else { return };
        self.packed = Some(Arc::new(Dense { weight, bias: Some(read(self.bias.val())) }));
    }
}

impl Pack for Conv1d {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use burn::tensor::TensorData;

    /// Against the sum that defines it, for sizes that fit the steps and sizes that do not.
    #[test]
    fn it_is_the_sum_that_defines_it() {
        let device = Device::flex();
        for (t, kernel, stride, padding) in
            [(6, 3, 1, 1), (6, 3, 2, 1), (7, 3, 2, 1), (5, 1, 1, 0), (9, 4, 3, 2), (4, 2, 4, 0)]
        {
            let (c_in, c_out) = (2, 3);
            let config = Conv1dConfig { c_in, c_out, kernel, stride, padding };
            let mut conv = Conv1d::init(config, &mut Init::new(5, &device));
            let x: Vec<f32> = (0..t * c_in).map(|i| (i as f32 * 0.7).sin()).collect();
            let input = Tensor::from_data(TensorData::new(x.clone(), [1, t, c_in]), &device);
            let plain = read(conv.activated(input.clone(), Activation::Gelu));
            let w = read(conv.weight.val());
            let out = (t + 2 * padding - kernel) / stride + 1;
            let mut want = vec![0.0; out * c_out];
            for (at, y) in want.iter_mut().enumerate() {
                let (place, o) = (at / c_out, at % c_out);
                for k in 0..kernel {
                    let Some(from) = (place * stride + k).checked_sub(padding) else { continue };
                    for c in (0..c_in).filter(|_| from < t) {
                        *y += x[from * c_in + c] * w[(o * c_in + c) * kernel + k];
                    }
                }
            }
            let want = Tensor::from_data(TensorData::new(want, [1, out, c_out]), &device);
            let want = read(Activation::Gelu.forward::<3>(want));
            conv.pack_as(crate::pack::Format::F32);
            for got in [plain, read(conv.activated(input, Activation::Gelu))] {
                let off =
                    got.iter().zip(&want).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(got.len() == want.len() && off < 1e-5, "{config:?}: {off}");
            }
        }
    }
}
