//! 2-D convolution: patches laid out as columns (im2col), then a matrix product per sample.

use std::ops::Range;

use crate::gemm::{Strided, gemm_laid_out, gemm_strided};
use crate::linear::add_rows;
use crate::parallel::{Pieces, chunked, for_each};
use crate::simd::{sum_of, vectorised};
use crate::{Precision, buffer};

/// Sizes of a convolution with square kernels: `x [batch, c_in, h, w]`,
/// weights `[c_out, c_in, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Samples.
    pub batch: usize,
    /// Input channels.
    pub c_in: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step of the kernel, both ways.
    pub stride: usize,
    /// Zeros around the input, every side.
    pub padding: usize,
}

impl ConvShape {
    /// Output height and width. Panics if the kernel is empty, does not fit or does not move.
    pub fn output(&self) -> (usize, usize) {
        let side = |n: usize| {
            let padded = n + 2 * self.padding;
            assert!(
                self.stride > 0 && self.kernel > 0 && self.kernel <= padded,
                "conv2d: {self:?}"
            );
            (padded - self.kernel) / self.stride + 1
        };
        (side(self.h), side(self.w))
    }

    /// Pixels of an output channel.
    fn pixels(&self) -> usize {
        let (h, w) = self.output();
        h * w
    }

    /// Numbers that one output pixel is made of.
    fn patch(&self) -> usize {
        self.c_in * self.kernel * self.kernel
    }

    fn input(&self) -> usize {
        self.c_in * self.h * self.w
    }

    /// Samples of one task: fixed by the batch, and few enough tasks that their partial weight
    /// gradients stay small.
    fn group(&self) -> usize {
        self.batch.div_ceil(16).max(1)
    }

    /// Whether each sample is worth all threads: of few samples those with many columns or weights, of many those
    /// whose columns would fill the memory.
    fn is_large(&self) -> bool {
        let (columns, weights) = (self.patch() * self.pixels(), self.c_out * self.patch());
        columns > 16 * BAND || self.batch < 16 && columns.max(weights) > BAND
    }

    fn check(&self, x: &[f32], w: &[f32], y: &[f32]) {
        assert_eq!(x.len(), self.batch * self.input(), "conv2d: x of {self:?}");
        assert_eq!(w.len(), self.c_out * self.patch(), "conv2d: weights of {self:?}");
        assert_eq!(y.len(), self.batch * self.c_out * self.pixels(), "conv2d: y of {self:?}");
    }

    /// Output indices `0..out` whose input index `o·stride + k - padding` is inside `0..n`.
    #[inline(always)]
    fn inside(&self, k: usize, n: usize, out: usize) -> Range<usize> {
        let (s, p) = (self.stride, self.padding);
        let from = p.saturating_sub(k).div_ceil(s);
        let to = if n + p > k { ((n + p - k - 1) / s + 1).min(out) } else { 0 };
        from.min(to)..to
    }

    /// Calls `f(row, inside, input)` for every output row that each kernel element reads: the row starts at `row` of
    /// the column matrix, its pixels `inside` take `input, input + stride, ...` of the sample, the others lie in the
    /// padding.
    #[inline(always)]
    fn rows(&self, mut f: impl FnMut(usize, Range<usize>, usize)) {
        let (out_h, out_w) = self.output();
        let (s, p) = (self.stride, self.padding);
        for element in 0..self.patch() {
            let (c, ky, kx) = (
                element / (self.kernel * self.kernel),
                element / self.kernel % self.kernel,
                element % self.kernel,
            );
            let lines = self.inside(ky, self.h, out_h);
            let columns = self.inside(kx, self.w, out_w);
            for oy in 0..out_h {
                let row = (element * out_h + oy) * out_w;
                if columns.is_empty() || !lines.contains(&oy) {
                    f(row, 0..0, 0);
                    continue;
                }
                let input = (c * self.h + oy * s + ky - p) * self.w + columns.start * s + kx - p;
                f(row, columns.clone(), input);
            }
        }
    }

