//! Dense layers whose weights are laid out for running, and what is done with their products while
//! these are in the cache.

use std::sync::Arc;

use burn::tensor::Tensor;
use sensorium_kernels::conv1d::{Positions, Taps, add_conv1d, conv1d};
use sensorium_kernels::packed::{Product, Then, products};
use sensorium_kernels::patches::patches;

use super::Gelu;
use super::backend::{Array, Call, Operation, apply1, apply2};
use crate::pack::Dense;

/// Layers of the same input, one after the other.
#[derive(Debug)]
struct Together(Vec<Arc<Dense>>);

/// One layer and what follows it.
#[derive(Debug)]
enum One {
    Plain(Arc<Dense>),
    Gelu(Arc<Dense>, Gelu),
    /// The gate, and what it is multiplied with.
    Gated(Arc<Dense>, Arc<Dense>),
}

/// A convolution that reads each pixel once: its layer, and the side of its kernel.
#[derive(Debug)]
struct Patches(Arc<Dense>, usize);

/// A convolution over positions.
#[derive(Debug)]
struct Conv1d {
    layer: Arc<Dense>,
    taps: Taps,
    /// Of a leaky ReLU before it.
    slope: Option<f64>,
    /// What follows it.
    then: Option<Gelu>,
}

/// The same, added to the second input.
#[derive(Debug)]
struct Conv1dOnto(Conv1d);

/// A layer whose output is added to the second input.
#[derive(Debug)]
struct Onto(Arc<Dense>);

impl Operation for Together {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let x = &inputs[0];
        let all: Vec<_> = self.0.iter().map(|layer| layer.product(Then::Nothing)).collect();
        let y = products(&all, x.rows(), x.values());
        let n = y.len();
        (Array::new(y, &[n]), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        self.0.iter().map(|layer| flop(&inputs[0], layer)).sum()
    }
}

impl Operation for One {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let x = &inputs[0];
        let product = match self {
            Self::Plain(layer) => layer.product(Then::Nothing),
            Self::Gelu(layer, kind) => layer.product(Then::Gelu(*kind)),
            Self::Gated(gate, up) => gate.product(Then::Gate(&up.weight)),
        };
        let y = products(&[product], x.rows(), x.values());
        (Array::new(y, &with_width(x, product.weights.out())), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        match self {
            Self::Plain(layer) | Self::Gelu(layer, _) => flop(&inputs[0], layer),
            Self::Gated(gate, up) => flop(&inputs[0], gate) + flop(&inputs[0], up),
        }
    }
}

impl Operation for Patches {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let (x, Self(layer, side)) = (&inputs[0], self);
        let [b, c, h, w] = x.shape()[..] else { unreachable!("pictures are [B, c, h, w]") };
        let rows = patches([b, c, h, w], *side, x.values());
        let n = (h / side) * (w / side);
        let y = products(&[layer.product(Then::Nothing)], b * n, &rows);
        (Array::new(y, &[b, n, layer.weight.out()]), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        flop(&inputs[0], &self.0)
    }
}

impl Conv1d {
    fn positions<'a>(&self, x: &'a Array) -> Positions<'a> {
        let [b, t, c] = x.shape()[..] else { unreachable!("positions are [B, T, c]") };
        Positions { x: x.values(), shape: [b, t, c], slope: self.slope.map(|slope| slope as f32) }
    }

    fn product(&self) -> Product<'_> {
        self.layer.product(self.then.map_or(Then::Nothing, Then::Gelu))
    }
}

impl Operation for Conv1d {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        let positions = self.positions(&inputs[0]);
        let [b, t, _] = positions.shape;
        let y = conv1d(&self.taps, positions, self.product());
        (Array::new(y, &[b, self.taps.output(t), self.layer.weight.out()]), Vec::new())
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        let [b, t, _] = self.positions(&inputs[0]).shape;
        let weight = &self.layer.weight;
        2.0 * (b * self.taps.output(t) * weight.in_() * weight.out()) as f64
    }
}

impl Operation for Conv1dOnto {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        (self.run(inputs.to_vec()), Vec::new())
    }

    fn run(&self, inputs: Vec<Array>) -> Array {
        let Ok([x, mut stream]) = <[Array; 2]>::try_from(inputs) else {
            unreachable!("a convolution onto a stream has 2 inputs")
        };
        let Self(conv) = self;
        add_conv1d(&conv.taps, conv.positions(&x), conv.product(), stream.values_mut());
        stream
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        self.0.flop(inputs)
    }
}

impl Operation for Onto {
    fn forward(&self, inputs: &[Array]) -> (Array, Vec<Array>) {
        (self.run(inputs.to_vec()), Vec::new())
    }

