//! Fused = its twin in plain operations, forward and backward: of the CPU, or of the device that
//! `SENSORIUM_DEVICE` names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::DType;
use sensorium_nn::device::has_bf16;
use sensorium_nn::fused::{KeyValues, with_twins};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::profile;
use sensorium_testkit::assert_close;

use crate::case::{device, draw, forward, run, tensor};
use crate::operations::all;

/// Of the largest value of the tensor: both sides round differently.
const TOLERANCE: f32 = 1e-5;

/// Tokens read in three calls by one layer that keeps its keys and values, two samples of 2 heads.
fn read_on(device: &Device) -> Vec<f32> {
    let spans: Arc<[Span]> = [Span::None, Span::Shared(1), Span::Shared(1), Span::Apart(1)].into();
    let twice = spans.iter().chain(spans.iter()).copied().collect();
    let masks = [
        (3, Mask::Causal { offset: 0 }),
        (1, Mask::Prefix { offset: 3, spans: twice }),
        (2, Mask::Full),
    ];
    let mut kept = KeyValues::default();
    let read = masks.into_iter().zip(0..).flat_map(|((tokens, mask), seed)| {
        let x = |seed, heads: usize| {
            let values = draw(seed, 2 * tokens * heads * 6);
            tensor(&values, [2, tokens, heads, 6], device)
        };
        read(kept.attention(Precision::F32, x(seed, 2), x(seed + 10, 1), x(seed + 20, 1), mask))
    });
    read.collect()
}

#[test]
fn kept_keys_are_asked_alike() {
    let want = read_on(&Device::flex());
    close("attention over kept keys", &with_twins(|| read_on(&device())), &want);
}

/// On other devices `--precision bf16` keeps matrices in halves, and sums in f32.
#[test]
fn matrices_are_halved_where_they_lie() {
    let device = device();
    let (ids, x) = ([3, 0, 7], tensor::<2>(&draw(1, 5 * 16), [5, 16], &device));
    with_twins(|| {
        let init = &mut Init::new(1, &device);
        let mut layer = Linear::init(16, 24, true, 0.3, init);
        let mut table = Embedding::init(9, 16, 1.0, init);
        let run = |layer: &Linear, table: &Embedding| {
            let all = [layer.forward(x.clone()), table.unembed(x.clone())];
            all.map(read).into_iter().chain([read(table.forward(&ids, [1, 3]))])
        };
        let whole: Vec<Vec<f32>> = run(&layer, &table).collect();
        layer.pack_as(pack::Format::Bf16);
        table.pack_as(pack::Format::Bf16);
        if has_bf16(&device) {
            assert_eq!(layer.weight.val().dtype(), DType::BF16);
            assert_eq!(table.weight.val().dtype(), DType::BF16);
        }
        for (whole, halved) in whole.iter().zip(run(&layer, &table)) {
            assert_close("halved", &halved, whole, 2e-2);
        }
    });
}

/// Only run: their matrices lie on the CPU, and their products are those of `Linear`.
const PACKED: [&str; 6] = ["Together", "One", "Patches", "Conv1d", "Conv1dOnto", "Onto"];

#[test]
fn every_operation_equals_its_twin() {
    let upstream = draw(99, 2000);
    for case in all() {
        let on = |device: &Device| run(&case.fused, &case.operands, &upstream, device);
        let (got, want) = (with_twins(|| on(&device())), on(&Device::flex()));
        let name = &case.name;
        close(name, &got.output, &want.output);
        for (i, (operand, _)) in case.operands.iter().enumerate() {
            close(&format!("{name}, gradient of {operand}"), &got.gradients[i], &want.gradients[i]);
        }
    }
}

fn close(name: &str, got: &[f32], want: &[f32]) {
    let largest = want.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    let scaled = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
    assert_close(name, &scaled(got), &scaled(want), TOLERANCE);
}

/// The sources say which operations there are, the profile which of them were run.
#[test]
fn no_operation_is_left_out() {
    profile::start();
    for case in all() {
        forward(&case.fused, &case.operands, &Device::flex());
    }
    read_on(&Device::flex());
    let rows = profile::stop();
    let mut known: BTreeSet<&str> =
        rows.keys().filter_map(|row| row.split_whitespace().next()).collect();
    known.extend(PACKED);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fused");
    for file in std::fs::read_dir(folder).expect("the sources") {
        let source = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        for after in source.split("\nimpl Operation for ").skip(1) {
            let operation = after.split_whitespace().next().unwrap_or_default();
            assert!(known.contains(operation), "{operation} is not compared with its twin");
        }
    }
}
