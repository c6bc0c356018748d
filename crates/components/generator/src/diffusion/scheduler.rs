//! By which steps noise becomes latents.
//!
//! Euler: Karras et al. 2022, algorithm 2 without its noise, <https://arxiv.org/abs/2206.00364>. DDIM: Song et al. 2020,
//! formula 12 without noise, <https://arxiv.org/abs/2010.02502>. PNDM: Liu et al. 2022, formula 9 and, for its first
//! steps too, the linear multistep of formula 12, <https://arxiv.org/abs/2202.09778>. Spacings of times: Lin et al. 2023,
//! table 2, <https://arxiv.org/abs/2305.08891>.

use sensorium_flow::Scheduler;
use sensorium_nn::prelude::*;

use super::betas::NoiseSchedule;

/// What a model tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// `√α·noise - √(1 - α)·latents` (Salimans and Ho 2022, <https://arxiv.org/abs/2202.00512>).
    Velocity,
    /// The latents.
    Sample,
}

/// At which of training's times steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// From the first time on, the last one left out.
    Leading,
    /// From the last time back.
    Trailing,
    /// From the first to the last.
    Linspace,
}

/// How much noise there is at each of Euler's steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sigmas {
    /// What training has at the time.
    OfTimes,
    /// Its log falls evenly.
    LogLinear,
    /// Its seventh root falls evenly (Karras et al. 2022, formula 5), between these where they are said.
    Karras {
        /// Least.
        min: Option<f64>,
        /// Most.
        max: Option<f64>,
    },
}

/// A scheduler's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// Which steps.
    pub kind: Scheduler,
    /// The noise of training.
    pub noise: NoiseSchedule,
    /// What the model tells.
    pub prediction: Prediction,
    /// At which times.
    pub spacing: Spacing,
    /// What is added to leading times.
    pub steps_offset: usize,
    /// Whether nothing is thought to be left of the noise after the last step; else what is after training's first.
    pub set_alpha_to_one: bool,
    /// Euler's noise.
    pub sigmas: Sigmas,
    /// Whether Euler ends with the noise of training's first step.
    pub ends_noisy: bool,
}

impl SchedulerConfig {
    /// More steps than this there are no times for.
    pub fn most_steps(&self) -> usize {
        match self.spacing {
            Spacing::Leading => self.noise.steps.saturating_sub(self.steps_offset).max(1),
            Spacing::Trailing | Spacing::Linspace => self.noise.steps,
        }
    }

    /// The times of so many steps, from much noise to little.
    fn times(&self, steps: usize) -> Vec<f64> {
        let (n, steps_) = (self.noise.steps, steps as f64);
        let time = |i: usize| match self.spacing {
            Spacing::Leading => ((steps - 1 - i) * (n / steps) + self.steps_offset) as f64,
            Spacing::Trailing => {
                (n as f64 - i as f64 * (n as f64 / steps_)).round_ties_even() - 1.0
            }
            Spacing::Linspace if steps == 1 => 0.0,
            Spacing::Linspace => (n - 1) as f64 * (steps - 1 - i) as f64 / (steps_ - 1.0),
        };
        let times = (0..steps).map(time);
        match self.kind {
            Scheduler::Euler => times.collect(),
            Scheduler::Ddim | Scheduler::Pndm => times.map(f64::round_ties_even).collect(),
        }
    }
}

/// One run of a scheduler.
#[derive(Debug)]
pub struct Denoising {
    config: SchedulerConfig,
    /// Of each step.
    times: Vec<f64>,
    /// What of a picture's variance is left after each step of training.
    alphas: Vec<f64>,
    /// Euler's noise before each step and after the last.
    sigmas: Vec<f64>,
    /// How far training's steps lie apart.
    stride: i64,
    /// The last slopes, and where the first step began.
    slopes: Vec<Tensor<4>>,
    first: Option<Tensor<4>>,
}

