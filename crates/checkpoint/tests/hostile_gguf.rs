//! Any bytes are a GGUF file or a typed error: no panic, and a heap of at most 4 x file + 1 MiB.
//!
//! One test only, because the allocator counts the whole process.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use sensorium_checkpoint::gguf::{Array, Gguf, Kind, Metadata, Source, Value, write};
use sensorium_testkit::CountingAllocator;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[global_allocator]
static MEMORY: CountingAllocator = CountingAllocator::new();

/// A name and the cases behind it.
type Part = (&'static str, fn(&mut Tally));

/// What came of the cases so far.
#[derive(Default)]
struct Tally {
    cases: usize,
    read: usize,
    refused: usize,
    peak: usize,
}

impl Tally {
    /// Parses `bytes` and reads every tensor; fails on a panic, a poor error or too much memory.
    fn judge(&mut self, case: &str, bytes: &[u8]) -> bool {
        let work = || {
            Gguf::parse(bytes)
                .and_then(|file| file.tensors().iter().try_for_each(|t| t.tensor().map(|_| ())))
        };
        let (result, usage) = MEMORY.count(|| catch_unwind(AssertUnwindSafe(work)));
        let result = result.unwrap_or_else(|_| panic!("{case}: panicked"));
        assert!(
            usage.peak <= 4 * bytes.len() + (1 << 20),
            "{case}: {} bytes of heap for {}",
            usage.peak,
            bytes.len()
        );
        self.cases += 1;
        self.peak = self.peak.max(usage.peak);
        match result {
            Ok(()) => self.read += 1,
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("GGUF at byte ")
                        && text.contains("\nhint: ")
                        && text.len() < 1000,
                    "{case}: {text}"
                );
                self.refused += 1;
                return false;
            }
        }
        true
    }

    fn refuse(&mut self, case: &str, bytes: &[u8]) {
        assert!(!self.judge(case, bytes), "{case}: was read");
    }
}

/// Valid files of at most 4 KiB.
fn fixtures() -> Vec<Vec<u8>> {
    let x: Vec<f32> = (0..256).map(|i| i as f32 / 7.0 - 9.0).collect();
    let source = |name, shape: &'static [usize], kind| {
        let data = &x[..shape.iter().product()];
        Source { name, shape, data, kind }
    };
    let mut metadata = Metadata::new();
    for (key, value) in [
        ("general.architecture", Value::String("llama".into())),
        ("n", Value::U32(3)),
        ("on", Value::Bool(true)),
        ("tokens", Value::Array(Array::String(vec!["a".into(), "bc".into()]))),
        ("scores", Value::Array(Array::F32(vec![0.5, 1.5]))),
        (
            "nested",
            Value::Array(Array::Array(vec![Array::U8(vec![1, 2]), Array::Bool(vec![true])])),
        ),
        ("large", Value::U64(1 << 40)),
    ] {
        metadata.set(key, value);
    }
    let kinds = [
        source("a", &[64], Kind::F32),
        source("b", &[2, 32], Kind::F16),
        source("c", &[2, 1, 32], Kind::Q8_0),
    ];
    let mut odd = Metadata::new();
    odd.set("general.alignment", Value::U32(1));
    let mut second = write(&odd, &kinds[2..]).unwrap();
    second[4] = 2;
    let blocks = [
        source("d", &[2, 32], Kind::Q4_0),
        source("e", &[64], Kind::Q4_1),
        source("f", &[1, 256], Kind::Q4_K),
        source("g", &[256], Kind::Q6_K),
        source("h", &[3, 5], Kind::BF16),
    ];
    let more = [
        source("i", &[2, 32], Kind::Q5_0),
        source("j", &[64], Kind::Q5_1),
        source("k", &[1, 256], Kind::Q2_K),
        source("l", &[256], Kind::Q3_K),
        source("m", &[256], Kind::Q5_K),
        source("n", &[32], Kind::IQ4_NL),
        source("o", &[1, 1, 256], Kind::IQ4_XS),
    ];
    vec![
        write(&metadata, &kinds).unwrap(),
        second,
        write(&metadata, &[]).unwrap(),
        write(&Metadata::new(), &blocks).unwrap(),
        write(&Metadata::new(), &more).unwrap(),
    ]
}

