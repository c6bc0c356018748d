//! Rotary positions (Su et al. 2021, <https://arxiv.org/abs/2104.09864>), in the half-split form
//! of Hugging Face's Llama: channel `i` turns with channel `i + K/2`.

use std::ops::Range;

use crate::parallel::{Pieces, for_each, rows_per_task};
use crate::simd::vectorised;

/// Cosines and sines, `[positions, K/2]` each, of `position·theta^(-2i/K)`.
pub fn rotary_tables(theta: f32, k: usize, positions: Range<usize>) -> (Vec<f32>, Vec<f32>) {
    rotary_tables_at(&rotary_rates(theta, k), positions)
}

/// The rates `theta^(-2i/K)`, `[K/2]`: how far each pair of channels turns from a position to the next.
pub fn rotary_rates(theta: f32, k: usize) -> Vec<f32> {
    assert_eq!(k % 2, 0, "rotary_rates: width {k} is odd");
    (0..k / 2).map(|i| f64::from(theta).powf(-2.0 * i as f64 / k as f64) as f32).collect()
}

/// As [`rotary_tables`], for any rates.
pub fn rotary_tables_at(
    rates: &[f32],
    positions: impl IntoIterator<Item = usize>,
) -> (Vec<f32>, Vec<f32>) {
    // The angle is rounded to f32 as the reference implementation does.
    let positions = positions.into_iter();
    let angles = positions.flat_map(|p| rates.iter().map(move |&rate| f64::from(p as f32 * rate)));
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}

/// As [`rotary_tables_at`], of positions on several axes: `axes [K/2]` says by which of them each pair of
/// channels turns.
pub fn rotary_tables_on<const A: usize>(
    rates: &[f32],
    axes: &[usize],
    positions: impl IntoIterator<Item = [usize; A]>,
) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(rates.len(), axes.len(), "rotary_tables_on: an axis for each rate");
    let turn = |at: &[usize; A]| -> Vec<f64> {
        let angle = |(&rate, &axis): (&f32, &usize)| f64::from(at[axis] as f32 * rate);
        rates.iter().zip(axes).map(angle).collect()
    };
    let angles = positions.into_iter().flat_map(|at| turn(&at));
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}

/// Turns the heads of `x [B, T, H, K]` by their positions' angles:
/// `y = [x1·cos - x2·sin, x2·cos + x1·sin]` with the halves `x1, x2` of K.
///
/// `cos, sin` are `[T, K/2]`, shared by the batch, or `[B, T, K/2]`.
pub fn rotary(
    batch: usize,
    tokens: usize,
    heads: usize,
    k: usize,
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    y: &mut [f32],
) {
    turn(batch, tokens, heads, k, x, cos, sin, 1.0, y);
}

/// Gradient of [`rotary`]: the turn back.
pub fn rotary_backward(
    batch: usize,
    tokens: usize,
    heads: usize,
    k: usize,
    dy: &[f32],
    cos: &[f32],
    sin: &[f32],
    dx: &mut [f32],
) {
    turn(batch, tokens, heads, k, dy, cos, sin, -1.0, dx);
}

fn turn(
    batch: usize,
    tokens: usize,
    heads: usize,
    k: usize,
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    sign: f32,
    y: &mut [f32],
) {
    assert_eq!(k % 2, 0, "rotary: width {k} is odd");
    let (n, half, row) = (batch * tokens * heads * k, k / 2, heads * k);
    assert_eq!((x.len(), y.len()), (n, n), "rotary: x and y of {batch} x {tokens} x {heads} x {k}");
    assert_eq!(cos.len(), sin.len(), "rotary: cos and sin");
    let table = tokens * half;
    assert!(
        cos.len() == table || cos.len() == batch * table,
        "rotary: tables of {tokens} x {half}"
    );
    if n == 0 {
        return;
    }
    let task = rows_per_task(row);
    let many = |first: usize, x: &[f32], y: &mut [f32]| {
        for (i, (x, y)) in x.chunks_exact(row).zip(y.chunks_exact_mut(row)).enumerate() {
            let at = (first + i) * half % cos.len();
            turn_row(x, &cos[at..at + half], &sin[at..at + half], sign, y);
        }
    };
    let (x, y) = (x.chunks(task * row), Pieces::new(y, task * row));
    for_each(y.count(), n, |i| {
        // SAFETY: every task has its own number, and so its own piece.
        many(i * task, x.clone().nth(i).unwrap_or_default(), unsafe { y.get_mut(i) });
    });
}

vectorised! {
    /// All heads of one token.
    fn turn_row(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, y: &mut [f32]) {
        let half = cos.len();
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
            let (x1, x2) = x.split_at(half);
            let (y1, y2) = y.split_at_mut(half);
            for (i, (y1, y2)) in y1.iter_mut().zip(y2).enumerate() {
                let (c, s) = (cos[i], sign * sin[i]);
                *y1 = x1[i].mul_add(c, -(x2[i] * s));
                *y2 = x2[i].mul_add(c, x1[i] * s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, assert_same_portably, random};

    fn naive(
        tokens: usize,
        heads: usize,
        k: usize,
        x: &[f32],
        cos: &[f32],
        sin: &[f32],
    ) -> Vec<f64> {
        let half = k / 2;
        (0..x.len())
            .map(|at| {
                let (i, token) = (at % k, at / k / heads);
                let row = token % (cos.len() / half).max(tokens);
                let (c, s) =
                    (f64::from(cos[row * half + i % half]), f64::from(sin[row * half + i % half]));
                let other = f64::from(if i < half { -x[at + half] } else { x[at - half] });
                f64::from(x[at]) * c + other * s
            })
            .collect()
    }

    #[test]
    fn turns_match_f64_and_turn_back() {
        for (batch, tokens, heads, k) in [(1, 1, 1, 2), (2, 3, 2, 6), (3, 5, 1, 32), (4, 40, 3, 64)]
        {
            for shared in [true, false] {
                let positions = if shared { 5..5 + tokens } else { 0..batch * tokens };
                let (cos, sin) = rotary_tables(1e4, k, positions);
                let x = random(1, batch * tokens * heads * k);
                let (mut y, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                rotary(batch, tokens, heads, k, &x, &cos, &sin, &mut y);
                assert_close(&y, &naive(tokens, heads, k, &x, &cos, &sin), 1e-6);
                rotary_backward(batch, tokens, heads, k, &y, &cos, &sin, &mut back);
                assert_close(&back, &crate::testing::wide(&x), 1e-6);
            }
        }
    }

    /// One axis of several is that axis alone.
    #[test]
    fn each_pair_turns_by_its_own_axis() {
        let rates = rotary_rates(1e4, 8);
        let on = |axes: &[usize]| rotary_tables_on(&rates, axes, [[3, 7], [0, 2]]);
        assert_eq!(on(&[1; 4]), rotary_tables_at(&rates, [7, 2]));
        let (cos, _) = on(&[0, 1, 0, 1]);
        let [(first, _), (second, _)] = [[3, 0], [7, 2]].map(|at| rotary_tables_at(&rates, at));
        assert_eq!(cos[..4], [first[0], second[1], first[2], second[3]]);
    }

    #[test]
    fn bits_are_the_same_everywhere() {
        let run = |tokens: usize| {
            let x = random(1, tokens * 4 * 22);
            let (cos, sin) = rotary_tables(1e4, 22, 0..tokens);
            let mut y = vec![0.0; x.len()];
            rotary(1, tokens, 4, 22, &x, &cos, &sin, &mut y);
            y
        };
        assert_same_on_all_pools(|| run(500));
        assert_same_portably(|| run(5));
    }
}
