//! Decoding equals libsndfile's and FFmpeg's (`reference/sound.py`), and bad input is refused.

use std::path::{Path, PathBuf};

use sensorium_media::sound::{Sound, SoundError, SoundReader};

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
    assert_eq!(cases.len(), 49);
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

fn decode(bytes: &[u8]) -> Sound {
    Sound::decode(bytes, "a sound").expect("it decodes")
}

/// Read in pieces, every format gives the very samples that it gives whole.
#[test]
fn pieces_are_the_whole() {
    let cases: Vec<Case> = serde_json::from_slice(&bytes("cases.json")).expect("JSON");
    for file in cases.iter().flat_map(|case| [&case.file, &case.expected]) {
        let path = goldens().join(file);
        let whole = Sound::read(&path).expect(file).at_rate(16_000);
        let mut reader = SoundReader::open(&path, 16_000).expect(file);
        let pieces: Result<Vec<_>, _> = reader.by_ref().collect();
        assert!(pieces.expect(file).concat() == whole.samples, "{file}");
        assert_eq!((reader.warning(), whole.warning), (None, None), "{file}");
    }
}

/// Tags, the zeros of a download that began late, a server's answer: none of them is the sound.
#[test]
fn what_stands_in_front_is_skipped() {
    let id3 = [b"ID3\x04\0\0\0\0\x02\x01".as_slice(), &[7; 257]].concat();
    let mut ape = b"APETAGEX\xd0\x07\0\0\x48\0\0\0\x01\0\0\0\0\0\0\xa0".to_vec();
    ape.resize(32 + 40, 0);
    ape.extend_from_within(..20);
    ape.resize(32 + 72, 0);
    let http = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n".to_vec();
    let icy = b"ICY 200 OK\r\nicy-name: x\r\n\r\n".to_vec();
    let fronts = [id3, ape, http, icy, vec![0; 1], vec![0; 300_001]];
    for name in ["mono.mp3", "mono.aac", "mono.flac", "mono.ogg", "alac.m4a", "pcm_16.wav"] {
        let plain = bytes(name);
        let want = decode(&plain);
        for (i, front) in fronts.iter().enumerate() {
            assert_eq!(decode(&[front, &plain[..]].concat()), want, "{name} behind {i}");
        }
        assert_eq!(decode(&[&fronts.concat(), &plain[..]].concat()), want, "{name}");
    }
    // Cut inside of its first frame, or something unknown in front.
    for name in ["stereo.mp3", "mono.aac"] {
        let (plain, whole) = (bytes(name), decode(&bytes(name)));
        for begun in [plain[20..].to_vec(), [&[0x55; 1000], &plain[..]].concat()] {
            let lost = whole.samples.len().saturating_sub(decode(&begun).samples.len());
            assert!(lost <= 3 * 1152, "{name}: {lost}");
        }
    }
}

/// Neither is what programs leave behind it.
#[test]
fn what_stands_behind_is_ignored() {
    let behind: [&[u8]; 5] =
        [&[0], b"abcde", &[0xFF; 100], b"TAG a title and its singer", &[0; 64]];
    for name in ["pcm_16.wav", "pcm_16.aiff", "alac.m4a", "stereo.m4a", "opus.webm"] {
        let want = decode(&bytes(name));
        for junk in behind {
            let got = Sound::decode(&[&bytes(name)[..], junk].concat(), "a sound");
            assert_eq!(got.expect(name), want, "{name} before {junk:?}");
        }
    }
}

/// A FLAC ends where tags begin: ID3v1's, APE's with or without a header, one behind the other.
#[test]
fn tags_behind_a_flac_take_none_of_its_samples() {
    let id3 = [b"TAG".as_slice(), &[b'x'; 125]].concat();
    let tag = |size: u8, flags: u8| {
        let numbers = [0xD0, 7, 0, 0, size, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, flags];
        [b"APETAGEX".as_slice(), &numbers, &[0; 8]].concat()
    };
    let bare = [vec![b'x'; 40], tag(72, 0)].concat();
    let headed = [tag(72, 0xA0), vec![b'x'; 40], tag(72, 0x80)].concat();
    let both = [&headed[..], &id3].concat();
    for name in ["mono.flac", "stereo.flac"] {
        let plain = bytes(name);
        let want = decode(&plain);
        for (i, behind) in [&id3, &bare, &headed, &both].into_iter().enumerate() {
            assert_eq!(decode(&[&plain[..], behind].concat()), want, "{name} before {i}");
        }
    }
}

