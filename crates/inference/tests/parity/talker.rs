//! `goldens/talker`: durations, spectrograms and their gradients as PyTorch has them.

use sensorium_generator::audio::{Speech, Talker, TalkerConfig};
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, input, size, weights};

fn model(golden: &Golden) -> Talker {
    let size = |key: &str| size(golden, &format!("/{key}"));
    let config = TalkerConfig {
        hidden_size: size("hidden_size"),
        encoder_layers: size("encoder_layers"),
        decoder_layers: size("decoder_layers"),
        n_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
        kernel: size("kernel_size"),
        bands: size("bands"),
    };
    let mut init = Init::new(1, &device().autodiff());
    let talker = Talker::init(&config, [size("phonemes"), size("voices")], &mut init);
    load::load(talker, &weights(golden)).expect("the golden's names are ours")
}

fn rows<T: serde::de::DeserializeOwned>(golden: &Golden, key: &str) -> T {
    serde_json::from_value(golden.config()[key].clone()).expect("numbers")
}

#[test]
fn talker() {
    check();
}

/// As on a device without kernels.
#[test]
fn talker_by_twins() {
    fused::with_twins(check);
}

fn check() {
    let golden = Golden::open("talker");
    let talker = model(&golden);
    let ids: Vec<Vec<u32>> = rows(&golden, "ids");
    let frames: Vec<Vec<usize>> = rows(&golden, "frames");
    let most = ids.iter().map(Vec::len).max().unwrap_or(0);
    let padded =
        |row: &Vec<u32>| row.iter().copied().chain(std::iter::repeat(0)).take(most).collect();
    let speech = Speech {
        phonemes: ids.iter().flat_map(|row| -> Vec<u32> { padded(row) }).collect(),
        lengths: ids.iter().map(Vec::len).collect(),
        voices: rows(&golden, "speakers"),
    };
    let mel: Tensor<3> = input(&golden, "mel");

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, shape: &[usize], x: &[f32]| report.check(name, shape, x);
    let (x, durations) = talker.read(&speech);
    check("phonemes", &x.dims(), &read(x.clone()));
    check("durations", &durations.dims(), &read(durations));
    let made = talker.speak(x, &frames);
    let ([b, f, bands], mut values) = (made.dims(), read(made));
    // What is behind a sentence's end counts in neither.
    for i in 0..b {
        let heard: usize = frames[i].iter().sum();
        values[(i * f + heard) * bands..(i + 1) * f * bands].fill(0.0);
    }
    check("mel", &[b, f, bands], &values);
    let loss = |talker: &Talker| {
        let [off, wrong] = talker.losses(&speech, &frames, mel.clone());
        off + wrong
    };
    check("loss", &[1], &read(loss(&talker)));
    report.finish();
    assert_same_gradients(&golden, &talker, loss(&talker), str::to_owned);
    assert_losses(&curve(talker, loss), &golden.losses(), CURVE);
}
