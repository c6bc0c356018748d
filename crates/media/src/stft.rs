//! Log-mel spectrograms that speech is made of, and the way back to samples without weights.
//!
//! ```text
//! samples, 16 kHz ──64 ms windows, every 16 ms──▶ |FFT| ──80 Slaney bands──▶ ln ──▶ [frames, 80]
//! [frames, 80] ──exp, bands to frequencies──▶ |FFT| ──Griffin-Lim──▶ samples
//! ```
//! Frame f is centred on sample (f + 1/2)·256, so that so many frames are exactly 256 times as many samples. Whisper's
//! features are others: see [`mel`](crate::mel).

use std::sync::Arc;

use rustfft::algorithm::Radix4;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};

use crate::mel::{filters, hann};

pub use crate::mel::RATE;

/// Samples of a window: 64 ms.
pub const N_FFT: usize = 1024;
/// Samples from frame to frame: 16 ms.
pub const HOP: usize = 256;
/// Bands of frequency, up to 8 kHz.
pub const BANDS: usize = 80;
/// Frequencies of a window's spectrum.
pub const BINS: usize = N_FFT / 2 + 1;
/// Least magnitude: what is quieter counts as this.
pub const FLOOR: f32 = 1e-5;
/// Silence on either side of a sound, so that its first and last frames are whole.
const PAD: usize = (N_FFT - HOP) / 2;

type Spectrum = Vec<Complex<f32>>;

/// Short-time Fourier transform of one size.
pub struct Stft {
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    /// For each band, its frequencies and their weights.
    bands: Vec<Vec<(usize, f32)>>,
}

impl Default for Stft {
    fn default() -> Self {
        let fft = |direction| -> Arc<dyn Fft<f32>> { Arc::new(Radix4::new(N_FFT, direction)) };
        let band = |band: Vec<(usize, f64)>| {
            band.into_iter().map(|(bin, weight)| (bin, weight as f32)).collect()
        };
        Self {
            forward: fft(FftDirection::Forward),
            inverse: fft(FftDirection::Inverse),
            window: hann(N_FFT).into_iter().map(|x| x as f32).collect(),
            bands: filters(BANDS, N_FFT).into_iter().map(band).collect(),
        }
    }
}

/// Weights of a spectrum's magnitudes in each band, `[BINS, BANDS]`.
pub fn bands() -> Vec<f32> {
    let mut weights = vec![0.0; BINS * BANDS];
    for (band, filter) in filters(BANDS, N_FFT).into_iter().enumerate() {
        filter.into_iter().for_each(|(bin, weight)| weights[bin * BANDS + band] = weight as f32);
    }
    weights
}

impl Stft {
    /// Natural logarithms of magnitudes in [`BANDS`], `[frames, BANDS]`, of samples at [`RATE`]; the last frame may
    /// be in part of the silence behind them.
    pub fn log_mel(&self, samples: &[f32]) -> Vec<f32> {
        let magnitudes = self.transform(samples).into_iter().map(|frame| {
            let magnitudes: Vec<f32> = frame.iter().take(BINS).map(|x| x.norm()).collect();
            self.bands.iter().map(move |band| mixed(band, &magnitudes).max(FLOOR).ln()).collect()
        });
        magnitudes.flat_map(|frame: Vec<f32>| frame).collect()
    }

    /// Samples with such log-mel features `[frames, BANDS]`, [`HOP`] for each frame: phases that fit are found in so
    /// many rounds.
    ///
    /// Griffin and Lim 1984, <https://doi.org/10.1109/TASSP.1984.1164317>; with momentum, Perraudin et al. 2013,
    /// <https://doi.org/10.1109/WASPAA.2013.6701851>.
    pub fn griffin_lim(&self, log_mel: &[f32], rounds: usize) -> Vec<f32> {
        let wanted: Vec<Vec<f32>> =
            log_mel.chunks_exact(BANDS).map(|frame| self.magnitudes(frame)).collect();
        let mut phases = wanted.iter().enumerate().map(phases).collect::<Vec<_>>();
        let mut before = phases.clone();
        for _ in 0..rounds {
            let fitting = self.transform(&self.inverse(&wanted, &phases));
            for ((phase, old), new) in phases.iter_mut().zip(&mut before).zip(fitting) {
                for ((phase, old), new) in phase.iter_mut().zip(old).zip(new) {
                    let ahead = new + (new - *old) * MOMENTUM;
                    *old = new;
                    *phase = ahead / ahead.norm().max(f32::MIN_POSITIVE);
                }
            }
        }
        self.inverse(&wanted, &phases)
    }

    /// Spectra of frames, of [`N_FFT`] frequencies each.
    fn transform(&self, samples: &[f32]) -> Vec<Spectrum> {
        let mut scratch = vec![Complex::default(); self.forward.get_inplace_scratch_len()];
        let frame = |frame: usize| {
            let sample = |i: usize| {
                let at = (frame * HOP + i).checked_sub(PAD);
                at.and_then(|at| samples.get(at)).copied().unwrap_or_default()
            };
            let windowed =
                self.window.iter().enumerate().map(|(i, w)| Complex::from(sample(i) * w));
            let mut spectrum: Spectrum = windowed.collect();
            self.forward.process_with_scratch(&mut spectrum, &mut scratch);
            spectrum
        };
        (0..samples.len().div_ceil(HOP)).map(frame).collect()
    }

