//! `goldens/vocoder`: samples of a spectrogram, what they are compared by, and gradients as PyTorch has them.

use sensorium_generator::audio::stft::Stft;
use sensorium_generator::audio::vocoder::SpectralLoss;
use sensorium_generator::audio::{Vocoder, VocoderConfig};
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_gradients_within, curve, device, input, size, weights};

fn model(golden: &Golden) -> (Vocoder, VocoderConfig) {
    let size = |key: &str| size(golden, &format!("/{key}"));
    let config = VocoderConfig {
        bands: size("bands"),
        hidden_size: size("hidden_size"),
        n_layers: size("num_hidden_layers"),
        intermediate_size: size("intermediate_size"),
        kernel: size("kernel_size"),
        n_fft: size("n_fft"),
    };
    let vocoder = Vocoder::init(&config, &mut Init::new(1, &device().autodiff()));
    (load::load(vocoder, &weights(golden)).expect("the golden's names are ours"), config)
}

#[test]
fn vocoder() {
    check();
}

/// As on a device without kernels.
#[test]
fn vocoder_by_twins() {
    fused::with_twins(check);
}

fn check() {
    let golden = Golden::open("vocoder");
    let (vocoder, config) = model(&golden);
    let (mel, samples) = (input::<3>(&golden, "mel"), input::<2>(&golden, "samples"));
    let stft = Stft::new(config.n_fft, &device());
    let spectral = SpectralLoss::new(config.n_fft, input(&golden, "bands"));
    let losses =
        |vocoder: &Vocoder| spectral.losses(vocoder.forward(mel.clone(), &stft), samples.clone());

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, shape: &[usize], x: &[f32]| report.check(name, shape, x);
    let made = vocoder.forward(mel.clone(), &stft);
    check("samples", &made.dims(), &read(made));
    let [spectra, bands] = losses(&vocoder);
    check("spectra", &[1], &read(spectra));
    check("mel", &[1], &read(bands));
    report.finish();
    let loss = |vocoder: &Vocoder| {
        let [spectra, bands] = losses(vocoder);
        spectra + bands
    };
    // Of logarithms, some of them of very small magnitudes: 3e-4 are seen.
    assert_gradients_within(&golden, &vocoder, loss(&vocoder), str::to_owned, 1e-3);
    assert_losses(&curve(vocoder, loss), &golden.losses(), CURVE);
}
