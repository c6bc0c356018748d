//! Weights written by us are read by us and by others, bit for bit.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use half::{bf16, f16};
use safetensors::tensor::{Dtype as TheirDtype, TensorView};
use sensorium_checkpoint::gguf::{self, Array, Gguf, Kind, Metadata, Source, Value};
use sensorium_checkpoint::safetensors::{Dtype, load, read, write};
use sensorium_checkpoint::{Error, Tensor, Tensors};

/// Values with signs, fractions, subnormals and both zeros; all exact in f16.
fn values(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| (i as f32 - n as f32 / 2.0) / 8.0 * if i % 3 == 0 { -1.0 } else { 1.0 })
        .collect()
}

fn sample() -> Tensors {
    let mut all = Tensors::default();
    for (name, shape) in
        [("b.weight", vec![2, 3, 4]), ("a.bias", vec![5]), ("scalar", vec![]), ("none", vec![0, 3])]
    {
        let n = shape.iter().product();
        all.tensors.insert(name.to_owned(), Tensor::new(shape, values(n)).unwrap());
    }
    all.metadata.insert("base".into(), "tiny \"quoted\"".into());
    all.metadata.insert("step".into(), "120".into());
    all
}

#[test]
fn safetensors_read_back_equal_and_the_same_tensors_give_the_same_bytes() {
    let all = sample();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let bytes = write(&all, dtype).unwrap();
        assert_eq!(read(&bytes).unwrap(), all, "{dtype:?}");
        assert_eq!(bytes, write(&all.clone(), dtype).unwrap());
    }
}

#[test]
fn safetensors_of_ours_are_read_by_the_reference_crate() {
    let all = sample();
    let bytes = write(&all, Dtype::F32).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), all.tensors.len());
    for (name, tensor) in &all.tensors {
        let view = theirs.tensor(name).unwrap();
        let bytes: Vec<u8> = tensor.data().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(
            (view.dtype(), view.shape(), view.data()),
            (TheirDtype::F32, tensor.shape(), &bytes[..])
        );
    }
}

#[test]
fn safetensors_of_the_reference_crate_are_read_by_us() {
    let x = values(6);
    let single: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let half: Vec<u8> = x.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    let brain: Vec<u8> = x.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    let view = |dtype, bytes| TensorView::new(dtype, vec![2, 3], bytes).unwrap();
    let views = [
        ("single", view(TheirDtype::F32, &single)),
        ("half", view(TheirDtype::F16, &half)),
        ("brain", view(TheirDtype::BF16, &brain)),
    ];
    let all = read(&safetensors::serialize(views, None).unwrap()).unwrap();
    for name in ["single", "half", "brain"] {
        assert_eq!(*all.get(name).unwrap(), Tensor::new(vec![2, 3], x.clone()).unwrap(), "{name}");
    }
    let integers = [("ids", TensorView::new(TheirDtype::I64, vec![1], &[0; 8]).unwrap())];
    let text = read(&safetensors::serialize(integers, None).unwrap()).unwrap_err().to_string();
    assert!(text.contains("\"ids\".dtype: expected F32, F16 or BF16, got I64\nhint:"), "{text}");
}

#[test]
fn pickles_and_zips_are_refused_by_their_first_bytes_and_the_error_names_file_and_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for magic in
        [&b"\x80\x02}q\x00."[..], b"\x80\x04\x95\x00\x00", b"PK\x03\x04abcdefgh", b"PK\x05\x06"]
    {
        for name in ["model.bin", "model.pt", "model.safetensors"] {
            let path = dir.path().join(name);
            std::fs::write(&path, magic).unwrap();
            let text = load(&path).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("hint: pickles can run code"), "{text}");
        }
    }
    let text = load(&dir.path().join("absent")).unwrap_err().to_string();
    assert!(
        text.starts_with("cannot read") && text.contains("absent") && text.contains("hint:"),
        "{text}"
    );
}

