//! Where weights begin: seeded draws onto a device.

use burn::module::Param;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use sensorium_kernels::rng::Rng;

use crate::fused::Precision;

/// Draws parameters in the order in which a model asks for them.
#[derive(Debug)]
pub struct Init {
    device: Device,
    rng: Option<Rng>,
    precision: Precision,
    recompute: bool,
}

impl Init {
    /// Parameters on `device`, drawn from `seed`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { rng: Some(Rng::new(seed)), ..Self::empty(device) }
    }

    /// Zeros on `device` that take no memory, whatever their shape: for weights that are about to be
    /// loaded, and for their names alone.
    pub fn empty(device: &Device) -> Self {
        Self { device: device.clone(), rng: None, precision: Precision::F32, recompute: false }
    }

    /// Layers from here on multiply numbers in `precision`; parameters stay f32.
    pub fn with(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Blocks from here on make their activations again in the backward pass.
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Where parameters are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether a block makes its activations again.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }

    /// In which numbers a layer multiplies.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Normal with mean 0 and standard deviation `std`.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        let Some(rng) = &mut self.rng else { return self.zeros(shape) };
        let count = shape.iter().product();
        let values = (0..count).map(|_| (rng.normal() * std) as f32).collect();
        self.param(values, shape)
    }

    /// Uniform from `-bound` to `bound`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        let Some(rng) = &mut self.rng else { return self.zeros(shape) };
        let count = shape.iter().product();
        let values = (0..count).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
        self.param(values, shape)
    }

    /// Every value the same: 0 for biases, 1 for norms.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        if self.rng.is_none() {
            return self.zeros(shape);
        }
        self.param(vec![value; shape.iter().product()], shape)
    }

    /// What `values` gives, row-major; it is not asked where weights are about to be loaded.
    ///
    /// # Panics
    /// When the values do not fill `shape`.
    pub fn values<const D: usize>(
        &mut self,
        values: impl FnOnce() -> Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        if self.rng.is_none() {
            return self.zeros(shape);
        }
        self.param(values(), shape)
    }

    /// One zero, seen everywhere.
    fn zeros<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::<D>::zeros([1; D], &self.device).expand(shape))
    }

    fn param<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        let data = TensorData::new(values, Shape::from(shape));
        Param::from_tensor(Tensor::from_data(data, &self.device))
    }
}

/// Place `at` of a sequence as `width / 2` sines and as many cosines (Vaswani et al. 2017, section
/// 3.5), of wavelengths from 2π to 200π: the sequences here are short.
pub fn waves(at: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let angle = |i: usize| at as f64 * 100f64.powf(-(i as f64) / half as f64);
    let sines = (0..half).map(|i| angle(i).sin() as f32);
    sines.chain((0..width - half).map(|i| angle(i).cos() as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_of_neighbours_are_alike() {
        let dot = |a: usize, b: usize| -> f32 {
            waves(a, 96).iter().zip(waves(b, 96)).map(|(x, y)| x * y).sum()
        };
        assert!((dot(3, 3) - 48.0).abs() < 1e-3 && (dot(0, 2) - dot(5, 7)).abs() < 1e-3);
        assert!((0..7).all(|gap| dot(0, gap) > dot(0, gap + 1)));
    }
}
