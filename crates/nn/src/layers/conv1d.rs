//! 1-D convolution over a sequence of positions.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Activation;
use crate::fused::{self, Precision, Taps};
use crate::init::Init;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit};
use crate::params::read;

/// `[B, T, c_in] -> [B, T', c_out]`, `T' = (T + 2·padding - reach) / stride + 1`, where a kernel reaches over
/// `(kernel - 1)·dilation + 1` positions.
///
/// The positions that a kernel reads are laid side by side, and the rest is a linear map.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[c_out, c_in, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[c_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    taps: Taps,
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
            bias: Some(init.constant([c_out], 0.0)),
            taps: Taps { kernel, stride, padding: [padding; 2], dilation: 1 },
            precision: init.precision(),
            packed: None,
        }
    }

    /// The same without its bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// The same with `dilation` steps from one position that a kernel reads to the next.
    pub fn dilated(self, dilation: usize) -> Self {
        Self { taps: Taps { dilation, ..self.taps }, ..self }
    }

    /// `[B, T, c_in] -> [B, T', c_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.packed {
            Some(packed) => fused::packed_conv1d(x, packed, self.taps, None, None),
            None => self.plain(x),
        }
    }

    /// `act(forward(x))`
    pub fn activated(&self, x: Tensor<3>, act: Activation) -> Tensor<3> {
        match (&self.packed, act.kind()) {
            (Some(packed), Some(kind)) => {
                fused::packed_conv1d(x, packed, self.taps, None, Some(kind))
            }
            _ => act.forward(self.forward(x)),
        }
    }

    /// `forward(leaky_relu(x))`
    pub fn after_leaky_relu(&self, x: Tensor<3>, slope: f64) -> Tensor<3> {
        match &self.packed {
            Some(packed) => fused::packed_conv1d(x, packed, self.taps, Some(slope), None),
            None => self.plain(fused::leaky_relu(x, slope)),
        }
    }

    /// `stream + forward(leaky_relu(x))`
    pub fn onto(&self, stream: Tensor<3>, x: Tensor<3>, slope: f64) -> Tensor<3> {
        match &self.packed {
            Some(packed) => fused::packed_conv1d_onto(stream, x, packed, self.taps, Some(slope)),
            None => stream + self.plain(fused::leaky_relu(x, slope)),
        }
    }

    fn plain(&self, x: Tensor<3>) -> Tensor<3> {
        let bias = self.bias.as_ref().map(Param::val);
        fused::linear(self.precision, side_by_side(self.taps, x), rows(self.weight.val()), bias)
    }
}

/// A kernel's weights `[c_out, c_in, kernel]` as rows `[c_out, kernel·c_in]`, whose channels vary fastest: what a
/// kernel reads of a sequence then lies in runs.
pub(super) fn rows(weight: Tensor<3>) -> Tensor<2> {
    let [c_out, c_in, kernel] = weight.dims();
    weight.swap_dims(1, 2).reshape([c_out, kernel * c_in])
}

/// `[B, T, c] -> [B, T', kernel·c]`: channels vary fastest.
pub(super) fn side_by_side(taps: Taps, x: Tensor<3>) -> Tensor<3> {
    let [b, t, c] = x.dims();
    let Taps { kernel, stride, padding: [front, _], dilation } = taps;
    let out = taps.output(t);
    // Positions in groups of a stride, so that every tap is a narrow view of them.
    let groups = out + (kernel - 1) * dilation / stride;
    let zeros = |n: usize| Tensor::zeros([b, n, c], &x.device());
    let after = (groups * stride).saturating_sub(front + t);
    let padded = Tensor::cat(vec![zeros(front), x.clone(), zeros(after)], 1);
    let grouped = padded.narrow(1, 0, groups * stride).reshape([b, groups, stride, c]);
    let tap = |k: usize| {
        let at = k * dilation;
        let tap = grouped.clone().narrow(1, at / stride, out).narrow(2, at % stride, 1);
        tap.reshape([b, out, c])
    };
    Tensor::cat((0..kernel).map(tap).collect(), 2)
}

impl Matrix for Conv1d {
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let Some(weight) = packer(&Param::from_tensor(rows(self.weight.val()))) else { return };
        let bias = self.bias.as_ref().map(|bias| read(bias.val()));
        self.packed = Some(Arc::new(Dense { weight, bias }));
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
        for (t, kernel, stride, padding, dilation) in [
            (6, 3, 1, 1, 1),
            (6, 3, 2, 1, 1),
            (7, 3, 2, 1, 1),
            (5, 1, 1, 0, 1),
            (9, 4, 3, 2, 1),
            (4, 2, 4, 0, 1),
            (9, 3, 1, 3, 3),
            (9, 3, 2, 2, 4),
        ] {
            let (c_in, c_out) = (2, 3);
            let config = Conv1dConfig { c_in, c_out, kernel, stride, padding };
            let mut conv = Conv1d::init(config, &mut Init::new(5, &device)).dilated(dilation);
            let x: Vec<f32> = (0..t * c_in).map(|i| (i as f32 * 0.7).sin()).collect();
            let input = Tensor::from_data(TensorData::new(x.clone(), [1, t, c_in]), &device);
            let plain = read(conv.activated(input.clone(), Activation::Gelu));
            let w = read(conv.weight.val());
            let out = (t + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
            let mut want = vec![0.0; out * c_out];
            for (at, y) in want.iter_mut().enumerate() {
                let (place, o) = (at / c_out, at % c_out);
                for k in 0..kernel {
                    let Some(from) = (place * stride + k * dilation).checked_sub(padding) else {
                        continue;
                    };
                    for c in (0..c_in).filter(|_| from < t) {
                        *y += x[from * c_in + c] * w[(o * c_in + c) * kernel + k];
                    }
                }
            }
            let want = Tensor::from_data(TensorData::new(want, [1, out, c_out]), &device);
            let want = read(Activation::Gelu.forward::<3>(want));
            conv.pack_as(crate::pack::Format::F32);
            let onto = conv.onto(conv.forward(input.clone()), input.clone(), 0.5);
            let half = conv.after_leaky_relu(input.clone(), 0.5);
            let off = read(onto - half - conv.forward(input.clone()));
            assert!(off.iter().all(|off| off.abs() < 1e-5), "{config:?}");
            for got in [plain, read(conv.activated(input, Activation::Gelu))] {
                let off =
                    got.iter().zip(&want).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(got.len() == want.len() && off < 1e-5, "{config:?}: {off}");
            }
        }
    }
}