#[test]
fn a_name_that_is_not_there_brings_the_closest() {
    let text = sample().get("a.bais").unwrap_err().to_string();
    assert!(
        text.starts_with("no tensor \"a.bais\" in the file, the closest is \"a.bias\""),
        "{text}"
    );
}

/// Every metadata type, alone and in an array.
fn all_types() -> Metadata {
    let values = [
        Value::U8(200),
        Value::I8(-100),
        Value::U16(60_000),
        Value::I16(-30_000),
        Value::U32(4_000_000_000),
        Value::I32(-2_000_000_000),
        Value::F32(0.1),
        Value::Bool(true),
        Value::String("käse 🧀".into()),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(0.1),
        Value::Array(Array::U8(vec![1, 255])),
        Value::Array(Array::I8(vec![-1, 1])),
        Value::Array(Array::U16(vec![1, 65535])),
        Value::Array(Array::I16(vec![-1])),
        Value::Array(Array::U32(vec![1 << 31])),
        Value::Array(Array::I32(vec![-7, 7])),
        Value::Array(Array::F32(vec![0.5, -0.0])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::String(vec![String::new(), "b".into()])),
        Value::Array(Array::Array(vec![Array::U8(vec![3]), Array::String(vec!["x".into()])])),
        Value::Array(Array::U64(vec![])),
        Value::Array(Array::I64(vec![-1])),
        Value::Array(Array::F64(vec![1e300])),
    ];
    let mut metadata = Metadata::new();
    for (i, value) in values.into_iter().enumerate() {
        metadata.set(format!("key.{i}"), value);
    }
    metadata
}

#[test]
fn gguf_metadata_of_all_types_reads_back_equal() {
    let metadata = all_types();
    let bytes = gguf::write(&metadata, &[]).unwrap();
    assert_eq!(Gguf::parse(&bytes).unwrap().metadata, metadata);
}

#[test]
fn gguf_tensors_read_back_in_our_order_of_dimensions_at_every_alignment() {
    let x = values(6 * 64);
    for alignment in [1u32, 8, 32, 64, 4096] {
        let mut metadata = Metadata::new();
        metadata.set("general.alignment", Value::U32(alignment));
        let source = |name, shape, kind| Source { name, shape, data: &x, kind };
        let sources = [
            source("f32", &[2, 3, 64], Kind::F32),
            source("f16", &[6, 64], Kind::F16),
            source("q8", &[6, 64], Kind::Q8_0),
            source("odd", &[16, 24], Kind::Q8_0),
        ];
        let mut bytes = gguf::write(&metadata, &sources).unwrap();
        let trimmed =
            bytes.len() - (16 * 24 * 2usize).next_multiple_of(alignment as usize) + 16 * 24 * 2;
        let file = Gguf::parse(&bytes).unwrap();
        assert_eq!(
            file.get("f32").unwrap().tensor().unwrap(),
            Tensor::new(vec![2, 3, 64], x.clone()).unwrap()
        );
        assert_eq!(
            file.get("f16").unwrap().tensor().unwrap(),
            Tensor::new(vec![6, 64], x.clone()).unwrap()
        );
        // Rows of 24 are no whole blocks of 32.
        assert_eq!(
            (file.get("odd").unwrap().kind(), file.get("q8").unwrap().kind()),
            (Kind::F16, Kind::Q8_0)
        );
        assert_eq!(file.unpack().unwrap().tensors.len(), 4);
        // Some writers leave out the padding after the last tensor, and version 2 has the same layout.
        bytes.truncate(trimmed);
        bytes[4] = 2;
        assert_eq!(Gguf::parse(&bytes).unwrap().tensors().len(), 4);
    }
}

