//! What children of the program decode, and what becomes of those that fail.
#![cfg(unix)]

use std::fmt::{Debug, Display};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sensorium::data::scene::Split;
use sensorium::data::{At, DatasetConfig, OpenOptions};
use sensorium::media::media_decoder::Limits;
use sensorium::media::sound::MAX_RATE;
use sensorium::media::{MediaDecoder, Picture, Sampling, SoundError};

use crate::fixture::{dir, fails, file, model, png};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sensorium");

fn children(limits: Limits) -> MediaDecoder {
    MediaDecoder::children(PROGRAM, &["decode"], limits)
}

/// Children that do `first` before they decode, each of which writes down its number in a file.
fn noting(log: &Path, first: &str, limits: Limits) -> MediaDecoder {
    let script = format!("echo $$ >> {}; {first}\nexec {PROGRAM} decode \"$1\"", log.display());
    MediaDecoder::children("/bin/sh", &["-c", &script, "child"], limits)
}

/// The numbers of the children so far.
fn noted(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

fn is_running(child: &str) -> bool {
    Path::new("/proc").join(child).exists()
}

/// Files of the goldens' folders, with these endings.
fn goldens(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(goldens.join(folder)).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| endings.iter().any(|e| path.extension() == Some(e.as_ref()))).collect()
}

/// A file as it is, and as it ought not to be.
fn versions(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut damaged = whole.to_vec();
    damaged.iter_mut().skip(whole.len() / 3).step_by(97).for_each(|byte| *byte ^= 0x55);
    let half = &whole[..whole.len() / 2];
    vec![whole.to_vec(), half.to_vec(), whole[..whole.len().min(20)].to_vec(), damaged, vec![]]
}

/// That this process and a child make the same of a file, or fail alike; whether they read it.
fn alike<T: PartialEq, E: Debug + Display>(
    name: &str,
    here: Result<T, E>,
    child: Result<T, E>,
) -> bool {
    match (here, child) {
        (Ok(want), Ok(got)) => {
            assert!(want == got, "{name}");
            true
        }
        (Err(want), Err(got)) => {
            assert_eq!(format!("{want:?}\n{want}"), format!("{got:?}\n{got}"));
            false
        }
        (want, got) => {
            let (want, got) = (want.map(|_| "read"), got.map(|_| "read"));
            panic!("{name}: {want:?} here, {got:?} in a child")
        }
    }
}

#[test]
fn pictures_and_errors_are_those_of_this_process() {
    let (here, child) = (MediaDecoder::here(), children(Limits::default()));
    let folders = ["pictures", "pillow", "published_images"];
    let (mut good, mut bad) = (0, 0);
    for path in goldens(&folders, &["png", "jpg", "gif", "webp", "bmp", "json"]) {
        for bytes in versions(&std::fs::read(&path).unwrap()) {
            let name = path.to_str().unwrap();
            match alike(name, here.picture_bytes(&bytes, name), child.picture_bytes(&bytes, name)) {
                true => good += 1,
                false => bad += 1,
            }
        }
    }
    assert!(good > 50 && bad > 100, "{good} pictures, {bad} errors");
    for path in ["no/such.png", "/"].map(Path::new) {
        let [want, got] = [&here, &child].map(|d| d.picture(path).unwrap_err().to_string());
        assert_eq!(want, got);
    }
}

#[test]
fn frames_and_errors_are_those_of_this_process() {
    let (here, child) = (MediaDecoder::here(), children(Limits::default()));
    let path = dir("decoded_videos").join("video");
    let (mut good, mut bad) = (0, 0);
    for golden in goldens(&["video"], &["gif", "png", "webp", "mp4", "mov", "mkv"]) {
        for bytes in versions(&std::fs::read(&golden).unwrap()) {
            std::fs::write(&path, bytes).unwrap();
            for sampling in [Sampling::Frames(3), Sampling::PerSecond(4.0)] {
                match alike(
                    &format!("{golden:?}"),
                    here.video(&path, sampling),
                    child.video(&path, sampling),
                ) {
                    true => good += 1,
                    false => bad += 1,
                }
            }
        }
    }
    assert!(good >= 40 && bad > 50, "{good} videos, {bad} errors");
}

