//! Transposed 1-D convolution: a sequence that becomes longer.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::conv1d::side_by_side;
use crate::fused::{self, Precision, Taps};
use crate::init::Init;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit};
use crate::params::read;

/// `[B, T, c_in] -> [B, T', c_out]`, `T' = (T - 1)·stride + kernel - 2·padding`.
///
/// A stride of the output is what some neighbouring positions give it: a convolution with as many outputs as a stride
/// has numbers.
#[derive(Module, Debug)]
pub struct ConvTranspose1d {
    /// `[c_in, c_out, kernel]`.
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

impl ConvTranspose1d {
    /// Normal weights of `(c_in·kernel / stride)^-0.5`, zero bias.
    pub fn init(
        [c_in, c_out]: [usize; 2],
        [kernel, stride, padding]: [usize; 3],
        init: &mut Init,
    ) -> Self {
        let std = (stride as f64 / (c_in * kernel) as f64).sqrt();
        Self {
            weight: init.normal([c_in, c_out, kernel], std),
            bias: init.constant([c_out], 0.0),
            stride,
            padding,
            precision: init.precision(),
            packed: None,
        }
    }

    /// `[B, T, c_in] -> [B, T', c_out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.after(x, None)
    }

    /// `forward(leaky_relu(x))`
    pub fn after_leaky_relu(&self, x: Tensor<3>, slope: f64) -> Tensor<3> {
        self.after(x, Some(slope))
    }

    fn after(&self, x: Tensor<3>, slope: Option<f64>) -> Tensor<3> {
        let ([b, t, _], [_, c_out, kernel]) = (x.dims(), self.weight.dims());
        let (stride, taps) = (self.stride, self.taps());
        let strides = match &self.packed {
            Some(packed) => fused::packed_conv1d(x, packed, taps, slope, None),
            None => {
                let x = slope.into_iter().fold(x, fused::leaky_relu);
                let bias = self.bias.val().repeat(&[stride]);
                fused::linear(self.precision, side_by_side(taps, x), self.rows(), Some(bias))
            }
        };
        let whole = strides.reshape([b, taps.output(t) * stride, c_out]);
        let out = ((t - 1) * stride + kernel).saturating_sub(2 * self.padding);
        whole.narrow(1, self.padding, out)
    }

    /// Positions that give to one stride of the output.
    fn taps(&self) -> Taps {
        let kernel = self.weight.dims()[2].div_ceil(self.stride);
        Taps { kernel, stride: 1, padding: [kernel - 1; 2], dilation: 1 }
    }

    /// `[stride·c_out, taps·c_in]`, zeros where the kernel ends before its last stride. The j-th stride of a kernel
    /// lies j strides behind its position, so that the last tap is the first stride.
    fn rows(&self) -> Tensor<2> {
        let ([c_in, c_out, kernel], stride) = (self.weight.dims(), self.stride);
        let whole = kernel.next_multiple_of(stride);
        let weight = self.weight.val().permute([2, 1, 0]); // [kernel, c_out, c_in]
        let rest = Tensor::zeros([whole - kernel, c_out, c_in], &weight.device());
        let strides = Tensor::cat(vec![weight, rest], 0);
        let strides = strides.reshape([whole / stride, stride * c_out, c_in]).flip([0]);
        strides.swap_dims(0, 1).reshape([stride * c_out, whole / stride * c_in])
    }
}

impl Matrix for ConvTranspose1d {
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let Some(weight) = packer(&Param::from_tensor(self.rows())) else { return };
        let bias = Some(read(self.bias.val()).repeat(self.stride));
        self.packed = Some(Arc::new(Dense { weight, bias }));
    }
}

impl Pack for ConvTranspose1d {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Against the sum that defines it, for kernels of whole strides and others.
    #[test]
    fn it_is_the_sum_that_defines_it() {
        let mut init = Init::new(4, &Device::flex());
        for (t, kernel, stride, padding) in
            [(5, 4, 2, 1), (3, 16, 8, 4), (4, 5, 2, 1), (1, 3, 4, 0)]
        {
            let mut conv = ConvTranspose1d::init([2, 3], [kernel, stride, padding], &mut init);
            let x = init.normal([1, t, 2], 1.0).val();
            let (w, values) = (read(conv.weight.val()), read(x.clone()));
            let out = (t - 1) * stride + kernel - 2 * padding;
            let mut want = vec![0.0; out * 3];
            for (from, k) in (0..t).flat_map(|from| (0..kernel).map(move |k| (from, k))) {
                let Some(to) = (from * stride + k).checked_sub(padding) else { continue };
                for (c, o) in (0..2).flat_map(|c| (0..3).map(move |o| (c, o))).filter(|_| to < out)
                {
                    want[to * 3 + o] += values[from * 2 + c] * w[(c * 3 + o) * kernel + k];
                }
            }
            let plain = read(conv.forward(x.clone()));
            conv.pack_as(crate::pack::Format::F32);
            for got in [plain, read(conv.forward(x))] {
                let off =
                    got.iter().zip(&want).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(got.len() == want.len() && off < 1e-5, "kernel {kernel}: {off}");
            }
        }
    }
}
