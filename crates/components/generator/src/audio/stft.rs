//! Short-time Fourier transforms as products with a fixed basis, so that gradients pass.
//!
//! ```text
//! samples [B, T] ──windows──▶ [B, F, n_fft] ──basis──▶ real, imaginary [B, F, bins]
//! real, imaginary [B, F, bins] ──basis──▶ [B, F, n_fft] ──overlap, window──▶ samples [B, F·hop]
//! ```
//! A hop is a quarter of a window. Frame f is centred on sample (f + 1/2)·hop, with silence on either side.

use sensorium_nn::prelude::*;

/// Hops of a window.
const HOPS: usize = 4;

/// A transform of one size.
#[derive(Clone, Debug)]
pub struct Stft {
    n_fft: usize,
    /// `[n_fft, 2 bins]`, windowed: cosines, then sines.
    forward: Tensor<2>,
    /// `[2 bins, n_fft]`, windowed.
    inverse: Tensor<2>,
}

impl Stft {
    /// Of windows of `n_fft` samples, a multiple of 8.
    pub fn new(n_fft: usize, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let bins = n_fft / 2 + 1;
        let hann: Vec<f64> = (0..n_fft).map(|i| 0.5 - 0.5 * angle(i, n_fft).cos()).collect();
        let (mut forward, mut inverse) = (Vec::new(), Vec::new());
        for (i, w) in hann.iter().enumerate() {
            let turn = |k: usize| angle(i * k % n_fft, n_fft);
            forward.extend((0..bins).map(|k| (w * turn(k).cos()) as f32));
            forward.extend((0..bins).map(|k| (-w * turn(k).sin()) as f32));
        }
        // Frequencies but the first and the last one stand for two.
        let twice = |k: usize| if k == 0 || k == bins - 1 { 1.0 } else { 2.0 } / n_fft as f64;
        for k in 0..bins {
            inverse.extend(
                (0..n_fft).map(|i| (twice(k) * hann[i] * angle(i * k % n_fft, n_fft).cos()) as f32),
            );
        }
        for k in 0..bins {
            inverse.extend(
                (0..n_fft)
                    .map(|i| (-twice(k) * hann[i] * angle(i * k % n_fft, n_fft).sin()) as f32),
            );
        }
        let matrix = |values, shape| Tensor::from_data(TensorData::new(values, shape), &device);
        Self {
            n_fft,
            forward: matrix(forward, [n_fft, 2 * bins]),
            inverse: matrix(inverse, [2 * bins, n_fft]),
        }
    }

    /// Samples from frame to frame.
    pub fn hop(&self) -> usize {
        self.n_fft / HOPS
    }

    /// Magnitudes of samples, `[B, T] -> [B, F, bins]`; T is F hops.
    pub fn magnitudes(&self, samples: Tensor<2>) -> Tensor<3> {
        let bins = self.n_fft / 2 + 1;
        let spectrum = self.spectrum(samples);
        let [real, imaginary] = [0, bins].map(|from| spectrum.clone().narrow(2, from, bins));
        // The slope of a root is infinite at zero.
        (real.square() + imaginary.square() + LEAST).sqrt()
    }

    /// Spectra of samples, real parts and behind them imaginary ones: `[B, T] -> [B, F, 2 bins]`; T is F hops.
    pub fn spectrum(&self, samples: Tensor<2>) -> Tensor<3> {
        let ([b, t], hop) = (samples.dims(), self.hop());
        let (frames, pad) = (t / hop, (self.n_fft - hop) / 2);
        let silence = || Tensor::zeros([b, pad], &samples.device());
        let padded = Tensor::cat(vec![silence(), samples.clone(), silence()], 1);
        let hops: Tensor<3> = padded.reshape([b, frames + HOPS - 1, hop]);
        let windows = (0..HOPS).map(|k| hops.clone().narrow(1, k, frames)).collect();
        let windows = Tensor::cat(windows, 2).reshape([b * frames, self.n_fft]);
        windows.matmul(self.forward.clone()).reshape([b, frames, self.n_fft + 2])
    }

    /// Samples whose frames are nearest to these spectra, real parts and behind them imaginary ones:
    /// `[B, F, 2 bins] -> [B, F·hop]`.
    pub fn samples(&self, spectrum: Tensor<3>) -> Tensor<2> {
        let ([b, frames, width], hop) = (spectrum.dims(), self.hop());
        let device = spectrum.device();
        let windows = spectrum.reshape([b * frames, width]).matmul(self.inverse.clone());
        let windows = windows.reshape([b, frames, HOPS, hop]);
        let shifted = |k: usize| {
            let silence = |n: usize| Tensor::<3>::zeros([b, n, hop], &device);
            let part = windows.clone().narrow(2, k, 1).reshape([b, frames, hop]);
            Tensor::cat(vec![silence(k), part, silence(HOPS - 1 - k)], 1)
        };
        let sum = (1..HOPS).fold(shifted(0), |sum, k| sum + shifted(k));
        let all = (frames + HOPS - 1) * hop;
        let (pad, length) = ((self.n_fft - hop) / 2, frames * hop);
        sum.reshape([b, all]).narrow(1, pad, length) / self.weights(frames, &device)
    }

    /// How often each sample is counted, `[1, F·hop]`.
    fn weights(&self, frames: usize, device: &Device) -> Tensor<2> {
        let (hop, pad) = (self.hop(), (self.n_fft - self.hop()) / 2);
        let mut weights = vec![0.0f32; (frames + HOPS - 1) * hop];
        for frame in 0..frames {
            for i in 0..self.n_fft {
                let hann = 0.5 - 0.5 * angle(i, self.n_fft).cos();
                weights[frame * hop + i] += (hann * hann) as f32;
            }
        }
        let weights: Vec<f32> =
            weights[pad..pad + frames * hop].iter().map(|weight| weight.max(1e-3)).collect();
        let device = device.clone().without_autodiff();
        Tensor::from_data(TensorData::new(weights, [1, frames * hop]), &device)
    }
}

/// Least square of a magnitude.
const LEAST: f64 = 1e-10;

fn angle(i: usize, n: usize) -> f64 {
    std::f64::consts::TAU * i as f64 / n as f64
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn transform_and_back_is_the_same_sound() {
        let (device, n) = (Device::flex(), 64);
        let stft = Stft::new(n, &device);
        let samples: Vec<f32> = (0..10 * n).map(|i| (i as f32 * 0.37).sin() + 0.1).collect();
        let x = Tensor::<2>::from_data(TensorData::new(samples.clone(), [1, 10 * n]), &device);
        let back = read(stft.samples(stft.spectrum(x.clone())));
        let worst = samples.iter().zip(&back).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(back.len() == samples.len() && worst < 1e-4, "{worst}");
        assert_eq!(stft.magnitudes(x).dims(), [1, 40, 33]);
    }
}
