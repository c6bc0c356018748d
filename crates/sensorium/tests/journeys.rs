//! What the pages tell a user to type works: every script in `tests/journeys` of the repository.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_journey_arrives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = std::fs::read_dir(root.join("tests/journeys")).unwrap();
    let mut scripts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "sh"));
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in tests/journeys");
    for script in scripts {
        let mut bash = Command::new("bash");
        bash.arg(&script).current_dir(&root).env("SENSORIUM", env!("CARGO_BIN_EXE_sensorium"));
        let output = bash.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{told}", script.display(), output.status);
    }
}
