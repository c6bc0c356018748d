//! The slope that the backward claims is the slope that the forward has.

use sensorium_nn::rng::Rng;

use crate::case::{Operand, Operation, device, draw, forward, run};
use crate::operations::all;

/// Entries tried of each operand.
const TRIES: usize = 6;
/// Half a step. Smaller ones drown in the rounding of f32.
const STEP: f32 = 1e-2;
/// Of the largest slope: cubic terms of a step this long stay below.
const TOLERANCE: f64 = 5e-3;

#[test]
fn every_gradient_is_the_slope_of_its_forward() {
    let upstream = draw(98, 2000);
    let mut rng = Rng::new(5);
    for case in all() {
        let claimed = run(&case.fused, &case.operands, &upstream, &device()).gradients;
        for (which, gradient) in claimed.iter().enumerate() {
            let largest = gradient.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
            for _ in 0..TRIES {
                let at = rng.next_u64() as usize % gradient.len();
                let slope = slope(&case.fused, &case.operands, &upstream, (which, at));
                let off = (slope - f64::from(gradient[at])).abs() / f64::from(largest);
                assert!(
                    off <= TOLERANCE,
                    "{}: gradient of {}[{at}]: got {}, slope {slope}",
                    case.name,
                    case.operands[which].0,
                    gradient[at]
                );
            }
        }
    }
}

/// Central difference of `sum(output · upstream)`, summed in f64, along one entry.
fn slope(
    operation: &Operation,
    operands: &[Operand],
    upstream: &[f32],
    (which, at): (usize, usize),
) -> f64 {
    let value = |step: f32| -> (f64, f64) {
        let mut moved = operands.to_vec();
        moved[which].1[at] += step;
        let output = forward(operation, &moved, &device());
        let sum = output.iter().zip(upstream.iter().cycle());
        (f64::from(moved[which].1[at]), sum.map(|(y, u)| f64::from(*y) * f64::from(*u)).sum())
    };
    let ((above, high), (below, low)) = (value(STEP), value(-STEP));
    (high - low) / (above - below)
}
