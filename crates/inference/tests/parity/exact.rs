//! Numbers that the papers and the released code fix exactly.

use sensorium_encoder::image::{EncoderConfig, Vit, VitConfig};
use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;

fn empty() -> Init {
    Init::empty(&Device::flex())
}

/// A stack's count from two built ones: blocks are alike, so it is straight in their number.
fn stacked(n_layers: usize, of: impl Fn(usize) -> usize) -> usize {
    let (none, one, two) = (of(0), of(1), of(2));
    assert_eq!(two - one, one - none, "blocks are alike");
    none + n_layers * (one - none)
}

fn vision(config: &VitConfig) -> usize {
    stacked(config.n_layers, |n_layers| {
        params::count(&Vit::init(&VitConfig { n_layers, ..config.clone() }, &mut empty()))
    })
}

fn text(config: &TextConfig) -> usize {
    stacked(config.n_layers, |n_layers| {
        params::count(&TextTower::init(&TextConfig { n_layers, ..config.clone() }, &mut empty()))
    })
}

/// open_clip's model profile: 151.28 M, 149.62 M, 427.62 M and 63.09 M with the scale.
#[test]
fn clip_has_the_published_number_of_parameters() {
    let small = TextConfig {
        hidden_size: 384,
        n_heads: 6,
        intermediate_size: 1536,
        embed: 384,
        ..TextConfig::clip_base()
    };
    let cases = [
        ("B/32", VitConfig::clip_base_patch32(), TextConfig::clip_base(), [87_849_216, 63_428_096]),
        ("B/16", VitConfig::clip_base_patch16(), TextConfig::clip_base(), [86_192_640, 63_428_096]),
        (
            "L/14",
            VitConfig::clip_large_patch14(),
            TextConfig::clip_large(),
            [303_966_208, 123_650_304],
        ),
        ("S/32", VitConfig::clip(224, 32, 384, 12, 384), small, [22_641_792, 40_444_032]),
    ];
    for (name, image, tower, want) in cases {
        assert_eq!([vision(&image), text(&tower)], want, "{name}");
    }
}

/// The counts above come from shapes; this one from a whole model.
#[test]
fn clip_base_patch32_built_whole_has_151_277_313() {
    let image = EncoderConfig::Vit(VitConfig::clip_base_patch32());
    let config = ClipConfig { image, text: TextConfig::clip_base(), bias: false };
    assert_eq!(params::count(&Clip::init(&config, &mut empty())), 151_277_313);
}

#[test]
fn llava_projectors_have_the_published_number_of_parameters() {
    for (width, want) in [(4096, 20_979_712), (5120, 31_467_520)] {
        let config = ProjectorConfig::Mlp {
            features: 1024,
            shuffle: 1,
            norm: None,
            hidden: width,
            width,
            places: None,
            stack: 1,
            bias: true,
        };
        assert_eq!(params::count(&Projector::init(&config, &mut empty())), want);
    }
}

/// A model that knows nothing chooses among N pairs by chance: ln N, and a little more, for random
/// cosines are not zero: with a shared space as wide as B/32's, at a scale of 1/0.07, their logits
/// spread by 0.6.
#[test]
fn clip_begins_near_ln_n() {
    const N: usize = 8;
    let image = VitConfig { n_heads: 2, ..VitConfig::clip(16, 4, 32, 2, 512) };
    let text = TextConfig {
        vocab_size: 40,
        context: 8,
        hidden_size: 32,
        n_layers: 2,
        n_heads: 2,
        intermediate_size: 64,
        ..TextConfig::clip_base()
    };
    let device = Device::flex();
    for seed in 0..4 {
        let image = EncoderConfig::Vit(image.clone());
        let config = ClipConfig { image, text: text.clone(), bias: false };
        let clip = Clip::init(&config, &mut Init::new(seed, &device));
        let mut rng = Rng::new(seed + 100);
        let pixels = (0..N * 3 * 16 * 16).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        let images = Tensor::from_data(TensorData::new(pixels, [N, 3, 16, 16]), &device);
        let texts: Vec<Vec<u32>> =
            (0..N).map(|_| (0..6).map(|_| (rng.next_u64() % 40) as u32).collect()).collect();
        let texts = clip.embed_texts(&Texts::pad(&texts, 0));
        let loss = loss::info_nce(clip.embed_images(images), texts, clip.scale.val());
        let off = f64::from(read(loss)[0]) - (N as f64).ln();
        assert!(off.abs() < 0.5, "seed {seed}: {off} from ln {N}");
    }
}
