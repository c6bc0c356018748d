//! Whisper on users' sounds: it learns them, goes on bit for bit, and leaves out what it cannot hear whole.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_train::feed::BAD_SAMPLES;
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A folder of recordings and the runs on them.
struct Trial(TempDir);

impl Trial {
    /// With a table of so many rows.
    fn new(rows: &[&str]) -> Self {
        let trial = Self(TempDir::new().unwrap());
        for name in ["rising.wav", "buzz.flac"] {
            let from = root("crates/data/tests/samples/folder-sounds").join(name);
            fs::copy(from, trial.path(name)).unwrap();
        }
        // The model hears 0.6 s: 1 s of 16-bit silence at 16 kHz.
        let mut long = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        long.extend([16_000_u32, 32_000].map(u32::to_le_bytes).concat());
        long.extend(b"\x02\0\x10\0data\x00\x7d\0\0");
        long.extend([0; 32_000]);
        fs::write(trial.path("long.wav"), long).unwrap();
        let table = ["file_name,text"].iter().chain(rows).map(|row| format!("{row}\n"));
        fs::write(trial.path("metadata.csv"), table.collect::<String>()).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let data = format!("data.train=[{{kind='folder',path={:?}}}]", self.0.path());
        let from = format!("model.from={:?}", root("goldens/whisper"));
        let sets = [&[&*data, &*from], sets].concat().into_iter().map(str::to_owned);
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        recipes::train(&root("recipes/whisper/tiny.toml"), &sets.collect::<Vec<_>>(), &options)
            .map_err(|error| error.to_string())
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }
}

const TWO: [&str; 2] = ["rising.wav,a tone that rises", "buzz.flac,a low buzz"];

#[test]
fn two_sounds_are_learned_by_heart_and_a_run_goes_on_bit_for_bit() {
    let trial = Trial::new(&TWO);
    trial.train("whole", &[], false).unwrap();
    let losses = trial.losses("whole");
    assert!(losses[losses.len() - 1] < 0.1 * losses[0], "{losses:?}");
    trial.train("parts", &["steps=20", "save_every=20"], false).unwrap();
    trial.train("parts", &["save_every=20"], true).unwrap();
    assert_eq!(trial.losses("parts"), losses);
}

#[test]
fn what_cannot_be_learned_whole_is_left_out_and_named() {
    let wordy = format!("rising.wav,{}", "word ".repeat(9));
    let rows = [TWO[0], TWO[1], "long.wav,longer than it hears", &wordy, "missing.wav,nothing"];
    let trial = Trial::new(&rows);
    trial.train("run", &["steps=8", "data.max_bad=0.9"], false).unwrap();
    let bad = fs::read_to_string(trial.path("run").join(BAD_SAMPLES)).unwrap();
    for named in ["at most 0.6 s, got", "at most 37 tokens, got", "missing.wav"] {
        assert!(bad.contains(named), "{named}: {bad}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let clip = format!("model.from={:?}", root("goldens/published_clip"));
    let english = format!("model.from={:?}", root("goldens/whisper_english"));
    for (sets, says) in [
        (vec!["language=xx"], "xx"),
        (vec![&*english, "language=de"], "English only"),
        (vec![&*english, "task=translate"], "transcribe"),
        (vec![&*clip], "whisper"),
        (vec!["model.train=['ears']"], "ears"),
        (vec!["steps=0"], "steps"),
    ] {
        let error = Trial::new(&TWO).train("run", &sets, false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint: "), "{sets:?}: {error}");
    }
}
