//! Long short-term memory, in both directions.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::fused::{self, Precision};
use crate::init::Init;

/// `[1, T, c_in] -> [1, T, 2 H]`: what was read up to each position, and what is read from its end back to it.
///
/// Hochreiter and Schmidhuber 1997, <https://doi.org/10.1162/neco.1997.9.8.1735>; gates in PyTorch's order: input,
/// forget, cell, output.
#[derive(Module, Debug)]
pub struct BiLstm {
    /// From the first position on.
    pub ahead: Lstm,
    /// From the last one back.
    pub back: Lstm,
}

impl BiLstm {
    /// Weights of `H^-0.5`.
    pub fn init([c_in, hidden]: [usize; 2], init: &mut Init) -> Self {
        let direction = |init: &mut Init| Lstm::init([c_in, hidden], init);
        Self { ahead: direction(init), back: direction(init) }
    }

    /// `[1, T, c_in] -> [1, T, 2 H]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        Tensor::cat(vec![self.ahead.forward(x.clone(), false), self.back.forward(x, true)], 2)
    }
}

/// One direction.
#[derive(Module, Debug)]
pub struct Lstm {
    /// Of what is read, `[4 H, c_in]`.
    pub ih: Param<Tensor<2>>,
    /// Of what is kept, `[4 H, H]`.
    pub hh: Param<Tensor<2>>,
    /// `[4 H]`
    pub ih_bias: Param<Tensor<1>>,
    /// `[4 H]`
    pub hh_bias: Param<Tensor<1>>,
    #[module(skip)]
    precision: Precision,
}

impl Lstm {
    fn init([c_in, hidden]: [usize; 2], init: &mut Init) -> Self {
        let std = (hidden as f64).powf(-0.5);
        Self {
            ih: init.normal([4 * hidden, c_in], std),
            hh: init.normal([4 * hidden, hidden], std),
            ih_bias: init.constant([4 * hidden], 0.0),
            hh_bias: init.constant([4 * hidden], 0.0),
            precision: init.precision(),
        }
    }

    /// `[1, T, c_in] -> [1, T, H]`; from the last position to the first where `back`.
    fn forward(&self, x: Tensor<3>, back: bool) -> Tensor<3> {
        let ([_, t, _], [_, hidden]) = (x.dims(), self.hh.dims());
        let bias = self.ih_bias.val() + self.hh_bias.val();
        let read = fused::linear(self.precision, x, self.ih.val(), Some(bias)); // [1, T, 4 H]
        let zeros = || Tensor::zeros([1, 1, hidden], &read.device());
        let (mut kept, mut cell, mut all) = (zeros(), zeros(), Vec::with_capacity(t));
        for i in 0..t {
            let at = if back { t - 1 - i } else { i };
            let again = fused::linear(self.precision, kept, self.hh.val(), None);
            let gates = read.clone().narrow(1, at, 1) + again;
            let gate = |i: usize| gates.clone().narrow(2, i * hidden, hidden);
            let [enters, stays, leaves] = [0, 1, 3].map(|i| fused::sigmoid(gate(i)));
            cell = stays * cell + enters * gate(2).tanh();
            kept = leaves * cell.clone().tanh();
            all.push(kept.clone());
        }
        if back {
            all.reverse();
        }
        Tensor::cat(all, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::read;
    use burn::tensor::{Device, TensorData};

    /// Against the sums that define it, a position at a time.
    #[test]
    fn it_is_what_defines_it() {
        let device = Device::flex();
        let (t, c, h) = (4, 3, 2);
        let mut init = Init::new(9, &device);
        let lstm = BiLstm::init([c, h], &mut init);
        let x: Vec<f32> = (0..t * c).map(|i| (i as f32 * 0.9).sin()).collect();
        let got = lstm.forward(Tensor::from_data(TensorData::new(x.clone(), [1, t, c]), &device));
        let got = read(got);
        for (part, back) in [(&lstm.ahead, false), (&lstm.back, true)] {
            let (ih, hh) = (read(part.ih.val()), read(part.hh.val()));
            let (mut kept, mut cell) = (vec![0.0f32; h], vec![0.0f32; h]);
            for i in 0..t {
                let at = if back { t - 1 - i } else { i };
                let gate = |row: usize| -> f32 {
                    let read = (0..c).map(|k| ih[row * c + k] * x[at * c + k]).sum::<f32>();
                    read + (0..h).map(|k| hh[row * h + k] * kept[k]).sum::<f32>()
                };
                let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
                let next: Vec<[f32; 2]> = (0..h)
                    .map(|k| {
                        let cell = sigmoid(gate(h + k)) * cell[k]
                            + sigmoid(gate(k)) * gate(2 * h + k).tanh();
                        [cell, sigmoid(gate(3 * h + k)) * cell.tanh()]
                    })
                    .collect();
                for (k, [new, out]) in next.into_iter().enumerate() {
                    (cell[k], kept[k]) = (new, out);
                    let place = at * 2 * h + usize::from(back) * h + k;
                    assert!((got[place] - out).abs() < 1e-5, "{at}, {back}");
                }
            }
        }
    }
}
