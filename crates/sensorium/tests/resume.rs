//! A run that is killed anywhere and resumed ends bit for bit where an undisturbed one ends, whatever the
//! number of threads, of drawn and of users' data in one mixture.
//!
//! `SENSORIUM_KILLS=50 cargo test --release -p sensorium --test resume` kills each recipe at fifty places.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Places at which each recipe is killed.
fn kills() -> usize {
    std::env::var("SENSORIUM_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

/// Four threads and more prepare batches ahead of the steps; the second number is that of the resumed run.
const THREADS: [[&str; 2]; 3] = [["4", "4"], ["1", "5"], ["4", "2"]];

/// Paths of the repository, which is the working directory.
const SHARDS: &str =
    "{kind='webdataset',path='crates/data/tests/samples/webdataset/*.tar',share=0.4}";
const TABLE: &str = "{kind='csv',path='crates/data/tests/samples/csv/train.tsv',share=0.4}";

struct Trial {
    root: PathBuf,
    recipe: &'static str,
    sets: Vec<String>,
}

impl Trial {
    fn new(recipe: &'static str, sets: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("resume-{recipe}"));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        Self { root, recipe, sets }
    }

    /// With a tokenizer of its own.
    fn with_tokenizer(mut self) -> Self {
        let file = self.path("tokenizer.json");
        let tokenizer = format!("tokenizer={file:?}");
        let sets = [tokenizer.as_str(), "samples=300", "vocabulary=600"].map(str::to_owned);
        let learns = Self { root: self.root.clone(), recipe: "tokenizer", sets: sets.to_vec() };
        assert!(learns.train("tokenizer", "2").status().unwrap().success());
        self.sets.push(format!("model.tokenizer={file:?}"));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn train(&self, out: &str, threads: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorium"));
        let recipe = match self.recipe.ends_with(".toml") {
            true => self.path(self.recipe),
            false => format!("recipes/{}/tiny.toml", self.recipe).into(),
        };
        command.arg("train").arg(recipe).arg("--out").arg(self.path(out));
        command.args(["--threads", threads]);
        command.args(self.sets.iter().flat_map(|set| ["--set", set]));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        command.stderr(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The directories of a run's stages, in their order: itself, where it has but one.
    fn stages(&self, out: &str) -> Vec<PathBuf> {
        let run = self.path(out);
        let named = ["align", "represent", "instruct", "generate"].map(|stage| run.join(stage));
        let found: Vec<_> = named.into_iter().filter(|stage| stage.is_dir()).collect();
        if found.is_empty() { vec![run] } else { found }
    }

    /// Step, loss and norm of every logged line.
    fn losses(&self, out: &str) -> Vec<String> {
        let line = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(format!("{} {} {}", json["step"], json["loss"], json["grad_norm"]))
        };
        let logs = self.stages(out).into_iter().map(|stage| stage.join("metrics.jsonl"));
        let logs = logs.map(|log| fs::read_to_string(log).unwrap_or_default());
        logs.flat_map(|log| log.lines().filter_map(line).collect::<Vec<_>>()).collect()
    }

    /// Every file that the stages end with, and the losses.
    fn outcome(&self, out: &str) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
        let finals = self.stages(out).into_iter().map(|stage| stage.join("final"));
        let entries = finals.flat_map(|dir| fs::read_dir(dir).unwrap());
        let file = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(self.path(out)).unwrap().display().to_string();
            (name, fs::read(path).unwrap())
        };
        let mut files: Vec<_> = entries.map(file).collect();
        files.sort();
        (files, self.losses(out))
    }

    /// SIGKILL some moments after so many steps are logged.
    fn kill(&self, mut child: Child, out: &str, steps: usize, moments: u64) {
        while self.losses(out).len() < steps {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before {steps} steps");
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis(moments));
        child.kill().unwrap();
        assert_eq!(
            child.wait().unwrap().signal(),
            Some(9),
            "the kill came too late to test anything"
        );
    }

    fn killed_equals_undisturbed(&self) {
        assert!(self.train("whole", "4").status().unwrap().success());
        let whole = self.outcome("whole");
        let steps = whole.1.len();
        for i in 0..kills() {
            let out = format!("killed-{i}");
            let [first, then] = THREADS[i % THREADS.len()];
            let child = self.train(&out, first).spawn().unwrap();
            // The last two steps are left out, so that no run ends before it is killed.
            self.kill(child, &out, 1 + i * (steps - 3) / kills(), i as u64 * 3 % 20);
            assert!(self.train(&out, then).arg("--resume").status().unwrap().success());
            let killed = self.outcome(&out);
            assert_eq!(whole.1, killed.1, "losses after kill {i}");
            assert!(whole.0 == killed.0, "final weights differ after kill {i}");
            fs::remove_dir_all(self.path(&out)).unwrap();
        }
    }
}

#[test]
fn text_resumes_bit_for_bit() {
    let sets = ["steps=20", "save_every=5", "batch_size=8"];
    Trial::new("text", &sets).with_tokenizer().killed_equals_undisturbed();
}

#[test]
fn clip_resumes_bit_for_bit() {
    let data = format!("data.train=[{{kind='scenes',share=0.6}},{SHARDS}]");
    let alone = ["caption_weight", "gist_weight", "region_weight", "place_weight"];
    let alone = alone.map(|weight| format!("{weight}=0.0"));
    let own =
        ["steps=20", "save_every=5", "batch_size=8", "eval_every=8", "data.val=[{kind='scenes'}]"];
    let sets: Vec<&str> =
        own.into_iter().chain(alone.iter().map(String::as_str)).chain([data.as_str()]).collect();
    Trial::new("clip", &sets).with_tokenizer().killed_equals_undisturbed();
}

#[test]
fn llava_resumes_bit_for_bit() {
    let talks = "{kind='scene-conversations',share=0.6}";
    let trial = Trial::new("llava.toml", &[&format!("data.train=[{talks},{TABLE}]")]);
    let stage = |name: &str| {
        format!(
            "[{name}]\nsteps = 10\nbatch_size = 4\nsave_every = 3\n\
             schedule = {{ kind = 'cosine', learning_rate = 1e-3, warmup_steps = 2 }}\n"
        )
    };
    let recipe = "recipe = 'llava'\nseed = 1\n[model]\nencoder = 'goldens/published_clip'\n\
                  projector = 'mlp'\nbackbone = 'goldens/parts/chat_qwen2'\n";
    let recipe = [recipe, &stage("align"), &stage("instruct")].concat();
    fs::write(trial.path("llava.toml"), recipe).unwrap();
    trial.killed_equals_undisturbed();
}

#[test]
fn blip2_resumes_bit_for_bit() {
    let data = format!("data.train=[{{kind='scenes',share=0.6}},{SHARDS}]");
    let stages = ["represent", "generate"]
        .map(|s| ["steps=10", "batch_size=4", "save_every=3"].map(|set| format!("{s}.{set}")));
    let sets: Vec<&str> =
        stages.iter().flatten().map(String::as_str).chain([data.as_str()]).collect();
    Trial::new("blip2", &sets).killed_equals_undisturbed();
}
