//! Masked pre-training of pictures and spectrograms in one row: MAE's pixels, and a teacher's features.

use sensorium_encoder::image::{Conv, MaskedDecoderConfig, Pooling, VitConfig};
use sensorium_flow::Modality;
use sensorium_model::masked::{
    MaskedAutoencoder, MaskedConfig, Patches, Target, features, mean, pixels,
};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, PLAIN};
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, number, size, weights};

fn config(golden: &Golden, target: Target) -> MaskedConfig {
    let at = |path: &str| size(golden, path);
    let (e, patch) = (at("/hidden_size"), at("/patch_size"));
    let image = VitConfig {
        image: at("/kinds/image/size/0"),
        stem: vec![Conv { channels: e, kernel: patch, stride: patch, padding: 0 }],
        stem_bias: true,
        hidden_size: e,
        n_layers: at("/num_hidden_layers"),
        n_heads: at("/num_attention_heads"),
        intermediate_size: at("/intermediate_size"),
        activation: Activation::Gelu,
        pre_norm: false,
        pooling: Pooling::Class,
        proj: false,
        embed: e,
        eps: number(golden, "/layer_norm_eps"),
        ..VitConfig::clip_base_patch32()
    };
    let [bands, frames] = [0, 1].map(|axis| at(&format!("/kinds/audio/size/{axis}")));
    let audio = VitConfig { image: bands, frames: Some(frames), ..image.clone() };
    let decoder = MaskedDecoderConfig {
        hidden_size: at("/decoder_hidden_size"),
        n_layers: at("/decoder_num_hidden_layers"),
        n_heads: at("/decoder_num_attention_heads"),
        intermediate_size: at("/decoder_intermediate_size"),
    };
    MaskedConfig { image: Some(image), audio: Some(audio), decoder, target }
}

/// The golden's media, cut up as the recipe cuts them.
fn media(golden: &Golden) -> Vec<Patches> {
    let (inputs, patch) = (golden.inputs(), size(golden, "/patch_size"));
    let kinds = [("image", Modality::Image), ("audio", Modality::Audio)];
    let of_kind = |(name, modality): (&str, Modality)| {
        let (shape, planes) = &inputs[&format!("planes.{name}")];
        let (at, places) = &inputs[&format!("places.{name}")];
        let (shape, shown) = ([shape[1], shape[2], shape[3]], at[1] / 4);
        let places = places.iter().map(|&place| place as u32).collect();
        Patches::cut(modality, planes, shape, patch, places, shown)
    };
    kinds.map(of_kind).to_vec()
}

fn compare(name: &str, target: Target) {
    let golden = Golden::open(name);
    let device = device().autodiff();
    let model = MaskedAutoencoder::init(&config(&golden, target), &mut Init::new(1, &device));
    let model = names::take(model, weights(&golden), &PLAIN).expect("the names fit");
    let media = media(&golden);
    let teacher = params::set_trainable(model.encoder.clone(), |_| false);
    let targets = match target {
        Target::Pixels => pixels(&media, &device),
        Target::Features => features(&teacher, &media, size(&golden, "/teacher_layers"), &device),
    };
    let loss = |model: &MaskedAutoencoder| {
        let told = model.tell(&media, &device);
        mean(told.into_iter().zip(targets.clone()).map(|(told, wanted)| match target {
            Target::Pixels => loss::mse(told, wanted),
            Target::Features => loss::smooth_l1(told, wanted, number(&golden, "/beta")),
        }))
    };

    let mut report = Report::new(&golden, STACK);
    let told = model.tell(&media, &device);
    for ((kind, told), wanted) in ["image", "audio"].iter().zip(told).zip(&targets) {
        report.check(&format!("told.{kind}"), &told.dims(), &read(told));
        report.check(&format!("target.{kind}"), &wanted.dims(), &read(wanted.clone()));
    }
    report.check("loss", &[1], &read(loss(&model)));
    report.finish();
    assert_same_gradients(&golden, &model, loss(&model), str::to_owned);
    assert_losses(&curve(model, loss), &golden.losses(), CURVE);
}

#[test]
fn masked() {
    compare("masked", Target::Pixels);
}

#[test]
fn masked_features() {
    compare("masked_features", Target::Features);
}
