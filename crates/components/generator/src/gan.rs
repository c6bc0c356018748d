//! A generative adversarial network on latents: noise and conditions to latents at once.
//!
//! Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>; told what to make, Mirza and Osindero 2014,
//! <https://arxiv.org/abs/1411.1784>; hinge loss, Lim and Ye 2017, <https://arxiv.org/abs/1705.02894>; R1 by
//! differences, Lin et al. 2025, section 3.2, <https://arxiv.org/abs/2501.08316>, of Mescheder et al. 2018.

use sensorium_nn::prelude::*;

use crate::uvit::{Tokens, Uvit, UvitConfig};

/// What makes latents.
#[derive(Module, Debug)]
pub struct Gan {
    trunk: Uvit,
}

sensorium_nn::pack!(Gan: trunk);

impl Gan {
    /// Seeded weights.
    pub fn init(config: &UvitConfig, tokens: Tokens, init: &mut Init) -> Self {
        Self { trunk: Uvit::init(config, tokens, init) }
    }

    /// Latents of `noise [B, N, size]`, told by `conditions [B, Q, C]`.
    pub fn sample(&self, noise: Tensor<3>, conditions: Tensor<3>) -> Tensor<3> {
        let times = vec![0.0; noise.dims()[0]];
        self.trunk.forward(noise, conditions, &times)
    }
}

/// What tells latents of media from those that were made: larger is truer.
#[derive(Module, Debug)]
pub struct Discriminator {
    trunk: Uvit,
}

impl Discriminator {
    /// Seeded weights, for latents as a generator makes them.
    pub fn init(config: &UvitConfig, tokens: Tokens, init: &mut Init) -> Self {
        Self { trunk: Uvit::init(config, Tokens { out: 1, ..tokens }, init) }
    }

    /// `latents [B, N, size], conditions [B, Q, C] -> [B]`
    pub fn judge(&self, latents: Tensor<3>, conditions: Tensor<3>) -> Tensor<1> {
        let b = latents.dims()[0];
        self.trunk
            .forward(latents, conditions, &vec![0.0; b])
            .reshape([b as i32, -1])
            .mean_dim(1)
            .reshape([b])
    }

    /// What it learns by: latents of media are more than 1, made ones less than -1, and near media nothing changes
    /// much, by `penalty` for the square of what does in the direction of some `noise` of deviation `sigma`.
    pub fn loss(
        &self,
        real: Tensor<3>,
        made: Tensor<3>,
        conditions: Tensor<3>,
        r1: R1,
    ) -> Tensor<1> {
        let R1 { penalty, sigma, noise } = r1;
        let told = self.judge(real.clone(), conditions.clone());
        let near = self.judge(real + noise * sigma, conditions.clone());
        let false_one = self.judge(made, conditions);
        let change = ((near - told.clone()) / sigma).square().mean();
        hinge(told) + hinge(false_one.neg()) + change * penalty
    }

    /// What a generator learns by: that made latents seem true.
    pub fn fooled(&self, made: Tensor<3>, conditions: Tensor<3>) -> Tensor<1> {
        self.judge(made, conditions).mean().neg()
    }
}

/// How a discriminator is kept smooth.
#[derive(Clone, Debug)]
pub struct R1 {
    /// Weight.
    pub penalty: f64,
    /// Deviation of the noise.
    pub sigma: f64,
    /// Of deviation 1, `[B, N, size]`.
    pub noise: Tensor<3>,
}

/// Mean of what lacks to 1.
fn hinge(x: Tensor<1>) -> Tensor<1> {
    Activation::Relu.forward(x.neg() + 1.0).mean()
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn what_lacks_to_one_counts() {
        let x = Tensor::from_floats([2.0, 1.0, 0.5, -1.0], &Device::flex());
        assert_eq!(read(hinge(x)), [0.625]);
    }
}
