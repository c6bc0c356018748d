//! Affine map of the last axis.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use sensorium_kernels::quant::Kind;

use super::Activation;
use crate::fused::{self, Precision, Quantized};
use crate::init::Init;
use crate::lora::Lora;
use crate::pack::{Dense, Matrix, Pack, Packed, Visit, halved};
use crate::params::read;

/// `y = x Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as PyTorch stores it; `[0, 0]` once packed or quantized.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What is learned beside the matrix.
    pub lora: Option<Lora>,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    packed: Option<Arc<Dense>>,
    /// The frozen matrix in few bits, instead of `weight`.
    #[module(skip)]
    quantized: Option<Arc<Quantized>>,
}

/// `[n] -> [1, .., n]`
fn last_axis<const D: usize>(x: Tensor<1>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[D - 1] = x.dims()[0];
    x.reshape(shape)
}

impl Linear {
    /// Normal weights of `std`, zero bias.
    pub fn init(in_: usize, out: usize, bias: bool, std: f64, init: &mut Init) -> Self {
        Self {
            weight: init.normal([out, in_], std),
            bias: bias.then(|| init.constant([out], 0.0)),
            lora: None,
            precision: init.precision(),
            packed: None,
            quantized: None,
        }
    }

    /// `[.., in] -> [.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let Some(lora) = &self.lora else { return self.product(x) };
        let y = self.product(x.clone());
        let base = || match &self.bias {
            Some(bias) => y.clone() - last_axis(bias.val()),
            None => y.clone(),
        };
        let weight = || match &self.quantized {
            Some(weight) => weight.tensor(&x.device()),
            None => self.weight.val(),
        };
        let added = lora.forward(self.precision, x.clone(), base, weight);
        y + added
    }

    fn product<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        match (&self.packed, &self.quantized) {
            (Some(packed), _) => fused::packed_linear(x, packed),
            (_, Some(weight)) => {
                let y = fused::quantized_linear(self.precision, x, weight);
                bias.into_iter().fold(y, |y, bias| y + last_axis(bias))
            }
            _ => fused::linear(self.precision, x, self.weight.val(), bias),
        }
    }

    /// The matrix as it runs, where all that is done with `x` is its product.
    fn runs(&self) -> Option<&Arc<Dense>> {
        self.packed.as_ref().filter(|_| self.lora.is_none())
    }

    /// `act(forward(x))`
    pub fn activated<const D: usize>(&self, x: Tensor<D>, act: Activation) -> Tensor<D> {
        match (self.runs(), act.kind()) {
            (Some(packed), Some(kind)) => fused::packed_gelu(x, packed, kind),
            _ => act.forward(self.forward(x)),
        }
    }

    /// `stream + forward(x)`: what a block writes to the residual stream.
    pub fn add_to<const D: usize>(&self, stream: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        match self.runs() {
            Some(packed) => fused::packed_onto(stream, x, packed),
            None => stream + self.forward(x),
        }
    }

    /// `silu(gate(x))·up(x)`
    pub fn gated<const D: usize>(gate: &Self, up: &Self, x: Tensor<D>) -> Tensor<D> {
        match (gate.runs(), up.runs()) {
            // The kernel for both has no place for the second bias.
            (Some(gate), Some(up)) if up.bias.is_none() && gate.weight.pairs_with(&up.weight) => {
                fused::packed_gated(x, gate, up)
            }
            _ => {
                let y = gate.forward(x.clone());
                fused::swiglu(y, up.forward(x))
            }
        }
    }

    /// `forward` of several layers with the same input.
    pub fn together<const D: usize, const N: usize>(
        layers: [&Self; N],
        x: Tensor<D>,
    ) -> [Tensor<D>; N] {
        let packed = layers.map(Self::runs);
        if packed.iter().all(Option::is_some) {
            return fused::packed_together(x, packed.map(|packed| packed.expect("all are packed")));
        }
        layers.map(|layer| layer.forward(x.clone()))
    }
}

impl Matrix for Linear {
    fn pack(&mut self, packer: &mut dyn FnMut(&Param<Tensor<2>>) -> Option<Arc<Packed>>) {
        let Some(weight) = packer(&self.weight) else { return };
        let bias = self.bias.as_ref().map(|bias| read(bias.val()));
        self.packed = Some(Arc::new(Dense { weight, bias }));
        let device = self.weight.val().device();
        self.weight = Param::from_tensor(Tensor::zeros([0, 0], &device));
    }

    fn halve(&mut self) {
        self.weight = halved(&self.weight).unwrap_or_else(|| self.weight.clone());
    }

    fn quantize(&mut self, kind: Kind) -> bool {
        let weight = self.weight.val();
        let quantized = Quantized::new(kind, weight.dims(), &read(weight.clone()));
        if quantized.is_some() {
            self.weight = Param::from_tensor(Tensor::zeros([0, 0], &weight.device()));
            self.quantized = quantized.map(Arc::new);
        }
        self.quantized.is_some()
    }

    fn adaptable(&mut self) -> Option<(&Param<Tensor<2>>, &mut Option<Lora>)> {
        Some((&self.weight, &mut self.lora))
    }

    fn merge(&mut self) {
        if let Some(lora) = self.lora.take() {
            self.weight = Param::from_tensor(lora.merged(self.weight.val()));
        }
    }
}

impl Pack for Linear {
    fn matrices(&mut self, path: &str, visit: &mut Visit<'_>) {
        visit(path, self);
    }
}
