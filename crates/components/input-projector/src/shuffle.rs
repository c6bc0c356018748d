//! Pixel shuffle: a square of neighbouring positions becomes one wide position, so that a picture
//! costs the backbone fewer tokens (as Idefics3 and SmolVLM do). Stacking does the same to neighbours in time.

use sensorium_nn::prelude::*;

/// `[B, g·g, E] -> [B, (g/s)·(g/s), s·s·E]`: channels ordered row in the square, column, channel.
pub fn pixel_shuffle(x: Tensor<3>, s: usize) -> Tensor<3> {
    if s == 1 {
        return x;
    }
    let [b, n, e] = x.dims();
    let g = n.isqrt();
    assert!(g * g == n && g.is_multiple_of(s), "{n} positions are no square grid divisible by {s}");
    let side = g / s;
    x.reshape([b, side, s, side, s * e])
        .swap_dims(2, 3) // [B, side, side, s, s·E]
        .reshape([b, side * side, s * s * e])
}

/// `[B, N, E] -> [B, ceil(N/k), k·E]`: `k` neighbours side by side, zeros behind the last.
pub fn stack(x: Tensor<3>, k: usize) -> Tensor<3> {
    if k == 1 {
        return x;
    }
    let [b, n, e] = x.dims();
    let missing = n.next_multiple_of(k) - n;
    let x = match missing {
        0 => x,
        _ => Tensor::cat(vec![x.clone(), Tensor::zeros([b, missing, e], &x.device())], 1),
    };
    x.reshape([b, n.div_ceil(k), k * e])
}

#[cfg(test)]
mod tests {
    use sensorium_nn::params::read;

    use super::*;

    #[test]
    fn neighbours_in_time_stand_side_by_side() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0], &Device::flex());
        let stacked = stack(x.reshape([1, 5, 1]), 2);
        assert_eq!(stacked.dims(), [1, 3, 2]);
        assert_eq!(read(stacked), [1.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
    }
}
