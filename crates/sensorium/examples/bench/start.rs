//! The command from its start to its answer about a picture, the embedded model's: P11.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Map;

use crate::{Task, fail, timed};

pub fn task(picture: &str) -> Task {
    let picture = picture.to_owned();
    let program = program();
    let ask = move || {
        let mut command = Command::new(&program);
        command.args(["ask", "what color is the circle?", "--image", &picture]);
        let output = command.output().unwrap_or_else(fail);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    Task { facts: Map::new(), run: Box::new(move || timed(&ask).1) }
}

/// The command, built beside the folder of the examples.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_else(fail);
    let folder = here.parent().and_then(|examples| examples.parent()).unwrap_or(&here);
    folder.join("sensorium").with_extension(std::env::consts::EXE_EXTENSION)
}
