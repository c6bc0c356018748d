//! 1-D convolution whose channels are in groups that do not see each other.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::conv1d::{rows, side_by_side};
use crate::fused::{self, Precision, Taps};
use crate::init::Init;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit};
use crate::params::read;

/// `[B, T, c] -> [B, T, c]`: half of a kernel of zeros in front, the rest of it behind.
#[derive(Module, Debug)]
pub struct GroupedConv1d {
    /// `[c, c / groups, kernel]`; beside lengths, directions alone.
    pub weight: Param<Tensor<3>>,
    /// The length of what each place of the kernel reads, `[1, 1, kernel]`, where it is learned apart from the
    /// direction (Salimans and Kingma 2016, <https://arxiv.org/abs/1602.07868>).
    pub length: Option<Param<Tensor<3>>>,
    /// `[c]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
    /// Of each group.
    #[module(skip)]
    packed: Vec<Arc<Dense>>,
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
            length: None,
            bias: init.constant([channels], 0.0),
            precision: init.precision(),
            packed: Vec::new(),
        }
    }

    /// The same with lengths beside its directions.
    pub fn with_lengths(self, init: &mut Init) -> Self {
        let kernel = self.weight.dims()[2];
        Self { length: Some(init.constant([1, 1, kernel], 1.0)), ..self }
    }

    /// `[B, T, c] -> [B, T, c]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [channels, c, kernel] = self.weight.dims();
        let padding = [kernel / 2, (kernel - 1) / 2];
        let taps = Taps { kernel, stride: 1, padding, dilation: 1 };
        let weight = self.kernel();
        let group = |i: usize| {
            let x = x.clone().narrow(2, i * c, c);
            match self.packed.get(i) {
                Some(packed) => fused::packed_conv1d(x, packed, taps, None, None),
                None => {
                    let bias = Some(self.bias.val().narrow(0, i * c, c));
                    let weight = rows(weight.clone().narrow(0, i * c, c));
                    fused::linear(self.precision, side_by_side(taps, x), weight, bias)
                }
            }
        };
        Tensor::cat((0..channels / c).map(group).collect(), 2)
    }

    /// `[c, c / groups, kernel]`, directions as long as they are to be.
    fn kernel(&self) -> Tensor<3> {
        let directions = self.weight.val();
        match &self.length {
            None => directions,
            Some(length) => {
                let is = directions.clone().square().sum_dim(0).sum_dim(1).sqrt(); // [1, 1, kernel]
                directions * (length.val() / is)
            }
        }
    }
}

impl Matrix for GroupedConv1d {
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let (c, kernel) = (self.weight.dims()[1], self.kernel());
        let bias = read(self.bias.val());
        let group = |(i, bias): (usize, &[f32])| {
            let rows = rows(kernel.clone().narrow(0, i * c, c));
            let weight = packer(&Param::from_tensor(rows))?;
            Some(Arc::new(Dense { weight, bias: Some(bias.to_vec()) }))
        };
        self.packed = bias.chunks(c).enumerate().map_while(group).collect();
    }
}

impl Pack for GroupedConv1d {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
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