/// The values that break parsers, for a field at `at` with the value `n`.
fn boundaries(n: u64, at: usize, file: usize) -> [u64; 16] {
    let (file, left) = (file as u64, file.saturating_sub(at) as u64);
    [
        0,
        1,
        n.wrapping_sub(1),
        n.wrapping_add(1),
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        1 << 40,
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
        file,
        file + 1,
        left,
        left + 1,
    ]
}

/// Numbers from (seed, index): SplitMix64.
fn random(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One to four edits: a byte, a boundary value, a removed, repeated or inserted piece.
fn mutant(valid: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for edit in 0..1 + random(seed, 0) % 4 {
        let number =
            |i: u64, below: usize| (random(seed, edit * 8 + i + 1) % below.max(1) as u64) as usize;
        let at = number(0, bytes.len());
        let piece = at..bytes.len().min(at + 1 + number(1, 64));
        match number(2, 5) {
            0 if at < bytes.len() => bytes[at] = number(3, 256) as u8,
            1 if at + 8 <= bytes.len() => {
                let values = boundaries(8, at, bytes.len());
                bytes[at..at + 8].copy_from_slice(&values[number(4, 16)].to_le_bytes());
            }
            2 => drop(bytes.drain(piece)),
            3 => {
                let copy = bytes[piece].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => drop(bytes.splice(at..at, vec![number(5, 256) as u8; 1 + number(6, 64)])),
        }
    }
    bytes
}

/// A file by hand, with nothing checked.
struct Raw(Vec<u8>);

impl Raw {
    fn header(tensors: u64, metadata: u64) -> Self {
        let mut raw = Self(b"GGUF\x03\0\0\0".to_vec());
        raw.u64(tensors);
        raw.u64(metadata);
        raw
    }

    fn u32(&mut self, n: u32) {
        self.0.extend(n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn info(&mut self, name: &str, dims: &[u64], code: u32, offset: u64) {
        self.string(name);
        self.u32(dims.len() as u32);
        dims.iter().for_each(|&dim| self.u64(dim));
        self.u32(code);
        self.u64(offset);
    }

    /// Padding, then `n` bytes of values.
    fn values(mut self, n: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32), 0);
        self.0.resize(self.0.len() + n, 1);
        self.0
    }
}

fn truncations_and_bytes(tally: &mut Tally) {
    for (f, valid) in fixtures().iter().enumerate() {
        assert!(valid.len() <= 4096 && tally.judge("fixture", valid));
        for length in 0..valid.len() {
            tally.judge(&format!("fixture {f} cut to {length}"), &valid[..length]);
        }
        for at in 0..valid.len() {
            let old = valid[at];
            for new in [0, 1, 0x7F, 0x80, 0xFF, old ^ 1, old ^ 0x80] {
                let mut bytes = valid.clone();
                bytes[at] = new;
                tally.judge(&format!("fixture {f} byte {at} = {new}"), &bytes);
            }
        }
    }
}

/// Every length, count, offset, type and dimension, because every offset: as `u64` and as `u32`.
fn fields(tally: &mut Tally) {
    for (f, valid) in fixtures().iter().enumerate() {
        for at in 0..valid.len().min(700) {
            for width in [4, 8] {
                let Some(field) = valid.get(at..at + width) else { continue };
                let mut old = [0; 8];
                old[..width].copy_from_slice(field);
                for new in boundaries(u64::from_le_bytes(old), at + width, valid.len()) {
                    let mut bytes = valid.clone();
                    bytes[at..at + width].copy_from_slice(&new.to_le_bytes()[..width]);
                    tally.judge(&format!("fixture {f} u{} at {at} = {new}", width * 8), &bytes);
                }
            }
        }
    }
}

fn mutants(tally: &mut Tally) {
    let fixtures = fixtures();
    for seed in 0..400_000 {
        let valid = &fixtures[seed as usize % fixtures.len()];
        tally.judge(&format!("mutant {seed}"), &mutant(valid, seed));
    }
}

fn sizes_that_overflow(tally: &mut Tally) {
    let dims = [0, 1, 1 << 16, 1 << 31, 1 << 32, 1 << 40, (1 << 42) + 1, 1 << 62, (1 << 63) - 1];
    for (a, b) in dims.iter().flat_map(|&a| dims.iter().map(move |&b| (a, b))) {
        for code in 0..45 {
            for dims in [vec![a, b], vec![32, a, b], vec![a, b, a, b]] {
                let mut raw = Raw::header(1, 0);
                raw.info("blk.0.weight", &dims, code, 0);
                let read = tally.judge(&format!("{dims:?} of type {code}"), &raw.values(63));
                let n = dims.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim));
                let fits = n.is_some_and(|n| n <= 63);
                assert!(!read || fits, "{dims:?} of type {code} has more than 63 bytes");
            }
        }
    }
}

