//! The sound of vocal cords: sines of a voice's height and of multiples of it, and noise where it has none.
//!
//! Wang et al. 2019, <https://arxiv.org/abs/1904.12088>, section 3.2.

use std::f32::consts::PI;

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

/// The height and eight multiples of it.
pub(super) const HARMONICS: usize = 9;

/// Samples a second, of all published models.
pub const RATE: u32 = 24_000;

/// How loud sines are, and the noise on them; where there are no sines, noise is a third as loud as they.
const LOUD: f32 = 0.1;
const NOISE: f32 = 0.003;

/// Hz from which on cords sound.
const VOICED: f32 = 10.0;

/// How sines are mixed.
#[derive(Module, Debug)]
pub(super) struct Source {
    mix: Linear,
}

impl Source {
    pub(super) fn init(init: &mut Init) -> Self {
        Self { mix: Linear::init(HARMONICS, 1, true, (HARMONICS as f64).powf(-0.5), init) }
    }

    /// `rate` samples for each of `hertz`. `noise` gives so many numbers of deviation 1: of each sample, as many as
    /// there are sines.
    pub(super) fn samples(
        &self,
        hertz: &[f32],
        rate: usize,
        noise: &mut dyn FnMut(usize) -> Vec<f32>,
    ) -> Vec<f32> {
        let weights = read(self.mix.weight.val());
        let bias = self.mix.bias.as_ref().map_or(0.0, |bias| read(bias.val())[0]);
        let phases: Vec<Vec<f32>> = (1..=HARMONICS).map(|k| phases(hertz, k, rate)).collect();
        let noise = noise(hertz.len() * rate * HARMONICS);
        let sample = |(i, noise): (usize, &[f32])| {
            let voiced = hertz[i / rate] > VOICED;
            let loud = if voiced { NOISE } else { LOUD / 3.0 };
            let sine = |k: usize| if voiced { LOUD * phases[k][i].sin() } else { 0.0 };
            let sum: f32 = (0..HARMONICS).map(|k| weights[k] * (sine(k) + loud * noise[k])).sum();
            (sum + bias).tanh()
        };
        noise.chunks(HARMONICS).enumerate().map(sample).collect()
    }
}

/// The angle of a multiple of the height at each sample.
///
/// A sum that grows is rounded as where the model was taught: angles of a thousand turns are of single precision.
fn phases(hertz: &[f32], multiple: usize, rate: usize) -> Vec<f32> {
    let mut turns = 0.0f64;
    let ends = hertz.iter().map(|hertz| {
        turns += f64::from((hertz * multiple as f32 / RATE as f32).rem_euclid(1.0));
        turns as f32 * 2.0 * PI * rate as f32
    });
    let ends: Vec<f32> = ends.collect();
    let step = 1.0 / rate as f32;
    let between = |i: usize| {
        let place = ((i as f32 + 0.5) * step - 0.5).max(0.0);
        let (first, share) = (place as usize, place.fract());
        let next = (first + 1).min(ends.len() - 1);
        ends[first] * (1.0 - share) + ends[next] * share
    };
    (0..hertz.len() * rate).map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_height_is_a_steady_sine() {
        let (hertz, rate) = (100.0, 60);
        let phases = phases(&[hertz; 20], 2, rate);
        assert_eq!(phases.len(), 1200);
        let step = 2.0 * hertz / RATE as f32 * 2.0 * PI;
        // At its ends the angle stands still.
        for pair in phases[30..1170].windows(2) {
            assert!((pair[1] - pair[0] - step).abs() < 1e-4, "{pair:?}");
        }
    }
}
