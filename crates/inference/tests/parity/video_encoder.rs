//! `goldens/video_encoder`: our encoder of videos.

use sensorium_encoder::image::{ActivationName, Pooling, VitConfig};
use sensorium_encoder::video::{VideoEncoder, VideoEncoderConfig};
use sensorium_flow::Encode;
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, input, number, size, weights,
};

fn config(golden: &Golden) -> VideoEncoderConfig {
    let size = |key: &str| size(golden, &format!("/{key}"));
    let (width, patch) = (size("hidden_size"), size("patch_size"));
    let (n_heads, intermediate_size) = (size("num_attention_heads"), size("intermediate_size"));
    let image = VitConfig {
        stem_bias: true,
        n_heads,
        intermediate_size,
        activation: ActivationName::Gelu,
        pre_norm: false,
        pooling: Pooling::Mean,
        proj: false,
        eps: number(golden, "/layer_norm_eps"),
        ..VitConfig::clip(size("image_size"), patch, width, size("num_hidden_layers"), width)
    };
    VideoEncoderConfig {
        image,
        frames: size("max_frames"),
        pool: size("pool"),
        latents: size("latents"),
        n_layers: size("resampler_layers"),
        n_heads,
        intermediate_size,
    }
}

#[test]
fn video_encoder() {
    let golden = Golden::open("video_encoder");
    let video = VideoEncoder::init(&config(&golden), &mut Init::new(1, &device().autodiff()));
    let video = load::load(video, &weights(&golden)).expect("the golden's names are ours");
    let frames: Tensor<5> = input(&golden, "pixel_values");
    let target: Tensor<3> = input(&golden, "target");
    let loss =
        |video: &VideoEncoder| (video.encode(frames.clone()).0 - target.clone()).square().mean();

    let mut report = Report::new(&golden, STACK);
    let seen = video.see(frames.clone());
    report.check("frames", &seen.dims(), &read(seen));
    let x = video.encode(frames.clone()).0;
    report.check("last_hidden_state", &x.dims(), &read(x));
    report.check("loss", &[1], &read(loss(&video)));
    report.finish();
    assert_same_gradients(&golden, &video, loss(&video), str::to_owned);
    assert_losses(&curve(video, loss), &golden.losses(), CURVE);
}