    /// What one kernel element, of column `kx`, reads for pixels of an output row from `ox` on, of line `y` of the
    /// padded channel `x`; `inside` are the pixels of an output row for which it reads no padding.
    #[inline(always)]
    fn line(
        &self,
        to: &mut [f32],
        x: &[f32],
        y: usize,
        [ox, kx]: [usize; 2],
        inside: &Range<usize>,
    ) {
        let from = inside.start.clamp(ox, ox + to.len());
        let end = inside.end.clamp(from, ox + to.len());
        if y < self.padding || y >= self.h + self.padding || from == end {
            return to.fill(0.0);
        }
        let input = (y - self.padding) * self.w + from * self.stride + kx - self.padding;
        to[..from - ox].fill(0.0);
        to[end - ox..].fill(0.0);
        take(self.stride, &mut to[from - ox..end - ox], &x[input..]);
    }
}

vectorised! {
    /// The patches of a sample as columns, `[patch, pixels]`, with zeros for the padding.
    fn im2col(shape: &ConvShape, x: &[f32], columns: &mut [f32]) {
        let width = shape.output().1;
        shape.rows(|row, inside, input| {
            let row = &mut columns[row..row + width];
            row[..inside.start].fill(0.0);
            row[inside.end..].fill(0.0);
            take(shape.stride, &mut row[inside], &x[input..]);
        });
    }
}

vectorised! {
    /// The patches of some output pixels, `[patch, width]`, with zeros for the padding and behind the last pixel.
    fn some_columns(shape: &ConvShape, pixels: Range<usize>, x: &[f32], columns: &mut [f32]) {
        let width = columns.len() / shape.patch();
        let (out_w, area) = (shape.output().1, shape.kernel * shape.kernel);
        let first = [pixels.start / out_w, pixels.start % out_w];
        let mut rows = columns.chunks_exact_mut(width);
        for x in x.chunks_exact(shape.h * shape.w) {
            for (element, row) in (0..area).zip(rows.by_ref()) {
                let (ky, kx) = (element / shape.kernel, element % shape.kernel);
                let inside = shape.inside(kx, shape.w, out_w);
                let (row, behind) = row.split_at_mut(pixels.len());
                behind.fill(0.0);
                let ([mut oy, mut ox], mut rest) = (first, row);
                while !rest.is_empty() {
                    let (line, more) = rest.split_at_mut((out_w - ox).min(rest.len()));
                    shape.line(line, x, oy * shape.stride + ky, [ox, kx], &inside);
                    (rest, oy, ox) = (more, oy + 1, 0);
                }
            }
        }
    }
}

/// `y` of every `stride`-th number of `x`.
#[inline(always)]
fn take(stride: usize, y: &mut [f32], x: &[f32]) {
    match stride {
        1 => y.copy_from_slice(&x[..y.len()]),
        2 => take_each::<2>(y, x),
        3 => take_each::<3>(y, x),
        stride => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y = *x),
    }
}

/// Every `S`-th number of `x`: strides that the compiler knows become vector code.
#[inline(always)]
fn take_each<const S: usize>(y: &mut [f32], x: &[f32]) {
    let (groups, rest) = x.as_chunks::<S>();
    let (body, tail) = y.split_at_mut(y.len().min(groups.len()));
    for (y, group) in body.iter_mut().zip(groups) {
        *y = group[0];
    }
    // The last one may be all that is left of its group.
    tail.iter_mut().zip(rest).for_each(|(y, x)| *y = *x);
}

vectorised! {
    /// The transpose of [`im2col`]: adds columns back onto the pixels they came from.
    fn col2im(shape: &ConvShape, columns: &[f32], x: &mut [f32]) {
        x.fill(0.0);
        shape.rows(|row, inside, input| {
            let (row, x) = (&columns[row + inside.start..row + inside.end], &mut x[input..]);
            match shape.stride {
                1 => x.iter_mut().zip(row).for_each(|(x, y)| *x += y),
                2 => add_to_each::<2>(row, x),
                3 => add_to_each::<3>(row, x),
                stride => x.iter_mut().step_by(stride).zip(row).for_each(|(x, y)| *x += y),
            }
        });
    }
}