fn ranges(tally: &mut Tally) {
    let two = |first: u64, second: u64, bytes: usize| {
        let mut raw = Raw::header(2, 0);
        raw.info("a", &[8], 0, first);
        raw.info("b", &[8], 0, second);
        raw.values(bytes)
    };
    assert!(tally.judge("two tensors", &two(0, 32, 64)));
    assert!(tally.judge("bytes behind the last", &two(0, 32, 96)));
    assert!(tally.judge("a byte behind the last", &two(0, 32, 65)));
    for (case, bytes) in [
        ("overlap", two(0, 0, 64)),
        ("gap", two(0, 64, 96)),
        ("swap", two(32, 0, 64)),
        ("off by one", two(0, 33, 65)),
        ("past the end", two(0, 32, 63)),
        ("wrap", two(0, u64::MAX - 31, 64)),
    ] {
        tally.refuse(case, &bytes);
    }
    let mut raw = Raw::header(2, 0);
    raw.info("same", &[8], 0, 0);
    raw.info("same", &[8], 0, 32);
    tally.refuse("duplicate tensor", &raw.values(64));
    let mut raw = Raw::header(0, 2);
    for _ in 0..2 {
        raw.string("key");
        raw.u32(0);
        raw.0.push(1);
    }
    tally.refuse("duplicate key", &raw.0);
}

/// Files that hurt peers: sizes asked for by a few bytes, a division by an alignment of 0, deep nesting.
fn named(tally: &mut Tally) {
    tally.refuse("24 bytes that ask for all tensors", &Raw::header(u64::MAX, 0).0);
    tally.refuse("24 bytes that ask for all metadata", &Raw::header(0, 1 << 62).0);
    for alignment in [0u32, 3, 24, 1 << 17, u32::MAX] {
        let mut raw = Raw::header(0, 1);
        raw.string("general.alignment");
        raw.u32(4);
        raw.u32(alignment);
        tally.refuse("alignment", &raw.0);
    }
    for depth in [1, 63, 64, 65, 100_000] {
        let mut raw = Raw::header(0, 1);
        raw.string("deep");
        raw.u32(9);
        for _ in 0..depth {
            raw.u32(9);
            raw.u64(1);
        }
        raw.u32(0);
        raw.u64(0);
        assert_eq!(tally.judge(&format!("{depth} deep"), &raw.0), depth <= 64);
    }
    for count in [1 << 22, (1 << 22) + 1, 1 << 40] {
        let mut raw = Raw::header(0, 1);
        raw.string("tokens");
        raw.u32(9);
        raw.u32(8);
        raw.u64(count);
        tally.refuse("an array of strings that are not there", &raw.0);
    }
}

/// Text in another encoding is read as Latin-1, at twice its length.
fn texts(tally: &mut Tally) {
    let mut raw = Raw::header(0, 1);
    raw.string("general.description");
    raw.u32(8);
    raw.u64(1 << 20);
    raw.0.resize(raw.0.len() + (1 << 20), 0xe9);
    assert!(tally.judge("a megabyte of Latin-1", &raw.0));
    let file = Gguf::parse(&raw.0).unwrap();
    let text = file.metadata.string("general.description").unwrap();
    assert!(text.starts_with("ééé") && text.len() == 2 << 20);
}

/// As many of the smallest entries as fit: what a parser keeps of each must stay in proportion.
fn small_entries(tally: &mut Tally) {
    let mut raw = Raw::header(0, 65_536);
    for i in 0..65_536u32 {
        raw.string(&format!("{i:x}"));
        raw.u32(7);
        raw.0.push(1);
    }
    assert!(tally.judge("65,536 bools", &raw.0));
    let mut raw = Raw::header(100_000, 0);
    (0..100_000).for_each(|i| raw.info(&format!("{i:x}"), &[0], 0, 0));
    assert!(tally.judge("100,000 empty tensors", &raw.values(0)));
    for (code, item) in [(8, &[0; 8][..]), (9, &[0; 12]), (0, &[0]), (7, &[1])] {
        let mut raw = Raw::header(0, 1);
        raw.string("k");
        raw.u32(9);
        raw.u32(code);
        raw.u64(500_000);
        (0..500_000).for_each(|_| raw.0.extend(item));
        assert!(tally.judge(&format!("500,000 elements of type {code}"), &raw.0));
    }
    let long = "x".repeat(4 << 20);
    let mut raw = Raw::header(1, 0);
    raw.info(&long, &[1], 2, 0);
    tally.refuse("a name of 4 MiB in an error", &raw.0);
}