impl Denoising {
    /// Of so many steps, from 1 to [`SchedulerConfig::most_steps`].
    pub fn new(config: &SchedulerConfig, steps: usize) -> Self {
        let steps = steps.clamp(1, config.most_steps());
        let mut alphas = config.noise.alphas_cumprod();
        let mut times = config.times(steps);
        let mut sigmas = Vec::new();
        match config.kind {
            Scheduler::Euler => {
                if let Some(last) = alphas.last_mut().filter(|_| config.noise.zero_snr) {
                    // So that the first noise is finite; the least number of 16 bits.
                    *last = 2f64.powi(-24);
                }
                (times, sigmas) = eulers(config, times, &alphas);
            }
            // Its second step begins where the first did, with a better slope.
            Scheduler::Pndm if steps > 1 => times.insert(1, times[1]),
            Scheduler::Ddim | Scheduler::Pndm => {}
        }
        let stride = (config.noise.steps / steps) as i64;
        let (slopes, first) = (Vec::new(), None);
        Self { config: config.clone(), times, alphas, sigmas, stride, slopes, first }
    }

    /// The time of each step, as the model is told it.
    pub fn times(&self) -> Vec<f32> {
        self.times.iter().map(|&time| time as f32).collect()
    }

    /// Euler's noise before each step and after the last; nothing of other schedulers.
    pub fn sigmas(&self) -> Vec<f32> {
        self.sigmas.iter().map(|&sigma| sigma as f32).collect()
    }

    /// Without its first steps, for latents that are less than noise alone (SDEdit, Meng et al. 2021, section 3.2,
    /// <https://arxiv.org/abs/2108.01073>). PNDM's second step goes by the place that it has in what is left.
    pub fn after(mut self, steps: usize) -> Self {
        self.times.drain(..steps.min(self.times.len()));
        self.sigmas.drain(..steps.min(self.sigmas.len()));
        self
    }

    /// Latents with as much noise as there is before the first step.
    pub fn noised(&self, latents: Tensor<4>, noise: Tensor<4>) -> Tensor<4> {
        match (self.config.kind, self.sigmas.first(), self.times.first()) {
            (Scheduler::Euler, Some(sigma), _) => latents + noise * *sigma,
            (_, _, Some(time)) => {
                let alpha = self.alpha(*time as i64);
                latents * alpha.sqrt() + noise * (1.0 - alpha).sqrt()
            }
            _ => latents,
        }
    }

    /// How much noise the latents begin with.
    pub fn init_noise_sigma(&self) -> f32 {
        let most = self.sigmas.iter().copied().fold(0.0, f64::max);
        match (self.config.kind, self.config.spacing) {
            (Scheduler::Ddim | Scheduler::Pndm, _) => 1.0,
            (_, Spacing::Leading) => most.hypot(1.0) as f32,
            _ => most as f32,
        }
    }

    /// What the model is shown of latents before a step.
    pub fn model_input(&self, step: usize, x: Tensor<4>) -> Tensor<4> {
        match self.config.kind {
            Scheduler::Euler => x / self.sigmas[step].hypot(1.0),
            Scheduler::Ddim | Scheduler::Pndm => x,
        }
    }

    /// The latents after a step, given what the model tells of them; steps are taken in order.
    pub fn step(&mut self, step: usize, told: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        match self.config.kind {
            Scheduler::Euler => self.euler(step, told, x),
            Scheduler::Ddim => {
                let time = self.times[step] as i64;
                let [alpha, before] = [time, time - self.stride].map(|time| self.alpha(time));
                ddim(self.config.prediction, alpha, before, told, x)
            }
            Scheduler::Pndm => self.pndm(step, told, x),
        }
    }

    /// What is left of a picture at a time; before all of them, what the settings say.
    fn alpha(&self, time: i64) -> f64 {
        let at = |time: usize| self.alphas[time.min(self.alphas.len() - 1)];
        match usize::try_from(time) {
            Ok(time) => at(time),
            Err(_) if self.config.set_alpha_to_one => 1.0,
            Err(_) => at(0),
        }
    }

    fn euler(&self, step: usize, told: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        let sigma = self.sigmas[step];
        let by = self.sigmas[step + 1] - sigma;
        let (of_x, of_told) = match self.config.prediction {
            Prediction::Epsilon => (0.0, 1.0),
            // The slope is (x - picture) / sigma, the picture x / (sigma² + 1) - told·sigma / √(sigma² + 1).
            Prediction::Velocity => {
                (sigma / (sigma * sigma + 1.0), 1.0 / (sigma * sigma + 1.0).sqrt())
            }
            Prediction::Sample => (1.0 / sigma, -1.0 / sigma),
        };
        x * (1.0 + by * of_x) + told * (by * of_told)
    }