/// The transpose of [`take_each`]: adds to every `S`-th number of `x`.
#[inline(always)]
fn add_to_each<const S: usize>(y: &[f32], x: &mut [f32]) {
    let (groups, rest) = x.as_chunks_mut::<S>();
    let (body, tail) = y.split_at(y.len().min(groups.len()));
    for (group, y) in groups.iter_mut().zip(body) {
        group[0] += y;
    }
    rest.iter_mut().zip(tail).for_each(|(x, y)| *x += y);
}

/// `y [batch, c_out, h', w']` of `x [batch, c_in, h, w]` with `w [c_out, c_in, kernel, kernel]`
/// and `bias [c_out]`.
pub fn conv2d(
    precision: Precision,
    shape: ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    shape.check(x, w, y);
    assert!(bias.is_none_or(|bias| bias.len() == shape.c_out), "conv2d: bias of {shape:?}");
    let (patch, pixels, group) = (shape.patch(), shape.pixels(), shape.group());
    let (x_size, y_size) = (shape.input(), shape.c_out * pixels);
    if x_size == 0 || y_size == 0 {
        return y.chunks_exact_mut(pixels.max(1)).enumerate().for_each(|(i, y)| {
            y.fill(bias.map_or(0.0, |bias| bias[i % shape.c_out]));
        });
    }
    if shape.is_large() {
        let (out_h, out_w) = shape.output();
        let lines = (BAND / (patch * out_w)).clamp(1, out_h);
        for (x, y) in x.chunks_exact(x_size).zip(y.chunks_exact_mut(y_size)) {
            in_bands(lines, precision, &shape, x, w, bias, y);
        }
        return;
    }
    chunked!(usize::MAX, group; [x * x_size], [y * y_size] => |x: &[f32], y: &mut [f32]| {
            let mut columns = buffer(patch * pixels);
            for (x, y) in x.chunks_exact(x_size).zip(y.chunks_exact_mut(y_size)) {
                im2col(&shape, x, &mut columns);
                if let Some(bias) = bias {
                    y.chunks_exact_mut(pixels).zip(bias).for_each(|(y, &bias)| y.fill(bias));
                }
                let (w, columns) =
                    (Strided::rows(w.as_ptr(), patch), Strided::rows(columns.as_ptr(), pixels));
                // SAFETY: w [c_out, patch], columns [patch, pixels], y [c_out, pixels].
                unsafe {
                    gemm_strided(
                        precision,
                        shape.c_out,
                        pixels,
                        patch,
                        1.0,
                        w,
                        columns,
                        y.as_mut_ptr(),
                        pixels,
                        bias.is_some(),
                    )
                };
            }
    });
}

/// Numbers of the column matrix that are laid out at once: a sample with more is done by bands of its output's
/// rows, each on all threads. Every output is the same sum either way.
const BAND: usize = 1 << 21;

/// One sample by bands of so many rows.
fn in_bands(
    lines: usize,
    precision: Precision,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let ((out_h, out_w), patch, pixels) = (shape.output(), shape.patch(), shape.pixels());
    if let Some(bias) = bias {
        y.chunks_exact_mut(pixels).zip(bias).for_each(|(y, &bias)| y.fill(bias));
    }
    for first in (0..out_h).step_by(lines) {
        let pixel = first * out_w;
        let n = ((first + lines).min(out_h) - first) * out_w;
        let w = Strided::rows(w.as_ptr(), patch);
        // SAFETY: w [c_out, patch], of y [c_out, pixels] the band's columns.
        unsafe {
            let y = y.as_mut_ptr().add(pixel);
            let columns = |columns: Range<usize>, to: &mut [f32]| {
                some_columns(shape, pixel + columns.start..pixel + columns.end, x, to);
            };
            gemm_laid_out(precision, shape.c_out, n, patch, w, &columns, y, pixels, bias.is_some());
        }
    }
}

/// Gradients of [`conv2d`], each overwritten if asked for.
pub fn conv2d_backward(
    precision: Precision,
    shape: ConvShape,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    shape.check(x, w, dy);
    if let Some(dx) = dx {
        input_gradient(precision, &shape, w, dy, dx);
    }
    if let Some(dw) = dw {
        weight_gradient(precision, &shape, x, dy, dw);
    }
    if let Some(db) = db {
        bias_gradient(&shape, dy, db);
    }
}

