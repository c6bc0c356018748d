//! A model laid out for running computes what it computed before, up to what rounding costs.

use sensorium_encoder::image::{Vit, VitConfig};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn packed_image_encoders_embed_as_before() {
    // Patches that are packed, and a stem of convolutions that is not.
    let stem = VitConfig { image: 48, n_layers: 2, ..VitConfig::small() };
    for config in [VitConfig::clip(64, 16, 128, 3, 48), stem] {
        let init = &mut Init::new(3, &Device::flex());
        let vit = Vit::init(&config, init);
        let pictures = init.normal([3, 3, config.image, config.image], 1.0).val();
        let exact = read(vit.embed(pictures.clone()));
        for (format, least) in [
            (pack::Format::F32, 0.999_999_9),
            (pack::Format::Bf16, 0.999_9),
            (pack::Format::Int8, 0.999),
            (pack::Format::Blocks(pack::Blocked::Q8_0), 0.999),
        ] {
            let mut packed = vit.clone();
            packed.pack_as(format);
            let got = read(packed.embed(pictures.clone()));
            for (a, b) in exact.chunks(config.embed).zip(got.chunks(config.embed)) {
                assert!(cosine(a, b) >= least, "{format:?}: {}", cosine(a, b));
            }
        }
    }
}
