//! Any bytes are a safetensors file or a typed error: no panic, and a heap of at most 4 x file + 1 MiB.
//!
//! What we read, the reference crate reads too. One test only, because the allocator counts the whole process.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use safetensors::tensor::{Dtype as TheirDtype, TensorView};
use sensorium_checkpoint::safetensors::{Dtype, read, write};
use sensorium_checkpoint::{Tensor, Tensors};
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
    /// Reads `bytes`; fails on a panic, a poor error, too much memory, or if only we read them.
    fn judge(&mut self, case: &str, bytes: &[u8]) -> bool {
        let (result, usage) = MEMORY.count(|| catch_unwind(AssertUnwindSafe(|| read(bytes))));
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
            Ok(ours) => {
                let theirs = safetensors::SafeTensors::deserialize(bytes)
                    .unwrap_or_else(|e| panic!("{case}: {e}"));
                assert_eq!(theirs.len(), ours.tensors.len(), "{case}");
                for (name, tensor) in &ours.tensors {
                    assert_eq!(theirs.tensor(name).unwrap().shape(), tensor.shape(), "{case}");
                }
                self.read += 1;
                true
            }
            Err(error) => {
                let text = error.to_string();
                let typed = text.starts_with("safetensors at byte ") && text.contains("\nhint: ");
                assert!(typed && text.len() < 1000, "{case}: {text}");
                self.refused += 1;
                false
            }
        }
    }

    fn refuse(&mut self, case: &str, bytes: &[u8]) {
        assert!(!self.judge(case, bytes), "{case}: was read");
    }
}

/// Valid files of at most 4 KiB: our own, and one of three dtypes by the reference crate.
fn fixtures() -> Vec<Vec<u8>> {
    let mut all = Tensors::default();
    for (name, shape) in
        [("b.weight", vec![2, 3]), ("a", vec![5]), ("scalar", vec![]), ("none", vec![0])]
    {
        let n = shape.iter().product();
        all.tensors.insert(name.to_owned(), Tensor::new(shape, vec![1.5; n]).unwrap());
    }
    all.metadata.insert("base".into(), "tiny".into());
    let view = |dtype, bytes| TensorView::new(dtype, vec![2, 2], bytes).unwrap();
    let (two, four) = ([7u8; 8], [7u8; 16]);
    let views = [
        ("f", view(TheirDtype::F32, &four[..])),
        ("h", view(TheirDtype::F16, &two[..])),
        ("b", view(TheirDtype::BF16, &two[..])),
    ];
    vec![
        write(&all, Dtype::F32).unwrap(),
        write(&all, Dtype::BF16).unwrap(),
        safetensors::serialize(views, None).unwrap(),
    ]
}

/// A file of this header and so many bytes of values.
fn file(header: &str, values: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + values, 1);
    bytes
}

