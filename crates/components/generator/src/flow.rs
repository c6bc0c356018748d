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
//! Or the latents themselves are told, from which the velocity follows: what tokens of many pixels want, whose
//! noise no narrow trunk can carry through (Li and He 2025, <https://arxiv.org/abs/2511.13720>).

use sensorium_flow::{Sampler, Solver};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::uvit::{Tokens, Uvit, UvitConfig};

/// What a flow's trunk tells of noised latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// Latents less noise.
    #[default]
    Velocity,
    /// The latents.
    Data,
}

/// Straight ways from noise to latents.
#[derive(Module, Debug)]
pub struct Flow {
    trunk: Uvit,
    /// What stands for no conditions, `[Q, C]`.
    null: Param<Tensor<2>>,
    #[module(skip)]
    prediction: Prediction,
}

/// The least of the way that is left when latents are made a velocity of: what is told near the end is divided by
/// no less.
const LEAST_LEFT: f32 = 0.05;

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
    pub fn init(
        config: &UvitConfig,
        tokens: Tokens,
        prediction: Prediction,
        init: &mut Init,
    ) -> Self {
        let null = init.normal([tokens.conditions, tokens.width], 1.0);
        Self { trunk: Uvit::init(config, tokens, init), null, prediction }
    }

    /// How far on its way a sample of training is, by a normal number: half of them beyond the middle, or, where
    /// latents are told, nearer to the noise, as what is wrong counts for ever more towards the end.
    pub fn time(&self, normal: f64) -> f32 {
        let logit = match self.prediction {
            Prediction::Velocity => normal,
            Prediction::Data => 0.8 * normal - 0.8,
        };
        (1.0 / (1.0 + (-logit).exp())) as f32
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
        self.toward(x, self.without(conditions, dropped), times)
    }

    /// The velocity at `x`, as the trunk tells it.
    fn toward(&self, x: Tensor<3>, conditions: Tensor<3>, times: &[f32]) -> Tensor<3> {
        let told = self.trunk.forward(x.clone(), conditions, times);
        match self.prediction {
            Prediction::Velocity => told,
            Prediction::Data => {
                let left: Vec<f32> = times.iter().map(|t| (1.0 - t).max(LEAST_LEFT)).collect();
                let left = TensorData::new(left, [times.len(), 1, 1]);
                (told - x.clone()) / Tensor::<3>::from_data(left, &x.device())
            }
        }
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
            let told = self.toward(x.clone(), conditions.clone(), &vec![time; b]);
            if sampler.guidance == 1.0 {
                return told;
            }
            let untold = self.toward(x, null.clone(), &vec![time; b]);
            untold.clone() + (told - untold) * sampler.guidance
        };
        let h = 1.0 / steps as f32;
        (0..steps).fold(noise, |x, step| {
            let time = step as f32 * h;
            let first = velocity(x.clone(), time);
            // At the end latents that are told make no velocity.
            let ends = self.prediction == Prediction::Data && step + 1 == steps;
            match sampler.solver {
                Solver::Heun if !ends => {
                    let second = velocity(x.clone() + first.clone() * h, time + h);
                    x + (first + second) * (0.5 * h)
                }
                Solver::Euler | Solver::Heun => x + first * h,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    /// A trunk that has learned nothing tells latents of zero, from wherever it is asked: the way ends there.
    #[test]
    fn latents_that_are_told_are_where_the_way_ends() {
        let config = UvitConfig { hidden_size: 8, n_layers: 1, n_heads: 1, intermediate_size: 8 };
        let tokens = Tokens { latents: 2, size: 3, out: 3, conditions: 1, width: 4 };
        let mut init = Init::new(1, &Device::flex());
        let flow = Flow::init(&config, tokens, Prediction::Data, &mut init);
        let noise = init.normal([2, 2, 3], 1.0).val();
        let conditions = init.normal([2, 1, 4], 1.0).val();
        for solver in [Solver::Euler, Solver::Heun] {
            let sampler = Sampler { steps: 4, solver, ..Sampler::default() };
            let made = read(flow.sample(noise.clone(), conditions.clone(), sampler));
            assert!(made.iter().all(|x| x.abs() < 1e-5), "{made:?}");
        }
        let latents = init.normal([2, 2, 3], 1.0).val();
        let noised =
            Noised { noise: noise.clone(), times: vec![0.0, 0.99], dropped: vec![false; 2] };
        let velocity = read(flow.velocity(latents.clone(), conditions, &noised));
        let (noise, latents) = (read(noise), read(latents));
        for i in 0..6 {
            assert!((velocity[i] + noise[i]).abs() < 1e-5);
            let x = 0.01 * noise[6 + i] + 0.99 * latents[6 + i];
            assert!((velocity[6 + i] + x / LEAST_LEFT).abs() < 1e-4);
        }
    }
}
