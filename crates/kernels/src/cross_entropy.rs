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
    fn log_sum_exp(v: usize, logits: &[f32], lse: &mut [f32]) {
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
        assert!(inside || target == IGNORE, "cross_entropy: target {target} is not below {v} nor {IGNORE}");
    }
}
