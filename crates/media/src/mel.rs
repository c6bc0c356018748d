//! Log-mel features as Whisper reads them.
//!
//! Radford et al. 2022, section 2.2, <https://arxiv.org/abs/2212.04356>; the bands are those of
//! Slaney's Auditory Toolbox (1998).
//!
//! ```text
//! samples, 16 kHz ──25 ms windows, every 10 ms──▶ |FFT|² ──bands──▶ log10 ──▶ [bands, frames]
//! ```

use std::sync::Arc;

use rustfft::algorithm::butterflies::{Butterfly5, Butterfly16};
use rustfft::algorithm::{MixedRadix, MixedRadixSmall};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};

/// Samples a second.
pub const RATE: u32 = 16_000;
/// Samples of a window: 25 ms.
pub const WINDOW: usize = 400;
/// Samples from window to window: 10 ms.
pub const HOP: usize = 160;
/// Frames of the 30 s that the model hears at once.
pub const FRAMES: usize = 3000;
/// Least energy: what is quieter counts as this.
const FLOOR: f64 = 1e-10;

/// Features of a sound that comes in pieces, of 30 s or more: silence is added behind shorter ones.
/// All of it is one sound: what is 80 dB below its loudest place counts as silence.
pub struct Mel {
    /// Bands of frequency.
    pub bands: usize,
    /// Frames so far, one each 10 ms.
    pub frames: usize,
    /// Logarithm of the energy of the loudest place so far.
    pub loudest: f32,
    /// `[frames - first, bands]`, logarithms of energies.
    values: Vec<f32>,
    /// Frames that are no longer kept.
    first: usize,
    /// Samples from `start` on: no frame that is still to come reads what was before.
    samples: Vec<f32>,
    start: usize,
    spectrum: Spectrum,
}

impl Mel {
    /// Of no sample yet.
    pub fn empty(bands: usize) -> Mel {
        let (values, samples) = (Vec::new(), Vec::new());
        let spectrum = Spectrum::new(bands);
        let loudest = f32::NEG_INFINITY;
        Mel { bands, frames: 0, loudest, values, first: 0, samples, start: 0, spectrum }
    }

    /// Of all samples at [`RATE`].
    pub fn new(samples: &[f32], bands: usize) -> Mel {
        let mut mel = Mel::empty(bands);
        for second in samples.chunks(RATE as usize) {
            mel.push(second);
        }
        mel.finish();
        mel
    }

    /// Takes the next samples at [`RATE`].
    pub fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
        while self.frames * HOP + WINDOW / 2 <= self.count() {
            // No window reaches the end yet, wherever it is.
            self.frame(usize::MAX / 4);
        }
        let passed = (self.frames * HOP).saturating_sub(WINDOW / 2 + self.start);
        self.samples.drain(..passed.min(self.samples.len()));
        self.start += passed;
    }

    /// Makes the last frames, those of the silence behind the last sample among them.
    pub fn finish(&mut self) {
        let padded = self.count().max(FRAMES * HOP);
        while self.frames < padded / HOP {
            self.frame(padded);
        }
    }

    /// Samples that were taken.
    pub fn count(&self) -> usize {
        self.start + self.samples.len()
    }

    /// Keeps the frames from `first` on.
    pub fn forget(&mut self, first: usize) {
        let passed = first.min(self.frames).saturating_sub(self.first);
        self.values.drain(..passed * self.bands);
        self.first += passed;
    }

    /// Frames `first..first + count` as `[bands, count]`, with zeros after the last one; they are
    /// kept yet.
    pub fn window(&self, first: usize, count: usize) -> Vec<f32> {
        let mut window = vec![0.0; self.bands * count];
        let rows = self.values.chunks_exact(self.bands.max(1));
        for (frame, row) in rows.skip(first.saturating_sub(self.first)).take(count).enumerate() {
            for (band, &x) in row.iter().enumerate() {
                window[band * count + frame] = (x.max(self.loudest - 8.0) + 4.0) / 4.0;
            }
        }
        window
    }

    /// Makes the next frame of a sound of `padded` samples.
    fn frame(&mut self, padded: usize) {
        let (first, count) = (self.frames * HOP, self.count());
        let from = self.values.len();
        if first > count + WINDOW && first + WINDOW < padded {
            self.values.extend(std::iter::repeat_n(FLOOR.log10() as f32, self.bands));
        } else {
            let sample = |i: usize| {
                let at = mirrored(first + i, padded).checked_sub(self.start);
                at.and_then(|at| self.samples.get(at)).map_or(0.0, |&sample| f64::from(sample))
            };
            self.spectrum.logarithms(sample, &mut self.values);
        }
        self.loudest = self.values[from..].iter().fold(self.loudest, |most, &x| most.max(x));
        self.frames += 1;
    }
}

/// What turns the samples of a window into the energies of its bands.
struct Spectrum {
    transform: MixedRadix<f64>,
    hann: Vec<f64>,
    filters: Vec<Vec<(usize, f64)>>,
    bins: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

impl Spectrum {
    fn new(bands: usize) -> Self {
        let transform = transform();
        let scratch = vec![Complex::default(); transform.get_inplace_scratch_len()];
        let bins = vec![Complex::default(); WINDOW];
        Self { transform, hann: hann(WINDOW), filters: filters(bands, WINDOW), bins, scratch }
    }

