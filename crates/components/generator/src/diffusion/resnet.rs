//! What UNet and autoencoder share: residual blocks, and what halves and doubles sizes.

use sensorium_nn::prelude::*;

/// `3x3`, which keeps the size.
pub(crate) fn conv3([c_in, c_out]: [usize; 2], init: &mut Init) -> Conv2d {
    Conv2d::init(Conv2dConfig { c_in, c_out, kernel: 3, stride: 1, padding: 1, bias: true }, init)
}

/// `1x1`.
pub(crate) fn conv1([c_in, c_out]: [usize; 2], bias: bool, init: &mut Init) -> Conv2d {
    Conv2d::init(Conv2dConfig { c_in, c_out, kernel: 1, stride: 1, padding: 0, bias }, init)
}

/// A linear map with weights of `in^-0.5`.
pub(crate) fn linear([d_in, d_out]: [usize; 2], bias: bool, init: &mut Init) -> Linear {
    Linear::init(d_in, d_out, bias, (d_in as f64).powf(-0.5), init)
}

/// Groups and epsilon of the norms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norms {
    pub groups: usize,
    pub eps: f64,
}

impl Norms {
    pub fn init(self, channels: usize, init: &mut Init) -> GroupNorm {
        GroupNorm::init(channels, self.groups, self.eps, init)
    }
}

/// What a residual block makes of its input's sides, within and beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resize {
    Same,
    /// To means of squares of four.
    Half,
    /// To squares of four.
    Double,
}

impl Resize {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Same => x,
            Self::Half => average_pool2d(x, 2),
            Self::Double => doubled(x),
        }
    }
}

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))` (He et al. 2015, as Ho et al. 2020 put the time in), or
/// `x + conv2(silu(norm2(conv1(silu(norm1(x))))·(1 + scale) + shift))` (Dhariwal and Nichol 2021, section 3).
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    /// The time says scale and shift.
    #[module(skip)]
    scaled: bool,
    #[module(skip)]
    resize: Resize,
}

sensorium_nn::pack!(ResnetBlock2D: time_emb_proj);

impl ResnetBlock2D {
    /// Of `c_in` to `c_out` channels, told a time of `time` numbers or none.
    pub fn init(
        [c_in, c_out]: [usize; 2],
        time: Option<usize>,
        norms: Norms,
        init: &mut Init,
    ) -> Self {
        Self {
            norm1: norms.init(c_in, init),
            conv1: conv3([c_in, c_out], init),
            time_emb_proj: time.map(|time| linear([time, c_out], true, init)),
            norm2: norms.init(c_out, init),
            conv2: conv3([c_out, c_out], init),
            conv_shortcut: (c_in != c_out).then(|| conv1([c_in, c_out], true, init)),
            scaled: false,
            resize: Resize::Same,
        }
    }

    /// As [`init`](Self::init), scaled and shifted by a time of `time` numbers, to another size or the same.
    pub fn scaled(
        [c_in, c_out]: [usize; 2],
        time: usize,
        resize: Resize,
        norms: Norms,
        init: &mut Init,
    ) -> Self {
        let time_emb_proj = Some(linear([time, 2 * c_out], true, init));
        let plain = Self::init([c_in, c_out], None, norms, init);
        Self { time_emb_proj, scaled: true, resize, ..plain }
    }

    /// `[B, c_in, h, w] -> [B, c_out, h', w']`; `time [B, t]` has been through its SiLU.
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let y = self.resize.forward(self.norm1.silu(x.clone()));
        let x = self.resize.forward(x);
        let y = self.conv1.forward(y);
        let y = match (&self.time_emb_proj, time) {
            (Some(proj), Some(time)) => self.told(y, proj.forward(time.clone())),
            _ => self.norm2.silu(y),
        };
        let y = self.conv2.forward(y);
        self.conv_shortcut.iter().fold(x, |x, conv| conv.forward(x)) + y
    }

    /// The second norm and its SiLU, with what a time says to them: `y [B, c, h, w], time [B, c]`, or `[B, 2c]`.
    fn told(&self, y: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let [b, c, ..] = y.dims();
        if !self.scaled {
            return self.norm2.silu(y + time.reshape([b, c, 1, 1]));
        }
        let part = |from: usize| time.clone().narrow(1, from, c).reshape([b, c, 1, 1]);
        Activation::Silu.forward(self.norm2.forward(y) * (part(0) + 1.0) + part(c))
    }
}

/// Halves both sides.
#[derive(Module, Debug)]
pub(crate) struct Downsample2D {
    conv: Conv2d,
    /// Zeros stand behind the last row and column alone, as autoencoders have it.
    #[module(skip)]
    behind: bool,
}

impl Downsample2D {
    pub fn init(channels: usize, behind: bool, init: &mut Init) -> Self {
        let padding = usize::from(!behind);
        let (c_in, c_out) = (channels, channels);
        let config = Conv2dConfig { c_in, c_out, kernel: 3, stride: 2, padding, bias: true };
        Self { conv: Conv2d::init(config, init), behind }
    }

    /// `[B, c, h, w] -> [B, c, h/2, w/2]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(if self.behind { zeros_behind(x) } else { x })
    }
}

/// `[B, c, h, w] -> [B, c, h+1, w+1]`
fn zeros_behind(x: Tensor<4>) -> Tensor<4> {
    let ([b, c, h, w], device) = (x.dims(), x.device());
    let x = Tensor::cat(vec![x, Tensor::zeros([b, c, h, 1], &device)], 3);
    Tensor::cat(vec![x, Tensor::zeros([b, c, 1, w + 1], &device)], 2)
}

/// Doubles both sides.
#[derive(Module, Debug)]
pub(crate) struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    pub fn init(channels: usize, init: &mut Init) -> Self {
        Self { conv: conv3([channels, channels], init) }
    }

    /// `[B, c, h, w] -> [B, c, 2h, 2w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(doubled(x))
    }
}

/// Every pixel as a square of four: `[B, c, h, w] -> [B, c, 2h, 2w]`.
pub(crate) fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b * c, h, 1, w, 1]).expand([b * c, h, 2, w, 2]);
    x.reshape([b, c, 2 * h, 2 * w])
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn pixels_are_doubled_and_zeros_stand_behind() {
        let x = TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0], [1, 1, 2, 2]);
        let x = Tensor::<4>::from_data(x, &Device::flex());
        let rows = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0];
        assert_eq!(read(doubled(x.clone()))[..8], rows);
        assert_eq!(read(zeros_behind(x)), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
