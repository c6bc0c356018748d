//! Fused = composed, forward and backward.

use sensorium_testkit::assert_close;

use crate::case::{draw, run};
use crate::operations::all;

/// Of the largest value of the tensor: both sides round differently.
const TOLERANCE: f32 = 1e-5;

#[test]
fn every_operation_equals_its_formula_in_plain_operations() {
    let upstream = draw(99, 2000);
    for pair in all() {
        let got = run(&pair.fused, &pair.operands, &upstream);
        let want = run(&pair.composed, &pair.operands, &upstream);
        let name = &pair.name;
        close(name, &got.output, &want.output);
        for (i, (operand, _)) in pair.operands.iter().enumerate() {
            close(&format!("{name}, gradient of {operand}"), &got.gradients[i], &want.gradients[i]);
        }
    }
}

fn close(name: &str, got: &[f32], want: &[f32]) {
    let largest = want.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
    let scaled = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
    assert_close(name, &scaled(got), &scaled(want), TOLERANCE);
}
