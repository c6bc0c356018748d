//! Weights and activations as 8-bit integers: symmetric, one scale an output and one a row of
//! activations, taken from its largest magnitude as it comes (dynamic quantisation).
//!
//! A word holds four numbers that follow each other along the inputs; AVX512-VNNI multiplies them
//! by four others and adds the products up in one instruction, four times the rate of f32. It
//! wants one side unsigned: weights are stored 128 higher, and 128 times the sum of a row of
//! activations is taken off again. Without it, AVX2 multiplies them as 16-bit numbers. All sums are
//! exact, so every path gives the same bits.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::blocks::{WORDS, bytes};
use super::fill::Fill;
use super::round::{largest, round};
use super::scale;
use super::tasks::{COLUMNS, Tile};
use crate::lanes::{FOUR, Lanes, Native, have_lanes};
use crate::memory::large;
use crate::parallel::{for_each, rows_per_task};
use crate::simd::{has_only_avx2, vectorised};

/// Numbers in a word.
const PACKED: usize = 4;
/// What stored weights are raised by.
const ZERO: i32 = 128;

/// `[out, in]` weights.
#[derive(Clone, Debug)]
pub(super) struct Int8 {
    in_: usize,
    /// Panels of [`COLUMNS`] outputs: words of each input quadruple side by side.
    words: Vec<[u8; PACKED]>,
    /// One scale an output; padded to whole panels.
    scales: Vec<f32>,
}

/// Activations: rows of words.
pub(super) struct Rows {
    words: Vec<[i8; PACKED]>,
    /// The words as AVX2 wants them, if it is that which multiplies.
    halves: Vec<[i16; PACKED]>,
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
        let mut words = large([ZERO as u8; PACKED], panels * depth * COLUMNS);
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
        Self { in_, words, scales }
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * PACKED + self.scales.len() * size_of::<f32>()
    }

    /// Sums of a panel for the rows from `row` on, at most 12.
    pub(super) fn tile(&self, panel: usize, x: &Rows, row: usize, sums: &mut Tile) {
        let (depth, n) = (self.in_.div_ceil(PACKED), sums.len());
        let part = Panel {
            weights: &self.words[panel * depth * COLUMNS..][..depth * COLUMNS],
            scales: &self.scales[panel * COLUMNS..][..COLUMNS],
        };
        let x = Block {
            words: &x.words[row * depth..(row + n) * depth],
            halves: x.halves.get(row * depth..(row + n) * depth).unwrap_or_default(),
            scales: &x.scales[row..row + n],
            zeros: &x.zeros[row..row + n],
        };
        products(&x, &part, depth, sums);
    }
}

/// A panel of weights.
struct Panel<'a> {
    weights: &'a [[u8; PACKED]],
    scales: &'a [f32],
}

/// The activations of a tile.
struct Block<'a> {
    words: &'a [[i8; PACKED]],
    halves: &'a [[i16; PACKED]],
    scales: &'a [f32],
    zeros: &'a [i32],
}

