//! A run that is killed and resumed ends bit for bit where an undisturbed one ends, whatever the
//! number of threads.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const STEPS: &str = "steps=20";

struct Trial {
    root: PathBuf,
}

impl Trial {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let trial = Self { root };
        let tokenizer = format!("tokenizer={:?}", trial.path("tokenizer.json"));
        let done = trial
            .command("tokenizer", "tokenizer", "2", &[&tokenizer, "samples=300", "vocabulary=600"])
            .status();
        assert!(done.unwrap().success());
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn command(&self, recipe: &str, out: &str, threads: &str, sets: &[&str]) -> Command {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../recipes/{recipe}/tiny.toml"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorium"));
        command
            .arg("train")
            .arg(file)
            .arg("--out")
            .arg(self.path(out))
            .args(["--threads", threads]);
        for set in sets {
            command.args(["--set", set]);
        }
        command.stderr(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn train(&self, recipe: &str, out: &str, threads: &str) -> Command {
        let tokenizer = format!("tokenizer={:?}", self.path("tokenizer.json"));
        self.command(recipe, out, threads, &[STEPS, "save_every=10", "batch=8", &tokenizer])
    }

    /// Every final component's bytes, and the step and loss of every logged line.
    fn outcome(&self, out: &str) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
        let dir = self.path(out).join("final");
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        let log = fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        let line = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {}", json["step"], json["loss"], json["grad_norm"])
        };
        (files, log.lines().map(line).collect())
    }
}

/// SIGKILL once the first checkpoint is there and the run goes on.
fn kill_after_checkpoint(mut child: Child, run: &Path) {
    while !run.join("step-000000010").is_dir() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn killed_equals_undisturbed(recipe: &str) {
    let trial = Trial::new(&format!("resume-{recipe}"));
    assert!(trial.train(recipe, "whole", "2").status().unwrap().success());

    kill_after_checkpoint(
        trial.train(recipe, "killed", "1").spawn().unwrap(),
        &trial.path("killed"),
    );
    assert!(
        !trial.path("killed").join("final").exists(),
        "the kill came too late to test anything"
    );
    let resumed = trial.train(recipe, "killed", "3").arg("--resume").status();
    assert!(resumed.unwrap().success());

    let (whole, killed) = (trial.outcome("whole"), trial.outcome("killed"));
    assert_eq!(whole.1, killed.1, "losses");
    assert_eq!(whole.1.len(), 20);
    assert!(whole.0 == killed.0, "final weights differ");
}

#[test]
fn clip_resumes_bit_for_bit() {
    killed_equals_undisturbed("clip");
}

#[test]
fn text_resumes_bit_for_bit() {
    killed_equals_undisturbed("text");
}