fn input_gradient(precision: Precision, shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(dx.len(), shape.batch * shape.input(), "conv2d_backward: dx of {shape:?}");
    let (patch, pixels, group) = (shape.patch(), shape.pixels(), shape.group());
    let (x_size, y_size) = (shape.input(), shape.c_out * pixels);
    if x_size == 0 || y_size == 0 {
        return dx.fill(0.0);
    }
    chunked!(usize::MAX, group; [dy * y_size], [dx * x_size] => |dy: &[f32], dx: &mut [f32]| {
            let mut columns = buffer(patch * pixels);
            for (dx, dy) in dx.chunks_exact_mut(x_size).zip(dy.chunks_exact(y_size)) {
                let (w, dy) =
                    (Strided::rows(w.as_ptr(), patch), Strided::rows(dy.as_ptr(), pixels));
                // SAFETY: wᵀ [patch, c_out], dy [c_out, pixels], columns [patch, pixels].
                unsafe {
                    gemm_strided(
                        precision,
                        patch,
                        pixels,
                        shape.c_out,
                        1.0,
                        w.t(),
                        dy,
                        columns.as_mut_ptr(),
                        pixels,
                        false,
                    )
                };
                col2im(shape, &columns, dx);
            }
    });
}

fn weight_gradient(precision: Precision, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    assert_eq!(dw.len(), shape.c_out * shape.patch(), "conv2d_backward: dw of {shape:?}");
    dw.fill(0.0);
    let (patch, pixels, group) = (shape.patch(), shape.pixels(), shape.group());
    let (x_size, y_size) = (shape.input(), shape.c_out * pixels);
    if x_size == 0 || y_size == 0 {
        return;
    }
    let mut partial = vec![0.0; shape.batch.div_ceil(group) * dw.len()];
    let (parts, size) = (&mut partial[..], dw.len());
    chunked!(usize::MAX, 1; [x * (group * x_size), dy * (group * y_size)], [parts * size] => |x: &[f32], dy: &[f32], dw: &mut [f32]| {
        let mut columns = buffer(patch * pixels);
        for (x, dy) in x.chunks_exact(x_size).zip(dy.chunks_exact(y_size)) {
            im2col(shape, x, &mut columns);
            let (dy, columns) =
                (Strided::rows(dy.as_ptr(), pixels), Strided::rows(columns.as_ptr(), pixels));
            // SAFETY: dy [c_out, pixels], columnsᵀ [pixels, patch], dw [c_out, patch].
            unsafe {
                gemm_strided(
                    precision,
                    shape.c_out,
                    patch,
                    pixels,
                    1.0,
                    dy,
                    columns.t(),
                    dw.as_mut_ptr(),
                    patch,
                    true,
                )
            };
        }
    });
    add_rows(&partial, dw);
}

fn bias_gradient(shape: &ConvShape, dy: &[f32], db: &mut [f32]) {
    assert_eq!(db.len(), shape.c_out, "conv2d_backward: db of {shape:?}");
    let pixels = shape.pixels();
    let sums = Pieces::new(db, 1);
    for_each(shape.c_out, dy.len(), |o| {
        let channel = |b: usize| channel_sum(&dy[(b * shape.c_out + o) * pixels..][..pixels]);
        // SAFETY: every task has its own number, and so its own piece.
        unsafe { sums.get_mut(o) }.fill((0..shape.batch).map(channel).sum());
    });
}