/// `sums[i][j] = (Σ x[i]·w[.][j] - zero[i])·(scale[i]·scale[j])` over whole words.
fn products(x: &Block, w: &Panel, depth: usize, sums: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the slices were cut to these lengths; the CPU has the instruction.
        return unsafe {
            match sums.len() {
                1 => avx512::<1>(x, w, depth, sums),
                2 => avx512::<2>(x, w, depth, sums),
                3 => avx512::<3>(x, w, depth, sums),
                4 => avx512::<4>(x, w, depth, sums),
                5 => avx512::<5>(x, w, depth, sums),
                6 => avx512::<6>(x, w, depth, sums),
                7 => avx512::<7>(x, w, depth, sums),
                8 => avx512::<8>(x, w, depth, sums),
                9 => avx512::<9>(x, w, depth, sums),
                10 => avx512::<10>(x, w, depth, sums),
                11 => avx512::<11>(x, w, depth, sums),
                _ => avx512::<12>(x, w, depth, sums),
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    if !x.halves.is_empty() {
        return avx2_rows(x, w, depth, sums);
    }
    if have_lanes() {
        return lanes::<Native>(x, w, depth, sums);
    }
    portable(x, w, depth, sums);
}

/// Four rows at a time, as many as there are registers for.
#[cfg(target_arch = "x86_64")]
fn avx2_rows(x: &Block, w: &Panel, depth: usize, sums: &mut Tile) {
    const ROWS: usize = 4;
    let weights = (w.weights, w.scales);
    for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
        let rows = n * ROWS..n * ROWS + sums.len();
        let words = &x.halves[rows.start * depth..rows.end * depth];
        let x = (words, &x.scales[rows.clone()], &x.zeros[rows]);
        // SAFETY: the slices were cut to these lengths; halves are made only where there is AVX2.
        unsafe {
            match sums.len() {
                1 => avx2::int8::<1>(x, weights, depth, sums),
                2 => avx2::int8::<2>(x, weights, depth, sums),
                3 => avx2::int8::<3>(x, weights, depth, sums),
                _ => avx2::int8::<ROWS>(x, weights, depth, sums),
            }
        }
    }
}

vectorised! {
    fn portable(x: &Block, w: &Panel, depth: usize, sums: &mut Tile) {
        for (i, sums) in sums.iter_mut().enumerate() {
            let mut integers = [0; COLUMNS];
            for (k, weights) in w.weights.chunks_exact(COLUMNS).enumerate() {
                let x = x.words[i * depth + k];
                for (integer, w) in integers.iter_mut().zip(weights) {
                    for k in 0..PACKED {
                        *integer += i32::from(x[k]) * i32::from(w[k]);
                    }
                }
            }
            for ((sum, integer), scale) in sums.iter_mut().zip(integers).zip(w.scales) {
                *sum = (integer - x.zeros[i]) as f32 * (x.scales[i] * scale);
            }
        }
    }
}

/// Row after row, and as many inputs at a time as GGUF's blocks have.
fn lanes<L: Lanes>(x: &Block, w: &Panel, depth: usize, sums: &mut Tile) {
    let (weights, _) = w.weights.as_chunks::<COLUMNS>();
    let (scales, _) = w.scales.as_chunks::<FOUR>();
    for (i, sums) in sums.iter_mut().enumerate() {
        let mut integers = [L::no_sums(); COLUMNS / FOUR];
        let x_words = &x.words[i * depth..(i + 1) * depth];
        for (x, weights) in x_words.chunks(WORDS).zip(weights.chunks(WORDS)) {
            let mut words = [L::word([0; PACKED]); WORDS];
            words.iter_mut().zip(x).for_each(|(word, &x)| *word = L::word(x));
            for (n, sums) in integers.iter_mut().enumerate() {
                *sums = bytes::<L>(weights, n, &words[..x.len()], *sums);
            }
        }
        let row = L::splat(x.scales[i]);
        let (sums, _) = sums.as_chunks_mut::<FOUR>();
        for ((sums, integers), scales) in sums.iter_mut().zip(integers).zip(scales) {
            let scale = L::multiply(row, L::load(scales));
            *sums = L::array(L::multiply(L::floats(integers, 0), scale));
        }
    }
}

/// # Safety
/// `x` has `R` rows of `depth` words, `w` has `depth` rows of [`COLUMNS`], `sums` `R` rows; the
/// CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn avx512<const R: usize>(x: &Block, w: &Panel, depth: usize, sums: &mut Tile) {
    use std::arch::x86_64::{
        _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
        _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_storeu_ps,
        _mm512_sub_epi32,
    };
    let mut tile = [[_mm512_setzero_si512(); 2]; R];
    // SAFETY: promised by the caller.
    unsafe {
        let (words, weights) = (x.words.as_ptr().cast::<i32>(), w.weights.as_ptr().cast::<i32>());
        for k in 0..depth {
            let w = weights.add(k * COLUMNS);
            let (w0, w1) = (_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(16).cast()));
            for (i, sums) in tile.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(words.add(i * depth + k).read_unaligned());
                sums[0] = _mm512_dpbusd_epi32(sums[0], w0, x);
                sums[1] = _mm512_dpbusd_epi32(sums[1], w1, x);
            }
        }
        let scales = w.scales.as_ptr();
        let scales = [_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(16))];
        for (i, (tile, sums)) in tile.iter().zip(sums).enumerate() {
            let zero = _mm512_set1_epi32(*x.zeros.get_unchecked(i));
            let row = _mm512_set1_ps(*x.scales.get_unchecked(i));
            for half in 0..2 {
                let integers = _mm512_cvtepi32_ps(_mm512_sub_epi32(tile[half], zero));
                let y = _mm512_mul_ps(integers, _mm512_mul_ps(row, scales[half]));
                _mm512_storeu_ps(sums.as_mut_ptr().add(16 * half), y);
            }
        }
    }
}

impl Rows {
    /// Rounds `x [rows, in]`, each row by itself.
    pub(super) fn new(rows: usize, in_: usize, x: &[f32]) -> Self {
        let depth = in_.div_ceil(PACKED);
        let (words, scales, zeros) = (Fill::new(rows * depth), Fill::new(rows), Fill::new(rows));
        let halved = has_only_avx2();
        let halves = Fill::new(if halved { rows * depth } else { 0 });
        let task = rows_per_task(in_);
        for_each(rows.div_ceil(task), x.len(), |n| {
            for row in n * task..((n + 1) * task).min(rows) {
                let x = &x[row * in_..(row + 1) * in_];
                let (row_scale, inverse) = scale(largest(x));
                // SAFETY: a row is written by one task; all of its words are.
                unsafe {
                    let words = words.part(row * depth, depth);
                    if let Some(end) = words.last_mut() {
                        *end = [0; PACKED];
                    }
                    let sum = round(x, inverse, &mut words.as_flattened_mut()[..in_]);
                    #[cfg(target_arch = "x86_64")]
                    if halved {
                        avx2::halve(words, halves.part(row * depth, depth));
                    }
                    scales.set(row, row_scale);
                    zeros.set(row, ZERO * sum);
                }
            }
        });
        // SAFETY: every row was written.
        unsafe {
            let (words, halves) = (words.done(), halves.done());
            Self { words, halves, scales: scales.done(), zeros: zeros.done() }
        }
    }
}
