//! A picture of noise in one step, or in some that each begin with less noise: consistency models.
//!
//! Song et al. 2023, algorithm 1 and appendix C, <https://arxiv.org/abs/2303.01469>; sizes of what goes in and comes out
//! and the noise of steps: Karras et al. 2022, table 1, <https://arxiv.org/abs/2206.00364>.
//!
//! ```text
//! noise·sigma ──UNet──▶ picture ──+ noise·less──▶ UNet ──▶ picture
//! ```

use sensorium_nn::prelude::*;

use super::unet2d::UNet2DModel;

/// How a consistency model was trained to be asked (diffusers' `CMStochasticIterativeScheduler`).
#[derive(Clone, Debug, PartialEq)]
pub struct ConsistencyConfig {
    /// Steps of training: more there are not to take.
    pub num_train_timesteps: usize,
    /// Least noise, which is thought to be none.
    pub sigma_min: f64,
    /// Most noise, with which the first step begins.
    pub sigma_max: f64,
    /// The standard deviation of pictures.
    pub sigma_data: f64,
    /// What the noise between steps is multiplied with.
    pub s_noise: f64,
    /// Of which root of the noise the steps fall evenly.
    pub rho: f64,
    /// Whether pictures are kept from -1 to 1.
    pub clip_denoised: bool,
}

impl ConsistencyConfig {
    /// How much noise there is before each of so many steps.
    pub fn sigmas(&self, steps: usize) -> Vec<f64> {
        let [min, max] = [self.sigma_min, self.sigma_max].map(|sigma| sigma.powf(1.0 / self.rho));
        let (stride, last) =
            (self.num_train_timesteps / steps.max(1), self.num_train_timesteps - 1);
        let share = |i: usize| (i * stride) as f64 / last.max(1) as f64;
        (0..steps).map(|i| (max + share(i) * (min - max)).powf(self.rho)).collect()
    }

    /// A picture `[B, c, h, w]` of a label, in as many steps as there are noises; `on_step` sees how many are done, and
    /// the picture.
    pub fn denoise(
        &self,
        unet: &UNet2DModel,
        label: f32,
        noises: Vec<Tensor<4>>,
        on_step: &mut dyn FnMut(usize, &Tensor<4>),
    ) -> Option<Tensor<4>> {
        let sigmas = self.sigmas(noises.len());
        noises.into_iter().zip(sigmas).enumerate().fold(None, |picture, (i, (noise, sigma))| {
            let x = match picture {
                None => noise * self.sigma_max,
                Some(picture) => picture + noise * (self.s_noise * self.added(sigma)),
            };
            let picture = self.denoised(unet, label, x, sigma);
            on_step(i + 1, &picture);
            Some(picture)
        })
    }

    /// The standard deviation of what is added to a picture that has the least noise.
    fn added(&self, sigma: f64) -> f64 {
        let sigma = sigma.clamp(self.sigma_min, self.sigma_max);
        (sigma * sigma - self.sigma_min * self.sigma_min).sqrt()
    }

    /// What the model thinks that `x` is without its noise; at the least noise it is itself, by this formula.
    fn denoised(&self, unet: &UNet2DModel, label: f32, x: Tensor<4>, sigma: f64) -> Tensor<4> {
        const LEAST: f64 = 1e-44;
        let (data, beyond) = (self.sigma_data, sigma - self.sigma_min);
        let size = sigma.hypot(data);
        let time = 250.0 * (sigma + LEAST).ln();
        let told = unet.forward(x.clone() / size, time as f32, label);
        let kept = data * data / (beyond * beyond + data * data);
        let y = told * (beyond * data / size) + x * kept;
        if self.clip_denoised { y.clamp(-1.0, 1.0) } else { y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_falls_from_the_most_to_the_least() {
        let config = ConsistencyConfig {
            num_train_timesteps: 40,
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 0.5,
            s_noise: 1.0,
            rho: 7.0,
            clip_denoised: true,
        };
        assert!((config.sigmas(1)[0] - 80.0).abs() < 1e-9);
        let all = config.sigmas(40);
        assert!(all.is_sorted_by(|a, b| a > b) && (all[39] - 0.002).abs() < 1e-9, "{all:?}");
        assert_eq!(ConsistencyConfig { num_train_timesteps: 1, ..config }.sigmas(1).len(), 1);
    }
}