#[test]
fn gguf_blocks_of_every_kind_read_back_and_files_may_be_mapped() {
    let x = values(2 * 512);
    let names = Kind::ALL.map(|kind| format!("{kind:?}"));
    let sources: Vec<Source<'_>> = Kind::ALL
        .iter()
        .zip(&names)
        .map(|(&kind, name)| Source { name, shape: &[2, 512], data: &x, kind })
        .collect();
    let bytes = gguf::write(&Metadata::new(), &sources).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let mapped = gguf::Mapped::open(&path).unwrap();
    let file = mapped.gguf().unwrap();
    for (kind, name) in Kind::ALL.iter().zip(&names) {
        let info = file.get(name).unwrap();
        assert_eq!((info.kind(), info.shape()), (*kind, &[2, 512][..]));
        assert_eq!(info.bytes(), kind.quantize(&x));
        for (x, y) in x.iter().zip(info.tensor().unwrap().data()) {
            // Values reach 64; the coarsest kind has 15 steps for the 4 to 64 of a block.
            assert!((x - y).abs() <= 8.1, "{name}: {x} {y}");
        }
    }
    std::fs::write(&path, b"").unwrap();
    let text = gguf::Mapped::open(&path).unwrap().gguf().unwrap_err().to_string();
    assert!(text.contains("all.gguf: GGUF at byte 0: magic"), "{text}");
    for path in [dir.path().to_path_buf(), dir.path().join("absent")] {
        let text = gguf::Mapped::open(&path).unwrap_err().to_string();
        assert!(text.contains("hint:") && text.contains(path.to_str().unwrap()), "{text}");
    }
}

#[test]
fn gguf_stores_the_fastest_dimension_first() {
    let source = Source { name: "t", shape: &[2, 3], data: &[0.0; 6], kind: Kind::F32 };
    let bytes = gguf::write(&Metadata::new(), &[source]).unwrap();
    // Magic, version, counts; name length and name; then the dimensions.
    let at = 4 + 4 + 8 + 8 + 8 + 1;
    assert_eq!(bytes[at..at + 20], [2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn q8_0_blocks_have_ggmls_bits_and_a_bounded_error() {
    let mut x = values(64);
    (x[0], x[1], x[2], x[3]) = (127.0, -127.0, 0.5, -1.5);
    let source = Source { name: "t", shape: &[2, 32], data: &x, kind: Kind::Q8_0 };
    let bytes = gguf::write(&Metadata::new(), &[source]).unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let info = file.get("t").unwrap();
    // Scale 1.0 is 0x3C00 in half precision; halves round away from zero.
    assert_eq!(info.bytes()[..6], [0x00, 0x3C, 127, 129, 1, 254]);
    for (block, back) in x.chunks(32).zip(info.tensor().unwrap().data().chunks(32)) {
        let step = block.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
        for (x, y) in block.iter().zip(back) {
            assert!((x - y).abs() <= step * (0.5 + 127.0 / 2048.0), "{x} {y}");
        }
    }
}

#[test]
fn what_gguf_cannot_hold_is_not_written() {
    let metadata = Metadata::new();
    let source = |name, shape, data, kind| Source { name, shape, data, kind };
    let twice = [source("t", &[1], &[0.0][..], Kind::F32), source("t", &[1], &[0.0], Kind::F32)];
    assert!(gguf::write(&metadata, &twice).is_err());
    assert!(gguf::write(&metadata, &[source("t", &[1; 5], &[0.0], Kind::F32)]).is_err());
    assert!(gguf::write(&metadata, &[source("t", &[2], &[0.0], Kind::F32)]).is_err());
    let text =
        gguf::write(&metadata, &[source("t", &[1], &[1e9], Kind::F16)]).unwrap_err().to_string();
    assert!(
        text.starts_with(
            "cannot write tensor \"t\": expected values in the range of F16, got 1000000000"
        ),
        "{text}"
    );
    for kind in Kind::ALL {
        for bad in [f32::NAN, f32::INFINITY, 3e38] {
            let mut data = [1.0; 512];
            data[300] = bad;
            let source = Source { name: "t", shape: &[512], data: &data, kind };
            let result = gguf::write(&metadata, &[source]);
            // Of these kinds two have the range of a single.
            let fits = bad == 3e38 && matches!(kind, Kind::F32 | Kind::BF16);
            assert_eq!(result.is_ok(), fits, "{kind:?} {bad}");
        }
    }
    let mut odd = Metadata::new();
    odd.set("general.alignment", Value::U32(24));
    assert!(gguf::write(&odd, &[]).is_err());
}

#[test]
fn gguf_errors_say_what_was_expected_and_what_was_found() {
    let source = Source { name: "blk.0.w", shape: &[32], data: &[0.0; 32], kind: Kind::Q8_0 };
    let mut bytes = gguf::write(&Metadata::new(), &[source]).unwrap();
    let at = 24 + 8 + 7 + 4 + 8;
    bytes[at] = 16;
    let text = Gguf::parse(&bytes).unwrap_err().to_string();
    assert_eq!(
        text,
        "GGUF at byte 55: tensor \"blk.0.w\".type: expected one of F32, F16, BF16, Q8_0, Q4_0, \
         Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, got IQ2_XXS (16)\n\
         hint: convert or quantise the model to one of these types"
    );
    for (version, word) in [(1u32, "converter"), (3u32.swap_bytes(), "big-endian")] {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        let error = Gguf::parse(&bytes).unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. }) && error.to_string().contains(word),
            "{error}"
        );
    }
}

fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/gguf").join(name)
}

/// `goldens/gguf`: blocks that ggml packed, and blocks of random bytes.
#[test]
fn blocks_hold_what_ggml_unpacks_them_to() {
    let bytes = std::fs::read(golden("blocks.gguf")).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let want = load(&golden("values.safetensors")).unwrap();
    let bits = |tensor: &Tensor| tensor.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for info in gguf.tensors() {
        let (got, want) = (info.tensor().unwrap(), &want.tensors[info.name()]);
        assert!(bits(&got) == bits(want), "{}", info.name());
    }
    let source = want.tensors["source"].data();
    for kind in [Kind::Q8_0, Kind::Q4_0, Kind::Q4_1, Kind::Q5_0, Kind::Q5_1] {
        let packed = gguf.get(&format!("{kind:?}.packed")).unwrap();
        assert_eq!(packed.kind(), kind);
        assert!(kind.quantize(source) == packed.bytes(), "{kind:?}");
    }
    assert_eq!(gguf.tensors().len(), 2 * (Kind::ALL.len() - 3));
}

#[test]
fn parts_of_a_split_model_are_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |i: usize| dir.path().join(format!("m-{i:05}-of-00002.gguf"));
    let x = values(32);
    let source = |name| Source { name, shape: &[32], data: &x, kind: Kind::Q8_0 };
    let mut metadata = Metadata::new();
    metadata.set("general.name", Value::String("split".into()));
    std::fs::write(path(1), gguf::write(&metadata, &[source("b")]).unwrap()).unwrap();
    let missing = gguf::Mapped::open(&path(1)).unwrap_err().to_string();
    assert!(missing.contains("all 2 parts") && missing.contains("m-00002-of-00002"), "{missing}");
    for (name, sound) in [("b", false), ("a", true)] {
        let second = gguf::write(&Metadata::new(), &[source(name)]).unwrap();
        std::fs::write(path(2), second).unwrap();
        for i in [1, 2] {
            let mapped = gguf::Mapped::open(&path(i)).unwrap();
            let Ok(whole) = mapped.gguf() else {
                assert!(!sound);
                continue;
            };
            assert!(sound);
            assert_eq!(whole.metadata.string("general.name").unwrap(), "split");
            let names: Vec<&str> = whole.tensors().iter().map(gguf::Info::name).collect();
            assert_eq!(names, ["a", "b"]);
        }
    }
}
