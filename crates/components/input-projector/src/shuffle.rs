//! Pixel shuffle: a square of neighbouring positions becomes one wide position, so that a picture
//! costs the backbone fewer tokens (as Idefics3 and SmolVLM do).

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
