//! 2-D convolution with a square kernel.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;

/// `[B, c_in, h, w] -> [B, c_out, h', w']`, `h' = (h + 2·padding - kernel) / stride + 1`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[c_out, c_in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[c_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
    #[module(skip)]
    precision: Precision,
}

/// Channels, kernel and steps of a [`Conv2d`].
#[derive(Clone, Copy, Debug)]
pub struct Conv2dConfig {
    /// Channels in.
    pub c_in: usize,
    /// Channels out.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// Normal weights scaled for a GELU after it (He et al. 2015): `std = sqrt(2 / fan_in)`.
    pub fn init(config: Conv2dConfig, init: &mut Init) -> Self {
        let Conv2dConfig { c_in, c_out, kernel, stride, padding, bias } = config;
        let std = (2.0 / (c_in * kernel * kernel) as f64).sqrt();
        Self {
            weight: init.normal([c_out, c_in, kernel, kernel], std),
            bias: bias.then(|| init.constant([c_out], 0.0)),
            stride,
            padding,
            precision: init.precision(),
        }
    }

    /// `[B, c_in, h, w] -> [B, c_out, h', w']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        fused::conv2d(self.precision, x, self.weight.val(), bias, self.stride, self.padding)
    }
}
