//! Convolution over a sequence of positions or over a picture, each channel by itself.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::{conv1d, conv2d};
use burn::tensor::ops::ConvOptions;

use crate::init::Init;

/// `[B, T, c] -> [B, T, c]`, with zeros in front of the first position and behind the last.
#[derive(Module, Debug)]
pub struct DepthwiseConv1d {
    /// `[c, 1, kernel]`; the kernel is odd.
    pub weight: Param<Tensor<3>>,
    /// `[c]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    dilation: usize,
}

impl DepthwiseConv1d {
    /// Normal weights of `kernel^-0.5`, zero bias.
    ///
    /// # Panics
    /// When `kernel` is even.
    pub fn init(channels: usize, kernel: usize, init: &mut Init) -> Self {
        assert!(kernel % 2 == 1, "depthwise convolution: a kernel of {kernel} has no middle");
        Self {
            weight: init.normal([channels, 1, kernel], (kernel as f64).powf(-0.5)),
            bias: init.constant([channels], 0.0),
            dilation: 1,
        }
    }

    /// The same with `dilation` steps from one position that the kernel reads to the next.
    pub fn dilated(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// `[B, T, c] -> [B, T, c]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [channels, _, kernel] = self.weight.dims();
        let (padding, dilation) = (kernel / 2 * self.dilation, self.dilation);
        let options = ConvOptions::new([1], [padding], [dilation], channels);
        let x = x.swap_dims(1, 2); // [B, c, T]
        conv1d(x, self.weight.val(), Some(self.bias.val()), options).swap_dims(1, 2)
    }
}

/// `[B, c, h, w] -> [B, c, h, w]`, with zeros around the picture.
#[derive(Module, Debug)]
pub struct DepthwiseConv2d {
    /// `[c, 1, kernel, kernel]`; the kernel is odd.
    pub weight: Param<Tensor<4>>,
    /// `[c]`.
    pub bias: Param<Tensor<1>>,
}

impl DepthwiseConv2d {
    /// Normal weights of `kernel^-1`, zero bias.
    ///
    /// # Panics
    /// When `kernel` is even.
    pub fn init(channels: usize, kernel: usize, init: &mut Init) -> Self {
        assert!(kernel % 2 == 1, "depthwise convolution: a kernel of {kernel} has no middle");
        Self {
            weight: init.normal([channels, 1, kernel, kernel], (kernel as f64).recip()),
            bias: init.constant([channels], 0.0),
        }
    }

    /// `[B, c, h, w] -> [B, c, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [channels, _, kernel, _] = self.weight.dims();
        let options = ConvOptions::new([1; 2], [kernel / 2; 2], [1; 2], channels);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}
