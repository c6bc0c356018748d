//! Weights and activations as 8-bit integers: symmetric, one scale an output and one a row of
//! activations, taken from its largest magnitude as it comes (dynamic quantisation).
//!
//! A word holds four numbers that follow each other along the inputs; AVX512-VNNI multiplies them
//! by four others and adds the products up in one instruction, four times the rate of f32. It
//! wants one side unsigned: weights are stored 128 higher, and 128 times the sum of a row of
//! activations is taken off again. All sums are exact, so every path gives the same bits.

use rayon::prelude::*;

use super::scale;
use crate::parallel::{Shared, for_each, rows_per_task};
use crate::simd::{max_of, vectorised};

/// Rows of a tile. 12 x 32 needs 24 accumulators, 2 registers for the weights and 1 for the
/// activations of AVX-512's 32.
const ROWS: usize = 12;
/// Outputs of a tile and of a panel.
const COLUMNS: usize = 32;
/// Numbers in a word.
const PACKED: usize = 4;
/// Rows of a task: their activations stay in L2.
const BLOCK: usize = 8 * ROWS;
/// What stored weights are raised by.
const ZERO: i32 = 128;

/// `[out, in]` weights.
#[derive(Clone, Debug)]
pub(super) struct Int8 {
    in_: usize,
    out: usize,
    /// Panels of [`COLUMNS`] outputs: words of each input quadruple side by side.
    words: Vec<[u8; PACKED]>,
    /// One scale an output; padded to whole panels.
    scales: Vec<f32>,
}

/// Activations: rows of words.
struct Rows {
    words: Vec<[i8; PACKED]>,
    /// Scale of each row.
    scales: Vec<f32>,
    /// Sum of each row's integers, times [`ZERO`].
    zeros: Vec<i32>,
}

impl Int8 {
    /// Quantises `w [out, in]`.
    pub(super) fn new(out: usize, in_: usize, w: &[f32]) -> Self {
        let depth = in_.div_ceil(PACKED);
        let panels = out.div_ceil(COLUMNS);
        let mut words = vec![[ZERO as u8; PACKED]; panels * depth * COLUMNS];
        let mut scales = vec![0.0; panels * COLUMNS];
        for (o, row) in w.chunks_exact(in_.max(1)).enumerate() {
            let (scale, inverse) = scale(largest(row));
            scales[o] = scale;
            let panel = &mut words[o / COLUMNS * depth * COLUMNS..][..depth * COLUMNS];
            for (i, &w) in row.iter().enumerate() {
                let q = (w * inverse).round_ties_even() as i32 + ZERO;
                panel[i / PACKED * COLUMNS + o % COLUMNS][i % PACKED] = q as u8;
            }
        }
        Self { in_, out, words, scales }
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * PACKED + self.scales.len() * size_of::<f32>()
    }

    /// `y [rows, out] = x [rows, in] · wᵀ + bias`.
    pub(super) fn linear(&self, rows: usize, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let x = Rows::new(rows, self.in_, x);
        let (depth, panels) = (self.in_.div_ceil(PACKED), self.out.div_ceil(COLUMNS));
        let blocks = rows.div_ceil(BLOCK);
        // Enough tasks for every thread, of whole panels.
        let width = panels.div_ceil(8_usize.div_ceil(blocks.max(1))).max(1);
        let chunks = panels.div_ceil(width);
        let y = Shared::new(y);
        for_each(blocks * chunks, rows * self.out * self.in_ / 64, |task| {
            let (block, chunk) = (task / chunks, task % chunks);
            let last = ((block + 1) * BLOCK).min(rows);
            for panel in chunk * width..((chunk + 1) * width).min(panels) {
                let first = panel * COLUMNS;
                let columns = COLUMNS.min(self.out - first);
                let weights = &self.words[panel * depth * COLUMNS..][..depth * COLUMNS];
                let tile = Tile {
                    weights,
                    scales: &self.scales[first..first + COLUMNS],
                    bias: bias.map(|bias| &bias[first..first + columns]),
                    columns,
                    y_row: self.out,
                };
                for row in (block * BLOCK..last).step_by(ROWS) {
                    let n = ROWS.min(last - row);
                    // SAFETY: tasks write disjoint rows and columns of y [rows, out].
                    unsafe { tile.run(&x, row, n, depth, y.at(row * self.out + first)) };
                }
            }
        });
    }
}

/// A panel and where its results go.
struct Tile<'a> {
    weights: &'a [[u8; PACKED]],
    scales: &'a [f32],
    bias: Option<&'a [f32]>,
    columns: usize,
    y_row: usize,
}