    fn pndm(&mut self, step: usize, told: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        let time = self.times[step] as i64;
        if step == 1 {
            let before = self.slopes.last().cloned().into_iter();
            let slope = before.fold(told, |told, before| (told + before) / 2.0);
            let x = self.first.take().unwrap_or(x);
            return self.transfer([time + self.stride, time], slope, x);
        }
        self.slopes.push(told);
        let behind = self.slopes.len().saturating_sub(SLOPES.len());
        self.slopes.drain(..behind);
        let weights = SLOPES[self.slopes.len() - 1];
        let newest = self.slopes.iter().rev().zip(weights);
        let parts = newest.map(|(slope, &weight)| slope.clone() * weight);
        let slope = parts.reduce(|sum, part| sum + part);
        if step == 0 {
            self.first = Some(x.clone());
        }
        match slope {
            Some(slope) => self.transfer([time, time - self.stride], slope, x),
            None => x,
        }
    }

    /// From one time to another along a slope: formula 9 of PNDM.
    fn transfer(&self, times: [i64; 2], slope: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        let [alpha, to] = times.map(|time| self.alpha(time));
        let noise = match self.config.prediction {
            Prediction::Velocity => slope * alpha.sqrt() + x.clone() * (1.0 - alpha).sqrt(),
            Prediction::Epsilon | Prediction::Sample => slope,
        };
        let divisor = alpha * (1.0 - to).sqrt() + (alpha * (1.0 - alpha) * to).sqrt();
        x * (to / alpha).sqrt() - noise * ((to - alpha) / divisor)
    }
}

/// What the newest slopes count, by how many there are (Adams and Bashforth).
const SLOPES: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// To less noise: `alpha` and `to` are what is left of the picture here and there.
fn ddim(prediction: Prediction, alpha: f64, to: f64, told: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
    let (left, lost) = (alpha.sqrt(), (1.0 - alpha).sqrt());
    let (picture, noise) = match prediction {
        Prediction::Epsilon => ((x - told.clone() * lost) / left, told),
        Prediction::Velocity => (x.clone() * left - told.clone() * lost, told * left + x * lost),
        Prediction::Sample => (told.clone(), (x - told * left) / lost),
    };
    picture * to.sqrt() + noise * (1.0 - to).sqrt()
}

/// Euler's times, and its noise before each step and after the last.
fn eulers(config: &SchedulerConfig, times: Vec<f64>, alphas: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let all: Vec<f64> = alphas.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect();
    let (first, last) = (all[0], all[all.len() - 1]);
    let end = if config.ends_noisy { first } else { 0.0 };
    let of_times: Vec<f64> = times.iter().map(|&time| between(&all, time)).collect();
    let (times, mut sigmas) = match config.sigmas {
        Sigmas::OfTimes => (times, of_times),
        Sigmas::LogLinear => {
            let n = times.len();
            let at = |i: usize| last.ln() + (first.ln() - last.ln()) * i as f64 / n as f64;
            let sigmas = (0..=n).map(|i| at(i).exp()).collect();
            (times, sigmas)
        }
        Sigmas::Karras { min, max } => {
            let own = [of_times[of_times.len() - 1], of_times[0]];
            let sigmas = karras([min.unwrap_or(own[0]), max.unwrap_or(own[1])], times.len());
            (sigmas.iter().map(|&sigma| time_of(&all, sigma)).collect(), sigmas)
        }
    };
    sigmas.push(end);
    (times, sigmas)
}

/// A list's value between two of its places.
fn between(all: &[f64], place: f64) -> f64 {
    let low = (place.max(0.0) as usize).min(all.len() - 1);
    let high = (low + 1).min(all.len() - 1);
    all[low] + (all[high] - all[low]) * (place - low as f64)
}

/// So many sigmas whose seventh roots fall evenly.
fn karras([min, max]: [f64; 2], n: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let [from, to] = [max, min].map(|sigma| sigma.powf(1.0 / RHO));
    let share = |i: usize| i as f64 / (n.saturating_sub(1).max(1)) as f64;
    (0..n).map(|i| (from + share(i) * (to - from)).powf(RHO)).collect()
}

/// The time between those of training at which there is so much noise, by its log.
fn time_of(all: &[f64], sigma: f64) -> f64 {
    let low = all.iter().rposition(|&at| at <= sigma).unwrap_or_default();
    let low = low.min(all.len().saturating_sub(2));
    let [from, to] = [low, low + 1].map(|i| all[i.min(all.len() - 1)].ln());
    let share = (from - sigma.max(1e-10).ln()) / (from - to);
    low as f64 + share.clamp(0.0, 1.0)
}
