//! wav2vec 2.0 and HuBERT on users' sounds: they learn them as PyTorch does, go on bit for bit, and are saved as they
//! were published.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_inference::{Model, Options};
use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained};
use sensorium_train::feed::BAD_SAMPLES;
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use serde_json::Value;
use tempfile::TempDir;

const GOLDENS: [&str; 3] = ["wav2vec2", "wav2vec2_stable", "hubert"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A table of sounds and what is said in them, and the runs on it.
struct Trial(TempDir);

impl Trial {
    fn new(rows: &[&str]) -> Self {
        let trial = Self(TempDir::new().unwrap());
        let table = fs::read_to_string(root("crates/train/tests/letters.csv")).unwrap();
        let rows = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        fs::write(trial.path("letters.csv"), table + &rows).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, out: &str, from: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let (table, sounds) =
            (self.path("letters.csv"), root("crates/data/tests/samples/folder-sounds"));
        let data = format!("data.train=[{{kind='csv',path={table:?},images={sounds:?}}}]");
        let from = format!("model.from={:?}", root("goldens").join(from));
        let sets = [&[&*data, &*from], sets].concat().into_iter().map(str::to_owned);
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        recipes::train(&root("recipes/wav2vec2/tiny.toml"), &sets.collect::<Vec<_>>(), &options)
            .map_err(|error| error.to_string())
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    /// What a run's model, or a golden with a run's adapter, writes down of a sample.
    fn hears(&self, run: &str, adapted: Option<&str>) -> String {
        let made = self.path(run).join("final");
        let (model, adapter) = match adapted {
            Some(golden) => (root("goldens").join(golden), Some(made)),
            None => (made, None),
        };
        let options = Options { strict: true, adapter, ..Options::on(&Device::flex()) };
        let Model::Wav2Vec2(model) = Model::open(&model, &options).unwrap() else {
            panic!("it hears")
        };
        let sound = root("crates/data/tests/samples/folder-sounds/rising.wav");
        let samples = sensorium_media::Sound::read(&sound).unwrap().at_rate(16_000).samples;
        let vocabulary = &model.parts.vocabulary;
        let logits = model.parts.logits(&samples);
        let rows = logits.chunks(vocabulary.classes.len());
        let best =
            rows.map(|row| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap());
        let mut classes: Vec<usize> = best.collect();
        classes.dedup();
        classes.retain(|&class| class as u32 != vocabulary.blank);
        classes.into_iter().map(|class| &*vocabulary.classes[class]).collect()
    }
}

/// Ten losses of both sounds, with what tells positions learned as lengths and directions.
#[test]
fn losses_are_those_of_pytorch() {
    let trial = Trial::new(&[]);
    for name in GOLDENS {
        let golden = fs::read(root("goldens").join(name).join("losses.json")).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let golden: Vec<f64> = serde_json::from_value(golden["losses"].clone()).unwrap();
        let rate = "schedule={kind='constant',learning_rate=1e-3}";
        let sets = ["steps=10", rate, "optim={weight_decay=0.05,clip=0.0}"];
        trial.train(name, name, &sets, false).unwrap();
        let ours = trial.losses(name);
        assert_eq!(ours.len(), golden.len());
        for (step, (ours, torch)) in ours.iter().zip(&golden).enumerate() {
            assert!((ours / torch - 1.0).abs() < 1e-3, "{name}, {step}: {ours}, torch {torch}");
        }
        saved_as_published(name, &trial.path(name).join("final"));
    }
}

/// Every file and tensor of the golden is there, under its name, and what was frozen is what it was.
fn saved_as_published(name: &str, made: &Path) {
    let open = |path: &Path| Directory::open(path).unwrap().strict(true);
    let (before, after) = (open(&root("goldens").join(name)), open(made));
    let shapes = |directory: &Directory| {
        let all = directory.shapes().unwrap().into_iter();
        all.map(|(name, of)| (name, of.shape)).collect::<Vec<_>>()
    };
    assert_eq!(shapes(&after), shapes(&before), "{name}");
    let [before, after] = [before, after].map(|directory| directory.tensors().unwrap().tensors);
    for (tensor, values) in &before {
        let moved = after[tensor].data() != values.data();
        let frozen = tensor.contains("feature_extractor") || tensor.contains("masked_spec_embed");
        assert_eq!(moved, !frozen, "{name}: {tensor}");
    }
    assert!(matches!(Pretrained::open(made, &Device::flex()), Ok(Pretrained::Wav2Vec2(_))));
    for file in ["config.json", "vocab.json"] {
        let read = |dir: &Path| fs::read(dir.join(file)).unwrap();
        assert!(read(&root("goldens").join(name)) == read(made), "{name}: {file}");
    }
}

#[test]
fn two_sounds_are_learned_by_heart_and_a_run_goes_on_bit_for_bit() {
    let trial = Trial::new(&[]);
    trial.train("whole", "wav2vec2", &["steps=150"], false).unwrap();
    let losses = trial.losses("whole");
    assert!(losses[losses.len() - 1] < 0.1 * losses[0], "{losses:?}");
    assert_eq!(trial.hears("whole", None), "TEN TOTE");
    trial.train("parts", "wav2vec2", &["steps=20", "save_every=20"], false).unwrap();
    trial.train("parts", "wav2vec2", &["steps=40", "save_every=20"], true).unwrap();
    assert_eq!(trial.losses("parts"), losses[..40]);
}

/// The blank is whichever class `<pad>` is.
#[test]
fn the_blank_may_be_any_class() {
    let trial = Trial::new(&[]);
    let golden = trial.path("golden");
    fs::create_dir(&golden).unwrap();
    for file in fs::read_dir(root("goldens/wav2vec2")).unwrap().flatten() {
        fs::copy(file.path(), golden.join(file.file_name())).unwrap();
    }
    for blank in [11, 6] {
        let text = fs::read(root("goldens/wav2vec2/vocab.json")).unwrap();
        let mut vocabulary: Value = serde_json::from_slice(&text).unwrap();
        let classes = vocabulary.as_object_mut().unwrap();
        // Who is in its place takes the first.
        classes.values_mut().filter(|class| **class == blank).for_each(|class| *class = 0.into());
        classes["<pad>"] = blank.into();
        fs::write(golden.join("vocab.json"), vocabulary.to_string()).unwrap();
        let out = blank.to_string();
        trial.train(&out, golden.to_str().unwrap(), &["steps=150"], false).unwrap();
        assert_eq!(trial.hears(&out, None), "TEN TOTE", "{blank}");
    }
}

#[test]
fn an_adapter_and_the_head_learn_beside_a_frozen_model() {
    let trial = Trial::new(&[]);
    let sets = ["lora={r=4,lora_dropout=0.1}", "model.train=['head']", "steps=150"];
    trial.train("adapter", "hubert", &sets, false).unwrap();
    let losses = trial.losses("adapter");
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
    let adapter = fs::read(trial.path("adapter/final/adapter_config.json")).unwrap();
    let adapter: Value = serde_json::from_slice(&adapter).unwrap();
    assert_eq!(adapter["modules_to_save"], serde_json::json!(["lm_head"]));
    let targets = adapter["target_modules"].to_string();
    assert!(targets.contains("hubert.encoder.layers.1.attention.q_proj"), "{targets}");
    assert!(!targets.contains("conv") && !targets.contains("projection"), "{targets}");
    assert!(!trial.path("adapter/final/model.safetensors").exists());
    trial.hears("adapter", Some("hubert"));
}

#[test]
fn what_cannot_be_spelt_whole_is_left_out_and_named() {
    // 0.5 s are 24 positions.
    let wordy = format!("rising.wav,{}", "to ".repeat(9));
    let rows = [&*wordy, "rising.wav,a zebra", "buzz.flac,Ann", "missing.wav,ten"];
    let trial = Trial::new(&rows);
    trial.train("run", "wav2vec2", &["steps=8", "data.max_bad=0.9"], false).unwrap();
    let bad = fs::read_to_string(trial.path("run").join(BAD_SAMPLES)).unwrap();
    for named in ["24 positions can spell, got 26", "vocab.json, got 'z'", "missing.wav"] {
        assert!(bad.contains(named), "{named}: {bad}");
    }
    assert!(!bad.contains("Ann"), "{bad}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let trial = Trial::new(&[]);
    for (from, set, says) in [
        ("whisper", "steps=8", "wav2vec2, hubert"),
        ("hubert", "model.train=['ears']", "ears"),
        ("hubert", "lora={target_modules=['query']}", "lora.target_modules"),
        ("hubert", "steps=0", "steps"),
    ] {
        let error = trial.train("run", from, &[set], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint: "), "{set}: {error}");
    }
}
