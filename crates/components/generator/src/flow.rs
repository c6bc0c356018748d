//! Rectified flow: straight ways from noise to media.
//!
//! Liu et al. 2022, <https://arxiv.org/abs/2209.03003>; times more often from the middle of the way, Esser et al.
//! 2024, section 3.1, <https://arxiv.org/abs/2403.03206>; classifier-free guidance, Ho and Salimans 2022,
//! <https://arxiv.org/abs/2207.12598>.
//!
//! ```text
//! x_t = (1 - t)·noise + t·latents          learned: velocity(x_t, t, conditions) = latents - noise
//! noise = x_0 ──steps along the velocity──▶ x_1 = latents
//! ```

use sensorium_flow::{Sampler, Solver};
use sensorium_nn::prelude::*;

use crate::uvit::{Tokens, Uvit, UvitConfig};

/// Straight ways from noise to latents.
#[derive(Module, Debug)]
pub struct Flow {
    trunk: Uvit,
    /// What stands for no conditions, `[Q, C]`.
    null: Param<Tensor<2>>,
}

sensorium_nn::pack!(Flow: trunk);

/// What one step of training shows.
#[derive(Clone, Debug)]
pub struct Noised {
    /// Noise, `[B, N, size]`.
    pub noise: Tensor<3>,
    /// How far each is on its way from noise to latents, from 0 to 1, `[B]`.
    pub times: Vec<f32>,
    /// Whether each goes without its conditions, `[B]`.
    pub dropped: Vec<bool>,
}

impl Flow {
    /// Seeded weights.
    pub fn init(config: &UvitConfig, tokens: Tokens, init: &mut Init) -> Self {
        let null = init.normal([tokens.conditions, tokens.width], 1.0);
        Self { trunk: Uvit::init(config, tokens, init), null }
    }

    /// Mean square of what is wrong with the velocity, over `latents [B, N, size]` told by
    /// `conditions [B, Q, C]`.
    pub fn loss(&self, latents: Tensor<3>, conditions: Tensor<3>, noised: Noised) -> Tensor<1> {
        let velocity = self.velocity(latents.clone(), conditions, &noised);
        (velocity - (latents - noised.noise)).square().mean()
    }

    /// Where latents that are mixed with noise are thought to come from and go to, `[B, N, size]`.
    pub fn velocity(
        &self,
        latents: Tensor<3>,
        conditions: Tensor<3>,
        noised: &Noised,
    ) -> Tensor<3> {
        let Noised { noise, times, dropped } = noised;
        let t = TensorData::new(times.clone(), [times.len(), 1, 1]);
        let t = Tensor::<3>::from_data(t, &latents.device());
        let x = noise.clone() + (latents - noise.clone()) * t;
        self.trunk.forward(x, self.without(conditions, dropped), times)
    }

    /// Conditions, and what stands for none where they are dropped.
    fn without(&self, conditions: Tensor<3>, dropped: &[bool]) -> Tensor<3> {
        let b = dropped.len();
        let kept: Vec<f32> = dropped.iter().map(|&dropped| f32::from(!dropped)).collect();
        let kept = Tensor::<3>::from_data(TensorData::new(kept, [b, 1, 1]), &conditions.device());
        let null = self.null.val().unsqueeze::<3>();
        conditions * kept.clone() + null * (kept.neg() + 1.0)
    }

    /// Latents from `noise [B, N, size]`, told by `conditions [B, Q, C]`.
    pub fn sample(&self, noise: Tensor<3>, conditions: Tensor<3>, sampler: Sampler) -> Tensor<3> {
        let steps = sampler.steps.max(1);
        let [b, q, c] = conditions.dims();
        let null = self.null.val().unsqueeze::<3>().expand([b, q, c]);
        let velocity = |x: Tensor<3>, time: f32| {
            let told = self.trunk.forward(x.clone(), conditions.clone(), &vec![time; b]);
            if sampler.guidance == 1.0 {
                return told;
            }
            let untold = self.trunk.forward(x, null.clone(), &vec![time; b]);
            untold.clone() + (told - untold) * sampler.guidance
        };
        let h = 1.0 / steps as f32;
        (0..steps).fold(noise, |x, step| {
            let time = step as f32 * h;
            let first = velocity(x.clone(), time);
            match sampler.solver {
                Solver::Euler => x + first * h,
                Solver::Heun => {
                    let second = velocity(x.clone() + first.clone() * h, time + h);
                    x + (first + second) * (0.5 * h)
                }
            }
        })
    }
}
