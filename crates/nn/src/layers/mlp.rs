//! Two linear maps with an activation between them.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid, silu};
use serde::{Deserialize, Serialize};

use super::Linear;
use crate::fused::{self, Gelu};
use crate::init::Init;

/// The activation of an [`Mlp`]; configurations spell it in lower case: `gelu_tanh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact GELU.
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `x·sigmoid(1.702x)`, which OpenAI's CLIP weights need.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x·sigmoid(x)`, also called swish.
    Silu,
    /// `a·sigmoid(b)` of the halves of the last axis, which becomes half as long (Dauphin et al. 2017).
    Glu,
    /// `silu(a)·b` of the halves of the last axis, which becomes half as long (Shazeer 2020).
    SwiGlu,
}

impl Activation {
    /// Elementwise; [`SwiGlu`](Self::SwiGlu) and [`Glu`](Self::Glu) halve the last axis.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        let halves = |x: Tensor<D>| {
            let half = x.dims()[D - 1] / 2;
            (x.clone().narrow(D - 1, 0, half), x.narrow(D - 1, half, half))
        };
        match (self, self.kind()) {
            (_, Some(kind)) => fused::gelu(kind, x),
            (Self::SwiGlu, _) => {
                let (gate, up) = halves(x);
                fused::swiglu(gate, up)
            }
            (Self::Glu, _) => {
                let (x, gate) = halves(x);
                x * sigmoid(gate)
            }
            (Self::Silu, _) => silu(x),
            _ => relu(x),
        }
    }

    /// Numbers that it reads for each that it gives.
    pub fn reads(self) -> usize {
        if matches!(self, Self::SwiGlu | Self::Glu) { 2 } else { 1 }
    }

    /// Which GELU it is, if it is one.
    pub(super) fn kind(self) -> Option<Gelu> {
        match self {
            Self::Gelu => Some(Gelu::Erf),
            Self::GeluTanh => Some(Gelu::Tanh),
            Self::QuickGelu => Some(Gelu::Quick),
            Self::Relu | Self::Silu | Self::Glu | Self::SwiGlu => None,
        }
    }
}

/// `fc2(act(fc1(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `D -> hidden`, twice that for SwiGLU.
    pub fc1: Linear,
    #[module(skip)]
    activation: Activation,
    /// `hidden -> out`.
    pub fc2: Linear,
}

impl Mlp {
    /// Weights of `std`, the second layer's scaled by `out_scale`.
    pub fn init(
        [d, hidden, out]: [usize; 3],
        activation: Activation,
        [std, out_std]: [f64; 2],
        init: &mut Init,
    ) -> Self {
        Self {
            fc1: Linear::init(d, activation.reads() * hidden, true, std, init),
            activation,
            fc2: Linear::init(hidden, out, true, out_std, init),
        }
    }

    /// `[.., D] -> [.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.fc2.forward(self.fc1.activated(x, self.activation))
    }

    /// `stream [.., out] + forward(x)`
    pub fn add_to<const D: usize>(&self, stream: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        self.fc2.add_to(stream, self.fc1.activated(x, self.activation))
    }
}

crate::pack!(Mlp: fc1, fc2);
