//! recipes, check T3: a rule that only the exemplars hold, for names mean other colours in every episode. A
//! Flamingo whose language model can copy learns to see what is to be copied.
//!
//! The language model is written by hand: a GPT-2 of two layers that says what followed the token it stands
//! at, the last time that there was one. Its first layer notes who stands before each token, its second
//! looks for a note of the present token and says what stands there (Olsson et al. 2022, induction heads,
//! <https://arxiv.org/abs/2209.11895>). It is frozen, as is an image encoder of random weights.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Tensor, Tensors};
use sensorium_data::DatasetConfig;
use sensorium_data::rng::Rng;
use sensorium_data::scene::Split;
use sensorium_eval::own::{Choose, Own, Shots, Task, measure};
use sensorium_inference::whisper::TranscribeOptions;
use sensorium_inference::{Model, Options};
use sensorium_media::{MediaDecoder, Picture};
use sensorium_nn::prelude::Device;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use serde_json::{Value, json};

const COLOURS: [(&str, [u8; 3]); 6] = [
    ("red", [200, 30, 20]),
    ("green", [30, 160, 60]),
    ("blue", [20, 60, 200]),
    ("yellow", [230, 200, 30]),
    ("black", [20, 20, 20]),
    ("white", [235, 235, 235]),
];
const NAMES: [&str; 6] = ["dax", "wug", "fep", "blick", "zup", "toma"];

/// Tokens before those of colours and names.
const WORDS: [&str; 4] = ["<pad>", "<s>", "</s>", "[UNK]"];
const V: usize = WORDS.len() + COLOURS.len() + NAMES.len();

/// Pictures of a colour, no two the same; the last are never learned from.
const VARIANTS: usize = 12;
const LEARNED: usize = 8;

/// Width of the stream: a slot each for the token, for the one before it and for what is said next, and
/// angles of the position.
const D: usize = 3 * V + 2 * ANGLES + 1;
const ANGLES: usize = 14;
const CONTEXT: usize = 160;

/// Size of a position's cosines and sines beside a token's 1.
const SMALL: f32 = 0.25;

const RECIPE: &str = r#"
recipe = "flamingo"
seed = 1
steps = 700
save_every = 700
schedule = { kind = "wsd", learning_rate = 3e-3, min = 2e-4, warmup_steps = 20, decay = 0.25 }
[model]
encoder = ""
backbone = ""
[flamingo]
latents = 4
depth = 1
n_heads = 4
head_dim = 16
interval = 1
[interleaved]
batch_size = 8
weight = 1.0
tokens = 128
data = {}
[optim]
no_decay = ["projector", "rows"]
"#;

/// A matrix with these values, else 0.
fn matrix(shape: [usize; 2], values: impl IntoIterator<Item = ([usize; 2], f32)>) -> Tensor {
    let mut data = vec![0.0; shape[0] * shape[1]];
    values.into_iter().for_each(|([row, column], value)| data[row * shape[1] + column] = value);
    Tensor::new(shape.to_vec(), data).unwrap()
}

/// `n` numbers from slot `from` to slot `to`, times `by`.
fn copied(n: usize, from: usize, to: usize, by: f32) -> impl Iterator<Item = ([usize; 2], f32)> {
    (0..n).map(move |i| ([from + i, to + i], by))
}

