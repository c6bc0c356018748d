//! The HiFi-GAN that makes samples of SpeechT5's spectrograms.

use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use crate::audio::hifigan::{HifiGan, HifiGanConfig};

/// Shape of a [`SpeechT5HifiGan`].
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechT5HifiGanConfig {
    /// Bands of a frame.
    pub bands: usize,
    /// The rest.
    pub net: HifiGanConfig,
    /// Whether bands are brought to a mean of 0 and a deviation of 1.
    pub normalize_before: bool,
}

impl SpeechT5HifiGanConfig {
    /// Name and shape of every parameter, in field order, without one being made.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        params::shapes(|init| SpeechT5HifiGan::init(self, init))
    }
}

/// Spectrograms to samples.
#[derive(Module, Debug)]
pub struct SpeechT5HifiGan {
    net: HifiGan,
    /// Of each band, `[bands]`.
    mean: Param<Tensor<1>>,
    /// Its deviation, `[bands]`.
    scale: Param<Tensor<1>>,
    #[module(skip)]
    normalize_before: bool,
}

sensorium_nn::pack!(SpeechT5HifiGan: net);

impl SpeechT5HifiGan {
    /// Seeded weights.
    pub fn init(config: &SpeechT5HifiGanConfig, init: &mut Init) -> Self {
        Self {
            net: HifiGan::init(config.bands, &config.net, None, init),
            mean: init.constant([config.bands], 0.0),
            scale: init.constant([config.bands], 1.0),
            normalize_before: config.normalize_before,
        }
    }

    /// Samples of log-mel features `[1, F, bands]`, hop for each frame.
    pub fn samples(&self, log_mel: Tensor<3>) -> Vec<f32> {
        let x = match self.normalize_before {
            true => {
                let [mean, scale] = [&self.mean, &self.scale].map(|x| x.val().unsqueeze());
                (log_mel - mean) / scale
            }
            false => log_mel,
        };
        read(self.net.forward(x, None))
    }
}
