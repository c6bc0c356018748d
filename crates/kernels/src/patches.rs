//! Pictures cut into square patches: a convolution whose kernel is as large as its step.

use crate::buffer;
use crate::parallel::{Shared, for_each};

/// `x [batch, c, h, w]` to rows `[batch · h/side · w/side, c·side·side]`, patch after patch; what is
/// left at the right and at the bottom is dropped.
pub fn patches([batch, c, h, w]: [usize; 4], side: usize, x: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), batch * c * h * w, "patches: x is {batch} x {c} x {h} x {w}");
    assert!(side > 0, "patches of no size");
    let (down, across, size) = (h / side, w / side, c * side * side);
    let n = batch * down * across * size;
    let mut rows = buffer(n);
    let to = Shared::new(&mut rows);
    // A task takes a row of patches.
    for_each(batch * down, n, |task| {
        let (b, row) = (task / down, task % down);
        for channel in 0..c {
            for y in 0..side {
                let line = &x[((b * c + channel) * h + row * side + y) * w..][..across * side];
                for (column, run) in line.chunks_exact(side).enumerate() {
                    let at = (task * across + column) * size + (channel * side + y) * side;
                    // SAFETY: inside the row of this patch, which this task alone writes.
                    unsafe { to.at(at).copy_from_nonoverlapping(run.as_ptr(), side) };
                }
            }
        }
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    #[test]
    fn patches_hold_their_pixels() {
        for (shape, side) in
            [([2, 3, 8, 12], 4), ([1, 1, 7, 5], 2), ([3, 2, 3, 3], 4), ([0, 1, 2, 2], 1)]
        {
            let [batch, c, h, w] = shape;
            let x = random(1, batch * c * h * w);
            let (down, across) = (h / side, w / side);
            let mut want = Vec::new();
            for at in 0..batch * down * across {
                let (b, row, column) = (at / (down * across), at / across % down, at % across);
                for i in 0..c * side * side {
                    let (channel, y, z) = (i / (side * side), i / side % side, i % side);
                    let pixel = (row * side + y) * w + column * side + z;
                    want.push(x[(b * c + channel) * h * w + pixel]);
                }
            }
            assert_eq!(patches(shape, side, &x), want);
        }
    }
}
