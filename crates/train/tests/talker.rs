//! A talker learns to say two phrases by heart, bit for bit when resumed; and refuses what it cannot learn from.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

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

/// Recordings, and the runs on them.
struct Trial(TempDir);

impl Trial {
    /// The sample's recordings, with so many rows more.
    fn new(rows: &[&str]) -> Self {
        let trial = Self(TempDir::new().unwrap());
        let sample = root("crates/data/tests/samples/folder-voices");
        for name in ["slt.flac", "rms.flac"] {
            fs::copy(sample.join(name), trial.path(name)).unwrap();
        }
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let table = fs::read_to_string(sample.join("metadata.jsonl")).unwrap() + &rows;
        fs::write(trial.path("metadata.jsonl"), table).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        self.recipe("talker", out, sets, resume)
    }

    fn recipe(&self, recipe: &str, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let data = format!("data.train=[{{kind='folder',path={:?}}}]", self.0.path());
        let sets: Vec<String> = [&[&*data], sets].concat().into_iter().map(str::to_owned).collect();
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        let recipe = root("recipes").join(recipe).join("tiny.toml");
        recipes::train(&recipe, &sets, &options).map_err(|error| error.to_string())
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    fn weights(&self, run: &str, component: &str) -> Vec<u8> {
        fs::read(self.path(run).join(format!("final/{component}.safetensors"))).unwrap()
    }
}

#[test]
fn two_phrases_are_learned_by_heart_and_a_run_goes_on_bit_for_bit() {
    let trial = Trial::new(&[]);
    trial.train("whole", &[], false).unwrap();
    let losses = trial.losses("whole");
    assert!(losses[losses.len() - 1] < 0.2 * losses[0], "{losses:?}");
    let model = Pretrained::open(&trial.path("whole/final"), &Device::flex()).unwrap();
    let Pretrained::Sensorium(parts) = model else { panic!("not trained here") };
    assert_eq!(parts.talker.unwrap().config.voices, ["slt", "rms"]);

    let sets = ["save_every=10", "accumulate=2", "optim.ema=0.9"];
    let steps = |steps| [&sets[..], &[steps]].concat();
    trial.train("once", &steps("steps=20"), false).unwrap();
    trial.train("twice", &steps("steps=10"), false).unwrap();
    trial.train("twice", &steps("steps=20"), true).unwrap();
    assert_eq!(trial.losses("once"), trial.losses("twice"));
    assert_eq!(trial.weights("once", "talker"), trial.weights("twice", "talker"));
}

#[test]
fn what_cannot_be_learned_from_is_left_out_with_its_reason() {
    let trial = Trial::new(&[
        r#"{"file_name":"slt.flac","text":"x","voice":"nobody","phones":"pau:0.2 r:0.3"}"#,
        r#"{"file_name":"slt.flac","text":"x","voice":"slt","phones":"pau:0.2 qq:0.3"}"#,
        r#"{"file_name":"slt.flac","text":"x","voice":"slt","phones":"pau:0.3 r:0.2"}"#,
        r#"{"file_name":"slt.flac","text":"x","voice":"slt","phones":"pau"}"#,
    ]);
    trial.train("run", &["steps=12", "data.max_bad=0.9"], false).unwrap();
    let bad = fs::read_to_string(trial.path("run").join(BAD_SAMPLES)).unwrap();
    for says in
        ["a voice of slt, rms, got nobody", "expected phonemes, got qq", "its end in seconds"]
    {
        assert!(bad.contains(says), "{says}: {bad}");
    }
    assert!(trial.losses("run").iter().all(|loss| loss.is_finite()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let sounds = format!(
        "data.train=[{{kind='folder',path={:?}}}]",
        root("crates/data/tests/samples/folder-sounds")
    );
    for (set, says) in [
        ("voices=[]", "names of voices"),
        ("voices=['slt','slt']", "each once"),
        ("talker.kernel=4", "an odd kernel"),
        ("talker.bands=40", "80 bands"),
        ("from='x'", "from goes on"),
        ("data.augment={speed=[0.9,1.1]}", "durations would not fit"),
        ("batch_size=0", "batch_size"),
        (&*sounds, "voice and phones"),
    ] {
        let error = Trial::new(&[]).train("run", &[set], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
}

#[test]
fn a_vocoder_learns_how_recordings_sound() {
    let trial = Trial::new(&[]);
    let train = |out: &str, sets: &[&str], resume| trial.recipe("vocoder", out, sets, resume);
    train("whole", &[], false).unwrap();
    let losses = trial.losses("whole");
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
    Pretrained::open(&trial.path("whole/final"), &Device::flex()).unwrap();

    train("once", &["steps=4", "save_every=2"], false).unwrap();
    train("twice", &["steps=2", "save_every=2"], false).unwrap();
    train("twice", &["steps=4", "save_every=2"], true).unwrap();
    assert_eq!(trial.losses("once"), trial.losses("twice"));
    assert_eq!(trial.weights("once", "vocoder"), trial.weights("twice", "vocoder"));

    for (set, says) in [
        ("frames=3", "an even number"),
        ("vocoder.n_fft=512", "n_fft 1024"),
        ("vocoder.kernel=4", "an odd kernel"),
        ("from='x'", "from goes on"),
    ] {
        let error = train("refused", &[set], false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
}
