//! What an optimiser computes with: the numbers of one parameter, where they lie.

use burn::tensor::{Device, Shape, Tensor, TensorData};
use sensorium_kernels::optim as kernel;

use crate::fused::has_kernels;
use crate::params::read;

/// Numbers of one parameter, row-major: its values, its gradient, or a mean of these.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few for each parameter")]
pub enum Flat {
    /// On the CPU, for the kernels.
    Host(Vec<f32>),
    /// On another device.
    Device(Tensor<1>),
}

/// What one step of AdamW multiplies by.
#[derive(Clone, Copy, Debug)]
pub struct AdamWRates {
    /// Learning rate.
    pub rate: f32,
    /// Weight of the past in the mean of gradients.
    pub beta1: f32,
    /// Weight of the past in the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay.
    pub decay: f32,
    /// The step, from 1.
    pub step: u64,
    /// What gradients are multiplied by first.
    pub scale: f32,
}

impl Flat {
    /// A tensor's numbers, which become a vector where nobody else holds them on the CPU.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        match has_kernels(&tensor) {
            true => Self::Host(read(tensor)),
            false => {
                let count = tensor.shape().num_elements();
                // Out of the graph, and what is done with it makes none.
                Self::Device(tensor.detach().set_require_grad(false).reshape([count]))
            }
        }
    }

    /// A tensor of these numbers on `device`, where they lie already or are brought.
    pub fn tensor<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        match self {
            Self::Host(values) => {
                Tensor::from_data(TensorData::new(values, Shape::from(shape)), device)
            }
            Self::Device(tensor) => tensor.reshape(shape),
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Device(tensor) => tensor.dims()[0],
        }
    }

    /// The numbers, brought to the CPU.
    pub fn into_vec(self) -> Vec<f32> {
        match self {
            Self::Host(values) => values,
            Self::Device(tensor) => read(tensor),
        }
    }

    /// As many zeros in the same place.
    pub fn zeros_like(&self) -> Self {
        match self {
            Self::Host(values) => Self::Host(vec![0.0; values.len()]),
            Self::Device(tensor) => Self::Device(tensor.zeros_like()),
        }
    }

    /// The same numbers where `other` lies: a checkpoint of one device goes on with another.
    pub fn beside(&mut self, other: &Self) {
        if let (Self::Host(values), Self::Device(tensor)) = (&self, other) {
            *self = Self::Device(Tensor::from_floats(&values[..], &tensor.device()));
        }
    }

    /// All multiplied by `factor`.
    pub fn scale(&mut self, factor: f32) {
        match self {
            Self::Host(values) => values.iter_mut().for_each(|value| *value *= factor),
            Self::Device(tensor) => *tensor = tensor.clone() * factor,
        }
    }

    /// Zero but in these `rows` of `width` numbers each.
    pub fn keep_rows(&mut self, width: usize, rows: &[u32]) {
        let kept = |at: usize| rows.contains(&((at / width) as u32));
        match self {
            Self::Host(values) => {
                let others = values.iter_mut().enumerate().filter(|(at, _)| !kept(*at));
                others.for_each(|(_, value)| *value = 0.0);
            }
            Self::Device(tensor) => {
                let mask: Vec<f32> = (0..tensor.dims()[0]).map(|at| f32::from(kept(at))).collect();
                *tensor = tensor.clone() * Tensor::from_floats(&mask[..], &tensor.device());
            }
        }
    }

    /// `self + factor · other`
    pub fn add(&mut self, other: &Self, factor: f32) {
        match (self, other) {
            (Self::Host(values), Self::Host(others)) => {
                for (value, other) in values.iter_mut().zip(others) {
                    *value += factor * other;
                }
            }
            (Self::Device(tensor), Self::Device(other)) => {
                *tensor = tensor.clone() + other.clone() * factor;
            }
            _ => apart(),
        }
    }

    /// One step of AdamW (Loshchilov and Hutter 2017) by a gradient, whose two moments it remembers.
    ///
    /// # Panics
    /// When they do not lie on one device.
    pub fn adamw(&mut self, gradient: &Self, moments: &mut [Self; 2], rates: AdamWRates) {
        let AdamWRates { rate, beta1, beta2, eps, decay, step, scale } = rates;
        match (self, gradient, moments) {
            (Self::Host(p), Self::Host(g), [Self::Host(m), Self::Host(v)]) => {
                kernel::adamw(p, g, m, v, rate, beta1, beta2, eps, decay, step, scale);
            }
            (Self::Device(p), Self::Device(g), [Self::Device(m), Self::Device(v)]) => {
                let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
                let keep = 1.0 - f64::from(rate) * f64::from(decay);
                let g = g.clone() * scale;
                *m = m.clone() * beta1 + g.clone() * (1.0 - beta1);
                *v = v.clone() * beta2 + g.square() * (1.0 - beta2);
                let root = (v.clone() / correction(beta2)).sqrt() + eps;
                *p = p.clone() * keep - m.clone() / root * (f64::from(rate) / correction(beta1));
            }
            _ => apart(),
        }
    }

    /// As a moving average of `values`: `decay · self + (1 - decay) · values`.
    ///
    /// # Panics
    /// When they do not lie on one device.
    pub fn follow(&mut self, values: &Self, decay: f32) {
        match (self, values) {
            (Self::Host(shadow), Self::Host(values)) => kernel::ema(shadow, values, decay),
            (Self::Device(shadow), Self::Device(values)) => {
                *shadow = shadow.clone() * decay + values.clone() * (1.0 - decay);
            }
            _ => apart(),
        }
    }
}