vectorised! {
    fn channel_sum(x: &[f32]) -> f32 {
        sum_of(x, |x| x)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_close, assert_same_on_all_pools, random, wide};

    /// Calls `f(y, x, w)` with the positions of every product of the convolution.
    fn products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
        let (out_h, out_w) = s.output();
        let y_all = (0..s.batch * s.c_out * out_h * out_w).map(|y| {
            (
                y,
                y / (s.c_out * out_h * out_w),
                y / (out_h * out_w) % s.c_out,
                y / out_w % out_h,
                y % out_w,
            )
        });
        for (y, b, o, oy, ox) in y_all {
            for i in 0..s.patch() {
                let (c, ky, kx) =
                    (i / (s.kernel * s.kernel), i / s.kernel % s.kernel, i % s.kernel);
                let (iy, ix) = (oy * s.stride + ky, ox * s.stride + kx);
                let inside = |i: usize, n: usize| i >= s.padding && i < n + s.padding;
                if inside(iy, s.h) && inside(ix, s.w) {
                    let x = ((b * s.c_in + c) * s.h + iy - s.padding) * s.w + ix - s.padding;
                    f(y, x, o * s.patch() + i);
                }
            }
        }
    }

    fn all(s: ConvShape, bias: bool) -> [Vec<f32>; 4] {
        let (x, w, b) =
            (random(1, s.batch * s.input()), random(2, s.c_out * s.patch()), random(3, s.c_out));
        let n = s.batch * s.c_out * s.pixels();
        let (mut y, dy) = (vec![f32::NAN; n], random(4, n));
        conv2d(Precision::F32, s, &x, &w, bias.then_some(&b[..]), &mut y);
        let nan = |n| vec![f32::NAN; n];
        let (mut dx, mut dw, mut db) = (nan(x.len()), nan(w.len()), nan(b.len()));
        conv2d_backward(
            Precision::F32,
            s,
            &x,
            &w,
            &dy,
            Some(&mut dx),
            Some(&mut dw),
            Some(&mut db),
        );
        [y, dx, dw, db]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn values_and_gradients_match_f64(
            batch in 0..20_usize, c_in in 1..4_usize, h in 1..9_usize, w in 1..9_usize, c_out in 1..5_usize,
            kernel in 1..5_usize, stride in 1..4_usize, padding in 0..3_usize, bias: bool,
        ) {
            let s = ConvShape { batch, c_in, h, w, c_out, kernel, stride, padding };
            prop_assume!(kernel <= h + 2 * padding && kernel <= w + 2 * padding);
            let n = batch * c_out * s.pixels();
            let (x, weights, dy) = (wide(&random(1, batch * s.input())), wide(&random(2, c_out * s.patch())), wide(&random(4, n)));
            let channel = |y: usize| y / s.pixels() % c_out;
            let b = if bias { wide(&random(3, c_out)) } else { vec![0.0; c_out] };
            let mut y: Vec<f64> = (0..n).map(|y| b[channel(y)]).collect();
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; weights.len()], vec![0.0; c_out]);
            products(&s, |iy, ix, iw| {
                y[iy] += x[ix] * weights[iw];
                dx[ix] += dy[iy] * weights[iw];
                dw[iw] += dy[iy] * x[ix];
            });
            dy.iter().enumerate().for_each(|(y, d)| db[channel(y)] += d);
            let got = all(s, bias);
            assert_close(&got[0], &y, 1e-5);
            assert_close(&got[1], &dx, 1e-5);
            assert_close(&got[2], &dw, 1e-5);
            assert_close(&got[3], &db, 1e-5);
        }
    }

    #[test]
    fn bands_are_parts_of_the_whole() {
        for (stride, bias) in [(1, true), (2, false)] {
            let s = ConvShape {
                batch: 2,
                c_in: 7,
                h: 13,
                w: 10,
                c_out: 5,
                kernel: 3,
                stride,
                padding: 1,
            };
            let x = random(1, s.batch * s.input());
            let (w, b) = (random(2, s.c_out * s.patch()), random(3, s.c_out));
            let b = bias.then_some(&b[..]);
            let mut whole = vec![f32::NAN; s.batch * s.c_out * s.pixels()];
            conv2d(Precision::F32, s, &x, &w, b, &mut whole);
            let mut parts = vec![f32::NAN; whole.len()];
            let samples = x.chunks(s.input()).zip(parts.chunks_mut(s.c_out * s.pixels()));
            for (x, y) in samples {
                in_bands(4, Precision::F32, &s, x, &w, b, y);
            }
            assert_eq!(parts, whole, "stride {stride}");
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let s = ConvShape {
            batch: 37,
            c_in: 3,
            h: 12,
            w: 10,
            c_out: 9,
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        assert_same_on_all_pools(|| all(s, true).concat());
    }
}
