//! Cross-entropy of rows of logits.

use crate::math::exp;
use crate::parallel::{chunked, rows_per_task};
use crate::simd::{max_of, sum_of, vectorised};

/// The target of a row that does not count.
pub const IGNORE: i32 = -100;

/// Loss of every row: `lse - logits[target] + z_loss·lse²`, and 0 where the target is [`IGNORE`].
///
/// `logits [rows, v]`; `losses, lse [rows]`; `lse` (the logarithm of the sum of exponentials) is
/// kept for the gradient. The z-loss keeps logits from drifting (PaLM, Chowdhery et al. 2022,
/// <https://arxiv.org/abs/2204.02311>, section 5); 0 turns it off.
pub fn cross_entropy(
    rows: usize,
    v: usize,
    logits: &[f32],
    targets: &[i32],
    z_loss: f32,
    losses: &mut [f32],
    lse: &mut [f32],
) {
    check(rows, v, logits, targets);
    assert_eq!(losses.len(), rows, "cross_entropy: losses");
    assert_eq!(lse.len(), rows, "cross_entropy: lse");
    if v == 0 {
        return losses.fill(0.0);
    }
    chunked!(logits.len(), rows_per_task(v); [logits * v, targets * 1], [losses * 1, lse * 1] => |logits: &[f32], targets: &[i32], losses: &mut [f32], lse: &mut [f32]| {
        log_sum_exp(v, logits, lse);
        let rows = logits.chunks_exact(v).zip(targets);
        for ((loss, &lse), (row, &target)) in losses.iter_mut().zip(lse.iter()).zip(rows) {
            *loss = match usize::try_from(target) {
                Ok(target) => lse - row[target] + z_loss * lse * lse,
                Err(_) => 0.0,
            };
        }
    });
}

vectorised! {
    pub(crate) fn log_sum_exp(v: usize, logits: &[f32], lse: &mut [f32]) {
        for (row, lse) in logits.chunks_exact(v).zip(lse) {
            let max = max_of(row);
            *lse = max + sum_of(row, |x| exp(x - max)).ln();
        }
    }
}

/// Gradient of [`cross_entropy`] with the same `z_loss`; `dloss [rows]` weighs the rows.
/// `dlogits [rows, v]` is overwritten, with 0 in ignored rows.
pub fn cross_entropy_backward(
    rows: usize,
    v: usize,
    logits: &[f32],
    targets: &[i32],
    lse: &[f32],
    dloss: &[f32],
    z_loss: f32,
    dlogits: &mut [f32],
) {
    check(rows, v, logits, targets);
    assert_eq!(lse.len(), rows, "cross_entropy_backward: lse");
    assert_eq!(dloss.len(), rows, "cross_entropy_backward: dloss");
    assert_eq!(dlogits.len(), rows * v, "cross_entropy_backward: dlogits");
    if v == 0 {
        return;
    }
    chunked!(logits.len(), rows_per_task(v); [logits * v, targets * 1, lse * 1, dloss * 1], [dlogits * v] => |logits, targets, lse, dloss, dlogits| {
        backward_rows(v, logits, targets, lse, dloss, z_loss, dlogits);
    });
}

vectorised! {
    fn backward_rows(v: usize, logits: &[f32], targets: &[i32], lse: &[f32], dloss: &[f32], z_loss: f32, dlogits: &mut [f32]) {
        let rows = logits.chunks_exact(v).zip(dlogits.chunks_exact_mut(v));
        for ((row, drow), ((&target, &lse), &dloss)) in rows.zip(targets.iter().zip(lse).zip(dloss)) {
            let Ok(target) = usize::try_from(target) else {
                drow.fill(0.0);
                continue;
            };
            let scale = dloss * (2.0 * z_loss).mul_add(lse, 1.0);
            for (d, &x) in drow.iter_mut().zip(row) {
                *d = scale * exp(x - lse);
            }
            drow[target] -= dloss;
        }
    }
}

fn check(rows: usize, v: usize, logits: &[f32], targets: &[i32]) {
    assert_eq!(logits.len(), rows * v, "cross_entropy: logits of {rows} rows of {v}");
    assert_eq!(targets.len(), rows, "cross_entropy: targets");
    for &target in targets {
        let inside = usize::try_from(target).is_ok_and(|target| target < v);
        assert!(
            inside || target == IGNORE,
            "cross_entropy: target {target} is not below {v} nor {IGNORE}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        assert_close, assert_same_on_all_pools, assert_same_portably, gradient, random, wide,
    };

    fn naive(v: usize, logits: &[f64], targets: &[i32], z: f64) -> Vec<f64> {
        let row = |(row, &target): (&[f64], &i32)| {
            let lse = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            if target == IGNORE { 0.0 } else { lse - row[target as usize] + z * lse * lse }
        };
        logits.chunks(v).zip(targets).map(row).collect()
    }

    fn case(rows: usize, v: usize) -> (Vec<f32>, Vec<i32>, Vec<f32>) {
        let logits = random(1, rows * v).iter().map(|x| x * 5.0).collect();
        let target = |r: usize| if r % 4 == 2 { IGNORE } else { (r * 7 % v) as i32 };
        (logits, (0..rows).map(target).collect(), random(2, rows))
    }

    /// Losses, then gradients.
    fn all(rows: usize, v: usize, z: f32) -> Vec<f32> {
        let (logits, targets, dloss) = case(rows, v);
        let (mut losses, mut lse, mut d) =
            (vec![f32::NAN; rows], vec![0.0; rows], vec![f32::NAN; rows * v]);
        cross_entropy(rows, v, &logits, &targets, z, &mut losses, &mut lse);
        cross_entropy_backward(rows, v, &logits, &targets, &lse, &dloss, z, &mut d);
        [losses, d].concat()
    }

    #[test]
    fn values_and_gradients_match_f64() {
        for (rows, v, z) in [(1, 1, 0.0), (5, 3, 0.0), (4, 37, 1e-2), (9, 16, 0.5)] {
            let (logits, targets, dloss) = case(rows, v);
            let got = all(rows, v, z);
            let z = f64::from(z);
            assert_close(&got[..rows], &naive(v, &wide(&logits), &targets, z), 1e-5);
            let loss = |x: &[f64]| {
                naive(v, x, &targets, z).iter().zip(wide(&dloss)).map(|(l, d)| l * d).sum()
            };
            assert_close(&got[rows..], &gradient(&wide(&logits), loss), 1e-5);
        }
    }

    #[test]
    fn huge_logits_stay_finite() {
        let (mut losses, mut lse, mut d) = ([0.0], [0.0], [0.0; 2]);
        cross_entropy(1, 2, &[1e30, -1e30], &[0], 0.0, &mut losses, &mut lse);
        cross_entropy_backward(1, 2, &[1e30, -1e30], &[0], &lse, &[1.0], 0.0, &mut d);
        assert_eq!((losses, d), ([0.0], [0.0, 0.0]));
    }

    #[test]
    #[should_panic(expected = "target 3 is not below 3")]
    fn a_target_outside_is_refused() {
        cross_entropy(1, 3, &[0.0; 3], &[3], 0.0, &mut [0.0], &mut [0.0]);
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        assert_same_on_all_pools(|| all(300, 111, 0.01));
        assert_same_portably(|| all(3, 111, 0.01));
    }
}
