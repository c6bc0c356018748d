//! One operation with its operands, as flat leaves: what every comparison here runs.

use burn::tensor::{Device, Shape, Tensor, TensorData};
use sensorium_nn::device::from_env;
use sensorium_nn::params::read;
use sensorium_nn::rng::Rng;

/// From flat operands to a flat output; reshaping is the operation's business.
pub type Operation = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1>>;

/// Values of an operand, and the name under which a failure reports it.
pub type Operand = (&'static str, Vec<f32>);

/// An output and the gradient of `sum(output · upstream)` for each operand.
pub struct Outcome {
    pub output: Vec<f32>,
    pub gradients: Vec<Vec<f32>>,
}

/// The CPU, or what `SENSORIUM_DEVICE` names.
pub fn device() -> Device {
    from_env().unwrap_or_else(|error| panic!("{error}"))
}

/// Flattens, whatever the rank.
pub fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let count = x.dims().iter().product::<usize>();
    x.reshape([count])
}

/// `count` values of a normal distribution.
pub fn draw(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rng.normal() as f32).collect()
}

/// A tensor of given values.
pub fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), Shape::from(shape)), device)
}

/// Forward without a graph.
pub fn forward(operation: &Operation, operands: &[Operand], device: &Device) -> Vec<f32> {
    let leaves: Vec<Tensor<1>> =
        operands.iter().map(|(_, values)| tensor(values, [values.len()], device)).collect();
    read(operation(&leaves))
}

/// Forward and backward. `upstream` repeats if it is shorter than the output.
pub fn run(
    operation: &Operation,
    operands: &[Operand],
    upstream: &[f32],
    device: &Device,
) -> Outcome {
    let device = device.clone().autodiff();
    let leaves: Vec<Tensor<1>> = operands
        .iter()
        .map(|(_, values)| tensor(values, [values.len()], &device).require_grad())
        .collect();
    let output = operation(&leaves);
    let upstream: Vec<f32> = upstream.iter().copied().cycle().take(output.dims()[0]).collect();
    let weighted = output.clone() * tensor(&upstream, [upstream.len()], &device);
    let gradients = weighted.sum().backward();
    let gradient = |(leaf, (name, _)): (&Tensor<1>, &Operand)| {
        read(leaf.grad(&gradients).unwrap_or_else(|| panic!("no gradient for {name}")))
    };
    Outcome { output: read(output), gradients: leaves.iter().zip(operands).map(gradient).collect() }
}
