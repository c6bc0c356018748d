//! Log-mel spectrograms in decibels, of any rate, window and bands.
//!
//! ```text
//! samples ──windows, centred on frames──▶ |FFT|² ──bands──▶ 10·log10 ──▶ [frames, bands]
//! ```
//! Whisper's features and those of our own voices are others: see [`mel`](crate::mel) and [`stft`](crate::stft).

use rustfft::algorithm::Radix4;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};

use crate::mel::{hann, hertz, mel};

/// Which frequencies belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Triangles of equal area, as far apart as Slaney's Auditory Toolbox (1998) has them.
    Slaney,
    /// Triangles of equal height, as far apart as the Hidden Markov Model Toolkit has them.
    Htk,
}

/// Shape of a [`Decibels`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecibelsConfig {
    /// Samples a second.
    pub rate: u32,
    /// Samples of a window; a power of two.
    pub window: usize,
    /// Samples from frame to frame.
    pub hop: usize,
    /// Bands of frequency.
    pub bands: usize,
    /// The lowest and the highest frequency of the bands, in hertz.
    pub range: [f64; 2],
    /// Where they lie.
    pub scale: Scale,
}

/// Least energy: what is quieter counts as this.
const FLOOR: f64 = 1e-10;

/// What makes spectrograms.
pub struct Decibels {
    config: DecibelsConfig,
    transform: Radix4<f64>,
    hann: Vec<f64>,
    filters: Vec<Vec<(usize, f64)>>,
}

impl Decibels {
    /// Of this shape.
    pub fn new(config: DecibelsConfig) -> Self {
        let window = config.window;
        Self {
            config,
            transform: Radix4::new(window, FftDirection::Forward),
            hann: hann(window),
            filters: filters(&config),
        }
    }

    /// Frames of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        1 + samples / self.config.hop
    }

    /// `[frames, bands]` of samples, which are mirrored in front of the first and behind the last.
    pub fn spectrogram(&self, samples: &[f32]) -> Vec<f32> {
        let mut scratch = vec![Complex::default(); self.transform.get_inplace_scratch_len()];
        let mut bins = vec![Complex::default(); self.config.window];
        let mut all = Vec::with_capacity(self.frames(samples.len()) * self.config.bands);
        for frame in 0..self.frames(samples.len()) {
            for (i, (bin, weight)) in bins.iter_mut().zip(&self.hann).enumerate() {
                let at = (frame * self.config.hop + i) as i64 - (self.config.window / 2) as i64;
                let sample = samples.get(mirrored(at, samples.len())).copied().unwrap_or_default();
                *bin = Complex::from(f64::from(sample) * weight);
            }
            self.transform.process_with_scratch(&mut bins, &mut scratch);
            all.extend(self.filters.iter().map(|filter| {
                let energy = filter.iter().map(|&(bin, weight)| bins[bin].norm_sqr() * weight);
                (10.0 * energy.sum::<f64>().max(FLOOR).log10()) as f32
            }));
        }
        all
    }
}

/// The sample that a place reads, of `count`: to and fro between the first and the last.
fn mirrored(place: i64, count: usize) -> usize {
    let period = 2 * (count as i64 - 1).max(1);
    let at = place.rem_euclid(period);
    at.min(period - at) as usize
}

/// From one scale of pitches to another.
type Rescale = fn(f64) -> f64;

/// For each band, its bins of a window's spectrum, and their weights.
fn filters(config: &DecibelsConfig) -> Vec<Vec<(usize, f64)>> {
    let (to, from): (Rescale, Rescale) = match config.scale {
        Scale::Slaney => (mel, hertz),
        Scale::Htk => (
            |hertz| 2595.0 * (1.0 + hertz / 700.0).log10(),
            |mel| 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        ),
    };
    let [lowest, highest] = config.range.map(to);
    let step = (highest - lowest) / (config.bands + 1) as f64;
    let corner = |i: usize| from(lowest + step * i as f64);
    // Bins as far apart as whole hertz of half the rate allow, as the published features have them.
    let nyquist = f64::from(config.rate / 2);
    let bins = config.window / 2;
    let band = |i: usize| {
        let [low, middle, high] = [corner(i), corner(i + 1), corner(i + 2)];
        let area = match config.scale {
            Scale::Slaney => 2.0 / (high - low),
            Scale::Htk => 1.0,
        };
        let weights = (0..=bins).map(|bin| {
            let f = bin as f64 * nyquist / bins as f64;
            let height = ((f - low) / (middle - low)).min((high - f) / (high - middle));
            (bin, height.max(0.0) * area)
        });
        weights.filter(|&(_, weight)| weight > 0.0).collect()
    };
    (0..config.bands).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_mirrored_as_often_as_it_takes() {
        let of = |count| (-5..6).map(|at| mirrored(at, count)).collect::<Vec<_>>();
        assert_eq!(of(4), [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(of(2), [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert!(of(1).iter().all(|&at| at < 2));
    }

    #[test]
    fn a_tone_is_in_its_band_and_silence_in_none() {
        let (rate, window, hop, bands) = (8000, 256, 80, 10);
        for scale in [Scale::Slaney, Scale::Htk] {
            let range = [50.0, 3000.0];
            let made = Decibels::new(DecibelsConfig { rate, window, hop, bands, range, scale });
            let tone = |f: f32| -> Vec<f32> {
                (0..800).map(|i| (i as f32 * f * std::f32::consts::TAU / 8000.0).sin()).collect()
            };
            let loudest = |f: f32| {
                let frame = &made.spectrogram(&tone(f))[5 * bands..6 * bands];
                (0..bands).max_by(|a, b| frame[*a].total_cmp(&frame[*b]))
            };
            assert!(loudest(300.0) < loudest(900.0) && loudest(900.0) < loudest(2500.0));
            let silence = made.spectrogram(&[0.0; 799]);
            assert_eq!((silence.len(), made.frames(799)), (10 * bands, 10));
            assert!(silence.iter().all(|&x| x == -100.0));
        }
    }
}
