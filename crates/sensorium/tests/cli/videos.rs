//! Videos that only `ffmpeg` knows: by a program of that name which gives a film of the repository's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::fixture::{dir, file};

fn embed(video: &str, path: &Path) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_sensorium"))
        .args(["embed", "--video", video, "--json"])
        .env("PATH", path)
        .output();
    program.unwrap()
}

/// A program of that name, which is first to read all that it is given. `$last` is where it writes to.
fn ffmpeg(dir: &Path, then: &str) {
    let script = file(
        dir,
        "ffmpeg",
        format!("#!/bin/sh\nfor last; do :; done\n/bin/cat >/dev/null\n{then}\n").as_bytes(),
    );
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn ffmpeg_is_asked_for_what_nothing_here_decodes() {
    let [path, other, nothing] = ["with_ffmpeg", "with_another", "without"].map(dir);
    let avi = file(&path, "clip.avi", b"RIFF\0\0\0\0AVI LIST and so on");
    let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/video/film.mkv");
    ffmpeg(&path, &format!("/bin/cat '{}' >\"$last\"", film.display()));
    let [asked, plain] = [&avi, film.to_str().unwrap()].map(|video| embed(video, &path));
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let vector = |output: &Output| {
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["items"][0]["embedding"].clone()
    };
    assert_eq!(vector(&asked), vector(&plain));

    let told = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    ffmpeg(&other, "echo 'moov atom not found' >&2; exit 1");
    let error = told(embed(&avi, &other));
    assert!(error.contains("clip.avi") && error.contains("moov atom not found"), "{error}");
    let error = told(embed(&avi, &nothing));
    assert!(error.contains("an AVI video") && error.contains("`ffmpeg` on the path"), "{error}");
    let text = file(&path, "notes.mp4", b"only words");
    assert!(told(embed(&text, &path)).contains("expected a video"));
}
