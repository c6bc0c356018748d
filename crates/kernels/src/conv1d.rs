//! 1-D convolution over rows of channels: what a kernel reads is laid side by side, some rows at a time, and the rest
//! is a product with packed weights.

use crate::buffer;
use crate::packed::{Product, product_into};
use crate::parallel::{Shared, for_each, rows_per_task};
use crate::simd::vectorised;

/// Which positions a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// Positions of the kernel.
    pub kernel: usize,
    /// Step from one output to the next.
    pub stride: usize,
    /// Zeros in front and behind.
    pub padding: [usize; 2],
    /// Steps from one position that a kernel reads to the next.
    pub dilation: usize,
}

impl Taps {
    /// Positions out of `t`.
    ///
    /// # Panics
    /// When the kernel reaches over more than there is.
    pub fn output(&self, t: usize) -> usize {
        let (padded, last) =
            (t + self.padding[0] + self.padding[1], (self.kernel - 1) * self.dilation);
        assert!(last < padded, "conv1d: {t} positions, {self:?}");
        (padded - last - 1) / self.stride + 1
    }
}

/// What a convolution reads.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// `[batch, t, c]`.
    pub x: &'a [f32],
    /// Its three extents.
    pub shape: [usize; 3],
    /// Numbers below zero are read as this share of them: a leaky ReLU before the convolution.
    pub slope: Option<f32>,
}

/// Numbers laid side by side at once: what stays in the cache until the product has read it.
const BAND: usize = 1 << 19;

/// Adds to `y [batch, T', out]` the product of what `taps` read of `x` with weights `[out, kernel·c]`, whose channels
/// vary fastest.
pub fn add_conv1d(taps: &Taps, positions: Positions, product: Product, y: &mut [f32]) {
    bands(taps, positions, product, y, true);
}

/// `y [batch, T', out]`: as [`add_conv1d`], onto nothing.
pub fn conv1d(taps: &Taps, positions: Positions, product: Product) -> Vec<f32> {
    let [batch, t, _] = positions.shape;
    let mut y = buffer(batch * taps.output(t) * product.weights.out());
    bands(taps, positions, product, &mut y, false);
    y
}

fn bands(taps: &Taps, positions: Positions, product: Product, y: &mut [f32], add: bool) {
    let [batch, t, c] = positions.shape;
    let (rows, width, out) = (taps.output(t), taps.kernel * c, product.weights.out());
    assert_eq!(positions.x.len(), batch * t * c, "conv1d: x is {batch} x {t} x {c}");
    assert_eq!(product.weights.in_(), width, "conv1d: weights of {width}");
    assert_eq!(y.len(), batch * rows * out, "conv1d: y is {batch} x {rows} x {out}");
    let band = (BAND / width.max(1)).clamp(1, rows);
    let mut read = buffer(band * width);
    for (x, y) in
        positions.x.chunks_exact((t * c).max(1)).zip(y.chunks_exact_mut((rows * out).max(1)))
    {
        for (first, y) in (0..rows).step_by(band).zip(y.chunks_mut(band * out)) {
            let n = band.min(rows - first);
            let (to, task) = (Shared::new(&mut read), rows_per_task(width));
            for_each(n.div_ceil(task), n * width, |part| {
                for row in part * task..((part + 1) * task).min(n) {
                    // SAFETY: row `row` of `read`, which this task alone writes.
                    let to = unsafe { std::slice::from_raw_parts_mut(to.at(row * width), width) };
                    side_by_side(taps, x, c, first + row, positions.slope, to);
                }
            });
            product_into(product, n, &read[..n * width], y, add);
        }
    }
}

