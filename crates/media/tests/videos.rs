//! Frames equal Pillow's and FFmpeg's (`reference/video.py`), and bad input is refused.

use std::path::{Path, PathBuf};

use sensorium_media::video::MAX_SAMPLED;
use sensorium_media::{Error, Picture, Sampling, Video};

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    frames: usize,
    seconds: Vec<f64>,
    duration: f64,
    tolerance: u8,
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/video")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(goldens().join(name)).expect("goldens/video is committed")
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&bytes("cases.json")).expect("JSON")
}

fn decode(bytes: &[u8], frames: usize) -> Result<Video, Error> {
    Video::decode(bytes, "a video", Sampling::Frames(frames))
}

#[test]
fn every_format_equals_its_reference() {
    assert_eq!(cases().len(), 10);
    for Case { file, frames, seconds, duration, tolerance } in cases() {
        let video = decode(&bytes(&file), frames).expect(&file);
        let near = |a: f64, b: f64| (a - b).abs() < 2e-3;
        assert!(near(video.duration, duration), "{file}: {} s, not {duration}", video.duration);
        let begins: Vec<f64> = video.frames.iter().map(|frame| frame.seconds).collect();
        let same = begins.len() == seconds.len();
        let same = same && begins.iter().zip(&seconds).all(|(a, b)| near(*a, *b));
        assert!(same, "{file}: {begins:?}, not {seconds:?}");
        let expected = Picture::read(&goldens().join(format!("{file}.png"))).expect(&file);
        let got: Vec<u8> = video.pictures().flat_map(|picture| picture.pixels.clone()).collect();
        assert_eq!(got.len(), expected.pixels.len(), "{file}");
        let apart = got.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(tolerance), "{file}: {apart:?} apart");
    }
}

#[test]
fn a_still_picture_is_a_video_of_one_frame() {
    let picture = Picture::filled(3, 2, [1, 2, 3]);
    let video = decode(&picture.to_png(), 8).unwrap();
    assert_eq!(video.pictures().collect::<Vec<_>>(), [&picture]);
}

#[test]
fn a_telephone_that_was_turned_gives_upright_frames() {
    let mut file = bytes("baseline.mp4");
    let header = file.windows(4).position(|name| name == b"tkhd").unwrap();
    let matrix = &mut file[header + 4 + 40..][..36];
    let turned: [i32; 9] = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30];
    matrix.copy_from_slice(&turned.map(i32::to_be_bytes).concat());
    let (straight, turned) = (decode(&bytes("baseline.mp4"), 1), decode(&file, 1));
    let (straight, turned) = (straight.unwrap(), turned.unwrap());
    let (straight, turned) = (&straight.frames[0].picture, &turned.frames[0].picture);
    assert_eq!([turned.width, turned.height], [straight.height, straight.width]);
    // Its upper right corner was the upper left one.
    let corner = (turned.width as usize - 1) * 3;
    assert_eq!(turned.pixels[corner..corner + 3], straight.pixels[..3]);
}

/// No panic, no endless loop: an error, or the frames that are there.
#[test]
fn cut_and_changed_files_are_refused_or_read() {
    let mut refused = 0;
    for Case { file, .. } in cases() {
        let whole = bytes(&file);
        for part in 0..64 {
            let cut = &whole[..whole.len() * part / 64];
            refused += usize::from(decode(cut, 4).is_err());
            let mut changed = whole.clone();
            let at = part * whole.len() / 64 + part % 7;
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 0xFF;
            }
            drop(decode(&changed, MAX_SAMPLED));
        }
    }
    assert!(refused > 300, "{refused} of 640");
}

#[test]
fn a_flood_of_frames_is_refused_by_its_blocks() {
    // A GIF of one pixel, its picture again and again.
    let head = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF";
    let frame = b"\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    let flood = [&head[..], &frame.repeat(100_000), b"\x3B"].concat();
    let error = decode(&flood, 8).unwrap_err().to_string();
    assert!(error.contains("at most 10000 frames") && error.contains("100000"), "{error}");
    let few = [&head[..], &frame.repeat(3), b"\x3B"].concat();
    assert_eq!(decode(&few, 8).unwrap().duration, 0.3);
}

#[test]
fn what_is_not_read_is_named() {
    let mut other = bytes("baseline.mp4");
    // The codec's own box under no name that is known.
    let at = other.windows(4).rposition(|name| name == b"avcC").unwrap();
    other[at..at + 4].copy_from_slice(b"wxyz");
    let error = decode(&other, 8).map(drop).unwrap_err().to_string();
    assert!(error.contains("H.264") && error.contains("ffmpeg"), "{error}");
    let error = decode(&bytes("film.mkv")[..40], 8).map(drop).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
}
