//! Fused = its twin in plain operations, forward and backward: of the CPU, or of the device that
//! `SENSORIUM_DEVICE` names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

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
