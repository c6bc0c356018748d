//! Log-mel features equal transformers'; `reference/whisper_mel.py` makes the goldens.

use sensorium_media::mel::{FRAMES, HOP, Mel};
use sensorium_testkit::{Golden, assert_tensor};

const CLOSE: f32 = 1e-5;

/// As in the script: whole numbers up to the last line.
fn wave(count: i64) -> Vec<f32> {
    let sample = |i: i64| {
        let noise = (i * i * 7919 + i * 104_729) % 65_536 - 32_768;
        let loudness = 1 + (i / 4000) % 9;
        ((noise * loudness) as f64 / f64::from(32_768 * 10)) as f32
    };
    (0..count).map(sample).collect()
}

fn check(golden: &Golden, name: &str, mel: &Mel, first: usize, count: usize) {
    let got = mel.window(first, count);
    assert_tensor(name, &[mel.bands, count], &got, &golden.outputs()[name], CLOSE);
}

#[test]
fn features_equal_transformers() {
    let golden = Golden::open("whisper_mel");
    let short = &golden.inputs()["short"].1;
    let long = wave(golden.config()["long"].as_i64().expect("a count"));
    for bands in [80, 128] {
        let mel = Mel::new(short, bands);
        assert_eq!(mel.frames, FRAMES);
        check(&golden, &format!("short.{bands}"), &mel, 0, 64);
        let mel = Mel::new(&long, bands);
        assert_eq!(mel.frames, long.len() / HOP);
        check(&golden, &format!("long.{bands}.first"), &mel, 0, 8);
        check(&golden, &format!("long.{bands}.middle"), &mel, 1500, 8);
        check(&golden, &format!("long.{bands}.last"), &mel, mel.frames - 8, 8);
    }
}
