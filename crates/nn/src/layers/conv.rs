//! 2-D convolution with a square kernel.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use crate::fused::{self, Precision};
use crate::init::Init;
use crate::layers::BatchNorm2d;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit};
use crate::params::read;

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
    #[module(skip)]
    packed: Option<Arc<Dense>>,
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
            packed: None,
        }
    }

    /// `[B, c_in, h, w] -> [B, c_out, h', w']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        fused::conv2d(self.precision, x, self.weight.val(), bias, self.stride, self.padding)
    }

    /// The convolution that is this one without its bias, then `norm` by its running statistics.
    ///
    /// ```text
    /// γ·(W x - μ) / √(σ² + ε) + β = (γ/√(σ² + ε) · W) x + (β - γμ/√(σ² + ε))
    /// ```
    pub fn folded(self, norm: &BatchNorm2d) -> Self {
        let (scale, shift) = norm.affine();
        let (shape, device) = (self.weight.dims(), self.weight.val().device());
        let mut weight = read(self.weight.val());
        let row = shape[1..].iter().product();
        for (row, scale) in weight.chunks_exact_mut(row).zip(&scale) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
        let weight = Tensor::from_data(TensorData::new(weight, shape), &device);
        let bias = Tensor::from_floats(&shift[..], &device);
        let (weight, bias) = (Param::from_tensor(weight), Some(Param::from_tensor(bias)));
        Self { weight, bias, ..self }
    }

    /// [`forward`](Self::forward) with positions in front of channels, row by row: `[B, N, c_out]`.
    pub fn positions(&self, x: Tensor<4>) -> Tensor<3> {
        if let Some(packed) = &self.packed {
            return fused::packed_patches(x, packed, self.stride);
        }
        let y = self.forward(x);
        let [b, c, h, w] = y.dims();
        y.reshape([b, c, h * w]).swap_dims(1, 2)
    }

    /// [`positions`](Self::positions) of a kernel that reads each pixel once, given what it reads as rows:
    /// `[B, n, c_in·kernel·kernel] -> [B, n, c_out]`.
    pub fn patches(&self, rows: Tensor<3>) -> Tensor<3> {
        let [c_out, c_in, kernel, _] = self.weight.dims();
        let weight = self.weight.val().reshape([c_out, c_in * kernel * kernel]);
        fused::linear(self.precision, rows, weight, self.bias.as_ref().map(Param::val))
    }
}

impl Matrix for Conv2d {
    /// Only what reads each pixel once is a product of rows; other convolutions stay as they are.
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let [c_out, c_in, kernel, _] = self.weight.val().dims();
        if (kernel, self.padding) == (self.stride, 0) {
            let rows = self.weight.val().reshape([c_out, c_in * kernel * kernel]);
            let Some(weight) = packer(&Param::from_tensor(rows)) else { return };
            let bias = self.bias.as_ref().map(|bias| read(bias.val()));
            self.packed = Some(Arc::new(Dense { weight, bias }));
        }
    }
}

impl Pack for Conv2d {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
    }
}