/// Lays out what output `row` reads of `x [t, c]`: `[kernel, c]`, with zeros for the padding.
fn side_by_side(taps: &Taps, x: &[f32], c: usize, row: usize, slope: Option<f32>, to: &mut [f32]) {
    let first = row * taps.stride;
    // Positions that follow each other are one run.
    let (runs, each) = if taps.dilation == 1 { (1, taps.kernel) } else { (taps.kernel, 1) };
    for (run, to) in (0..runs).zip(to.chunks_exact_mut(each * c)) {
        // Places `at..at + each` of the padded sequence.
        let at = first + run * taps.dilation;
        let front = taps.padding[0].saturating_sub(at).min(each);
        let end = (x.len() / c + taps.padding[0]).saturating_sub(at).clamp(front, each);
        to[..front * c].fill(0.0);
        to[end * c..].fill(0.0);
        let from = (at + front).saturating_sub(taps.padding[0]) * c;
        let (to, n) = (&mut to[front * c..end * c], (end - front) * c);
        match slope {
            _ if n == 0 => {}
            None => to.copy_from_slice(&x[from..from + n]),
            Some(slope) => leaky(slope, &x[from..from + n], to),
        }
    }
}

vectorised! {
    /// `y = x`, of numbers below zero `slope·x`.
    fn leaky(slope: f32, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if x < 0.0 { slope * x } else { x };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::{Format, Packed, Then};
    use crate::testing::{assert_close, assert_same_on_all_pools, random};

    /// Against the sum that defines it: steps, paddings and distances that fit the positions and that do not, and
    /// sizes of several bands.
    #[test]
    fn it_is_the_sum_that_defines_it() {
        for ([batch, t, c], [kernel, stride, front, behind, dilation], slope) in [
            ([1, 6, 2], [3, 1, 1, 1, 1], None),
            ([2, 7, 3], [3, 2, 1, 1, 1], Some(0.1)),
            ([1, 5, 4], [1, 1, 0, 0, 1], None),
            ([1, 9, 2], [4, 3, 2, 2, 1], Some(0.5)),
            ([3, 4, 1], [2, 4, 0, 0, 1], None),
            ([1, 9, 2], [3, 1, 3, 3, 3], Some(0.01)),
            ([2, 9, 2], [3, 2, 2, 1, 4], None),
            ([1, 2, 3], [5, 1, 4, 4, 1], Some(0.1)),
            ([1, 3000, 32], [11, 1, 25, 25, 5], Some(0.1)),
        ] {
            let taps = Taps { kernel, stride, padding: [front, behind], dilation };
            let (rows, out) = (taps.output(t), 5);
            let (x, w) = (random(1, batch * t * c), random(2, out * kernel * c));
            let bias = random(3, out);
            let mut want = Vec::new();
            for at in 0..batch * rows * out {
                let (b, row, o) = (at / (rows * out), at / out % rows, at % out);
                let mut sum = f64::from(bias[o]);
                for k in 0..kernel {
                    let place = (row * stride + k * dilation).checked_sub(front);
                    let Some(place) = place.filter(|&place| place < t) else { continue };
                    for channel in 0..c {
                        let x = x[(b * t + place) * c + channel];
                        let x = slope.filter(|_| x < 0.0).map_or(x, |slope| slope * x);
                        sum += f64::from(x) * f64::from(w[(o * kernel + k) * c + channel]);
                    }
                }
                want.push(sum);
            }
            let packed = Packed::new(Format::F32, out, kernel * c, &w);
            let product = Product { weights: &packed, bias: Some(&bias), then: Then::Nothing };
            let positions = Positions { x: &x, shape: [batch, t, c], slope };
            assert_close(&conv1d(&taps, positions, product), &want, 2e-5);
            let mut twice: Vec<f32> = want.iter().map(|&y| y as f32).collect();
            add_conv1d(&taps, positions, product, &mut twice);
            want.iter_mut().for_each(|y| *y *= 2.0);
            assert_close(&twice, &want, 4e-5);
        }
    }

    #[test]
    fn threads_do_not_change_it() {
        let (x, w) = (random(1, 2 * 500 * 40), random(2, 24 * 7 * 40));
        let packed = Packed::new(Format::F32, 24, 7 * 40, &w);
        let taps = Taps { kernel: 7, stride: 2, padding: [3, 3], dilation: 1 };
        assert_same_on_all_pools(|| {
            let product = Product { weights: &packed, bias: None, then: Then::Nothing };
            conv1d(&taps, Positions { x: &x, shape: [2, 500, 40], slope: None }, product)
        });
    }
}