/// Every scale of every kind as NaN and as infinity: the header is right, the tensor is refused and
/// the block named.
fn scales(tally: &mut Tally) {
    for (kind, places) in [
        (Kind::F32, &[2][..]),
        (Kind::F16, &[0]),
        (Kind::BF16, &[0]),
        (Kind::Q8_0, &[0]),
        (Kind::Q4_0, &[0]),
        (Kind::Q4_1, &[0, 2]),
        (Kind::Q5_0, &[0]),
        (Kind::Q5_1, &[0, 2]),
        (Kind::Q2_K, &[80, 82]),
        (Kind::Q3_K, &[108]),
        (Kind::Q4_K, &[0, 2]),
        (Kind::Q5_K, &[0, 2]),
        (Kind::Q6_K, &[208]),
        (Kind::IQ4_NL, &[0]),
        (Kind::IQ4_XS, &[0]),
    ] {
        let source = Source { name: "w", shape: &[3, 256], data: &[0.5; 768], kind };
        let valid = write(&Metadata::new(), &[source]).unwrap();
        let size = kind.block_bytes();
        let first = valid.len() - (3 * 256 / kind.block() * size).next_multiple_of(32);
        for (place, bits) in places.iter().flat_map(|p| [0x7F80u16, 0xFFC1].map(|bits| (p, bits))) {
            let is_half = !matches!(kind, Kind::F32 | Kind::BF16);
            let bits = if is_half { bits << 3 | 0x7C00 } else { bits };
            let mut bytes = valid.clone();
            bytes[first + 2 * size + place..][..2].copy_from_slice(&bits.to_le_bytes());
            tally.refuse("a scale that is no number", &bytes);
            let file = Gguf::parse(&bytes).unwrap();
            let text = file.get("w").unwrap().tensor().unwrap_err().to_string();
            let place = format!("byte {}: tensor \"w\", block 2 of {kind:?}", first + 2 * size);
            assert!(text.contains(&place), "{text}");
        }
    }
}

/// A large file is opened without its values; one tensor of Q4_0 unpacks to 7.2 times its bytes.
fn large(tally: &mut Tally) {
    let mut raw = Raw::header(1, 0);
    raw.info("w", &[1 << 23], 2, 0);
    let bytes = raw.values((1 << 18) * 18);
    let (file, usage) = MEMORY.count(|| Gguf::parse(&bytes).unwrap());
    assert!(usage.peak < 4096, "{}", usage.peak);
    let (tensor, usage) = MEMORY.count(|| file.get("w").unwrap().tensor());
    assert!(tensor.is_ok() && usage.peak <= bytes.len() * 36 / 5 + 4096, "{}", usage.peak);
    drop(tensor);
    let long = "x".repeat((16 << 20) + 1);
    let mut raw = Raw::header(0, 1);
    raw.string(&long);
    raw.u32(7);
    raw.0.push(1);
    tally.refuse("a key above the limit", &raw.0);
}

#[test]
fn any_bytes_are_a_file_or_a_typed_error_in_bounded_memory() {
    let mut tally = Tally::default();
    let parts: [Part; 10] = [
        ("truncations and bytes", truncations_and_bytes),
        ("fields", fields),
        ("mutants", mutants),
        ("sizes that overflow", sizes_that_overflow),
        ("ranges", ranges),
        ("named", named),
        ("texts", texts),
        ("small entries", small_entries),
        ("scales", scales),
        ("large", large),
    ];
    for (name, part) in parts {
        let before = tally.cases;
        part(&mut tally);
        println!("{name}: {} cases", tally.cases - before);
    }
    let Tally { cases, read, refused, peak } = tally;
    println!("cases {cases}, read {read}, refused {refused}, failures 0, peak heap {peak} bytes");
    assert!(cases >= 400_000 && read > 1_000 && refused > 1_000);
}
