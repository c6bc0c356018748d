//! `goldens/conformer`: our sound encoder, its head, and CTC's loss as PyTorch has it.

use sensorium_encoder::audio::{Conformer, ConformerConfig, positions};
use sensorium_flow::Features;
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_close, assert_losses};
use serde_json::Value;

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, input, size, weights};

fn model(golden: &Golden) -> Conformer {
    let size = |key: &str| size(golden, &format!("/{key}"));
    let config = ConformerConfig {
        bands: size("bands"),
        positions: 12,
        hidden_size: size("hidden_size"),
        n_layers: size("num_hidden_layers"),
        n_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
        kernel: size("kernel_size"),
        vocab_size: Some(size("vocab_size")),
    };
    let conformer = Conformer::init(&config, &mut Init::new(1, &device().autodiff()));
    load::load(conformer, &weights(golden)).expect("the golden's names are ours")
}

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("numbers")
}

#[test]
fn conformer() {
    check();
}

/// As on a device without kernels.
#[test]
fn conformer_by_twins() {
    fused::with_twins(check);
}

fn check() {
    let golden = Golden::open("conformer");
    let (conformer, config) = (model(&golden), golden.config());
    let frames: Vec<usize> = numbers(&config["frames"]);
    let labels: Vec<Vec<u32>> = numbers(&config["labels"]);
    let mel: Tensor<3> = input(&golden, "input_features");
    let transcripts = frames.iter().map(|&frames| positions(frames)).zip(labels);
    let transcripts: Vec<Transcript> =
        transcripts.map(|(frames, labels)| Transcript { frames, labels }).collect();
    let logits = |conformer: &Conformer| {
        let features = conformer.encode_padded(mel.clone(), &frames);
        conformer.logits(features).expect("it has a head")
    };

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("blocks.0", conformer.hidden(mel.clone(), &frames, 1));
    check("blocks.1", conformer.hidden(mel.clone(), &frames, 2));
    let Features(x) = conformer.encode_padded(mel.clone(), &frames);
    check("last_hidden_state", x);
    check("logits", logits(&conformer));
    let loss = |conformer: &Conformer| loss::ctc(logits(conformer), &transcripts);
    report.check("loss", &[1], &read(loss(&conformer)));
    report.finish();
    assert_same_gradients(&golden, &conformer, loss(&conformer), str::to_owned);
    assert_losses(&curve(conformer, loss), &golden.losses(), CURVE);
}

#[test]
fn the_loss_of_a_long_sound() {
    let golden = Golden::open("conformer");
    let labels = numbers(&golden.config()["long_labels"]);
    let logits = input::<3>(&golden, "long.logits").require_grad();
    let loss = loss::ctc(logits.clone(), &[Transcript { frames: 300, labels }]);
    let outputs = golden.outputs();
    assert_close("loss", &read(loss.clone()), &outputs["long.loss"].1, STACK);
    let slope = read(logits.grad(&loss.backward()).expect("the loss has a slope"));
    assert_close("gradient", &slope, &outputs["long.gradient"].1, STACK);
}
