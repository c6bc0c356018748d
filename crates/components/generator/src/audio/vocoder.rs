//! Log-mel spectrograms to samples, by spectra that are as fine as the samples need.
//!
//! Siuzdak 2023 (Vocos), <https://arxiv.org/abs/2306.00814>, without its discriminators and its first convolution: what comes out is compared in
//! spectra of several resolutions (Yamamoto et al. 2019, <https://arxiv.org/abs/1910.11480>) and in mel bands.
//!
//! ```text
//! log-mel [B, F, bands] ──ConvNeXt blocks──▶ magnitude, phase [B, F, bins] ──inverse STFT──▶ [B, F·hop]
//! ```

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

use super::convnext::{ConvNext, EPS};
use super::stft::Stft;

/// Shape of a [`Vocoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocoderConfig {
    /// Bands of the spectrogram.
    pub bands: usize,
    /// Width D.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Frames that a convolution reads; odd.
    pub kernel: usize,
    /// Samples of a window: four times those from frame to frame.
    pub n_fft: usize,
}

impl VocoderConfig {
    /// The embedded model's: 6 blocks of 128, 0.74 M parameters.
    pub fn small() -> Self {
        Self {
            bands: 80,
            hidden_size: 128,
            n_layers: 6,
            intermediate_size: 384,
            kernel: 7,
            n_fft: 1024,
        }
    }

    /// What is wrong with the sizes: what is expected, and what there is.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let Self { bands, hidden_size, intermediate_size, kernel, n_fft, .. } = *self;
        let above = ![bands, hidden_size, intermediate_size, n_fft].contains(&0);
        let fits = above && !kernel.is_multiple_of(2) && n_fft.is_multiple_of(8);
        let expected = "sizes above 0, an odd kernel, and windows of a multiple of 8 samples";
        (!fits).then(|| (expected, format!("{self:?}")))
    }

    /// Name and shape of every parameter.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| Vocoder::init(self, init))
    }
}

/// About the mean and the spread of a log-mel spectrogram of speech.
const LEVEL: f64 = -5.0;
const SPREAD: f64 = 2.0;

/// Logarithm of the largest magnitude.
const LOUDEST: f64 = 6.0;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Vocoder {
    embed: Linear,
    norm: LayerNorm,
    blocks: Vec<ConvNext>,
    final_norm: LayerNorm,
    head: Linear,
}

sensorium_nn::pack!(Vocoder: embed, blocks, head);

impl Vocoder {
    /// Seeded weights.
    pub fn init(config: &VocoderConfig, init: &mut Init) -> Self {
        let (d, kernel) = (config.hidden_size, config.kernel);
        let sizes = [d, config.intermediate_size, kernel];
        Self {
            embed: Linear::init(config.bands, d, true, (config.bands as f64).powf(-0.5), init),
            norm: LayerNorm::init(d, EPS, init),
            blocks: (0..config.n_layers)
                .map(|_| ConvNext::init(sizes, config.n_layers, init))
                .collect(),
            final_norm: LayerNorm::init(d, EPS, init),
            head: Linear::init(d, config.n_fft + 2, true, (d as f64).powf(-0.5), init),
        }
    }

    /// Spectra, real parts and behind them imaginary ones: `[B, F, bands] -> [B, F, 2 bins]`.
    pub fn spectrum(&self, log_mel: Tensor<3>) -> Tensor<3> {
        let frames = log_mel.dims()[1];
        let x = self.norm.forward(self.embed.forward((log_mel - LEVEL) / SPREAD));
        let lengths = vec![frames; x.dims()[0]];
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &lengths));
        let x = self.head.forward(self.final_norm.forward(x));
        let bins = x.dims()[2] / 2;
        let magnitudes = x.clone().narrow(2, 0, bins).clamp_max(LOUDEST).exp();
        let phases = x.narrow(2, bins, bins);
        Tensor::cat(vec![magnitudes.clone() * phases.clone().cos(), magnitudes * phases.sin()], 2)
    }

    /// Samples, `[B, F, bands] -> [B, F·hop]`.
    pub fn forward(&self, log_mel: Tensor<3>, stft: &Stft) -> Tensor<2> {
        stft.samples(self.spectrum(log_mel))
    }
}

/// What samples are compared by.
#[derive(Clone, Debug)]
pub struct SpectralLoss {
    stfts: Vec<Stft>,
    /// The one of them whose magnitudes the bands are of.
    mel: usize,
    /// `[bins, bands]`.
    bands: Tensor<2>,
}

impl SpectralLoss {
    /// Of windows of half, once and twice `n_fft` samples, and of bands, `[bins, bands]` of weights of a magnitude.
    pub fn new(n_fft: usize, bands: Tensor<2>) -> Self {
        let device = bands.device();
        let stfts = [n_fft / 2, n_fft, 2 * n_fft].map(|n| Stft::new(n, &device));
        Self { stfts: stfts.into(), mel: 1, bands }
    }

    /// Mean distance of logarithms of magnitudes, and of bands, between samples `[B, T]`.
    pub fn losses(&self, made: Tensor<2>, wanted: Tensor<2>) -> [Tensor<1>; 2] {
        let device = wanted.device();
        let (mut spectra, mut mel) = (Tensor::zeros([1], &device), Tensor::zeros([1], &device));
        for (i, stft) in self.stfts.iter().enumerate() {
            let [made, wanted] = [&made, &wanted].map(|x| stft.magnitudes(x.clone()));
            let off = (log(made.clone()) - log(wanted.clone())).abs().mean();
            let far = (made.clone() - wanted.clone()).square().sum().sqrt()
                / wanted.clone().square().sum().sqrt();
            spectra = spectra + (off + far) / self.stfts.len() as f64;
            if i == self.mel {
                let [made, wanted] = [made, wanted].map(|x| {
                    let [b, f, bins] = x.dims();
                    log(x.reshape([b * f, bins]).matmul(self.bands.clone()))
                });
                mel = (made - wanted).abs().mean();
            }
        }
        [spectra, mel]
    }
}

fn log<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp_min(FLOOR).log()
}

/// Least magnitude that is told from silence.
const FLOOR: f64 = 1e-5;

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn the_embedded_one_has_as_many_parameters_as_it_says() {
        let parameters = VocoderConfig::small().parameters();
        let n: usize = parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(n, 743_810);
    }

    #[test]
    fn a_sound_is_near_to_itself_and_far_from_others() {
        let device = Device::flex();
        let bands = Init::new(2, &device).normal([33, 5], 1.0).val().abs();
        let loss = SpectralLoss::new(64, bands);
        let tone = |f: f32| {
            let values: Vec<f32> = (0..640).map(|i| (i as f32 * f).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(values, [1, 640]), &device)
        };
        let between = |a: f32, b: f32| loss.losses(tone(a), tone(b)).map(|x| read(x)[0]);
        assert_eq!(between(0.3, 0.3), [0.0, 0.0]);
        assert!(between(0.3, 0.9).iter().all(|&x| x > 0.1));
    }
}