impl Tile<'_> {
    /// Rows `row..row + n` of the activations, at most [`ROWS`].
    ///
    /// # Safety
    /// `y` has `n` rows of `columns`, `y_row` apart, that nobody else touches.
    unsafe fn run(&self, x: &Rows, row: usize, n: usize, depth: usize, y: *mut f32) {
        let words = &x.words[row * depth..(row + n) * depth];
        let mut sums = [[0; COLUMNS]; ROWS];
        integer_products(words, self.weights, depth, &mut sums[..n]);
        for (i, sums) in sums[..n].iter().enumerate() {
            // SAFETY: promised by the caller.
            let y = unsafe { std::slice::from_raw_parts_mut(y.add(i * self.y_row), self.columns) };
            finish(sums, x.zeros[row + i], x.scales[row + i], self.scales, y);
            if let Some(bias) = self.bias {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

vectorised! {
    /// Integer sums to f32.
    fn finish(sums: &[i32; COLUMNS], zero: i32, row: f32, scales: &[f32], y: &mut [f32]) {
        for ((y, &sum), &scale) in y.iter_mut().zip(sums).zip(scales) {
            *y = (sum - zero) as f32 * (row * scale);
        }
    }
}

/// `sums[i][j] = Σ x[i]·w[.][j]` over whole words.
fn integer_products(
    x: &[[i8; PACKED]],
    weights: &[[u8; PACKED]],
    depth: usize,
    sums: &mut [[i32; COLUMNS]],
) {
    assert!(x.len() >= sums.len() * depth && weights.len() >= depth * COLUMNS);
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the lengths were just checked; the CPU has the instruction.
        return unsafe {
            match sums.len() {
                1 => avx512::<1>(x, weights, depth, sums),
                2 => avx512::<2>(x, weights, depth, sums),
                3 => avx512::<3>(x, weights, depth, sums),
                4 => avx512::<4>(x, weights, depth, sums),
                5 => avx512::<5>(x, weights, depth, sums),
                6 => avx512::<6>(x, weights, depth, sums),
                7 => avx512::<7>(x, weights, depth, sums),
                8 => avx512::<8>(x, weights, depth, sums),
                9 => avx512::<9>(x, weights, depth, sums),
                10 => avx512::<10>(x, weights, depth, sums),
                11 => avx512::<11>(x, weights, depth, sums),
                _ => avx512::<ROWS>(x, weights, depth, sums),
            }
        };
    }
    portable(x, weights, depth, sums);
}

vectorised! {
    fn portable(x: &[[i8; PACKED]], weights: &[[u8; PACKED]], depth: usize, sums: &mut [[i32; COLUMNS]]) {
        for (x, sums) in x.chunks_exact(depth.max(1)).zip(sums) {
            for (x, weights) in x.iter().zip(weights.chunks_exact(COLUMNS)) {
                for (sum, w) in sums.iter_mut().zip(weights) {
                    for k in 0..PACKED {
                        *sum += i32::from(x[k]) * i32::from(w[k]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `x` has `R` rows of `depth` words, `weights` has `depth` rows of [`COLUMNS`], `sums` `R` rows; the
/// CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn avx512<const R: usize>(
    x: &[[i8; PACKED]],
    weights: &[[u8; PACKED]],
    depth: usize,
    sums: &mut [[i32; COLUMNS]],
) {
    use std::arch::x86_64::{
        _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };
    let mut tile = [[_mm512_setzero_si512(); 2]; R];
    // SAFETY: promised by the caller.
    unsafe {
        let (x, weights) = (x.as_ptr().cast::<i32>(), weights.as_ptr().cast::<i32>());
        for k in 0..depth {
            let w = weights.add(k * COLUMNS);
            let (w0, w1) = (_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(16).cast()));
            for (i, sums) in tile.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(x.add(i * depth + k).read_unaligned());
                sums[0] = _mm512_dpbusd_epi32(sums[0], w0, x);
                sums[1] = _mm512_dpbusd_epi32(sums[1], w1, x);
            }
        }
        for (tile, sums) in tile.iter().zip(sums) {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), tile[0]);
            _mm512_storeu_si512(sums.as_mut_ptr().add(16).cast(), tile[1]);
        }
    }
}

impl Rows {
    /// Quantises `x [rows, in]`, each row by itself.
    fn new(rows: usize, in_: usize, x: &[f32]) -> Self {
        let depth = in_.div_ceil(PACKED);
        let mut words = vec![[0; PACKED]; rows * depth];
        let (mut scales, mut zeros) = (vec![0.0; rows], vec![0; rows]);
        let task = rows_per_task(in_);
        let parts = x
            .par_chunks((task * in_).max(1))
            .zip(words.par_chunks_mut((task * depth).max(1)))
            .zip(scales.par_chunks_mut(task))
            .zip(zeros.par_chunks_mut(task));
        parts.for_each(|(((x, words), scales), zeros)| {
            let rows = x.chunks_exact(in_).zip(words.chunks_exact_mut(depth));
            for ((x, words), (scale_, zero)) in rows.zip(scales.iter_mut().zip(zeros)) {
                let (scale, inverse) = scale(largest(x));
                *scale_ = scale;
                *zero = ZERO * quantise(x, inverse, words.as_flattened_mut());
            }
        });
        Self { words, scales, zeros }
    }
}

vectorised! {
    fn largest(x: &[f32]) -> f32 {
        let mut sums = [0.0_f32; 16];
        let (body, tail) = x.as_chunks::<16>();
        for x in body {
            for i in 0..16 {
                let a = x[i].abs();
                sums[i] = if a > sums[i] { a } else { sums[i] };
            }
        }
        tail.iter().fold(max_of(&sums), |most, x| if x.abs() > most { x.abs() } else { most })
    }
}

vectorised! {
    /// Rounds `x / scale` to integers and adds them up.
    fn quantise(x: &[f32], inverse: f32, to: &mut [i8]) -> i32 {
        let mut sum = 0;
        for (to, &x) in to.iter_mut().zip(x) {
            let q = (x * inverse).round_ties_even() as i32;
            *to = q as i8;
            sum += q;
        }
        sum
    }
}