    fn run(&self, inputs: Vec<Array>) -> Array {
        let Ok([x, mut stream]) = <[Array; 2]>::try_from(inputs) else {
            unreachable!("a layer onto a stream has 2 inputs")
        };
        let Dense { weight, bias } = &*self.0;
        weight.add_linear(x.rows(), x.values(), bias.as_deref(), stream.values_mut());
        stream
    }

    fn backward(&self, _: &Call, _: &Array, _: &[bool]) -> Vec<Option<Array>> {
        untrained()
    }

    fn flop(&self, inputs: &[Array]) -> f64 {
        flop(&inputs[0], &self.0)
    }
}

/// Elsewhere matrices stay parameters: see [`Pack::pack`](crate::pack::Pack::pack).
fn never_packed<const D: usize>() -> Tensor<D> {
    panic!("packed weights lie on the CPU, what they are to multiply does not")
}

fn untrained() -> ! {
    panic!("packed weights run, they do not train")
}

/// Two for each of the inputs' numbers and each output.
fn flop(x: &Array, layer: &Dense) -> f64 {
    2.0 * (x.values().len() * layer.weight.out()) as f64
}

/// The shape of `x` with another last axis.
fn with_width(x: &Array, width: usize) -> Vec<usize> {
    let mut shape = x.shape();
    shape.pop();
    shape.push(width);
    shape
}

/// `[.., in] -> [.., out]`: `x Wᵀ + b`.
pub fn packed_linear<const D: usize>(x: Tensor<D>, layer: &Arc<Dense>) -> Tensor<D> {
    apply1(One::Plain(layer.clone()), x, |_| never_packed())
}

/// `[.., in] -> [.., out]`: `gelu(x Wᵀ + b)`.
pub fn packed_gelu<const D: usize>(x: Tensor<D>, layer: &Arc<Dense>, kind: Gelu) -> Tensor<D> {
    apply1(One::Gelu(layer.clone(), kind), x, |_| never_packed())
}

/// `[.., in] -> [.., out]`: `silu(x Gᵀ)·(x Uᵀ)`.
pub fn packed_gated<const D: usize>(x: Tensor<D>, gate: &Arc<Dense>, up: &Arc<Dense>) -> Tensor<D> {
    apply1(One::Gated(gate.clone(), up.clone()), x, |_| never_packed())
}

/// `[B, c, h, w] -> [B, N, out]`: one row for each patch of `side` pixels, row by row.
pub fn packed_patches(x: Tensor<4>, layer: &Arc<Dense>, side: usize) -> Tensor<3> {
    apply1(Patches(layer.clone(), side), x, |_| never_packed())
}

/// `[B, T, c] -> [B, T', out]`: the layer's matrix is `[out, kernel·c]`; of a leaky ReLU before it the slope, and what
/// follows it.
pub fn packed_conv1d(
    x: Tensor<3>,
    layer: &Arc<Dense>,
    taps: Taps,
    slope: Option<f64>,
    then: Option<Gelu>,
) -> Tensor<3> {
    apply1(Conv1d { layer: layer.clone(), taps, slope, then }, x, |_| never_packed())
}

/// `stream [B, T', out]` and a [`packed_conv1d`] of `x`, in place if nobody else holds `stream`.
pub fn packed_conv1d_onto(
    stream: Tensor<3>,
    x: Tensor<3>,
    layer: &Arc<Dense>,
    taps: Taps,
    slope: Option<f64>,
) -> Tensor<3> {
    let conv = Conv1dOnto(Conv1d { layer: layer.clone(), taps, slope, then: None });
    apply2(conv, x, stream, |_, _| never_packed())
}

/// `stream [.., out] + x Wᵀ + b`, in place if nobody else holds `stream`.
pub fn packed_onto<const D: usize>(
    stream: Tensor<D>,
    x: Tensor<D>,
    layer: &Arc<Dense>,
) -> Tensor<D> {
    apply2(Onto(layer.clone()), x, stream, |_, _| never_packed())
}

/// `[.., in] -> [.., out]` of several layers: `x` is rounded once, and all threads are called once.
pub fn packed_together<const D: usize, const N: usize>(
    x: Tensor<D>,
    layers: [&Arc<Dense>; N],
) -> [Tensor<D>; N] {
    let mut shape = x.dims();
    let rows: usize = shape[..D - 1].iter().product();
    let all: Tensor<1> = apply1(Together(layers.map(Arc::clone).into()), x, |_| never_packed());
    let mut first = 0;
    layers.map(|layer| {
        let (at, n) = (first, rows * layer.weight.out());
        first += n;
        shape[D - 1] = layer.weight.out();
        all.clone().narrow(0, at, n).reshape(shape)
    })
}
