//! What holds for any weights and any input, tried over seeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_backbone::{BackboneConfig, Cache, Llama, LlamaConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::WhisperEncoderConfig;
use sensorium_encoder::image::{FeatureSelect, VitConfig};
use sensorium_encoder::text::{TextConfig, TextTower, Texts};
use sensorium_flow::{Embeds, Forward, Hidden, Input, Sequence, Sounds};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{Modality, Prompt, Slot};
use sensorium_model::llava::{Llava, LlavaConfig, TowerConfig};
use sensorium_model::prompt::Batch;
use sensorium_model::splice::splice;
use sensorium_nn::params::{self, gradients, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_testkit::{Tensors, assert_close, assert_gradients};

const SEEDS: u64 = 4;
const VOCABULARY: u64 = 50;
/// The same sums in another order.
const ROUNDING: f32 = 1e-5;
/// Tokens of a picture of [`llava`].
const IMAGE_TOKENS: usize = 4;

/// Fresh weights are small; larger ones let every token be felt.
fn lively<M: Module>(module: M) -> M {
    params::update(module, |_, shape, data| {
        data.iter_mut().for_each(|v| *v *= 8.0);
        shape.len() > 1
    })
}

fn llama_config() -> LlamaConfig {
    LlamaConfig {
        vocab_size: VOCABULARY as usize,
        context: 32,
        hidden_size: 24,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        intermediate_size: 40,
        ..LlamaConfig::small()
    }
}

fn llama(seed: u64) -> Llama {
    lively(Llama::init(&llama_config(), &mut Init::new(seed, &Device::flex())))
}

/// Pictures of 16 px, 16 positions, 4 tokens.
fn llava(seed: u64, prefix: bool, device: &Device) -> Llava {
    let config = LlavaConfig {
        towers: vec![image_tower()],
        backbone: BackboneConfig::Llama(llama_config()),
        prefix,
    };
    lively(Llava::init(&config, &mut Init::new(seed, device)))
}

fn image_tower() -> TowerConfig {
    let image = VitConfig { n_heads: 2, ..VitConfig::clip(16, 4, 16, 2, 8) };
    let projector = ProjectorConfig::Mlp {
        features: 16,
        shuffle: 2,
        norm: Some(16),
        hidden: 32,
        width: 24,
        places: Some(4),
        stack: 1,
        bias: true,
    };
    let encoder = EncoderConfig::Vit { vit: image, features: FeatureSelect::default() };
    TowerConfig { encoder, projector }
}

/// Sounds of 6 frames and 3 bands, 3 positions, 3 tokens.
fn audio_tower() -> TowerConfig {
    let encoder = EncoderConfig::Whisper(WhisperEncoderConfig {
        bands: 3,
        positions: 3,
        hidden_size: 8,
        n_layers: 1,
        n_heads: 2,
        intermediate_size: 12,
    });
    let projector = ProjectorConfig::Linear { features: 8, shuffle: 1, bias: true, width: 24 };
    TowerConfig { encoder, projector }
}

fn tokens(rng: &mut Rng, count: usize) -> Vec<u32> {
    (0..count).map(|_| (rng.next_u64() % VOCABULARY) as u32).collect()
}

fn pictures(rng: &mut Rng, count: usize, device: &Device) -> Tensor<4> {
    let pixels = (0..count * 3 * 256).map(|_| rng.normal() as f32).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(pixels, [count, 3, 16, 16]), device)
}

/// `before` tokens, a picture, `after` tokens, the last `answer` of which are to be learned.
fn prompt(rng: &mut Rng, before: usize, after: usize, answer: usize) -> Prompt {
    let t = before + IMAGE_TOKENS + after;
    Prompt {
        ids: tokens(rng, t),
        answer: (0..t).map(|i| i >= t - answer).collect(),
        slots: vec![Slot { at: before, len: IMAGE_TOKENS, modality: Modality::Image }],
        spans: (0..t).map(|i| i32::from((before..before + IMAGE_TOKENS).contains(&i))).collect(),
    }
}

