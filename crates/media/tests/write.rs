//! What is written is what our own decoders read, with its notes in it; what cannot be written is said before.

use std::fs;
use std::path::Path;

use sensorium_media::table::{Cell, Column, Kind as Holds};
use sensorium_media::video::Frame;
use sensorium_media::write::{Kind, check, encode, write};
use sensorium_media::{Media, MediaDecoder, Modality, Picture, Sampling, Sound, Table, Video};

/// A disc that goes from left to right, of colours that change from place to place.
fn picture(side: u32, at: u32) -> Picture {
    let pixel = |n: u32| {
        let (x, y) = (n % side, n / side);
        let (dx, dy) = (x as i32 - at as i32, y as i32 - side as i32 / 2);
        match dx * dx + dy * dy < (side * side / 16) as i32 {
            true => [200, 30, (y * 255 / side) as u8],
            false => [(x * 64 / side) as u8 + 190, 240, 250],
        }
    };
    Picture::new(side, side, (0..side * side).flat_map(pixel).collect())
        .expect("a pixel for each place")
}

fn video(side: u32) -> Video {
    let frame = |n: u32| Frame { picture: picture(side, n * 5), seconds: f64::from(n) * 0.25 };
    Video { frames: (0..8).map(frame).collect(), duration: 2.0 }
}

fn sound() -> Sound {
    let wave = (0..4000).map(|n| (n as f32 * 0.05).sin() * 1.1);
    Sound { rate: 16_000, samples: wave.map(|x| x.clamp(-1.0, 1.0)).collect(), warning: None }
}

fn table() -> Table {
    let column = |name: &str, kind, unit: Option<&str>, missing| Column {
        name: name.into(),
        kind,
        unit: unit.map(str::to_owned),
        missing,
    };
    let text = |text: &str| Cell::Category(text.into());
    Table {
        schema: vec![
            column("name", Holds::Category, None, 0),
            column("height (cm)", Holds::Number, Some("cm"), 1),
            column("ill", Holds::Boolean, None, 0),
            column("seen", Holds::Date, None, 1),
        ],
        rows: vec![
            vec![
                text("Ada, \"the\" first"),
                Cell::Number(0.1 + 0.2),
                Cell::Boolean(true),
                Cell::Missing,
            ],
            vec![text("two\nlines"), Cell::Missing, Cell::Boolean(false), Cell::Date(19_782.0)],
            vec![text("Żofia"), Cell::Number(-1e300), Cell::Boolean(false), Cell::Date(19_782.75)],
        ],
    }
}

fn notes() -> [(&'static str, String); 4] {
    let long = "a red circle ".repeat(40);
    [
        ("Title", "a café".into()),
        ("Software", "sensorium".into()),
        ("prompt", long),
        ("words", "ein Bär, Žižek".into()),
    ]
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The largest mean difference of a frame's pixels, in steps of 255.
fn difference(a: &Video, b: &Video) -> f64 {
    let frame = |(a, b): (&Picture, &Picture)| {
        let sum: u32 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        f64::from(sum) / a.pixels.len() as f64
    };
    a.pictures().zip(b.pictures()).map(frame).fold(0.0, f64::max)
}

#[test]
fn pictures_and_sounds_and_tables_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = MediaDecoder::here();
    let at = |name: &str| dir.path().join(name);

    let still = picture(33, 10);
    write(&Media::Image(still.clone()), &at("a.png"), &notes()).unwrap();
    assert_eq!(decoder.picture(&at("a.png")).unwrap(), still);

    write(&Media::Audio(sound()), &at("a.WAV"), &notes()).unwrap();
    let heard = decoder.whole_sound(&at("a.WAV"), 16_000).unwrap();
    let apart = |(a, b): (&f32, &f32)| (a - b).abs();
    assert_eq!(heard.samples.len(), sound().samples.len());
    let most = heard.samples.iter().zip(&sound().samples).map(apart).fold(0.0, f32::max);
    assert!(most <= 1.0 / 32_768.0, "{most}");

    for name in ["a.csv", "a.tsv", "a.jsonl"] {
        write(&Media::Table(table()), &at(name), &notes()).unwrap();
        assert_eq!(decoder.table(&at(name)).unwrap(), table(), "{name}");
    }
    for (name, software) in [("a.png", "Software\0sensorium"), ("a.WAV", "ISFT\x0a\0\0\0sensorium")]
    {
        let bytes = fs::read(at(name)).unwrap();
        for text in [software, &notes()[2].1, "ein Bär, Žižek"] {
            assert!(holds(&bytes, text), "{name} holds {text}");
        }
    }
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 5, "nothing else is left behind");
}

