//! A linear head that must tell, from a vector of the shared space, where the thing of each name lies
//! and how large it is: from a picture's as it is seen, from a caption's as it is said. So vectors bind
//! things to places and sizes, and both sorts do so in the same directions. It is thrown away after
//! training, like the head of [`regions`](super::regions).
//!
//! ```text
//! vectors [B, C] of unit length ──head──▶ [B, K], K numbers that may be known ──▶ mean square
//! ```

use sensorium_nn::prelude::*;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Places {
    /// From a vector to every number.
    pub head: Linear,
}

impl Places {
    /// Seeded weights for vectors of `width` and `numbers` to tell.
    pub fn init(width: usize, numbers: usize, init: &mut Init) -> Self {
        Self { head: Linear::init(width, numbers, true, (width as f64).powf(-0.5), init) }
    }

    /// Mean square of how far off the head is, over the known numbers, given `vectors [B, C]` of unit
    /// length. `targets [B · K]` hold the numbers, from -1 to 1, where known.
    pub fn loss(&self, vectors: Tensor<2>, targets: &[Option<f32>]) -> Tensor<1> {
        let ([b, c], device) = (vectors.dims(), vectors.device());
        let constant = |value: fn(&Option<f32>) -> f32| {
            let values: Vec<f32> = targets.iter().map(value).collect();
            Tensor::<2>::from_data(TensorData::new(values, [b, targets.len() / b]), &device)
        };
        let known = targets.iter().flatten().count();
        let mask = constant(|at| at.map_or(0.0, |_| 1.0));
        // A unit vector's numbers are small: the head reads them at about 1.
        let seen = self.head.forward(vectors.mul_scalar((c as f64).sqrt()));
        let off = (seen - constant(|at| at.unwrap_or_default())) * mask;
        (off.clone() * off).sum().div_scalar(known.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::{self, read};
    use sensorium_nn::prelude::Device;

    use super::*;

    #[test]
    fn a_head_of_zeros_is_off_by_what_is_known() {
        let places = Places::init(4, 4, &mut Init::new(1, &Device::flex()));
        let zeros = |_: &str, _: &[usize], values: &mut Vec<f32>| {
            values.fill(0.0);
            true
        };
        let places = params::update(places, zeros);
        let vectors = Tensor::ones([2, 4], &Device::flex()).div_scalar(2.0);
        let loss = |targets: [_; 8]| read(places.loss(vectors.clone(), &targets))[0];
        let mut known = [None; 8];
        assert_eq!(loss(known), 0.0);
        (known[0], known[3], known[7]) = (Some(0.6), Some(-0.8), Some(0.0));
        assert!((loss(known) - 1.0 / 3.0).abs() < 1e-6, "{}", loss(known));
    }
}