    /// Samples whose frames are nearest to these spectra: magnitudes of [`BINS`] with phases.
    fn inverse(&self, magnitudes: &[Vec<f32>], phases: &[Spectrum]) -> Vec<f32> {
        let length = magnitudes.len() * HOP;
        let mut sum = vec![0.0f32; length + 2 * PAD];
        let mut weight = vec![0.0f32; length + 2 * PAD];
        let mut scratch = vec![Complex::default(); self.inverse.get_inplace_scratch_len()];
        let mut spectrum = vec![Complex::default(); N_FFT];
        for (frame, (magnitudes, phases)) in magnitudes.iter().zip(phases).enumerate() {
            for (bin, (&magnitude, phase)) in magnitudes.iter().zip(phases).enumerate() {
                spectrum[bin] = phase * magnitude;
                spectrum[(N_FFT - bin) % N_FFT] = spectrum[bin].conj();
            }
            self.inverse.process_with_scratch(&mut spectrum, &mut scratch);
            for (i, (x, w)) in spectrum.iter().zip(&self.window).enumerate() {
                sum[frame * HOP + i] += x.re * w / N_FFT as f32;
                weight[frame * HOP + i] += w * w;
            }
        }
        let samples = sum.iter().zip(&weight).skip(PAD).take(length);
        samples.map(|(x, w)| x / w.max(1e-3)).collect()
    }

    /// Magnitudes of [`BINS`], none below zero, whose bands are those of a frame (Lee and Seung 2001,
    /// <https://papers.nips.cc/paper/1861>).
    fn magnitudes(&self, log_mel: &[f32]) -> Vec<f32> {
        let wanted: Vec<f32> = log_mel.iter().map(|x| x.min(LOUDEST).exp()).collect();
        let spread = |bands: &[f32]| {
            let mut bins = vec![0.0f32; BINS];
            for (band, value) in self.bands.iter().zip(bands) {
                band.iter().for_each(|&(bin, weight)| bins[bin] += weight * value);
            }
            bins
        };
        let target = spread(&wanted);
        let mut magnitudes = target.clone();
        for _ in 0..FITS {
            let bands: Vec<f32> = self.bands.iter().map(|band| mixed(band, &magnitudes)).collect();
            for ((x, target), got) in magnitudes.iter_mut().zip(&target).zip(spread(&bands)) {
                *x *= target / got.max(1e-12);
            }
        }
        magnitudes
    }
}

/// How much further phases go than they were told.
const MOMENTUM: f32 = 0.99;
/// Rounds in which magnitudes of frequencies are fitted to those of bands.
const FITS: usize = 30;
/// Logarithm of the loudest magnitude that is made.
const LOUDEST: f32 = 10.0;

fn mixed(band: &[(usize, f32)], magnitudes: &[f32]) -> f32 {
    band.iter().map(|&(bin, weight)| magnitudes[bin] * weight).sum()
}

/// Where the phases of a frame begin: those of a tone at each frequency, which are continuous from frame to frame.
fn phases((frame, magnitudes): (usize, &Vec<f32>)) -> Spectrum {
    let turn = |bin: usize| (frame * HOP * bin % N_FFT) as f32 / N_FFT as f32 + scatter(bin);
    let phase = |bin| Complex::from_polar(1.0, std::f32::consts::TAU * turn(bin));
    (0..magnitudes.len()).map(phase).collect()
}

/// A part of a turn, another for each frequency: equal ones would add up to a click.
fn scatter(bin: usize) -> f32 {
    (bin * bin) as f32 * 0.618_034 % 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chirp(count: usize) -> Vec<f32> {
        let at = |i: usize| i as f32 / RATE as f32;
        (0..count).map(|i| 0.3 * (at(i) * (900.0 + 2000.0 * at(i))).sin()).collect()
    }

    /// Distance of spectrograms as a share of the first one's size.
    fn off(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let square = |x: f32| x * x;
        let off: f32 = a.iter().zip(b).map(|(a, b)| square(a.exp() - b.exp())).sum();
        (off / a.iter().map(|a| square(a.exp())).sum::<f32>()).sqrt()
    }

    #[test]
    fn transform_and_back_is_the_same_sound() {
        let (stft, samples) = (Stft::default(), chirp(20 * HOP));
        let spectra = stft.transform(&samples);
        let magnitudes: Vec<Vec<f32>> =
            spectra.iter().map(|frame| frame[..BINS].iter().map(|x| x.norm()).collect()).collect();
        let phases: Vec<Spectrum> = spectra
            .iter()
            .map(|frame| frame[..BINS].iter().map(|x| x / x.norm().max(1e-20)).collect())
            .collect();
        let back = stft.inverse(&magnitudes, &phases);
        let worst = samples.iter().zip(&back).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(back.len() == samples.len() && worst < 1e-4, "{worst}");
    }

    #[test]
    fn sounds_made_of_a_spectrogram_have_that_spectrogram() {
        let (stft, samples) = (Stft::default(), chirp(40 * HOP));
        let wanted = stft.log_mel(&samples);
        assert_eq!(wanted.len(), 40 * BANDS);
        let after = |rounds| off(&wanted, &stft.log_mel(&stft.griffin_lim(&wanted, rounds)));
        let (first, last) = (after(0), after(32));
        assert!(last < 0.15 && last < 0.6 * first, "{first}, then {last}");
    }

    #[test]
    fn any_features_give_finite_samples() {
        let stft = Stft::default();
        for value in [f32::NEG_INFINITY, -200.0, 0.0, 1e30] {
            let made = stft.griffin_lim(&[value; 3 * BANDS], 4);
            assert!(made.len() == 3 * HOP && made.iter().all(|x| x.is_finite()), "{value}");
        }
        assert!(stft.griffin_lim(&[], 4).is_empty() && stft.log_mel(&[]).is_empty());
        assert!(stft.log_mel(&[0.0; 300]).iter().all(|&x| x == FLOOR.ln()));
    }
}