#[test]
fn videos_are_read_about_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = check(&dir.path().join("a.mp4"), Modality::Video).is_ok();
    // The name, how far the mean pixel may be off, and an edge of the frames.
    let cases = [("a.gif", 2.0, 40), ("a.apng", 0.0, 40), ("a.mp4", 4.0, 64), ("a.webm", 6.0, 64)];
    for (name, most, side) in cases.into_iter().take(if ffmpeg { 4 } else { 2 }) {
        let path = dir.path().join(name);
        write(&Media::Video(video(side)), &path, &notes()).unwrap();
        let seen = MediaDecoder::here().video(&path, Sampling::Frames(8)).unwrap();
        let seconds: Vec<f64> = seen.frames.iter().map(|frame| frame.seconds).collect();
        let expected: Vec<f64> = video(side).frames.iter().map(|frame| frame.seconds).collect();
        assert_eq!((seconds, seen.duration), (expected, 2.0), "{name}");
        let got = difference(&seen, &video(side));
        assert!(got <= most, "{name}: {got}");
        let bytes = fs::read(&path).unwrap();
        for text in ["sensorium", "ein Bär, Žižek"] {
            assert!(holds(&bytes, text), "{name} holds {text}");
        }
    }
    let gif = encode(&Media::Video(video(8)), Kind::Gif, &[]).unwrap();
    assert!(holds(&gif, "NETSCAPE2.0\x03\x01\0\0"), "it begins again for ever");
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder.png")).unwrap();
    let cases = [
        ("a.bmp", Modality::Image, ".png for a file of image, got .bmp in"),
        ("a", Modality::Image, "got none in"),
        ("a.png", Modality::Audio, ".wav for a file of audio, got .png, which holds image"),
        ("a.wav", Modality::Video, ".gif, .apng, .mp4, .webm for a file of video"),
        ("a.txt", Modality::Table, ".csv, .tsv, .jsonl"),
        ("none/a.png", Modality::Image, "no folder"),
        ("folder.png", Modality::Image, "a folder of that name"),
    ];
    for (name, modality, expected) in cases {
        let error = check(&dir.path().join(name), modality).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("\nhint: "), "{name}: {error}");
    }
    for kind in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Mp4 | Kind::Webm)) {
        let path = dir.path().join("a").with_extension(kind.extension());
        assert_eq!(check(&path, kind.modality()).unwrap(), kind);
    }
    let mut uneven = video(8);
    uneven.frames[3].picture = picture(9, 0);
    let refused = [
        (Media::Video(uneven.clone()), Kind::Gif, "several sizes"),
        (Media::Video(uneven), Kind::Apng, "several sizes"),
        (Media::Video(Video { frames: Vec::new(), duration: 0.0 }), Kind::Gif, "without frames"),
        (Media::Image(picture(8, 0)), Kind::Wav, "a medium of the kind image"),
    ];
    for (media, kind, expected) in refused {
        let error = encode(&media, kind, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_older_file_stays_when_the_new_one_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let media = |at| Media::Image(picture(16, at));
    write(&media(3), &path, &[]).unwrap();
    let before = fs::read(&path).unwrap();
    // A note's name may not be empty in a PNG.
    assert!(write(&media(9), &path, &[("", "x".into())]).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    // The neighbour under which a file is written first cannot be made.
    fs::create_dir(dir.path().join(".a.png.tmp")).unwrap();
    let error = write(&media(9), &path, &[]).unwrap_err().to_string();
    assert!(error.starts_with("expected to write "), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_dir(dir.path().join(".a.png.tmp")).unwrap();
    write(&media(9), &path, &[]).unwrap();
    assert_eq!(MediaDecoder::here().picture(Path::new(&path)).unwrap(), picture(16, 9));
}