/// What is there is given, and told to be less than all.
#[test]
fn cut_sounds_are_read_as_far_as_they_go() {
    for (name, share) in [
        ("pcm_16.wav", 0.6),
        ("rf64.wav", 0.6),
        ("pcm_16.aiff", 0.6),
        ("float.aifc", 0.9),
        ("pcm_16.caf", 0.9),
        ("stereo.flac", 0.7),
        ("stereo.mp3", 0.5),
        ("mono.aac", 0.6),
        ("opus.webm", 0.6),
        ("aac.mkv", 0.8),
        ("fragments.m4a", 0.8),
    ] {
        let (plain, whole) = (bytes(name), decode(&bytes(name)));
        assert_eq!(whole.warning, None, "{name}");
        let cut = &plain[..(plain.len() as f64 * share) as usize];
        let cut = Sound::decode(cut, "a sound").expect(name);
        let warning = cut.warning.expect(name);
        assert!(warning.contains("a sound") && warning.contains("complete"), "{warning}");
        assert!(!cut.samples.is_empty() && cut.samples.len() < whole.samples.len(), "{name}");
        let same = cut.samples.len().saturating_sub(1200);
        assert_eq!(cut.samples[..same], whole.samples[..same], "{name}");
    }
    let whole = bytes("stereo.m4a");
    let error = refused(&whole[..whole.len() / 2]).to_string();
    assert!(error.contains("without its index (moov)"), "{error}");
}

#[test]
fn files_that_were_put_together_are_one_sound() {
    let parts = |names: &[&str]| names.iter().flat_map(|name| bytes(name)).collect::<Vec<u8>>();
    for (names, rate, least) in [
        (["mono.mp3", "stereo.mp3"], 16_000, 2 * 2400),
        (["stereo.mp3", "mono.mp3"], 44_100, 2 * 6615),
        (["stereo.mp3", "stereo.mp3"], 44_100, 2 * 6615),
        (["opus_mono.ogg", "opus_mono.ogg"], 48_000, 2 * 2880),
        (["mono.ogg", "opus_mono.ogg"], 16_000, 2400 + 960),
    ] {
        let got = decode(&parts(&names));
        let most = least + 5 * 1152;
        assert_eq!(got.rate, rate, "{names:?}");
        assert!((least..most).contains(&got.samples.len()), "{names:?}: {}", got.samples.len());
        let loud = |part: &[f32]| part.iter().any(|sample| sample.abs() > 0.2);
        assert!(loud(&got.samples[least * 3 / 4..]), "{names:?}");
    }
    let error = refused(&parts(&["mono.mp3", "stereo.mp3"]).repeat(20)).to_string();
    assert!(error.contains("again and again"), "{error}");
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

/// What recorders leave that die, and what programs write that do not know the end yet.
#[test]
fn lengths_of_wavs_are_those_of_their_data() {
    let data = [0, 64, 0, 192, 9];
    let unknown = [0, 0x7FFF_0000, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, u32::MAX];
    for claimed in unknown {
        let sound = decode(&wav(16_000, 1, claimed, &data));
        assert_eq!((&sound.samples[..], sound.warning), (&[0.5, -0.5][..], None), "{claimed:#x}");
    }
    for (claimed, named) in [(6, "of 3 samples"), (40, "of 20 samples"), (1 << 30, "samples")] {
        let sound = decode(&wav(16_000, 1, claimed, &data[..4]));
        assert_eq!(sound.samples, [0.5, -0.5], "{claimed}");
        let warning = sound.warning.expect("a warning");
        assert!(warning.contains(named) && warning.contains("got 2"), "{warning}");
    }
    let more = [&data[..4], b"LIST\x04\0\0\0INFO"].concat();
    assert_eq!(decode(&wav(16_000, 1, 4, &more)).samples, [0.5, -0.5]);
    assert!(matches!(refused(&wav(16_000, 1, 0, &more[4..])), SoundError::Empty { .. }));
    for (magic, size) in [(b"RF64", 4), (b"BW64", 4), (b"RF64", 0), (b"RF64", u64::MAX)] {
        let mut long = wav(16_000, 1, u32::MAX, &data[..4]);
        long[..4].copy_from_slice(magic);
        let sizes = [[0; 8], size.to_le_bytes(), [0; 8], [0; 8]].concat();
        long.splice(12..12, [b"ds64\x20\0\0\0".as_slice(), &sizes].concat());
        assert_eq!(decode(&long).samples, [0.5, -0.5], "{size:#x}");
    }
}

/// Programs differ in how long they make the description.
#[test]
fn descriptions_of_wavs_may_be_longer_than_they_need_be() {
    let plain = bytes("ulaw.wav");
    let place = plain.windows(4).position(|name| name == b"fmt ").expect("a description");
    let length = |size: u32| {
        let old = u32::from_le_bytes(plain[place + 4..place + 8].try_into().expect("4 bytes"));
        let mut wav = plain[..place + 24].to_vec();
        wav[place + 4..place + 8].copy_from_slice(&size.to_le_bytes());
        wav.resize(place + 8 + size as usize, 0);
        wav.extend(&plain[place + 8 + old as usize..]);
        decode(&wav)
    };
    for size in [16, 18, 20, 40] {
        assert_eq!(length(size), decode(&plain), "{size}");
    }
}

#[test]
fn rates_and_channels_are_such_as_sounds_have() {
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
        (vec![0; 70_000], "nothing but zeros"),
        (b"GIF89a\x01\0\x01\0".to_vec(), "a GIF picture"),
        (b"hello, I am text".to_vec(), "text"),
        (b"#!AMR-WB\n\x44\0\0".to_vec(), "an AMR sound\nhint: "),
        (b".snd\0\0\0\x18\0\0\0\x04\0\0\0\x17\0\0\x1F\x40\0\0\0\x01\0\0\0\0".to_vec(), "AU"),
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
