//! A published model that has learned from a folder of pictures is used like any other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn sensorium(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sensorium")).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Trains by a recipe of this text; the run's directory.
fn train(name: &str, recipe: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("finetune").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (file, run) = (dir.join("recipe.toml"), dir.join("run"));
    std::fs::write(&file, recipe).unwrap();
    sensorium(&["train", file.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    run
}

const SCHEDULE: &str = "schedule = { kind = 'constant', learning_rate = 1e-3 }";

#[test]
fn a_finetuned_encoder_scores() {
    let data = root("crates/data/tests/samples/folder-csv");
    let from = root("goldens/published_clip");
    let recipe = format!(
        "recipe = 'clip'\nseed = 1\nsteps = 10\nbatch = 2\nsave_every = 10\nloss = 'info_nce'\n\
         {SCHEDULE}\n[model]\nfrom = {from:?}\n[[data.train]]\nkind = 'folder'\npath = {data:?}\n"
    );
    let model = train("clip", &recipe).join("final");
    let picture = format!("{data}/red.png");
    let probability = |model: &str| {
        let texts = ["--text", "a red square, nothing else", "--text", "a blue square"];
        let args = ["score", "--model", model, "--image", &picture, "--json"];
        let found: serde_json::Value =
            serde_json::from_str(&sensorium(&[&args[..], &texts].concat())).unwrap();
        found["pairs"][0]["probability"].as_f64().unwrap()
    };
    let (before, after) = (probability(&from), probability(model.to_str().unwrap()));
    assert!(after > before, "{before} then {after}");
}

/// With its adapter, and with the adapter in its weights, a model says the same.
#[test]
fn an_adapter_is_run_and_merged() {
    let data = root("crates/data/tests/samples/messages/chats.jsonl");
    let base = root("goldens/chatting");
    let recipe = format!(
        "recipe = 'llava'\nseed = 1\n[model]\nfrom = {base:?}\n[lora]\n[instruct]\nsteps = 20\nbatch = 2\n\
         save_every = 20\nschedule = {{ kind = 'constant', learning_rate = 1e-2 }}\n\
         [[instruct.data.train]]\nkind = 'messages'\npath = {data:?}\n"
    );
    let run = train("adapter", &recipe);
    let adapter = run.join("instruct/final");
    let (adapter, merged) = (adapter.to_str().unwrap(), run.join("merged"));
    let merged = merged.to_str().unwrap();
    sensorium(&["merge", "--model", &base, "--adapter", adapter, "--to", merged, "--json"]);
    let says = |model: &[&str]| {
        let prompt = ["--prompt", "What is a square?", "--chat", "--max-tokens", "12"];
        let args = [&["run"], model, &prompt[..]].concat();
        sensorium(&args)
    };
    let adapted = says(&[&base, "--adapter", adapter]);
    assert_eq!(adapted, says(&[merged]));
    assert_ne!(adapted, says(&[&base]));
    let refused = |args: &[&str], says: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sensorium")).args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(says), "{args:?}: {error}");
    };
    refused(&["ask", "who?", "--adapter", adapter], "expected a directory of safetensors");
    refused(&["run", adapter, "--prompt", "a"], "--adapter");
    refused(&["merge", "--model", &base, "--to", merged], "--adapter DIR");
}

/// Ctrl-C ends a training with a step that is saved; resumed, it ends in the same bits.
#[cfg(unix)]
#[test]
fn a_training_that_is_interrupted_goes_on() {
    let data = root("crates/data/tests/samples/messages/chats.jsonl");
    let recipe = |steps: u32| {
        format!(
            "recipe = 'llava'\nseed = 1\n[model]\nfrom = {:?}\n[lora]\n[instruct]\nsteps = {steps}\nbatch = 2\n\
             save_every = 100000\n{SCHEDULE}\n[[instruct.data.train]]\nkind = 'messages'\npath = {data:?}\n",
            root("goldens/chatting")
        )
    };
    let dir = train("interrupted", &recipe(1)).join("..");
    std::fs::write(dir.join("long.toml"), recipe(50_000)).unwrap();
    let (file, run) = (dir.join("long.toml"), dir.join("long"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_sensorium"))
        .args(["train", file.to_str().unwrap(), "--out", run.to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let steps = || {
        let log = std::fs::read_to_string(run.join("instruct/metrics.jsonl")).unwrap_or_default();
        log.lines().count() as u32
    };
    while steps() < 2 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let kill = format!("kill -INT {}", child.id());
    Command::new("sh").args(["-c", &kill]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("--resume"), "{error}");
    let done = steps();
    assert!((2..50_000).contains(&done) && error.contains(&format!("step {done} of")), "{error}");

    let weights =
        |run: &Path| std::fs::read(run.join("instruct/final/adapter_model.safetensors")).unwrap();
    let all = format!("instruct.steps={}", done + 2);
    let (file, run) = (file.to_str().unwrap(), run.to_str().unwrap());
    sensorium(&["train", file, "--out", run, "--resume", "--set", &all]);
    let whole = dir.join("whole");
    sensorium(&["train", file, "--out", whole.to_str().unwrap(), "--set", &all]);
    assert!(weights(Path::new(run)) == weights(&whole), "other bits");
}

#[test]
fn a_finetuned_assistant_answers() {
    let data = root("crates/data/tests/samples/llava-json/conversations.json");
    let recipe = format!(
        "recipe = 'llava'\nseed = 1\n[model]\nfrom = {:?}\n[instruct]\nsteps = 10\nbatch = 2\n\
         save_every = 10\n{SCHEDULE}\n[[instruct.data.train]]\nkind = 'llava-json'\npath = {data:?}\n",
        root("goldens/seeing_smolvlm")
    );
    let model = train("llava", &recipe).join("instruct/final");
    let picture = root("crates/data/tests/samples/llava-json/red.png");
    let model = model.to_str().unwrap();
    sensorium(&["ask", "what is this?", "--image", &picture, "--model", model]);
}