/// Header and values of a valid file.
fn parts(valid: &[u8]) -> (&str, &[u8]) {
    let length = u64::from_le_bytes(valid[..8].try_into().unwrap()) as usize;
    (std::str::from_utf8(&valid[8..8 + length]).unwrap(), &valid[8 + length..])
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

/// One to four edits of the header's text (its length put right), words of the format among them.
fn mutant(valid: &[u8], seed: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "-1",
        "1e9",
        "null",
        "18446744073709551616",
        "\"F32\"",
        "\"I64\"",
        "\"shape\"",
        "\"__metadata__\":{},",
        "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
    ];
    let (header, values) = parts(valid);
    let mut text = header.as_bytes().to_vec();
    for edit in 0..1 + random(seed, 0) % 4 {
        let number =
            |i: u64, below: usize| (random(seed, edit * 8 + i + 1) % below.max(1) as u64) as usize;
        let at = number(0, text.len());
        let piece = at..text.len().min(at + 1 + number(1, 40));
        match number(2, 5) {
            0 if at < text.len() => text[at] = number(3, 256) as u8,
            1 if at < text.len() && text[at].is_ascii_digit() => {
                text[at] = b'0' + number(3, 10) as u8
            }
            2 => drop(text.drain(piece)),
            3 => {
                let copy = text[piece].to_vec();
                text.splice(at..at, copy);
            }
            _ => drop(text.splice(at..at, WORDS[number(4, WORDS.len())].bytes())),
        }
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.extend(values);
    bytes
}

fn truncations_and_bytes(tally: &mut Tally) {
    for (f, valid) in fixtures().iter().enumerate() {
        assert!(valid.len() <= 4096 && tally.judge("fixture", valid));
        for length in 0..valid.len() {
            tally.refuse(&format!("fixture {f} cut to {length}"), &valid[..length]);
        }
        for at in 0..valid.len() {
            let old = valid[at];
            for new in [0, 1, 0x7F, 0x80, 0xFF, old ^ 1, old ^ 0x80] {
                let mut bytes = valid.clone();
                bytes[at] = new;
                tally.judge(&format!("fixture {f} byte {at} = {new}"), &bytes);
            }
        }
        for new in boundaries(valid.len() as u64, 8, valid.len()) {
            let mut bytes = valid.clone();
            bytes[..8].copy_from_slice(&new.to_le_bytes());
            tally.judge(&format!("fixture {f} header length {new}"), &bytes);
        }
    }
}

/// Every number of the header, at 16 values and as things that are no number.
fn fields(tally: &mut Tally) {
    for (f, valid) in fixtures().iter().enumerate() {
        let (header, values) = parts(valid);
        let digit = |at: usize| header.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        for begin in (0..header.len()).filter(|&at| digit(at) && !digit(at.wrapping_sub(1))) {
            let end = (begin..).find(|&at| !digit(at)).unwrap();
            let old = header[begin..end].parse().unwrap();
            let numbers = boundaries(old, 8 + header.len(), valid.len()).map(|n| n.to_string());
            let others =
                ["-1", "1.5", "null", "\"1\"", "[]", "18446744073709551616"].map(String::from);
            for new in numbers.iter().chain(&others) {
                let text = [&header[..begin], new, &header[end..]].concat();
                tally.judge(
                    &format!("fixture {f} number at {begin} = {new}"),
                    &file(&text, values.len()),
                );
            }
        }
    }
}

fn mutants(tally: &mut Tally) {
    let fixtures = fixtures();
    for seed in 0..20_000 {
        let valid = &fixtures[seed as usize % fixtures.len()];
        tally.judge(&format!("mutant {seed}"), &mutant(valid, seed));
    }
}

fn sizes_that_overflow(tally: &mut Tally) {
    let dims = [0, 1, 1u64 << 16, 1 << 31, 1 << 32, 1 << 40, (1 << 42) + 1, 1 << 62, (1 << 63) - 1];
    for (a, b) in dims.iter().flat_map(|&a| dims.iter().map(move |&b| (a, b))) {
        for dtype in ["F32", "F16", "BF16", "I64", "F8_E4M3", "BOOL", ""] {
            for shape in
                [format!("{a},{b}"), format!("{a},{b},{a},{b}"), format!("{a},1,1,1,1,1,1,1,{b}")]
            {
                let header = format!(
                    "{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[0,64]}}}}"
                );
                tally.refuse(&format!("[{shape}] of {dtype}"), &file(&header, 64));
            }
        }
    }
}

fn ranges(tally: &mut Tally) {
    let entry = |name: &str, begin: u64, end: u64| {
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[{begin},{end}]}}")
    };
    let two = |first: String, second: String, bytes| file(&format!("{{{first},{second}}}"), bytes);
    assert!(tally.judge("two tensors", &two(entry("a", 0, 32), entry("b", 32, 64), 64)));
    assert!(tally.judge(
        "names in another order than values",
        &two(entry("a", 32, 64), entry("b", 0, 32), 64)
    ));
    for (case, bytes) in [
        ("overlap", two(entry("a", 0, 32), entry("b", 0, 32), 64)),
        ("partial overlap", two(entry("a", 0, 32), entry("b", 31, 63), 63)),
        ("gap", two(entry("a", 0, 32), entry("b", 64, 96), 96)),
        ("hole at the start", two(entry("a", 4, 36), entry("b", 36, 68), 68)),
        ("past the end", two(entry("a", 0, 32), entry("b", 32, 64), 63)),
        ("hole at the end", two(entry("a", 0, 32), entry("b", 32, 64), 65)),
        ("backwards", two(entry("a", 32, 0), entry("b", 0, 32), 32)),
        ("duplicate name", two(entry("a", 0, 32), entry("a", 32, 64), 64)),
        ("duplicate name and range", two(entry("a", 0, 32), entry("a", 0, 32), 32)),
        ("duplicate metadata", file("{\"__metadata__\":{},\"__metadata__\":{}}", 0)),
        ("duplicate metadata key", file("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0)),
        ("metadata of numbers", file("{\"__metadata__\":{\"a\":1}}", 0)),
        (
            "a field of no name",
            file("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0),
        ),
        ("no JSON", file("{", 0)),
        ("an array", file("[]", 0)),
        ("a leading space", file(" {}", 0)),
        ("two objects", file("{}{}", 0)),
        ("deep nesting", file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0)),
    ] {
        tally.refuse(case, &bytes);
    }
}

/// Pickles and archives, under every first bytes that they have.
fn other_formats(tally: &mut Tally) {
    for protocol in 2..=5u8 {
        for tail in 0..12u8 {
            let bytes: Vec<u8> = [0x80, protocol]
                .into_iter()
                .chain((0..40).map(|i: u8| i.wrapping_mul(tail)))
                .collect();
            tally.refuse("pickle", &bytes);
        }
    }
    for magic in [
        &b"PK\x03\x04"[..],
        b"PK\x05\x06",
        b"PK\x07\x08",
        b"GGUF\x03\0\0\0\0\0\0\0",
        b"version https://git-lfs",
    ] {
        tally.refuse("another format", magic);
    }
    // A header of 640 bytes starts as a pickle does, and is none.
    assert!(tally.judge("640", &file(&format!("{{}}{}", " ".repeat(638)), 0)));
}

/// As many of the smallest entries as fit: what a parser keeps of each must stay in proportion.
fn small_entries(tally: &mut Tally) {
    let tensor =
        |i: usize| format!("\"{i:x}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let metadata = |i: usize| format!("\"{i:x}\":\"\"");
    let list =
        |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    assert!(tally.judge("100,000 tensors", &file(&format!("{{{}}}", list(100_000, &tensor)), 0)));
    tally.refuse("262,145 tensors", &file(&format!("{{{}}}", list(262_145, &tensor)), 0));
    assert!(tally.judge(
        "4,096 entries",
        &file(&format!("{{\"__metadata__\":{{{}}}}}", list(4_096, &metadata)), 0)
    ));
    tally.refuse(
        "500,000 entries",
        &file(&format!("{{\"__metadata__\":{{{}}}}}", list(500_000, &metadata)), 0),
    );
    let ones = "1,".repeat(1 << 20);
    tally.refuse(
        "2^20 dimensions",
        &file(
            &format!("{{\"a\":{{\"shape\":[{ones}1],\"dtype\":\"F32\",\"data_offsets\":[0,4]}}}}"),
            4,
        ),
    );
    let long = "x".repeat(4 << 20);
    tally.refuse("a name of 4 MiB in an error", &file(&format!("{{\"{long}\":1}}"), 0));
    tally.refuse(
        "a dtype of 4 MiB in an error",
        &file(
            &format!("{{\"a\":{{\"dtype\":\"{long}\",\"shape\":[],\"data_offsets\":[0,4]}}}}"),
            4,
        ),
    );
    let half = format!(
        "{{\"a\":{{\"dtype\":\"F16\",\"shape\":[{}],\"data_offsets\":[0,{}]}}}}",
        4 << 20,
        8 << 20
    );
    assert!(tally.judge("8 MiB of halves", &file(&half, 8 << 20)));
}

#[test]
fn any_bytes_are_a_file_or_a_typed_error_in_bounded_memory() {
    let mut tally = Tally::default();
    let parts: [Part; 7] = [
        ("truncations and bytes", truncations_and_bytes),
        ("fields", fields),
        ("mutants", mutants),
        ("sizes that overflow", sizes_that_overflow),
        ("ranges", ranges),
        ("other formats", other_formats),
        ("small entries", small_entries),
    ];
    for (name, part) in parts {
        let before = tally.cases;
        part(&mut tally);
        println!("{name}: {} cases", tally.cases - before);
    }
    let Tally { cases, read, refused, peak } = tally;
    println!("cases {cases}, read {read}, refused {refused}, failures 0, peak heap {peak} bytes");
    assert!(cases >= 6_000 && read > 1_000 && refused > 1_000);
}
