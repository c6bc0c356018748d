//! A Conformer learns to spell sounds: by heart, as PyTorch does, bit for bit; and leaves out what it cannot.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_encoder::audio::best_path;
use sensorium_media::Sound;
use sensorium_media::mel::{HOP, Mel};
use sensorium_nn::prelude::Device;
use sensorium_pretrained::Pretrained;
use sensorium_train::feed::BAD_SAMPLES;
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn sample(name: &str) -> PathBuf {
    root("crates/data/tests/samples/folder-sounds").join(name)
}

/// A table of sounds and what is said in them, and the runs on it.
struct Trial(TempDir);

impl Trial {
    /// The golden's table, with so many rows more.
    fn new(rows: &[&str]) -> Self {
        let trial = Self(TempDir::new().unwrap());
        let golden = fs::read_to_string(root("goldens/ctc/words.csv")).unwrap();
        let rows = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        fs::write(trial.path("words.csv"), golden + &rows).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn recipe(&self, name: &str, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let (table, sounds) = (self.path("words.csv"), sample(""));
        let data = format!("data.train=[{{kind='csv',path={table:?},images={sounds:?}}}]");
        let sets = [&[&*data], sets].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        recipes::train(&root(name), &sets, &options).map_err(|error| error.to_string())
    }

    fn train(&self, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        self.recipe("recipes/ctc/tiny.toml", out, sets, resume)
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    /// What a run's model spells of a sample.
    fn spells(&self, run: &str, sound: &str) -> String {
        let model = Pretrained::open(&self.path(run).join("final"), &Device::flex()).unwrap();
        let Pretrained::Sensorium(parts) = model else { panic!("not trained here") };
        let parts = parts.ctc.unwrap();
        let samples = Sound::read(&sample(sound)).unwrap().at_rate(16_000).samples;
        let mel = Mel::new(&samples, parts.config.encoder.bands);
        let logits = parts.logits(mel.window(0, samples.len().div_ceil(HOP)));
        let labels = best_path(&logits, parts.config.classes.len(), sensorium_nn::fused::BLANK);
        labels.iter().map(|label| &*parts.config.classes[label.class as usize]).collect()
    }
}

#[test]
fn two_sounds_are_learned_by_heart_and_a_run_goes_on_bit_for_bit() {
    let trial = Trial::new(&[]);
    trial.train("whole", &[], false).unwrap();
    let losses = trial.losses("whole");
    assert!(losses[losses.len() - 1] < 0.05 * losses[0], "{losses:?}");
    assert_eq!(["rising.wav", "buzz.flac"].map(|s| trial.spells("whole", s)), ["rises", "a buzz"]);

    let sets = ["spec_augment={time_width=5}", "data.augment={speed=[0.9,1.1]}", "save_every=10"];
    let steps = |steps| [&sets[..], &[steps]].concat();
    trial.train("changed", &steps("steps=20"), false).unwrap();
    trial.train("parts", &steps("steps=10"), false).unwrap();
    trial.train("parts", &steps("steps=20"), true).unwrap();
    assert_eq!(trial.losses("parts"), trial.losses("changed"));
    assert_ne!(trial.losses("parts"), losses[..20]);
    let weights = |run: &str| fs::read(trial.path(run).join("final/speech.safetensors")).unwrap();
    assert!(weights("parts") == weights("changed"));
}

/// Ten losses of both sounds, at once or one after the other.
#[test]
fn losses_are_those_of_pytorch() {
    let golden: serde_json::Value =
        serde_json::from_slice(&fs::read(root("goldens/ctc/losses.json")).unwrap()).unwrap();
    let golden: Vec<f64> = serde_json::from_value(golden["losses"].clone()).unwrap();
    let trial = Trial::new(&[]);
    let text = fs::read_to_string(root("recipes/ctc/tiny.toml")).unwrap();
    let (before, after) = text.split_once("[encoder]").unwrap();
    let data = &after[after.find("[[data").unwrap()..];
    let from = format!("{before}from = {:?}\n{data}", root("goldens/ctc"));
    let recipe = trial.path("from.toml");
    fs::write(&recipe, from).unwrap();
    for (out, accumulate) in [("one", "accumulate=1"), ("two", "accumulate=2")] {
        let rate = "schedule={kind='constant',learning_rate=1e-3}";
        let sets = ["steps=10", rate, "optim={weight_decay=0.05,clip=0.0}", accumulate];
        trial.recipe(recipe.to_str().unwrap(), out, &sets, false).unwrap();
        let ours = trial.losses(out);
        assert_eq!(ours.len(), golden.len());
        for (step, (ours, torch)) in ours.iter().zip(&golden).enumerate() {
            assert!((ours / torch - 1.0).abs() < 1e-3, "{out}, {step}: {ours}, torch {torch}");
        }
    }
    // What it has left has the classes that it began with.
    let config = |dir: PathBuf| -> serde_json::Value {
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
    };
    assert_eq!(config(trial.path("one/final")), config(root("goldens/ctc")));
}

#[test]
fn what_cannot_be_spelt_whole_is_left_out_and_named() {
    // 0.5 s are 13 positions, 0.4 s are 10.
    let rows = [
        "rising.wav,a tone that rises",
        "buzz.flac,zzzzzz",
        "rising.wav,\u{e9}l\u{e8}ve",
        "missing.wav,nothing",
    ];
    let trial = Trial::new(&rows);
    trial.train("run", &["steps=10", "data.max_bad=0.9"], false).unwrap();
    let bad = fs::read_to_string(trial.path("run").join(BAD_SAMPLES)).unwrap();
    for named in ["got 17 characters", "10 positions", "got '\u{e9}'", "missing.wav"] {
        assert!(bad.contains(named), "{named}: {bad}");
    }
    let trial = Trial::new(&[]);
    let short = ["steps=4", "encoder.positions=11", "data.max_bad=0.9"];
    trial.train("run", &short, false).unwrap();
    let bad = fs::read_to_string(trial.path("run").join(BAD_SAMPLES)).unwrap();
    assert!(bad.contains("at most 0.44 s, got 0.5 s"), "{bad}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let golden = format!("from={:?}", root("goldens/ctc"));
    for (set, says) in [
        ("encoder.n_heads=5", "heads"),
        ("encoder.kernel=4", "odd kernel"),
        ("encoder.vocab_size=48", "39 classes"),
        ("alphabet='abca'", "once"),
        ("alphabet=''", "alphabet"),
        ("data.augment={speed=[0.0,1.0]}", "speed"),
        ("batch_size=0", "batch_size"),
        ("steps=0", "steps"),
        (&*golden, "from goes on"),
    ] {
        let error = Trial::new(&[]).train("run", &[set], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
}

/// Of the paper's 10.3 M, its LSTM decoder, its convolutions over frequency and its matrices for relative positions
/// are not there.
#[test]
fn the_papers_setting_has_its_count() {
    let planned = recipes::dry_run(&root("recipes/ctc/paper.toml"), &[]).unwrap();
    let (e, inner, kernel, classes) = (144, 576, 31, 39);
    let (mlp, norm) = (2 * e * inner + inner + e, 2 * e);
    let convolution = 2 * e * (e + 1) + e * (kernel + 1) + e * (e + 1);
    let block = 2 * mlp + 4 * e * (e + 1) + convolution + 6 * norm;
    let stem = (80 * 3 + 1) * e + (e * 3 + 1) * e;
    assert_eq!(planned[0].trainable(), 16 * block + stem + (e + 1) * classes);
}