fn apart() -> ! {
    panic!("the numbers of one parameter lie on two devices")
}

/// Euclidean norm of all numbers together, for which another device than the CPU is waited for once.
pub fn norm<'a>(all: impl IntoIterator<Item = &'a Flat>) -> f64 {
    let (mut host, mut device) = (0.0, None::<Tensor<1>>);
    for flat in all {
        match flat {
            Flat::Host(values) => host += kernel::sum_squares(values),
            Flat::Device(tensor) => {
                let squares = tensor.clone().square().sum();
                device = Some(device.map_or(squares.clone(), |sum| sum + squares));
            }
        }
    }
    let device = device.map_or(0.0, |sum| f64::from(read(sum)[0]));
    (host + device).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::with_twins;
    use crate::rng::Rng;

    fn draw(seed: u64) -> Tensor<1> {
        let mut rng = Rng::new(seed);
        let values: Vec<f32> = (0..131).map(|_| rng.normal() as f32).collect();
        Tensor::from_floats(&values[..], &Device::flex())
    }

    /// Weights, moments and average after steps by accumulated gradients, and the last norm.
    fn trained() -> Vec<f32> {
        let mut p = Flat::of(draw(1));
        let (mut moments, mut shadow) = ([p.zeros_like(), p.zeros_like()], p.clone());
        let mut last = 0.0;
        for step in 1..=4 {
            let mut gradient = Flat::of(draw(1 + step));
            gradient.scale(0.5);
            gradient.add(&Flat::of(draw(9 + step)), 0.25);
            last = norm([&gradient, &p]);
            let (rate, scale) = (1e-2, 0.7);
            let (beta1, beta2, eps, decay) = (0.9, 0.95, 1e-8, 0.1);
            p.adamw(
                &gradient,
                &mut moments,
                AdamWRates { rate, beta1, beta2, eps, decay, step, scale },
            );
            shadow.follow(&p, 0.9);
        }
        let [m, v] = moments;
        let all = [p, m, v, shadow].map(Flat::into_vec);
        all.into_iter().flatten().chain([last as f32]).collect()
    }

    #[test]
    fn a_step_is_the_same_wherever_it_is_done() {
        let (host, device) = (trained(), with_twins(trained));
        assert_eq!(host.len(), device.len());
        for (host, device) in host.iter().zip(&device) {
            assert!((host - device).abs() < 1e-5 * host.abs().max(1.0), "{host} and {device}");
        }
    }

    #[test]
    fn moments_of_the_cpu_go_on_elsewhere() {
        let device = with_twins(|| Flat::of(draw(3)));
        let mut moment = Flat::Host(vec![2.0; 131]);
        moment.beside(&device);
        assert!(matches!(moment, Flat::Device(_)));
        assert_eq!(moment.into_vec(), [2.0; 131]);
    }
}