#[test]
fn rows_and_errors_are_those_of_this_process() {
    let (here, child) = (MediaDecoder::here(), children(Limits::default()));
    let path = dir("decoded_tables").join("table");
    let (mut good, mut bad) = (0, 0);
    for golden in goldens(&["table"], &["csv", "tsv", "jsonl", "xlsx", "parquet"]) {
        for bytes in versions(&std::fs::read(&golden).unwrap()) {
            std::fs::write(&path, bytes).unwrap();
            match alike(&format!("{golden:?}"), here.table(&path), child.table(&path)) {
                true => good += 1,
                false => bad += 1,
            }
        }
    }
    assert!(good >= 10 && bad >= 20, "{good} tables, {bad} errors");
}

#[test]
fn samples_and_errors_are_those_of_this_process() {
    let (here, child) = (MediaDecoder::here(), children(Limits::default()));
    let path = dir("decoded_sounds").join("sound");
    let hear = |decoder: &MediaDecoder, rate| -> Result<(Vec<f32>, Option<String>), SoundError> {
        let mut pieces = decoder.sound(&path, rate)?;
        let samples = pieces.by_ref().collect::<Result<Vec<_>, _>>()?.concat();
        assert!(pieces.next().is_none());
        Ok((samples, pieces.warning()))
    };
    let (mut good, mut cut, mut bad) = (0, 0, 0);
    let endings = ["wav", "aifc", "caf", "flac", "mp3", "ogg", "opus", "aac", "m4a", "mkv", "webm"];
    for golden in goldens(&["sound"], &endings) {
        for bytes in versions(&std::fs::read(&golden).unwrap()) {
            std::fs::write(&path, bytes).unwrap();
            // At the highest rate, there are many pieces.
            for rate in [16_000, MAX_RATE] {
                match (hear(&here, rate), hear(&child, rate)) {
                    (Ok(want), Ok(got)) => {
                        assert!(want == got, "{golden:?}");
                        good += 1;
                        cut += usize::from(want.1.is_some());
                    }
                    (Err(want), Err(got)) => {
                        assert_eq!(format!("{want:?}\n{want}"), format!("{got:?}\n{got}"));
                        bad += 1;
                    }
                    (want, got) => {
                        let (want, got) = (want.map(|_| "samples"), got.map(|_| "samples"));
                        panic!("{golden:?}: {want:?} here, {got:?} in a child")
                    }
                }
            }
        }
    }
    assert!(good > 50 && cut > 10 && bad > 50, "{good} sounds, {cut} of them cut, {bad} errors");
    std::fs::remove_file(&path).unwrap();
    let [want, got] = [&here, &child].map(|d| d.sound(&path, 9).err().unwrap().to_string());
    assert_eq!(want, got);
}

/// An answer of a child that says this, as the shell prints it.
fn says(json: &str) -> String {
    format!("printf '\\{:03o}\\000\\000\\000%s' '{json}'", json.len())
}

