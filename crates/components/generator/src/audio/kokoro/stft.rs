//! Short-time Fourier transforms of a few samples, as PyTorch has them: frame f is centred on sample f·hop, and sounds
//! are mirrored at their ends.

use std::f32::consts::PI;
use std::f64::consts::TAU;

/// A transform of one size: so small that sums are as quick as anything.
#[derive(Clone, Debug)]
pub(super) struct Stft {
    n_fft: usize,
    hop: usize,
    /// Hann's.
    window: Vec<f32>,
    /// Cosines and sines of so many parts of a turn.
    turn: Vec<[f32; 2]>,
}

/// How near to half a turn back an angle counts as half a turn ahead. Where a sound is mirrored, at its ends, a frame has
/// no imaginary part, and what rounding leaves of one would say now one, now the other.
const HALF_TURN: f32 = 1e-4;

/// Least sum of squared windows that a sample is divided by.
const LEAST: f32 = 1e-11;

impl Stft {
    pub(super) fn new(n_fft: usize, hop: usize) -> Self {
        let angle = |i: usize| TAU * i as f64 / n_fft as f64;
        let window = (0..n_fft).map(|i| (0.5 - 0.5 * angle(i).cos()) as f32).collect();
        // No sine at all at half a turn: what is real must stay so, or its angle is half a turn now to one side, now
        // to the other.
        let sine = |i: usize| if 2 * i == n_fft { 0.0 } else { angle(i).sin() as f32 };
        let turn = (0..n_fft).map(|i| [angle(i).cos() as f32, sine(i)]).collect();
        Self { n_fft, hop, window, turn }
    }

    fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    /// Of each frame magnitudes and behind them angles, `[F, 2 bins]`; F is one more than there are hops.
    pub(super) fn polar(&self, samples: &[f32]) -> Vec<f32> {
        let (half, bins) = (self.n_fft / 2, self.bins());
        let last = samples.len().saturating_sub(1);
        let mirrored = |at: isize| -> f32 {
            let at = at.unsigned_abs();
            let at = if at > last { (2 * last).saturating_sub(at) } else { at };
            samples.get(at).copied().unwrap_or_default()
        };
        let mut out = Vec::with_capacity((samples.len() / self.hop + 1) * 2 * bins);
        for frame in 0..=samples.len() / self.hop {
            let begin = (frame * self.hop) as isize - half as isize;
            let windowed: Vec<f32> =
                (0..self.n_fft).map(|i| mirrored(begin + i as isize) * self.window[i]).collect();
            let bin = |k: usize| {
                let terms = windowed.iter().enumerate().map(|(i, x)| {
                    let [cos, sin] = self.turn[i * k % self.n_fft];
                    [x * cos, -x * sin]
                });
                terms.fold([0.0f32; 2], |[a, b], [c, d]| [a + c, b + d])
            };
            let spectrum: Vec<[f32; 2]> = (0..bins).map(bin).collect();
            out.extend(spectrum.iter().map(|[re, im]| re.hypot(*im)));
            out.extend(spectrum.iter().map(|[re, im]| match im.atan2(*re) {
                angle if angle < HALF_TURN - PI => angle + 2.0 * PI,
                angle => angle,
            }));
        }
        out
    }

    /// Samples of frames `[F, 2 bins]`, magnitudes and behind them angles: a hop for each frame but the first.
    pub(super) fn samples(&self, frames: &[f32]) -> Vec<f32> {
        let (n, bins, half) = (self.n_fft, self.bins(), self.n_fft / 2);
        let frames: Vec<&[f32]> = frames.chunks(2 * bins).collect();
        let hops = frames.len().saturating_sub(1);
        let (mut sums, mut weights) =
            (vec![0.0f32; hops * self.hop + n], vec![0.0f32; hops * self.hop + n]);
        for (f, frame) in frames.iter().enumerate() {
            let bin = |k: usize| {
                let (magnitude, angle) = (frame[k], frame[bins + k]);
                // Frequencies but the first and the last one stand for two.
                let twice = if k == 0 || k == half { 1.0 } else { 2.0 } / n as f32;
                [twice * magnitude * angle.cos(), twice * magnitude * angle.sin()]
            };
            let spectrum: Vec<[f32; 2]> = (0..bins).map(bin).collect();
            for i in 0..n {
                let turned = |(k, [re, im]): (usize, &[f32; 2])| {
                    let [cos, sin] = self.turn[i * k % n];
                    re * cos - im * sin
                };
                let value: f32 = spectrum.iter().enumerate().map(turned).sum();
                let (at, window) = (f * self.hop + i, self.window[i]);
                sums[at] += value * window;
                weights[at] += window * window;
            }
        }
        let whole = sums.iter().zip(&weights).map(|(sum, weight)| sum / weight.max(LEAST));
        whole.skip(half).take(hops * self.hop).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_and_back_is_the_same_sound() {
        let stft = Stft::new(20, 5);
        let samples: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin() + 0.2).collect();
        let polar = stft.polar(&samples);
        assert_eq!(polar.len(), 13 * 22);
        let back = stft.samples(&polar);
        let off = samples.iter().zip(&back).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(back.len() == samples.len() && off < 1e-5, "{off}");
    }
}