/// Spans of pictures with these numbers, 0 for text.
fn shared(numbers: &[u32]) -> Vec<Span> {
    numbers.iter().map(|&n| if n == 0 { Span::None } else { Span::Shared(n) }).collect()
}

fn hidden(llama: &Llama, ids: &[u32], spans: Option<&[Span]>) -> Vec<f32> {
    let sequence = Sequence { spans: spans.map(Arc::from), ..Sequence::default() };
    let Hidden(x) = llama.forward(llama.embed(ids, [1, ids.len()]), &sequence, None);
    read(x)
}

/// Positions whose vectors of width 24 differ in any bit.
fn changed(a: &[f32], b: &[f32]) -> Vec<usize> {
    assert_eq!(a.len(), b.len());
    a.chunks(24)
        .zip(b.chunks(24))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn later_tokens_never_change_earlier_ones() {
    for seed in 0..SEEDS {
        let (llama, mut rng) = (llama(seed), Rng::new(seed));
        let ids = tokens(&mut rng, 14);
        let before = hidden(&llama, &ids, None);
        for at in [0, 1, 7, 13] {
            let mut other = ids.clone();
            other[at] = (other[at] + 1) % VOCABULARY as u32;
            let after = hidden(&llama, &other, None);
            assert_eq!(changed(&before, &after), (at..14).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn cached_is_uncached() {
    for seed in 0..SEEDS {
        let (llama, mut rng) = (llama(seed), Rng::new(seed));
        let ids = tokens(&mut rng, 14);
        let spans = [0, 1, 1, 1, 1, 0, 0, 0, 2, 2, 0, 0, 0, 0];
        let spans = shared(&spans);
        let want = hidden(&llama, &ids, Some(&spans));
        // One call, token by token where no span is cut, and in two pieces.
        for cuts in [vec![14], vec![5, 6, 7, 8, 10, 11, 12, 13, 14], vec![7, 14]] {
            let (mut cache, mut got, mut start) = (Cache::default(), Vec::new(), 0);
            for end in cuts {
                let embeds = llama.embed(&ids[start..end], [1, end - start]);
                let spans = Some(Arc::from(&spans[start..end]));
                let sequence = Sequence { spans, ..Sequence::default() };
                got.extend(read(llama.forward(embeds, &sequence, Some(&mut cache)).0));
                start = end;
            }
            assert_eq!(cache.tokens(), 14);
            assert_close(&format!("seed {seed}"), &got, &want, ROUNDING);
        }
    }
}

#[test]
fn a_span_sees_itself_both_ways_and_nothing_else_does() {
    // Before, first picture, between, second picture, after.
    const SPANS: [u32; 13] = [0, 0, 1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 0];
    for seed in 0..SEEDS {
        let (llama, mut rng) = (llama(seed), Rng::new(seed));
        let ids = tokens(&mut rng, SPANS.len());
        let before = hidden(&llama, &ids, Some(&shared(&SPANS)));
        for at in 0..SPANS.len() {
            let mut other = ids.clone();
            other[at] = (other[at] + 1) % VOCABULARY as u32;
            let after = hidden(&llama, &other, Some(&shared(&SPANS)));
            let first = match SPANS[at] {
                0 => at,
                span => SPANS.iter().position(|&s| s == span).expect("it is a span"),
            };
            let want: Vec<usize> = (first..SPANS.len()).collect();
            assert_eq!(changed(&before, &after), want, "seed {seed}, token {at}");
        }
    }
}

#[test]
fn padding_changes_nothing_in_a_prompt() {
    let device = Device::flex();
    for seed in 0..SEEDS {
        for prefix in [false, true] {
            let (llava, mut rng) = (llava(seed, prefix, &device), Rng::new(seed));
            let prompts = [prompt(&mut rng, 2, 3, 2), prompt(&mut rng, 3, 11, 4)];
            let images = pictures(&mut rng, 2, &device);
            let both = Batch::new(&prompts, 0);
            let features = llava.encode(Input::Image(images.clone()));
            let together = read(llava.logits(llava.forward(&both, &[features])));
            let [_, t] = both.shape;
            for (row, prompt) in prompts.iter().enumerate() {
                let alone = Batch::new(std::slice::from_ref(prompt), 0);
                let features = llava.encode(Input::Image(images.clone().narrow(0, row, 1)));
                let alone = read(llava.logits(llava.forward(&alone, &[features])));
                let start = row * t * VOCABULARY as usize;
                let same = &together[start..start + alone.len()];
                assert_close(&format!("seed {seed}, row {row}"), same, &alone, ROUNDING);
            }
        }
    }
}

#[test]
fn padding_changes_nothing_in_a_text() {
    let config = TextConfig {
        vocab_size: VOCABULARY as usize,
        context: 12,
        hidden_size: 24,
        n_layers: 2,
        n_heads: 2,
        intermediate_size: 40,
        embed: 8,
        ..TextConfig::small()
    };
    for seed in 0..SEEDS {
        let init = &mut Init::new(seed, &Device::flex());
        let tower = lively(TextTower::init(&config, init));
        let mut rng = Rng::new(seed);
        let texts = [3, 12, 1, 7].map(|length| tokens(&mut rng, length));
        let together = read(tower.embed(&Texts::pad(&texts, 0)));
        let other_pad = read(tower.embed(&Texts::pad(&texts, 9)));
        assert_eq!(together, other_pad, "what pads is never read");
        for (text, together) in texts.iter().zip(together.chunks(8)) {
            let alone = read(tower.embed(&Texts::pad(std::slice::from_ref(text), 0)));
            assert_close(&format!("seed {seed}"), together, &alone, ROUNDING);
        }
    }
}

#[test]
fn the_order_of_a_batch_changes_no_row() {
    let device = Device::flex();
    for seed in 0..SEEDS {
        let (llava, mut rng) = (llava(seed, true, &device), Rng::new(seed));
        let prompts = [prompt(&mut rng, 2, 6, 2), prompt(&mut rng, 3, 5, 4)];
        let images = pictures(&mut rng, 2, &device);
        let logits = |order: [usize; 2]| {
            let prompts = order.map(|row| prompts[row].clone());
            let images = order.map(|row| images.clone().narrow(0, row, 1));
            let features = llava.encode(Input::Image(Tensor::cat(images.into(), 0)));
            read(llava.logits(llava.forward(&Batch::new(&prompts, 0), &[features])))
        };
        let (there, back) = (logits([0, 1]), logits([1, 0]));
        let half = there.len() / 2;
        assert_eq!(there[..half], back[half..], "seed {seed}");
        assert_eq!(there[half..], back[..half], "seed {seed}");
    }
}

#[test]
fn every_feature_lands_at_its_marker_and_gradients_reach_both_sides() {
    let device = Device::flex().autodiff();
    let leaf = |rng: &mut Rng, shape: [usize; 3]| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        Tensor::<3>::from_data(TensorData::new(values, shape), &device).require_grad()
    };
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let (b, t, q, d) = (3, 9, 2, 4);
        let text = leaf(&mut rng, [b, t, d]);
        let media = leaf(&mut rng, [4, q, d]);
        let place =
            |rng: &mut Rng, from: u64, to: u64| (from + rng.next_u64() % (to - from)) as usize;
        // Two pictures in the first row, none in the second, two in the third.
        let starts = [
            place(&mut rng, 0, 3),
            place(&mut rng, 5, 8),
            18 + place(&mut rng, 0, 3),
            18 + place(&mut rng, 5, 8),
        ];
        let slots = starts.map(|at| Slot { at, len: q, modality: Modality::Image });
        let Embeds(out) = splice(Embeds(text.clone()), Embeds(media.clone()), &slots);
        let got = read(out.clone());
        let mut want = read(text.clone());
        let features = read(media.clone());
        let mut reached = vec![1.0_f32; b * t * d];
        for (i, start) in starts.into_iter().enumerate() {
            let at = start * d..(start + q) * d;
            want[at.clone()].copy_from_slice(&features[i * q * d..(i + 1) * q * d]);
            reached[at].fill(0.0);
        }
        assert_eq!(got, want, "seed {seed}");
        let gradients = out.sum().backward();
        assert_eq!(read(text.grad(&gradients).expect("text learns")), reached, "seed {seed}");
        let media = read(media.grad(&gradients).expect("media learn"));
        assert!(media.iter().all(|&g| g == 1.0), "seed {seed}");
    }
}

/// Each medium is read by the tower of its kind, and stands at its own slot, whatever the order of
/// towers, of media, or of slots.
#[test]
fn pictures_and_sounds_meet_in_one_prompt() {
    let device = Device::flex().autodiff();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let model = |towers| {
            let config = LlavaConfig {
                towers,
                backbone: BackboneConfig::Llama(llama_config()),
                prefix: true,
            };
            lively(Llava::init(&config, &mut Init::new(seed, &device)))
        };
        let llava = model(vec![image_tower(), audio_tower()]);
        let mut other = model(vec![audio_tower(), image_tower()]);
        other.towers = llava.towers.iter().rev().cloned().collect();
        other.backbone = llava.backbone.clone();

        let image = Slot { at: 6, len: IMAGE_TOKENS, modality: Modality::Image };
        let sound = Slot { at: 1, len: 3, modality: Modality::Audio };
        let prompt = Prompt {
            ids: tokens(&mut rng, 13),
            answer: (0..13).map(|i| i > 10).collect(),
            slots: vec![sound, image],
            spans: (0..13).map(|i| [0, 1, 1, 1, 0, 0, 2, 2, 2, 2, 0, 0, 0][i]).collect(),
        };
        let batch = Batch::new(std::slice::from_ref(&prompt), 0);
        let mel = (0..18).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        let mel = Tensor::from_data(TensorData::new(mel, [1, 3, 6]), &device);
        let picture = pictures(&mut rng, 1, &device);

        let seen = llava.encode(Input::Image(picture));
        let heard = llava.encode(Input::Audio(Sounds::whole(mel)));
        let loss = llava.loss(&batch, &[seen.clone(), heard.clone()], 0.0);
        let same = other.loss(&batch, &[heard, seen], 0.0);
        assert_eq!(read(loss.clone()), read(same), "seed {seed}");
        let read_by_llava = |name: &str| name != "towers.0.encoder.proj.weight";
        let llava = params::set_trainable(llava, read_by_llava);
        let reached = gradients(&llava, loss.backward()).expect("both towers learn");
        assert!(reached.keys().any(|name| name.starts_with("towers.1.encoder.")), "seed {seed}");
    }
}

#[test]
fn accumulated_gradients_are_those_of_one_batch() {
    let device = Device::flex().autodiff();
    for seed in 0..SEEDS {
        let (llava, mut rng) = (llava(seed, true, &device), Rng::new(seed));
        // LLaVA reads positions, never their projection into a shared space.
        let llava = params::set_trainable(llava, |name| name != "towers.0.encoder.proj.weight");
        let prompts =
            [prompt(&mut rng, 2, 3, 1), prompt(&mut rng, 1, 9, 6), prompt(&mut rng, 3, 4, 2)];
        let images = pictures(&mut rng, 3, &device);
        let slopes = |rows: std::ops::Range<usize>| {
            let batch = Batch::new(&prompts[rows.clone()], 0);
            let features =
                llava.encode(Input::Image(images.clone().narrow(0, rows.start, rows.len())));
            let loss = llava.loss(&batch, &[features], 0.0);
            let slopes = gradients(&llava, loss.backward()).expect("all are read").into_iter();
            let slopes: BTreeMap<_, _> = slopes.map(|(k, slope)| (k, slope.into_vec())).collect();
            (batch.learned() as f32, slopes)
        };
        let (total, want) = slopes(0..3);
        // Means over unlike numbers of tokens: each weighs as many tokens as it has.
        let mut got = BTreeMap::<String, Vec<f32>>::new();
        for part in [0..2, 2..3] {
            let (count, part) = slopes(part);
            for (name, values) in part {
                let sum = got.entry(name).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * count / total);
            }
        }
        assert_gradients(&tensors(got), &tensors(want), 10.0 * ROUNDING);
    }
}

fn tensors(gradients: BTreeMap<String, Vec<f32>>) -> Tensors {
    gradients.into_iter().map(|(name, values)| (name, (vec![values.len()], values))).collect()
}