/// The weights of the language model, as transformers names them.
fn copier() -> Tensors {
    let (token, before, next, place) = (0, V, 2 * V, 3 * V);
    let [queries, keys, values] = [0, D, 2 * D];
    let power = |ones: f32| ((ones + ANGLES as f32 * SMALL * SMALL) / D as f32).sqrt();
    let turn = |angle: usize| (angle as f32 + 0.5) / ANGLES as f32 * std::f32::consts::PI;
    let root = (D as f32).sqrt();
    let positions = (0..CONTEXT * ANGLES).flat_map(|i| {
        let (at, angle) = (i / ANGLES, i % ANGLES);
        let (sin, cos) = (turn(angle) * at as f32).sin_cos();
        [0, 1].map(|half| ([at, place + 2 * angle + half], SMALL * [cos, sin][half]))
    });
    // The query at a position is the key of the one before it.
    let sharp = 12.0 * root * power(1.0).powi(2) / (ANGLES as f32 * SMALL * SMALL);
    let back = (0..ANGLES).flat_map(move |angle| {
        let ((sin, cos), at) = (turn(angle).sin_cos(), place + 2 * angle);
        let turned = [[0, 0], [1, 0], [0, 1], [1, 1]].into_iter().zip([cos, sin, -sin, cos]);
        turned.map(move |([i, o], value)| ([at + i, queries + at + o], sharp * value))
    });
    let place_keys = copied(2 * ANGLES, place, keys + place, 1.0);
    let notes = back.chain(place_keys).chain(copied(V, token, values + before, power(1.0)));
    let sharp = 8.0 * root * power(2.0).powi(2);
    let looks = copied(V, token, queries + token, sharp)
        .chain(copied(V, before, keys + token, 1.0))
        .chain(copied(V, token, values + next, power(2.0)));
    let mut all = vec![
        ("wte.weight".to_owned(), matrix([V, D], copied(V, 0, token, 1.0))),
        ("wpe.weight".to_owned(), matrix([CONTEXT, D], positions)),
        ("h.0.attn.c_attn.weight".to_owned(), matrix([D, 3 * D], notes)),
        ("h.1.attn.c_attn.weight".to_owned(), matrix([D, 3 * D], looks)),
    ];
    let row = |n: usize, value: f32| Tensor::new(vec![n], vec![value; n]).unwrap();
    for norm in ["h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"] {
        all.push((format!("{norm}.weight"), row(D, 1.0)));
        all.push((format!("{norm}.bias"), row(D, 0.0)));
    }
    for layer in ["h.0", "h.1"] {
        all.push((format!("{layer}.attn.c_attn.bias"), row(3 * D, 0.0)));
        all.push((format!("{layer}.attn.c_proj.weight"), matrix([D, D], copied(D, 0, 0, 1.0))));
        for part in ["attn.c_proj.bias", "mlp.c_fc.bias", "mlp.c_proj.bias"] {
            all.push((format!("{layer}.{part}"), row(D, 0.0)));
        }
        for part in ["mlp.c_fc.weight", "mlp.c_proj.weight"] {
            all.push((format!("{layer}.{part}"), matrix([D, D], [])));
        }
    }
    let mut tensors: Vec<(String, Tensor)> =
        all.into_iter().map(|(name, tensor)| (format!("transformer.{name}"), tensor)).collect();
    let head = (0..V).map(|word| ([word, next + word], 6.0 * power(3.0)));
    tensors.push(("lm_head.weight".to_owned(), matrix([V, D], head)));
    Tensors { tensors: tensors.into_iter().collect(), ..Tensors::default() }
}

/// The language model's directory. Of the words around question and answer none is read.
fn write_copier(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let words = WORDS.into_iter().chain(COLOURS.map(|(colour, _)| colour)).chain(NAMES);
    let vocab: BTreeMap<_, _> = words.zip(0..).collect();
    let left_out =
        |text: &str| json!({"type": "Replace", "pattern": {"String": text}, "content": " "});
    let special = |id: usize| {
        json!({
            "id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let around = [left_out("Question:"), left_out(" Short answer:")];
    let files = [
        (
            "tokenizer.json",
            json!({
                "version": "1.0",
                "added_tokens": [special(0), special(1), special(2)],
                "normalizer": {"type": "Sequence", "normalizers": around},
                "pre_tokenizer": {"type": "Whitespace"},
                "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
            }),
        ),
        (
            "tokenizer_config.json",
            json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}),
        ),
        (
            "config.json",
            json!({
                "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": V, "n_embd": D,
                "n_head": 1, "n_layer": 2, "n_positions": CONTEXT, "n_inner": D, "bos_token_id": 1,
                "eos_token_id": 2, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
                "tie_word_embeddings": false,
            }),
        ),
    ];
    for (name, value) in files {
        fs::write(dir.join(name), value.to_string()).unwrap();
    }
    let weights = safetensors::write(&copier(), Dtype::F32).unwrap();
    fs::write(dir.join("model.safetensors"), weights).unwrap();
}

/// Plain colours with noise, and one picture of no colour.
fn write_pictures(dir: &Path) {
    fs::create_dir_all(dir.join("pictures")).unwrap();
    let write = |name: String, picture: Picture| {
        fs::write(dir.join(format!("pictures/{name}.png")), picture.to_png()).unwrap();
    };
    for (at, (colour, rgb)) in COLOURS.into_iter().enumerate() {
        for variant in 0..VARIANTS {
            let mut rng = Rng::at(1, at as u64, variant as u64);
            let mut picture = Picture::filled(26, 26, rgb);
            let mut near =
                |value: u8| (f64::from(value) + 12.0 * rng.normal()).clamp(0.0, 255.0) as u8;
            picture.pixels.iter_mut().for_each(|value| *value = near(*value));
            write(format!("{colour}{variant}"), picture);
        }
    }
    write("none".into(), Picture::filled(26, 26, [128; 3]));
}

/// What is asked about a picture where nothing is said of its colour.
const ASKED: &str = "?";

/// A picture, what is asked about it, and the name of its colour.
fn turn(picture: &str, asked: &str, name: &str) -> [Value; 2] {
    let url = format!("pictures/{picture}.png");
    let picture = json!({"type": "image_url", "image_url": {"url": url}});
    let asked = json!([picture, {"type": "text", "text": asked}]);
    [json!({"role": "user", "content": asked}), json!({"role": "assistant", "content": name})]
}

fn write_lines(path: PathBuf, conversations: impl Iterator<Item = Vec<Value>>) {
    let line = |messages: Vec<Value>| format!("{}\n", json!({"messages": messages}));
    fs::write(path, conversations.map(line).collect::<String>()).unwrap();
}

/// `n` names for `n` colours.
fn rule(n: usize, rng: &mut Rng) -> Vec<(&'static str, &'static str)> {
    let (mut colours, mut names) = (COLOURS.map(|(colour, _)| colour), NAMES);
    rng.shuffle(&mut colours);
    rng.shuffle(&mut names);
    colours.into_iter().zip(names).take(n).collect()
}

/// Episodes of eight turns, each with names of its own. Every other question says the colour in words, from
/// which the language model can copy: so there is something to be gained from the first picture that is
/// seen, and not only from pairs of them.
fn write_episodes(path: PathBuf, n: u64) {
    write_lines(
        path,
        (0..n).map(|episode| {
            let mut rng = Rng::at(1, 100, episode);
            let rule = rule(rng.pick(&[2, 4, 6]), &mut rng);
            let turns = (0..8).flat_map(|_| {
                let (colour, name) = rule[rng.below(rule.len())];
                let asked = if rng.chance(0.5) { colour } else { ASKED };
                turn(&format!("{colour}{}", rng.below(LEARNED)), asked, name)
            });
            turns.collect()
        }),
    );
}

/// Two colours with names, as exemplars and as questions about pictures that nobody has seen.
fn write_rule(dir: &Path, number: u64) {
    let mut rng = Rng::at(1, 101, number);
    let rule = rule(2, &mut rng);
    for (part, variants) in [("exemplars", 0..LEARNED), ("questions", LEARNED..VARIANTS)] {
        for blind in [false, true] {
            let shown = |colour: &str, variant: usize| match blind {
                true => "none".to_owned(),
                false => format!("{colour}{variant}"),
            };
            let all = rule.iter().flat_map(|(colour, name)| {
                let variants = variants.clone();
                variants.map(move |variant| turn(&shown(colour, variant), ASKED, name).to_vec())
            });
            write_lines(dir.join(format!("{part}{number}{}.jsonl", unseen(blind))), all);
        }
    }
}

fn unseen(blind: bool) -> &'static str {
    if blind { "-blind" } else { "" }
}

