//! What both decoders that cross-attend have in common.

use sensorium_backbone::{
    CrossCache, Gate, GatedLlama, GatedLlamaConfig, LlamaConfig, WhisperDecoder,
    WhisperDecoderConfig,
};
use sensorium_flow::{Features, Forward, Sequence};
use sensorium_nn::params::{read, update};
use sensorium_nn::prelude::*;
use sensorium_testkit::{assert_close, finite_difference};

const WIDTH: usize = 24;
const IDS: [u32; 8] = [1, 5, 3, 2, 7, 3, 18, 11];

/// Open gates, and weights that let what is seen be felt.
fn felt<M: Module>(model: M) -> M {
    update(model, |name, shape, data| {
        if name.ends_with("cross_gate") || name.ends_with("mlp_gate") {
            data.fill(1.0);
        } else if shape.len() > 1 {
            data.iter_mut().for_each(|x| *x *= 8.0);
        }
        true
    })
}

fn gated(device: &Device) -> GatedLlama {
    let llama = LlamaConfig {
        vocab_size: 19,
        hidden_size: WIDTH,
        n_layers: 2,
        n_heads: 3,
        n_kv_heads: 3,
        head_dim: 8,
        intermediate_size: 20,
        ..LlamaConfig::small()
    };
    let (interval, qk_norm, gate) = (1, true, Gate::Vector);
    let config = GatedLlamaConfig { llama, features: WIDTH, interval, qk_norm, gate };
    felt(GatedLlama::init(&config, &mut Init::new(3, device)))
}

fn whisper(device: &Device) -> WhisperDecoder {
    let config = WhisperDecoderConfig {
        vocab_size: 19,
        context: 16,
        hidden_size: WIDTH,
        n_layers: 2,
        n_heads: 3,
        intermediate_size: 20,
    };
    felt(WhisperDecoder::init(&config, &mut Init::new(3, device)))
}

/// Two media of five positions.
fn media() -> Vec<f32> {
    read(Init::new(1, &Device::flex()).normal([2, 5, WIDTH], 1.0).val())
}

fn features(values: &[f32], device: &Device) -> Tensor<3> {
    let media = values.len() / (5 * WIDTH);
    Tensor::from_data(TensorData::new(values.to_vec(), [media, 5, WIDTH]), device)
}

fn seeing(features: Tensor<3>) -> Sequence {
    Sequence { features: Some(Features(features)), ..Sequence::default() }
}

/// Hidden states of rows of `ids`, each of which sees its own medium.
fn hidden(
    model: &impl Forward<Cache = CrossCache>,
    ids: &[u32],
    rows: usize,
    features: Tensor<3>,
) -> Tensor<3> {
    model.forward(model.embed(ids, [rows, ids.len() / rows]), &seeing(features), None).0
}

fn each_row_sees_its_own(model: &impl Forward<Cache = CrossCache>) {
    let (media, device) = (media(), Device::flex());
    let both = read(hidden(model, &IDS, 2, features(&media, &device)));
    let halves = IDS.chunks(4).zip(media.chunks(5 * WIDTH));
    let alone =
        halves.flat_map(|(ids, media)| read(hidden(model, ids, 1, features(media, &device))));
    assert_close("rows", &both, &alone.collect::<Vec<_>>(), 1e-5);
    let other = hidden(model, &IDS, 2, features(&media, &device).flip([0]));
    assert_ne!(both, read(other), "what is seen changes nothing");
}

/// Media are given once: later calls find them in the cache.
fn in_parts_it_reads_the_same(model: &impl Forward<Cache = CrossCache>) {
    let features = features(&media()[..5 * WIDTH], &Device::flex());
    let whole = read(hidden(model, &IDS, 1, features.clone()));
    let mut cache = CrossCache::default();
    let calls = [(&IDS[..3], seeing(features)), (&IDS[3..], Sequence::default())];
    let parts = calls.map(|(ids, sequence)| {
        let embeds = model.embed(ids, [1, ids.len()]);
        read(model.forward(embeds, &sequence, Some(&mut cache)).0)
    });
    assert_close("parts", &parts.concat(), &whole, 1e-5);
    assert_eq!((cache.tokens(), cache.media()), (8, 1));
}

/// In training, what is seen learns from what is said of it.
fn gradients_reach_the_media(model: &impl Forward<Cache = CrossCache>, device: &Device) {
    let weights = read(Init::new(2, &Device::flex()).normal([2, 4, WIDTH], 1.0).val());
    let weights = Tensor::<3>::from_data(TensorData::new(weights, [2, 4, WIDTH]), device);
    let loss = |x: Tensor<3>| (hidden(model, &IDS, 2, x) * weights.clone()).sum();
    let x = features(&media(), device).require_grad();
    let gradient = x.grad(&loss(x.clone()).backward()).expect("a gradient");
    let f = |x: &[f32]| f64::from(loss(features(x, device)).into_scalar::<f32>());
    assert_close("media", &read(gradient), &finite_difference(f, &media(), 1e-2), 2e-2);
}

#[test]
fn each_row_sees_its_own_medium() {
    each_row_sees_its_own(&gated(&Device::flex()));
    each_row_sees_its_own(&whisper(&Device::flex()));
}

#[test]
fn in_parts_they_read_the_same() {
    in_parts_it_reads_the_same(&gated(&Device::flex()));
    in_parts_it_reads_the_same(&whisper(&Device::flex()));
}

#[test]
fn gradients_agree_with_differences() {
    let device = Device::flex().autodiff();
    gradients_reach_the_media(&gated(&device), &device);
    gradients_reach_the_media(&whisper(&device), &device);
}
