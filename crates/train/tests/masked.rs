//! Masked pre-training of pictures, sounds and both: it learns a batch, and leaves encoders that open.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::safetensors;
use sensorium_media::{Picture, Sound};
use sensorium_nn::prelude::Device;
use sensorium_pretrained::Pretrained;
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

const AUDIO: &str = "encoder.audio={bands=16,frames=32,patch=8}";
const CONSTANT: &str = "schedule={kind='constant',learning_rate=3e-3}";

struct Trial(TempDir);

impl Trial {
    /// A folder of two pictures and two sounds, which a table names in rows of both, and nobody describes.
    fn new() -> Self {
        let trial = Self(TempDir::new().unwrap());
        fs::create_dir(trial.path("data")).unwrap();
        for (from, to) in [
            ("crates/data/tests/samples/folder-csv/red.png", "red.png"),
            ("crates/data/tests/samples/folder-csv/more/blue.png", "blue.png"),
            ("goldens/sound/mono.flac", "mono.flac"),
            ("goldens/sound/pcm_16.wav", "pcm.wav"),
        ] {
            fs::copy(root(from), trial.path("data").join(to)).unwrap();
        }
        trial
    }

    fn table(self, table: &str) -> Self {
        fs::write(self.path("data/metadata.csv"), table).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The tiny recipe, smaller yet.
    fn train(&self, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let data = format!("data.train=[{{kind='folder',path={:?}}}]", self.path("data"));
        let own = ["batch_size=2", "encoder.hidden_size=32", "encoder.n_layers=2", &data];
        let sets = [&own[..], sets].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        let recipe = root("recipes/masked/tiny.toml");
        recipes::train(&recipe, &sets, &options).map_err(|error| error.to_string())
    }

    fn learns(&self, run: &str, share: f64) {
        let losses: Vec<f64> = log::read(&self.path(run)).unwrap().iter().map(|m| m.loss).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
        assert!(last < share * first, "{run}: {first} then {last}");
    }

    fn open(&self, dir: &str) -> Pretrained {
        Pretrained::open(&self.path(dir), &Device::flex()).unwrap()
    }
}

fn picture() -> Picture {
    Picture::read(&root("crates/data/tests/samples/folder-csv/red.png")).unwrap()
}

#[test]
fn pictures_alone_teach_an_encoder() {
    let trial = Trial::new();
    for (target, share) in [("pixels", 0.9), ("features", 0.6)] {
        let target_is = format!("target={target}");
        let sets = ["steps=80", CONSTANT, &target_is, "teacher.decay=0.9", "teacher.layers=1"];
        trial.train(target, &sets, false).unwrap();
        trial.learns(target, share);
        let Pretrained::ImageEncoder(encoder) = trial.open(&format!("{target}/final")) else {
            panic!("{target}: no encoder of pictures")
        };
        let features = encoder.features(&[picture()]);
        assert_eq!((features.len(), features[0].len()), (1, 64));
    }
}

#[test]
fn a_film_is_a_picture_and_its_sound() {
    let trial = Trial::new().table("file_name\nfilm.mp4\n");
    fs::copy(root("goldens/video/reordered.mp4"), trial.path("data/film.mp4")).unwrap();
    trial.train("run", &["steps=2", AUDIO], false).unwrap();
    trial.open("run/audio");
}

#[test]
fn sounds_alone_teach_an_encoder() {
    let trial = Trial::new().table("file_name\nmono.flac\npcm.wav\n");
    let text = fs::read_to_string(root("recipes/masked/tiny.toml")).unwrap();
    let recipe = trial.path("sounds.toml");
    let text = text.replace("image = { size = 64, patch = 8 }", "");
    fs::write(&recipe, text).unwrap();
    let data = format!("data.train=[{{kind='folder',path={:?}}}]", trial.path("data"));
    let sets = [AUDIO, CONSTANT, "steps=80", "batch_size=2", &data].map(str::to_owned);
    recipes::train(&recipe, &sets, &RunOptions::new(trial.path("run"))).unwrap();
    trial.learns("run", 0.9);
    hears(&trial.open("run/final"), 128);
}

fn hears(model: &Pretrained, width: usize) {
    let Pretrained::Sensorium(parts) = model else { panic!("not trained here") };
    let sound = Sound::read(&root("goldens/sound/mono.flac")).unwrap().at_rate(16_000);
    let features = parts.audio.as_ref().unwrap().features(&sound);
    assert_eq!(features.len(), width);
    assert!(features.iter().all(|x| x.is_finite()));
}

#[test]
fn a_row_of_both_teaches_one_encoder_of_either() {
    let table = "file_name,audio_file_name\nred.png,mono.flac\nblue.png,pcm.wav\n";
    let trial = Trial::new().table(table);
    for target in ["pixels", "features"] {
        let target_is = format!("target={target}");
        let sets = ["steps=80", CONSTANT, AUDIO, &target_is, "teacher.decay=0.9"];
        trial.train(target, &sets, false).unwrap();
        trial.learns(target, 0.95);
        assert!(matches!(trial.open(&format!("{target}/final")), Pretrained::ImageEncoder(_)));
        hears(&trial.open(&format!("{target}/audio")), 64);
    }
    // The blocks are one and the same, under two names.
    let load = |file: &str| safetensors::load(&trial.path(file)).unwrap().tensors;
    let (seen, heard) =
        (load("pixels/final/model.safetensors"), load("pixels/audio/audio.safetensors"));
    assert_eq!(seen["encoder.layer.1.mlp.fc1.weight"], heard["blocks.1.mlp.fc1.weight"]);
}

/// The running average is kept with the rest.
#[test]
fn a_run_goes_on_bit_for_bit() {
    let trial = Trial::new();
    let sets = |steps: &'static str| [steps, "save_every=4", CONSTANT, "target=features"];
    trial.train("whole", &sets("steps=8"), false).unwrap();
    trial.train("parts", &sets("steps=4"), false).unwrap();
    trial.train("parts", &sets("steps=8"), true).unwrap();
    let weights = |run: &str| fs::read(trial.path(run).join("final/model.safetensors")).unwrap();
    assert!(weights("whole") == weights("parts"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (set, says) in [
        ("mask_ratio=1.0", "mask_ratio"),
        ("mask_ratio=0.0", "mask_ratio"),
        ("encoder.n_heads=5", "heads that divide"),
        ("encoder.image={size=64,patch=7}", "patches that divide"),
        ("decoder.n_layers=0", "decoder"),
        (AUDIO, "one sound each"),
    ] {
        let error = Trial::new().train("run", &["steps=2", set], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
}

/// An encoder that has learned from pictures alone goes on in every recipe that takes one.
#[test]
fn an_encoder_begins_a_clip() {
    let trial = Trial::new();
    trial.train("masked", &["steps=2"], false).unwrap();
    let recipe = trial.path("clip.toml");
    let text = format!(
        "recipe='clip'\nseed=1\nsteps=20\nbatch_size=2\nsave_every=20\nloss='info_nce'\n\
         schedule={{kind='constant',learning_rate=1e-3}}\n[model]\nencoder={:?}\nsize='tiny'\ntokenizer={:?}\n\
         [[data.train]]\nkind='folder'\npath={:?}\n",
        trial.path("masked/final"),
        trial.path("tokenizer.json"),
        root("crates/data/tests/samples/folder-csv"),
    );
    fs::write(&recipe, text).unwrap();
    let tokenizer = format!("tokenizer={:?}", trial.path("tokenizer.json"));
    let sets = [tokenizer.as_str(), "samples=400", "vocabulary=700"].map(str::to_owned);
    let train = |recipe: &Path, sets: &[String], out: &str| {
        recipes::train(recipe, sets, &RunOptions::new(trial.path(out))).unwrap();
    };
    train(&root("recipes/tokenizer/tiny.toml"), &sets, "tokenizer");
    train(&recipe, &["train=['text']".to_owned()].map(|set| format!("model.{set}")), "locked");
    train(&recipe, &[], "clip");
    trial.learns("clip", 0.9);
    let load = |file: &str| safetensors::load(&trial.path(file)).unwrap().tensors;
    let (before, locked) =
        (load("masked/final/model.safetensors"), load("locked/final/image.safetensors"));
    assert_eq!(before["encoder.layer.0.mlp.fc1.weight"], locked["blocks.0.mlp.fc1.weight"]);
    assert!(matches!(trial.open("clip/final"), Pretrained::Sensorium(_)));
    let planned = recipes::dry_run(&recipe, &[]).unwrap();
    assert!(planned[0].trainable() > 0);
}

/// transformers' ViTMAE of this size has 329,541,888 values, of which 1,024 + 512 are the places of its class
/// token, which has none here.
#[test]
fn the_papers_setting_has_the_papers_count() {
    let planned = recipes::dry_run(&root("recipes/masked/paper.toml"), &[]).unwrap();
    assert_eq!(planned[0].trainable(), 329_541_888 - 1_024 - 512);
}
