//! Decoding equals libsndfile's and FFmpeg's (`reference/sound.py`), and bad input is refused.

use std::path::{Path, PathBuf};

use sensorium_media::sound::{Sound, SoundError};

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    rate: u32,
    expected: String,
    tolerance: f32,
    delay: usize,
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/sound")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(goldens().join(name)).expect("goldens/sound is committed")
}

/// The largest difference of what both hold, without the last tenth, which codecs shape.
fn apart(got: &[f32], want: &[f32]) -> f32 {
    let n = got.len().min(want.len()) * 9 / 10;
    got[..n].iter().zip(&want[..n]).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn every_format_equals_its_reference() {
    let cases: Vec<Case> = serde_json::from_slice(&bytes("cases.json")).expect("JSON");
    assert_eq!(cases.len(), 37);
    for case in cases {
        let got = Sound::read(&goldens().join(&case.file)).expect(&case.file);
        let want = Sound::read(&goldens().join(&case.expected)).expect(&case.expected).samples;
        assert_eq!(got.rate, case.rate, "{}", case.file);
        let exact = case.delay == 0 && case.tolerance < 1e-6;
        assert!(!exact || got.samples.len() == want.len(), "{}", case.file);
        assert!(got.samples.len() + case.delay >= want.len(), "{}", case.file);
        let delays = 0..=case.delay.min(got.samples.len() / 2);
        let best = delays.map(|delay| apart(&got.samples[delay..], &want)).fold(1.0, f32::min);
        assert!(best <= case.tolerance, "{}: {best}", case.file);
    }
}

#[test]
fn a_tag_before_an_mp3_is_skipped() {
    let plain = bytes("mono.mp3");
    let mut tagged = b"ID3\x04\0\0\0\0\x02\x01".to_vec();
    tagged.resize(10 + 257, 7);
    tagged.extend(&plain);
    let decode = |bytes: &[u8]| Sound::decode(bytes, "tagged").expect("it decodes");
    assert_eq!(decode(&tagged), decode(&plain));
}

/// A WAV of 16-bit samples whose header says what is asked.
fn wav(rate: u32, channels: u16, claimed: u32, data: &[u8]) -> Vec<u8> {
    let align = channels.wrapping_mul(2);
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0".to_vec();
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend(rate.wrapping_mul(u32::from(align)).to_le_bytes());
    wav.extend(align.to_le_bytes());
    wav.extend(b"\x10\0data");
    wav.extend(claimed.to_le_bytes());
    wav.extend(data);
    wav
}

fn refused(bytes: &[u8]) -> SoundError {
    let error = Sound::decode(bytes, "part 3").expect_err("it is refused");
    let text = error.to_string();
    assert!(text.contains("part 3") && text.contains("\nhint: "), "{text}");
    error
}

#[test]
fn lengths_that_streams_cannot_know_are_counted() {
    let sound = Sound::decode(&wav(16_000, 1, u32::MAX, &[0, 64, 0, 192, 9]), "stream");
    assert_eq!(sound.expect("it decodes").samples, [0.5, -0.5]);
}

#[test]
fn claims_are_checked_before_anything_is_decoded() {
    for (rate, channels) in [(0, 1), (400_000, 1), (u32::MAX / 2, 1), (16_000, 9)] {
        let error = refused(&wav(rate, channels, 4, &[0; 4]));
        assert!(matches!(error, SoundError::Spec { .. }), "{error}");
    }
    assert!(matches!(refused(&wav(16_000, 0, 4, &[0; 4])), SoundError::Damaged { .. }));
}

#[test]
fn what_is_no_sound_is_named() {
    let names = [
        (b"".to_vec(), "0 bytes"),
        (wav(16_000, 1, 0, &[]), "0 samples"),
        (wav(16_000, 1, 4, &[1, 2])[..30].to_vec(), "end of file"),
        (b"GIF89a\x01\0\x01\0".to_vec(), "a GIF picture"),
        (b"hello, I am text".to_vec(), "text"),
    ];
    for (bytes, words) in names {
        let text = refused(&bytes).to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
    for (value, at) in [(f32::NAN, 0), (f32::INFINITY, 0), (f32::NEG_INFINITY, 0)] {
        let mut float = bytes("float.wav");
        let place = float.len() - 4 * 2_400;
        float[place..place + 4].copy_from_slice(&value.to_le_bytes());
        let error = refused(&float);
        assert!(matches!(error, SoundError::NotFinite { at: found, .. } if found == at), "{error}");
    }
    assert!(matches!(Sound::read(Path::new("no/such.wav")), Err(SoundError::Missing { .. })));
    assert!(matches!(Sound::read(&goldens()), Err(SoundError::Unreadable { .. })));
}