/// Each fault happens to the first child: its picture or sound fails, and the next one is decoded.
#[test]
fn children_that_fail_are_replaced() {
    let sized = |width, height| {
        let size = format!(r#"{{"width":{width},"height":{height},"seconds":0.0}}"#);
        says(&format!(r#"{{"Ok":{{"pictures":[{size}],"duration":0.0}}}}"#))
    };
    let huge = sized(4_000_000, 4_000_000);
    let none = sized(0, 9);
    let many = says(r#"{"Ok":{"Samples":9999999}}"#);
    let infinite = format!("{}; printf '\\000\\000\\200\\177'", says(r#"{"Ok":{"Samples":1}}"#));
    let cases = [
        ("kill -9 $$", "signal: 9"),
        ("kill -SEGV $$", "signal: 11"),
        ("exit 3", "exit status: 3"),
        ("kill -STOP $$", "within 2 s"),
        ("ulimit -S -t 1; while :; do :; done", "of processor time"),
        ("echo memory allocation of 9 bytes failed >&2; kill -ABRT $$", "1024 MiB of memory"),
        (r"printf '\377\377\377\377garbage'", "an answer that is none"),
        (r"printf '\001\000\000\000?'", "an answer that is none"),
        (&huge, "an answer that is none"),
        (&none, "an answer that is none"),
        (&many, "an answer that is none"),
        (&infinite, "an answer that is none"),
        (r"printf '\011\000\000\000{'; exit 4", "exit status: 4"),
    ];
    let dir = dir("failing_children");
    let scene = file(&dir, "scene.png", &png());
    let sound = format!("{}/../../goldens/sound/mono.flac", env!("CARGO_MANIFEST_DIR"));
    for (case, (fault, words)) in cases.into_iter().enumerate() {
        let limits = match words {
            "within 2 s" => Limits { clock: Duration::from_secs(2), ..Limits::default() },
            _ => Limits::default(),
        };
        let (mark, log) = (dir.join(format!("mark{case}")), dir.join(format!("log{case}")));
        let once = format!("[ -e {0} ] || {{ : > {0}; {fault}; }}", mark.display());
        let decoder = noting(&log, &once, limits);
        let picture = || decoder.picture(scene.as_ref()).map(drop).map_err(|e| e.to_string());
        let hear = || -> Result<(), SoundError> {
            decoder.sound(sound.as_ref(), 8_000)?.try_for_each(|piece| piece.map(drop))
        };
        let hear = || hear().map_err(|error| error.to_string());
        let pictures = [picture(), picture()];
        std::fs::remove_file(&mark).unwrap();
        for [failed, next] in [pictures, [hear(), hear()]] {
            let error = failed.expect_err(fault);
            assert!(error.contains(words) && error.contains("\nhint: "), "{fault}: {error}");
            assert!(error.contains(&scene) || error.contains(&sound), "{fault}: {error}");
            assert_eq!(next, Ok(()), "{fault}");
        }
        drop(decoder);
        assert_eq!(noted(&log).len(), 4, "{fault}");
        assert!(!noted(&log).iter().any(|child| is_running(child)), "{fault}: a child is left");
    }
}

#[test]
fn programs_that_do_not_start_are_told() {
    let decoder = MediaDecoder::children("/no/such/program", &[], Limits::default());
    let error = decoder.picture_bytes(&png(), "part 2").unwrap_err().to_string();
    assert!(error.contains("part 2") && error.contains("hint: "), "{error}");
    assert!(fails(1, &["decode", "nonsense"]).contains("starts this command by itself"));
}

/// 64 million pixels are within every other limit.
#[test]
fn memory_is_limited() {
    let large = Picture::filled(8000, 8000, [1, 2, 3]).to_png();
    let decoder = children(Limits { memory: 200 << 20, ..Limits::default() });
    let width = |decoder: &MediaDecoder, png: &[u8]| {
        decoder.picture_bytes(png, "large.png").map(|picture| picture.width)
    };
    let error = width(&decoder, &large).unwrap_err().to_string();
    assert!(error.contains("large.png") && error.contains("200 MiB of memory"), "{error}");
    assert_eq!(width(&decoder, &png()).unwrap(), 64);
    assert_eq!(width(&children(Limits::default()), &large).unwrap(), 8000);
}

#[test]
fn children_are_kept_and_replaced_in_time() {
    let dir = dir("kept_children");
    let (log, scene) = (dir.join("log"), png());
    let decoder = noting(&log, "", Limits::default());
    let picture = || decoder.picture_bytes(&scene, "scene").unwrap();
    for n in 1..=300 {
        picture();
        assert_eq!(noted(&log).len(), if n <= 256 { 1 } else { 2 }, "picture {n}");
    }
    // What happens to one that waits is no picture's fault.
    let waiting = noted(&log).pop().unwrap();
    let kill = format!("kill -9 {waiting}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let begun = Instant::now();
    while is_alive(&waiting) && begun.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    picture();
    assert_eq!(noted(&log).len(), 3);
    // One for each thread at the most, which clones share.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let decoder = decoder.clone();
            let scene = &scene;
            scope.spawn(move || {
                (0..20).for_each(|_| drop(decoder.picture_bytes(scene, "scene").unwrap()))
            });
        }
    });
    assert!((3..=6).contains(&noted(&log).len()), "{:?}", noted(&log));
    drop(decoder);
    assert!(!noted(&log).iter().any(|child| is_running(child)), "a child is left");
}

/// Whether a process runs and is no zombie.
fn is_alive(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// What the system says that a child may have.
#[cfg(target_os = "linux")]
#[test]
fn children_may_open_write_and_start_nothing() {
    let log = dir("limited_children").join("log");
    let path = log.with_file_name("open");
    let _open = std::fs::File::create(&path).unwrap();
    let decoder = noting(&log, "", Limits { cpu: 7, ..Limits::default() });
    decoder.picture_bytes(&png(), "scene").unwrap();
    let child = noted(&log).pop().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).expect(name);
        let mut words = line[name.len()..].split_whitespace();
        [words.next().unwrap().to_owned(), words.next().unwrap().to_owned()]
    };
    for name in ["Max open files", "Max file size", "Max core file size", "Max processes"] {
        assert_eq!(limit(name), ["0", "0"], "{name}");
    }
    assert_eq!(limit("Max address space"), [(1 << 30).to_string(), (1 << 30).to_string()]);
    assert_eq!(limit("Max cpu time")[0], "8");
    let files = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    let files = files.map(|file| std::fs::read_link(file.unwrap().path()).unwrap());
    assert!(files.into_iter().all(|file| file != path), "the parent's file is open");
    let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    assert!(!environment.contains("CARGO"), "{environment}");
}

/// A picture that a decoder fails at is a bad sample of a data set, and no more.
#[test]
fn data_sets_survive_their_pictures() {
    let dir = dir("decoded_data");
    let (log, mark) = (dir.join("log"), dir.join("mark"));
    for class in ["bad", "good"] {
        std::fs::create_dir(dir.join(class)).unwrap();
        file(&dir, &format!("{class}/scene.png"), &png());
    }
    let once = format!("[ -e {0} ] || {{ : > {0}; kill -9 $$; }}", mark.display());
    let decoder = noting(&log, &once, Limits::default());
    let config =
        DatasetConfig::Folder { path: dir, frames: None, request: None, licence: None, share: 1.0 };
    let options = OpenOptions { seed: 1, split: Split::Train, val_share: 0.0, picture_size: 8 };
    let data = config.open(&options, &decoder).unwrap();
    let example = |index| data.example(At { epoch: 0, index, progress: 0.0 });
    let error = example(0).unwrap_err().to_string();
    assert!(error.contains("bad/scene.png") && error.contains("signal: 9"), "{error}");
    assert_eq!((example(1).unwrap().media.len(), noted(&log).len()), (1, 2));
}

/// The command has a child once it was given a picture, and none is left of it.
#[cfg(target_os = "linux")]
#[test]
fn commands_decode_in_children() {
    let scene = file(&dir("chat_decodes"), "scene.png", &png());
    let mut chat = Command::new(PROGRAM)
        .args(["chat", "--model", model()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = chat.stdin.take().unwrap();
    writeln!(stdin, "/image {scene}").unwrap();
    let mut said = BufReader::new(chat.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("64 x 64 pixels")));
    let parent = format!("\nPPid:\t{}\n", chat.id());
    let status = |process: &Path| std::fs::read_to_string(process.join("status"));
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let children: Vec<PathBuf> =
        processes.filter(|path| status(path).is_ok_and(|s| s.contains(&parent))).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    let words = std::fs::read_to_string(children[0].join("cmdline")).unwrap();
    assert!(words.contains("\0decode\0"), "{words}");
    drop(stdin);
    assert!(chat.wait().unwrap().success());
    assert!(!children[0].exists());
}
