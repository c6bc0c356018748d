//! Texts that are decoded at once are each what they are alone, bit for bit, whoever joins and leaves.

use sensorium_backbone::{
    Backbone, BackboneConfig, Biases, Cache, Gpt2, Gpt2Config, Llama, LlamaConfig, Mrope, Opt,
    OptConfig,
};
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_nn::pack::{Blocked, Format};
use sensorium_nn::params::{read, update};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;

const CONTEXT: usize = 64;
const FORMATS: [Option<Format>; 9] = [
    None,
    Some(Format::F32),
    Some(Format::Bf16),
    Some(Format::Int8),
    Some(Format::Blocks(Blocked::Q8_0)),
    Some(Format::Blocks(Blocked::Q4_0)),
    Some(Format::Blocks(Blocked::Q4_1)),
    Some(Format::Blocks(Blocked::Q4_K)),
    Some(Format::Blocks(Blocked::Q6_K)),
];

/// A text that is decoded among others, and again by itself.
#[derive(Default)]
struct Text {
    among: Cache,
    alone: Cache,
}

fn below(rng: &mut Rng, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

fn ids(rng: &mut Rng, model: &BackboneConfig, n: usize) -> Vec<u32> {
    (0..n).map(|_| below(rng, model.vocabulary()) as u32).collect()
}

/// Fresh weights are small; larger ones let every token be felt.
fn lively<M: Module>(module: M) -> M {
    update(module, |_, shape, data| {
        data.iter_mut().for_each(|v| *v *= 8.0);
        shape.len() > 1
    })
}

/// One of the decoders, of a shape drawn from `rng`: its rows are whole blocks of every format.
fn draw(rng: &mut Rng, format: Option<Format>) -> (BackboneConfig, Backbone) {
    let block = match format {
        Some(Format::Blocks(Blocked::Q4_K | Blocked::Q6_K)) => 256,
        _ => 32,
    };
    let (vocabulary, context, n_layers) = (20 + below(rng, 60), CONTEXT, 1 + below(rng, 3));
    let (width, mlp) = (block * (1 + below(rng, 2)), block * (1 + below(rng, 3)));
    let [yes, no] = [0, 1].map(|bit| rng.next_u64() >> bit & 1 > 0);
    let n_heads = [1, 2, 4][below(rng, 3)];
    let mut init = Init::new(rng.next_u64(), &Device::flex());
    let (config, mut model) = match below(rng, 3) {
        0 => {
            let n_kv_heads = n_heads / [1, n_heads][below(rng, 2)];
            let biases = Biases { qkv: yes, o: no, mlp: yes };
            let angles = width / n_heads / 2;
            let section = [angles - 2 * (angles / 3), angles / 3, angles / 3];
            let config = LlamaConfig {
                vocab_size: vocabulary,
                context,
                hidden_size: width,
                n_layers,
                n_heads,
                n_kv_heads,
                head_dim: width / n_heads,
                intermediate_size: mlp,
                qk_norm: yes,
                tied: no,
                biases,
                mrope: no.then_some(Mrope { section, interleaved: yes }),
                ..LlamaConfig::small()
            };
            let llama = lively(Llama::init(&config, &mut init));
            (BackboneConfig::Llama(config), Backbone::Llama(llama))
        }
        1 => {
            let embed = if yes { width } else { block };
            let config = OptConfig {
                vocab_size: vocabulary,
                context,
                embed,
                hidden_size: width,
                n_layers,
                n_heads,
                intermediate_size: mlp,
                post_norm: yes,
                final_norm: !yes,
                tied: no,
            };
            let opt = lively(Opt::init(&config, &mut init));
            (BackboneConfig::Opt(config), Backbone::Opt(opt))
        }
        _ => {
            let (eps, tied) = (1e-5, yes);
            let config = Gpt2Config {
                vocab_size: vocabulary,
                context,
                hidden_size: width,
                n_layers,
                n_heads,
                intermediate_size: mlp,
                eps,
                tied,
            };
            let gpt2 = lively(Gpt2::init(&config, &mut init));
            (BackboneConfig::Gpt2(config), Backbone::Gpt2(gpt2))
        }
    };
    if let Some(format) = format {
        model.pack_as(format);
    }
    (config, model)
}

/// Tokens that just follow each other, or that stand anywhere on three axes.
fn sequence(rng: &mut Rng, tokens: usize) -> Sequence {
    let place = |rng: &mut Rng| [(); 3].map(|()| below(rng, CONTEXT / 2) as u32);
    let grid = below(rng, 2) > 0;
    let grid = grid.then(|| (0..tokens).map(|_| place(rng)).collect());
    Sequence { grid, ..Sequence::default() }
}

/// Logits `[V]` of the token after `ids`.
fn extend(model: &Backbone, ids: &[u32], sequence: &Sequence, cache: &mut Cache) -> Vec<f32> {
    let embeds = model.embed(ids, [1, ids.len()]);
    let Hidden(hidden) = model.forward(embeds, sequence, Some(cache));
    let [_, t, d] = hidden.dims();
    read(model.logits(hidden.narrow(1, t - 1, 1).reshape([1, d])))
}

/// Joins, steps and leaves.
fn decode(rng: &mut Rng, config: &BackboneConfig, model: &Backbone, pools: &[rayon::ThreadPool]) {
    let mut texts: Vec<Text> = Vec::new();
    for _ in 0..12 {
        for _ in 0..below(rng, 6) {
            let mut text = Text::default();
            // Some have read nothing yet.
            let prompt = below(rng, 40);
            if prompt > 0 {
                let sequence = sequence(rng, prompt);
                extend(model, &ids(rng, config, prompt), &sequence, &mut text.among);
                text.alone = text.among.clone();
            }
            texts.insert(below(rng, texts.len() + 1), text);
        }
        if !texts.is_empty() && below(rng, 2) > 0 {
            texts.swap_remove(below(rng, texts.len()));
        }
        if texts.is_empty() {
            continue;
        }
        let next = ids(rng, config, texts.len());
        let mut caches: Vec<_> = texts.iter_mut().map(|text| &mut text.among).collect();
        let [among, alone] = [0, 1].map(|_| &pools[below(rng, pools.len())]);
        let logits = among.install(|| read(model.logits(model.step(&next, &mut caches))));
        let logits = logits.chunks(config.vocabulary());
        for ((text, id), got) in texts.iter_mut().zip(next).zip(logits) {
            let plain = Sequence::default();
            let want = alone.install(|| extend(model, &[id], &plain, &mut text.alone));
            assert_eq!(text.among.tokens(), text.alone.tokens());
            assert!(
                got.iter().map(|x| x.to_bits()).eq(want.iter().map(|x| x.to_bits())),
                "{config:?}"
            );
        }
    }
}

#[test]
fn texts_decoded_at_once_are_what_they_are_alone() {
    let pools: Vec<_> = (1..=3)
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool"))
        .collect();
    for seed in 0..12 {
        for format in FORMATS {
            let mut rng = Rng::new(seed);
            let (config, model) = draw(&mut rng, format);
            decode(&mut rng, &config, &model, &pools);
        }
    }
}
