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
const WINDOW: usize = 400;
/// Samples from window to window: 10 ms.
pub const HOP: usize = 160;
/// Frames of the 30 s that the model hears at once.
pub const FRAMES: usize = 3000;
/// Frequencies of a window's spectrum.
const BINS: usize = WINDOW / 2 + 1;
/// Least energy: what is quieter counts as this.
const FLOOR: f64 = 1e-10;

/// Features of a sound of 30 s or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Mel {
    /// Bands of frequency.
    pub bands: usize,
    /// One each 10 ms.
    pub frames: usize,
    /// `[frames, bands]`
    values: Vec<f32>,
}

impl Mel {
    /// Of samples at [`RATE`], with silence after them up to 30 s. All of it is one sound: what is
    /// 80 dB below its loudest place counts as silence.
    pub fn new(samples: &[f32], bands: usize) -> Mel {
        let padded = samples.len().max(FRAMES * HOP);
        let mut values = logarithms(samples, padded, bands);
        let loudest = values.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
        for x in &mut values {
            *x = (x.max(loudest - 8.0) + 4.0) / 4.0;
        }
        Mel { bands, frames: padded / HOP, values }
    }

    /// Frames `first..first + count` as `[bands, count]`, with zeros after the last one.
    pub fn window(&self, first: usize, count: usize) -> Vec<f32> {
        let mut window = vec![0.0; self.bands * count];
        let rows = self.values.chunks_exact(self.bands.max(1)).skip(first).take(count);
        for (frame, row) in rows.enumerate() {
            for (band, &x) in row.iter().enumerate() {
                window[band * count + frame] = x;
            }
        }
        window
    }
}

/// `[frames, bands]`
fn logarithms(samples: &[f32], padded: usize, bands: usize) -> Vec<f32> {
    let transform = transform();
    let (window, filters) = (hann(), filters(bands));
    let mut spectrum = vec![Complex::default(); WINDOW];
    let mut scratch = vec![Complex::default(); transform.get_inplace_scratch_len()];
    let mut logs = Vec::with_capacity(padded / HOP * bands);
    for frame in 0..padded / HOP {
        let first = frame * HOP;
        if first > samples.len() + WINDOW && first + WINDOW < padded {
            logs.extend(std::iter::repeat_n(FLOOR.log10() as f32, bands));
            continue;
        }
        for (i, (x, weight)) in spectrum.iter_mut().zip(&window).enumerate() {
            let at = mirrored(first + i, padded);
            *x = Complex::from(samples.get(at).map_or(0.0, |&sample| f64::from(sample)) * weight);
        }
        transform.process_with_scratch(&mut spectrum, &mut scratch);
        logs.extend(filters.iter().map(|filter| {
            let energy = filter.iter().map(|&(bin, weight)| spectrum[bin].norm_sqr() * weight);
            energy.sum::<f64>().max(FLOOR).log10() as f32
        }));
    }
    logs
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

/// Hann's window, one period.
fn hann() -> Vec<f64> {
    let angle = |i: usize| std::f64::consts::TAU * i as f64 / WINDOW as f64;
    (0..WINDOW).map(|i| 0.5 - 0.5 * angle(i).cos()).collect()
}

/// For each band, its bins and their weights: triangles of equal area.
fn filters(bands: usize) -> Vec<Vec<(usize, f64)>> {
    let highest = mel(f64::from(RATE) / 2.0);
    let corner = |i: usize| hertz(highest * i as f64 / (bands + 1) as f64);
    let band = |i: usize| {
        let [low, middle, high] = [corner(i), corner(i + 1), corner(i + 2)];
        let weights = (0..BINS).map(|bin| {
            let f = bin as f64 * f64::from(RATE) / WINDOW as f64;
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
fn mel(hertz: f64) -> f64 {
    let linear = hertz * 3.0 / 200.0;
    if linear < TURN { linear } else { TURN + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

fn hertz(mel: f64) -> f64 {
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
    fn every_number_of_samples_gives_finite_features() {
        for count in [0, 1, 79, 80, 81, 159, 160, 400, 401] {
            let samples: Vec<f32> = (0..count).map(|i| (i as f32).sin()).collect();
            assert!(Mel::new(&samples, 128).values.iter().all(|x| x.is_finite()), "{count}");
        }
    }
}