/// Rules that are asked about, each eight times.
const RULES: u64 = 12;

/// The share of right answers, over all rules.
fn right(model: &Model, dir: &Path, shots: usize, choose: Choose, blind: bool) -> f64 {
    let data = |part: &str, rule: u64| {
        let path = dir.join(format!("{part}{rule}{}.jsonl", unseen(blind)));
        DatasetConfig::Messages { path, images: None, licence: None, share: 1.0 }
    };
    let of_rule = |rule: u64| {
        let (questions, exemplars) = (data("questions", rule), data("exemplars", rule));
        let (counts, decoder) = ([shots], MediaDecoder::here());
        let own = Own {
            config: &questions,
            split: Split::HeldOut,
            decoder: &decoder,
            model: "a Flamingo",
            limit: None,
            max_bad: 0.0,
            prompts: &[],
            max_tokens: Some(2),
            choices: &[],
            shots: Some(Shots { counts: &counts, exemplars: &exemplars, choose }),
            labels: &[],
            rerank: 0,
            context: 0,
            sampler: sensorium_inference::SamplerOptions::default(),
            best_of: 1,
            speech: TranscribeOptions::default(),
            seed: rule,
            progress: &|_, _| (),
        };
        measure(Task::Vqa, model, &own).unwrap().report.figures[0].value
    };
    (0..RULES).map(of_rule).sum::<f64>() / RULES as f64
}

#[test]
fn exemplars_teach_a_rule_that_nothing_else_holds() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("few_shot");
    let _ = fs::remove_dir_all(&dir);
    write_pictures(&dir);
    write_copier(&dir.join("copier"));
    write_episodes(dir.join("episodes.jsonl"), 4000);
    (0..RULES).for_each(|rule| write_rule(&dir, rule));

    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/published_clip");
    let sets = [
        format!("model.encoder={encoder:?}"),
        format!("model.backbone={:?}", dir.join("copier")),
        format!(
            "interleaved.data.train=[{{kind=\"messages\",path={:?}}}]",
            dir.join("episodes.jsonl")
        ),
    ];
    fs::write(dir.join("recipe.toml"), RECIPE).unwrap();
    recipes::train(&dir.join("recipe.toml"), &sets, &RunOptions::new(dir.join("run"))).unwrap();

    let model = Model::open(&dir.join("run/final"), &Options::on(&Device::flex())).unwrap();
    let right = |shots, choose, blind| right(&model, &dir, shots, choose, blind);
    let [none, one, four] = [0, 1, 4].map(|shots| right(shots, Choose::Random, false));
    let shuffled = right(4, Choose::Shuffled, false);
    let blind = right(4, Choose::Random, true);
    let told = format!("0: {none}, 1: {one}, 4: {four}, shuffled: {shuffled}, blind: {blind}");
    println!("{told}");
    assert!(four > 0.8 && one < four, "{told}");
    assert!([none, shuffled, blind].iter().all(|control| *control < four - 0.2), "{told}");
}