    /// Adds one for each band.
    fn logarithms(&mut self, sample: impl Fn(usize) -> f64, logs: &mut Vec<f32>) {
        for (i, (x, weight)) in self.bins.iter_mut().zip(&self.hann).enumerate() {
            *x = Complex::from(sample(i) * weight);
        }
        self.transform.process_with_scratch(&mut self.bins, &mut self.scratch);
        logs.extend(self.filters.iter().map(|filter| {
            let energy = filter.iter().map(|&(bin, weight)| self.bins[bin].norm_sqr() * weight);
            energy.sum::<f64>().max(FLOOR).log10() as f32
        }));
    }
}

/// 400 = 16 * (5 * 5). Put together here, as the library's planner brings every other size with it,
/// which is half of what this crate would compile.
fn transform() -> MixedRadix<f64> {
    let five = Arc::new(Butterfly5::new(FftDirection::Forward));
    let sixteen = Arc::new(Butterfly16::new(FftDirection::Forward));
    MixedRadix::new(sixteen, Arc::new(MixedRadixSmall::new(five.clone(), five)))
}

/// The sample that a window's place reads: windows are centred on their frames, and before the first
/// sample and after the last the sound is mirrored.
fn mirrored(place: usize, count: usize) -> usize {
    let at = place.abs_diff(WINDOW / 2);
    if at < count { at } else { (2 * count).saturating_sub(2 + at) }
}

/// Hann's window, one period of so many samples.
pub(crate) fn hann(window: usize) -> Vec<f64> {
    let angle = |i: usize| std::f64::consts::TAU * i as f64 / window as f64;
    (0..window).map(|i| 0.5 - 0.5 * angle(i).cos()).collect()
}

/// For each band, its bins of a spectrum of so many samples, and their weights: triangles of equal area.
pub(crate) fn filters(bands: usize, window: usize) -> Vec<Vec<(usize, f64)>> {
    let highest = mel(f64::from(RATE) / 2.0);
    let corner = |i: usize| hertz(highest * i as f64 / (bands + 1) as f64);
    let band = |i: usize| {
        let [low, middle, high] = [corner(i), corner(i + 1), corner(i + 2)];
        let weights = (0..=window / 2).map(|bin| {
            let f = bin as f64 * f64::from(RATE) / window as f64;
            let height = ((f - low) / (middle - low)).min((high - f) / (high - middle));
            (bin, height.max(0.0) * 2.0 / (high - low))
        });
        weights.filter(|&(_, weight)| weight > 0.0).collect()
    };
    (0..bands).map(band).collect()
}

/// Where the scale turns from linear to logarithmic, in mels.
const TURN: f64 = 15.0;

/// Hertz in mels: 15 a kilohertz up to 1 kHz, then 27 each time the frequency grows 6.4-fold.
pub(crate) fn mel(hertz: f64) -> f64 {
    let linear = hertz * 3.0 / 200.0;
    if linear < TURN { linear } else { TURN + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

pub(crate) fn hertz(mel: f64) -> f64 {
    if mel < TURN { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - TURN) * 6.4f64.ln() / 27.0).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_inverse() {
        for f in [0.0, 1.0, 440.0, 999.9, 1000.0, 1000.1, 8000.0] {
            assert!((hertz(mel(f)) - f).abs() < 1e-9, "{f}");
        }
    }

    #[test]
    fn silence_is_even_and_windows_end_in_zeros() {
        let mel = Mel::new(&[0.0; 5], 80);
        assert_eq!((mel.bands, mel.frames), (80, FRAMES));
        let window = mel.window(FRAMES - 2, 4);
        assert_eq!(window.len(), 80 * 4);
        assert!(window.chunks(4).all(|row| row == [-1.5, -1.5, 0.0, 0.0]));
        assert!(mel.window(FRAMES + 9, 2).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn pieces_give_the_same_features_and_need_not_be_kept() {
        let samples: Vec<f32> = (0..500_001).map(|i| (i as f32 * 0.1).sin()).collect();
        let whole = Mel::new(&samples, 80);
        let mut mel = Mel::empty(80);
        for piece in samples.chunks(417) {
            mel.push(piece);
            mel.forget(mel.frames.saturating_sub(3000));
        }
        mel.finish();
        assert_eq!((mel.frames, mel.count()), (whole.frames, samples.len()));
        for first in [mel.frames - 3000, mel.frames - 1] {
            assert!(mel.window(first, 3000) == whole.window(first, 3000));
        }
        assert!(mel.values.len() < 80 * 3010 && mel.samples.len() < 2 * WINDOW);
    }

    #[test]
    fn every_number_of_samples_gives_finite_features() {
        for count in [0, 1, 79, 80, 81, 159, 160, 400, 401] {
            let samples: Vec<f32> = (0..count).map(|i| (i as f32).sin()).collect();
            assert!(Mel::new(&samples, 128).values.iter().all(|x| x.is_finite()), "{count}");
        }
    }
}
