//! 1-D convolution whose channels are in groups that do not see each other.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::conv1d::Taps;
use crate::fused::{self, Precision};
use crate::init::Init;

/// `[B, T, c] -> [B, T, c]`: half of a kernel of zeros in front, the rest of it behind.
#[derive(Module, Debug)]
pub struct GroupedConv1d {
    /// `[c, c / groups, kernel]`.
    pub weight: Param<Tensor<3>>,
    /// `[c]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
}

impl GroupedConv1d {
    /// Normal weights scaled for a GELU after it (He et al. 2015), zero bias.
    ///
    /// # Panics
    /// When the groups do not share the channels evenly.
    pub fn init([channels, groups, kernel]: [usize; 3], init: &mut Init) -> Self {
        assert!(channels.is_multiple_of(groups), "{channels} channels in {groups} groups");
        let c_in = channels / groups;
        let std = (2.0 / (c_in * kernel) as f64).sqrt();
        Self {
            weight: init.normal([channels, c_in, kernel], std),
            bias: init.constant([channels], 0.0),
            precision: init.precision(),
        }
    }

    /// `[B, T, c] -> [B, T, c]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [channels, c, kernel] = self.weight.dims();
        let padding = [kernel / 2, (kernel - 1) / 2];
        let taps = Taps { kernel, stride: 1, padding, dilation: 1 };
        let (weight, bias) = (self.weight.val().reshape([channels, c * kernel]), self.bias.val());
        let group = |first: usize| {
            let x = taps.side_by_side(x.clone().narrow(2, first, c));
            let weight = weight.clone().narrow(0, first, c);
            fused::linear(self.precision, x, weight, Some(bias.clone().narrow(0, first, c)))
        };
        Tensor::cat((0..channels).step_by(c).map(group).collect(), 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::read;
    use burn::tensor::Device;
    use burn::tensor::module::conv1d;
    use burn::tensor::ops::ConvOptions;

    #[test]
    fn it_is_the_frameworks_own() {
        let mut init = Init::new(3, &Device::flex());
        for (groups, kernel) in [(1, 3), (3, 5), (2, 4), (6, 1)] {
            let conv = GroupedConv1d::init([6, groups, kernel], &mut init);
            let x = init.normal([2, 7, 6], 1.0).val();
            let options = ConvOptions::new([1], [kernel / 2], [1], groups);
            let (weight, bias) = (conv.weight.val(), Some(conv.bias.val()));
            let want = conv1d(x.clone().swap_dims(1, 2), weight, bias, options);
            let want = want.swap_dims(1, 2).narrow(1, 0, 7);
            let off = read((conv.forward(x) - want).abs().max())[0];
            assert!(off < 1e-5, "{groups} groups, kernel {kernel}: {off}");
        }
    }
}
