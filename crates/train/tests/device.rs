//! Trainings on the device that `SENSORIUM_DEVICE` names, against the same on the CPU: ten losses of every
//! recipe, and a run that goes on where another device has left it. Without the variable the other device is
//! the CPU with the twins of all operations.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use sensorium_nn::fused::with_twins;
use sensorium_train::run::RunOptions;
use sensorium_train::{log, recipes};
use tempfile::TempDir;

/// Of each of ten losses; on a device of the framework the sums of products have another order.
const CURVE: f64 = 1e-3;

/// Where a training is done.
#[derive(Clone, Copy)]
enum Where {
    Cpu,
    Elsewhere,
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

struct Trial(TempDir);

impl Trial {
    fn new() -> Self {
        let trial = Self(TempDir::new().unwrap());
        trial.train("tokenizer", "tokenizer", Where::Cpu, &["samples=400", "vocabulary=700"]);
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Trains, or goes on with what is there.
    fn train(&self, recipe: &str, out: &str, place: Where, sets: &[&str]) {
        self.train_by(&root(&format!("recipes/{recipe}/tiny.toml")), recipe, out, place, sets);
    }

    fn train_by(&self, file: &Path, recipe: &str, out: &str, place: Where, sets: &[&str]) {
        let mut sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        sets.extend(self.parts(recipe).into_iter().map(|(key, path)| format!("{key}={path:?}")));
        if let (Where::Elsewhere, Ok(device)) = (place, std::env::var("SENSORIUM_DEVICE")) {
            sets.push(format!("device={device:?}"));
        }
        let options = RunOptions { resume: true, strict: true, ..RunOptions::new(self.path(out)) };
        let train = || recipes::train(file, &sets, &options);
        let trained = match place {
            Where::Cpu => train(),
            Where::Elsewhere => with_twins(train),
        };
        trained.unwrap_or_else(|error| panic!("{error}"));
    }

    /// What a recipe is made of: parts of goldens, and what other recipes have left.
    fn parts(&self, recipe: &str) -> Vec<(&'static str, PathBuf)> {
        let golden = |name: &str| root("goldens").join(name);
        match recipe {
            "blip2" => vec![
                ("model.encoder", golden("published_dinov2")),
                ("model.tokenizer", golden("blip2_matching/tokenizer.json")),
                ("model.backbone", golden("parts/chat_opt")),
            ],
            "flamingo" => vec![
                ("model.encoder", golden("published_clip")),
                ("model.backbone", golden("parts/chat_gpt2")),
            ],
            "llava" => vec![
                ("tokenizer", self.path("tokenizer.json")),
                ("image", self.path("clip/final/image.safetensors")),
                ("backbone", self.path("text/final/backbone.safetensors")),
            ],
            "whisper" | "wav2vec2" => vec![("model.from", golden(recipe))],
            "gill" | "next_gpt" => vec![("model.from", self.path("flow/final"))],
            "imagebind" => vec![("model.from", root("models/nano"))],
            "ctc" | "masked" | "published" | "talker" | "vocoder" | "vae" => Vec::new(),
            "flow" | "gan" | "conditional_vae" => {
                vec![("model.from", root("models/nano")), ("vae", self.path("vae/final"))]
            }
            _ => vec![("tokenizer", self.path("tokenizer.json"))],
        }
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    fn alike(&self, run: &str, other: &str) {
        let (want, got) = (self.losses(run), self.losses(other));
        assert_eq!(want.len(), got.len(), "{run} and {other}");
        for (step, (want, got)) in want.iter().zip(&got).enumerate() {
            let off = (got / want - 1.0).abs();
            assert!(off < CURVE, "{other}, step {step}: got {got}, want {want}");
        }
    }
}

/// A recipe, its run's name, what it is set to, and its stages.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const SOUNDS: &str = "data.train=[{kind='folder',path='../data/tests/samples/folder-sounds'}]";

const SPELT: &str = "data.train=[{kind='csv',path='../../goldens/ctc/words.csv',images='../data/tests/samples/folder-sounds'}]";

const LETTERS: &str = "data.train=[{kind='csv',path='tests/letters.csv',images='../data/tests/samples/folder-sounds'}]";

const SPOKEN: &str = "data.train=[{kind='folder',path='../data/tests/samples/folder-voices'}]";

const RECIPES: [Row; 20] = [
    ("clip", "clip", &["steps=10", "batch=4", "loss=sigmoid", "optim.ema=0.9"], &[""]),
    ("clip", "info-nce", &["steps=10", "batch=4", "loss=info_nce", "recompute=true"], &[""]),
    ("text", "text", &["steps=10", "batch=4", "tokens=32"], &[""]),
    ("text", "recomputed", &["steps=10", "batch=4", "tokens=32", "recompute=true"], &[""]),
    (
        "llava",
        "llava",
        &["align.steps=10", "align.batch=2", "instruct.steps=10", "instruct.batch=4"],
        &["/align", "/instruct"],
    ),
    (
        "blip2",
        "blip2",
        &[
            "represent.steps=10",
            "represent.batch_size=2",
            "generate.steps=10",
            "generate.batch_size=2",
        ],
        &["/represent", "/generate"],
    ),
    ("flamingo", "flamingo", &["steps=10"], &[""]),
    ("whisper", "whisper", &["steps=10", SOUNDS], &[""]),
    ("ctc", "ctc", &["steps=10", "accumulate=2", SPELT], &[""]),
    ("wav2vec2", "wav2vec2", &["steps=10", LETTERS], &[""]),
    ("talker", "talker", &["steps=10", "accumulate=2", SPOKEN], &[""]),
    // Logarithms of small magnitudes drive two ways of rounding apart.
    ("vocoder", "vocoder", &["steps=4", SPOKEN], &[""]),
    ("vae", "vae", &["steps=10"], &[""]),
    ("flow", "flow", &["steps=10"], &[""]),
    ("gill", "gill", &["steps=10", "batch_size=2"], &[""]),
    (
        "next_gpt",
        "next-gpt",
        &[
            "encode.steps=4",
            "decode.steps=4",
            "instruct.steps=4",
            "decode.batch_size=2",
            "instruct.batch_size=2",
        ],
        &["/encode", "/decode", "/instruct"],
    ),
    ("gan", "gan", &["steps=10"], &[""]),
    ("conditional_vae", "conditional-vae", &["steps=10"], &[""]),
    ("imagebind", "imagebind", &["steps=10", SOUNDS], &[""]),
    ("masked", "masked", &["steps=10", "batch_size=4"], &[""]),
];

#[test]
fn every_recipe_has_the_same_ten_losses() {
    let trial = Trial::new();
    for (recipe, out, sets, stages) in RECIPES {
        let other = format!("{out}-elsewhere");
        trial.train(recipe, out, Where::Cpu, sets);
        trial.train(recipe, &other, Where::Elsewhere, sets);
        for stage in stages {
            trial.alike(&format!("{out}{stage}"), &format!("{other}{stage}"));
        }
    }
}

/// Published models go on learning from a folder, whole and beside an adapter.
#[test]
fn published_models_have_the_same_ten_losses() {
    let trial = Trial::new();
    for (golden, folder, lora) in [
        ("seeing_llava", "csv", ""),
        ("qwen2_5_vl", "csv", "[lora]\nr = 4\n"),
        ("tiles_onevision", "csv", ""),
        ("seeing_gemma3", "csv", ""),
        ("qwen2_audio", "sounds", "[lora]\nr = 4\n"),
    ] {
        let recipe = format!(
            "recipe = 'llava'\nseed = 1\n[model]\nfrom = {:?}\n{lora}[instruct]\nsteps = 10\n\
             batch = 2\nsave_every = 10\nschedule = {{ kind = 'constant', learning_rate = 1e-3 }}\n\
             [[instruct.data.train]]\nkind = 'folder'\npath = {:?}\n",
            root("goldens").join(golden),
            root(&format!("crates/data/tests/samples/folder-{folder}")),
        );
        let file = trial.path("published.toml");
        std::fs::write(&file, recipe).unwrap();
        let other = format!("{golden}-elsewhere");
        trial.train_by(&file, "published", golden, Where::Cpu, &[]);
        trial.train_by(&file, "published", &other, Where::Elsewhere, &[]);
        trial.alike(&format!("{golden}/instruct"), &format!("{other}/instruct"));
    }
}

#[test]
fn a_run_moves_to_another_device_and_back() {
    let trial = Trial::new();
    let train = |out: &str, place: Where, steps: u64| {
        let steps = format!("steps={steps}");
        let schedule = "schedule={kind='constant', learning_rate=1e-3}";
        let sets = ["batch=4", "tokens=32", "save_every=4", "optim.ema=0.9", schedule, &steps];
        trial.train("text", out, place, &sets);
    };
    train("stays", Where::Cpu, 12);
    let (cpu, elsewhere) = (Where::Cpu, Where::Elsewhere);
    for (out, [first, second]) in [("goes", [cpu, elsewhere]), ("comes", [elsewhere, cpu])] {
        train(out, first, 4);
        train(out, second, 8);
        train(out, first, 12);
        trial.alike("stays", out);
    }
}
