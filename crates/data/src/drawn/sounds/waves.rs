//! What sounds are made of: oscillators, noise, filters and envelopes, at 16 kHz.

use std::f32::consts::TAU;

use sensorium_kernels::rng::Rng;
use sensorium_media::mel;

/// Samples a second.
pub(super) const RATE: f32 = mel::RATE as f32;

/// How many samples `seconds` have.
pub(super) fn count(seconds: f32) -> usize {
    (seconds * RATE) as usize
}

/// A `wave` over its phase (0 to 1) that runs at `hertz` of the time in seconds.
pub(super) fn oscillator(
    seconds: f32,
    hertz: impl Fn(f32) -> f32,
    wave: impl Fn(f32) -> f32,
) -> Vec<f32> {
    let mut phase = 0.0;
    let sample = |n| {
        let value = wave(phase);
        phase = (phase + hertz(n as f32 / RATE) / RATE).fract();
        value
    };
    (0..count(seconds)).map(sample).collect()
}

pub(super) fn sine(phase: f32) -> f32 {
    (TAU * phase).sin()
}

pub(super) fn saw(phase: f32) -> f32 {
    2.0 * phase - 1.0
}

pub(super) fn square(phase: f32) -> f32 {
    if phase < 0.5 { 1.0 } else { -1.0 }
}

/// White noise, -1 to 1.
pub(super) fn noise(seconds: f32, rng: &mut Rng) -> Vec<f32> {
    (0..count(seconds)).map(|_| rng.between(-1.0, 1.0)).collect()
}

/// Each sample times `gain` of its time in seconds.
pub(super) fn shaped(mut samples: Vec<f32>, gain: impl Fn(f32) -> f32) -> Vec<f32> {
    samples.iter_mut().enumerate().for_each(|(n, x)| *x *= gain(n as f32 / RATE));
    samples
}

/// What dies away to 1/e in so many seconds.
pub(super) fn decay(samples: Vec<f32>, seconds: f32) -> Vec<f32> {
    shaped(samples, |t| (-t / seconds).exp())
}

/// Adds `other` from `seconds` on; what reaches beyond the end is left out.
pub(super) fn add(samples: &mut [f32], other: &[f32], seconds: f32) {
    let from = count(seconds).min(samples.len());
    samples[from..].iter_mut().zip(other).for_each(|(x, y)| *x += y);
}

/// What is below `hertz`, by two poles.
pub(super) fn low_pass(mut samples: Vec<f32>, hertz: f32) -> Vec<f32> {
    let follow = 1.0 - (-TAU * hertz / RATE).exp();
    for _ in 0..2 {
        let mut last = 0.0;
        for x in &mut samples {
            last += follow * (*x - last);
            *x = last;
        }
    }
    samples
}

/// What is above `hertz`: all but [`low_pass`].
pub(super) fn high_pass(samples: Vec<f32>, hertz: f32) -> Vec<f32> {
    let low = low_pass(samples.clone(), hertz);
    samples.iter().zip(low).map(|(x, low)| x - low).collect()
}

/// The loudest sample becomes `peak`; silence stays.
pub(super) fn normalized(samples: Vec<f32>, peak: f32) -> Vec<f32> {
    let loudest = samples.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let gain = if loudest > 0.0 { peak / loudest } else { 0.0 };
    shaped(samples, |_| gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energy(samples: &[f32]) -> f32 {
        samples.iter().map(|x| x * x).sum()
    }

    #[test]
    fn filters_part_low_from_high() {
        for (hertz, is_low) in [(100.0, true), (6000.0, false)] {
            let tone = oscillator(0.5, |_| hertz, sine);
            let [low, high] = [low_pass(tone.clone(), 1000.0), high_pass(tone, 1000.0)];
            assert_eq!(energy(&low) > 10.0 * energy(&high), is_low, "{hertz}");
            assert_eq!(energy(&high) > 10.0 * energy(&low), !is_low, "{hertz}");
        }
    }

    /// A tone of 440 Hz crosses zero upwards 440 times a second.
    #[test]
    fn oscillators_run_at_their_frequency() {
        let tone = oscillator(1.0, |_| 440.0, |phase| sine(phase + 0.25));
        let crossings = tone.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
        assert_eq!((tone.len(), crossings), (16_000, 440));
        let late = decay(tone, 0.1);
        assert!(energy(&late[..1600]) > 5.0 * energy(&late[1600..]));
        assert_eq!(normalized(vec![0.0; 3], 0.5), [0.0; 3]);
    }
}
