//! Weights in GGUF's blocks of 256 (Q2_K to Q6_K, IQ4_XS), multiplied as they are: activations are
//! rounded as for blocks of 32.
//!
//! A panel is 32 outputs. Its blocks consist of groups of inputs that share a small integer scale, 32
//! or 16 of them, four inputs to a word. Lower 4 bits of inputs share their words with those of the
//! inputs half a group further; the upper bits of Q5_K's and Q6_K's have a word for the whole group.
//! Integers of 2 and 3 bits take 4, and IQ4_XS's, which are from a table, 8.

use half::f16;

use super::Blocked;
#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::blocks::{Activations, Rows, WORDS, code, depth, dots, put};
#[cfg(target_arch = "x86_64")]
use super::blocks::{low, up};
use super::tasks::{COLUMNS, Tile, four};
use crate::lanes::{FOUR, Lanes, Native, have_lanes};
use crate::memory::large;
use crate::quant::{Layout, Parts};
use crate::simd::vectorised;

/// Numbers in a block.
const BLOCK: usize = 256;
/// Numbers in a word.
const PACKED: usize = 4;
/// Words of half a block of activations: groups of 16.
const HALF: usize = WORDS / 2;
/// Rows that are multiplied at once, as for blocks of 32.
const ROWS: usize = 6;

/// `[out, in]` weights.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    in_: usize,
    layout: Layout,
    /// Panel after panel, group after group: [`COLUMNS`] words for each row of words.
    words: Vec<[u8; PACKED]>,
    /// Small scales of each group.
    small: Vec<[i8; COLUMNS]>,
    /// Small least values of each group; empty where there are none.
    small_least: Vec<[i8; COLUMNS]>,
    /// f16 scales of each block's small scales.
    scales: Vec<[u16; COLUMNS]>,
    /// The same for the small least values.
    least: Vec<[u16; COLUMNS]>,
}

/// One panel of weights.
pub(super) struct Panel<'a> {
    pub(super) words: &'a [[u8; PACKED]],
    pub(super) small: &'a [[i8; COLUMNS]],
    pub(super) small_least: &'a [[i8; COLUMNS]],
    pub(super) scales: &'a [[u16; COLUMNS]],
    pub(super) least: &'a [[u16; COLUMNS]],
    /// What integers are raised by.
    pub(super) zero: i32,
}

impl Blocks {
    /// Lays out a matrix `[out, in]` from the bytes of its rows.
    pub(super) fn new(kind: Blocked, out: usize, in_: usize, bytes: &[u8]) -> Self {
        let kind = kind.kind();
        let (layout, size) = (kind.layout(), kind.block_bytes());
        let (blocks, panels) = (in_ / BLOCK, out.div_ceil(COLUMNS));
        assert_eq!(bytes.len(), out * blocks * size, "packed: {kind:?} of {out} x {in_}");
        let all = panels * blocks * (BLOCK / layout.group);
        let least = |n: usize| if layout.least { n } else { 0 };
        let depth = depth(layout.group / PACKED, layout.bits);
        let mut packed = Self {
            in_,
            layout,
            words: large([0; PACKED], all * depth * COLUMNS),
            small: vec![[0; COLUMNS]; all],
            small_least: vec![[0; COLUMNS]; least(all)],
            scales: vec![[0; COLUMNS]; panels * blocks],
            least: vec![[0; COLUMNS]; least(panels * blocks)],
        };
        for (n, block) in bytes.chunks_exact(size).enumerate() {
            let (o, b) = (n / blocks, n % blocks);
            packed.put(o / COLUMNS * blocks + b, o % COLUMNS, &Parts::of(kind, block));
        }
        packed
    }

    /// One output's block.
    fn put(&mut self, at: usize, column: usize, parts: &Parts) {
        let Layout { group, bits, .. } = self.layout;
        let depth = depth(group / PACKED, bits) * COLUMNS;
        self.scales[at][column] = parts.scale;
        if let Some(least) = self.least.get_mut(at) {
            least[column] = parts.least;
        }
        for (g, codes) in parts.codes.chunks_exact(group).enumerate() {
            let at = at * (BLOCK / group) + g;
            self.small[at][column] = parts.small[g];
            if let Some(least) = self.small_least.get_mut(at) {
                least[column] = parts.small_least[g];
            }
            put(&mut self.words[at * depth..][..depth], column, codes, bits);
        }
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        let small = self.small.len() + self.small_least.len();
        let halves = self.scales.len() + self.least.len();
        self.words.len() * PACKED + (small + 2 * halves) * COLUMNS
    }

    /// Sums of a panel for the rows from `row` on.
    pub(super) fn tile(&self, panel: usize, x: &Rows, row: usize, sums: &mut Tile) {
        fn part<T>(all: &[T], panel: usize, n: usize) -> &[T] {
            all.get(panel * n..(panel + 1) * n).unwrap_or_default()
        }
        let Layout { group, bits, zero, .. } = self.layout;
        let (blocks, groups) = (self.in_ / BLOCK, self.in_ / group);
        let w = Panel {
            words: part(&self.words, panel, groups * depth(group / PACKED, bits) * COLUMNS),
            small: part(&self.small, panel, groups),
            small_least: part(&self.small_least, panel, groups),
            scales: part(&self.scales, panel, blocks),
            least: part(&self.least, panel, blocks),
            zero: zero.into(),
        };
        for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
            let x = x.part(row + n * ROWS, sums.len(), self.in_);
            match (group / PACKED, bits) {
                (WORDS, 4) => products::<WORDS, 4>(&w, &x, sums),
                (WORDS, 5) => products::<WORDS, 5>(&w, &x, sums),
                (WORDS, _) => products::<WORDS, 8>(&w, &x, sums),
                (_, 4) => products::<HALF, 4>(&w, &x, sums),
                _ => products::<HALF, 6>(&w, &x, sums),
            }
        }
    }
}

/// Groups of `N` words of integers of `BITS` bits.
fn products<const N: usize, const BITS: usize>(w: &Panel, x: &Activations, sums: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the slices hold whole blocks for every row; the CPU has the instructions.
        return unsafe {
            match sums.len() {
                1 => avx512::<1, N, BITS>(w, x, sums),
                2 => avx512::<2, N, BITS>(w, x, sums),
                3 => avx512::<3, N, BITS>(w, x, sums),
                4 => avx512::<4, N, BITS>(w, x, sums),
                5 => avx512::<5, N, BITS>(w, x, sums),
                _ => avx512::<ROWS, N, BITS>(w, x, sums),
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    if !x.halves.is_empty() {
        return avx2_rows::<N, BITS>(w, x, sums);
    }
    if have_lanes() {
        return lanes::<Native, N, BITS>(w, x, sums);
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        portable_row(N, BITS, w, x, i, sums);
    }
}

/// Three rows at a time, as many as there are registers for.
#[cfg(target_arch = "x86_64")]
fn avx2_rows<const N: usize, const BITS: usize>(w: &Panel, x: &Activations, sums: &mut Tile) {
    const ROWS: usize = 3;
    for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
        let x = x.rows(n * ROWS, sums.len(), w.small.len() * N / WORDS);
        // SAFETY: the slices hold whole blocks for every row; halves are made only where there are
        // AVX2, FMA and F16C.
        unsafe {
            match sums.len() {
                1 => avx2::groups::<1, N, BITS>(w, &x, sums),
                2 => avx2::groups::<2, N, BITS>(w, &x, sums),
                _ => avx2::groups::<ROWS, N, BITS>(w, &x, sums),
            }
        }
    }
}

/// Group by group of `N` words, and in it row after row: the weights of a group stay in L1.
fn lanes<L: Lanes, const N: usize, const BITS: usize>(w: &Panel, x: &Activations, sums: &mut Tile) {
    let (words, _) = w.words.as_chunks::<COLUMNS>();
    let (x_words, _) = x.words.as_chunks::<N>();
    for (g, (words, small)) in words.chunks_exact(depth(N, BITS)).zip(w.small).enumerate() {
        let at = g * N * PACKED / BLOCK;
        let scales = scaled::<L>(&w.scales[at], small);
        let least = w.small_least.get(g).map(|small| scaled::<L>(&w.least[at], small));
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = i * w.small.len() + g;
            let (sum, block) = x.group::<N>(at);
            let x_words = x_words[at].map(L::word);
            // Bytes are lowered before they are multiplied.
            let zero = if BITS == 8 { 0 } else { -w.zero * sum };
            let (scale, total) = (x.scales[block], sum as f32 * x.scales[block]);
            for (n, sums) in sums.as_chunks_mut::<FOUR>().0.iter_mut().enumerate() {
                let integers = dots::<L, N, BITS>(words, n, &x_words);
                let factor = L::multiply(scales[n], L::splat(scale));
                let mut y = L::multiply_add(L::floats(integers, zero), factor, L::load(sums));
                if let Some(least) = &least {
                    y = L::multiply_add(least[n], L::splat(-total), y);
                }
                *sums = L::array(y);
            }
        }
    }
}

/// A group's scales: those of its block times its small ones.
#[inline(always)]
fn scaled<L: Lanes>(large: &[u16; COLUMNS], small: &[i8; COLUMNS]) -> [L::Floats; COLUMNS / FOUR] {
    let floats = small.map(f32::from);
    std::array::from_fn(|n| L::multiply(L::halves(four(large, n)), L::load(four(&floats, n))))
}

vectorised! {
    /// One row, group by group of `n` words, in the order of the fast version.
    fn portable_row(n: usize, bits: usize, w: &Panel, x: &Activations, row: usize, sums: &mut [f32; COLUMNS]) {
        let (groups, depth) = (w.small.len(), depth(n, bits) * COLUMNS);
        for g in 0..groups {
            let at = row * groups + g;
            let (sum, block) = if n == WORDS { x.group::<WORDS>(at) } else { x.group::<HALF>(at) };
            let weights = &w.words[g * depth..][..depth];
            let mut integers = [-w.zero * sum; COLUMNS];
            for (k, x) in x.words[at * n..(at + 1) * n].iter().enumerate() {
                for (column, sum) in integers.iter_mut().enumerate() {
                    for (i, x) in x.iter().enumerate() {
                        *sum += code(weights, column, k, i, n, bits) * i32::from(*x);
                    }
                }
            }
            let (scale, total) = (x.scales[block], sum as f32 * x.scales[block]);
            let at = g * n * PACKED / BLOCK;
            let product = |large: &[u16; COLUMNS], small: &[i8; COLUMNS], column: usize| {
                f16::from_bits(large[column]).to_f32() * f32::from(small[column])
            };
            for (column, sum) in sums.iter_mut().enumerate() {
                let factor = product(&w.scales[at], &w.small[g], column) * scale;
                *sum = (integers[column] as f32).mul_add(factor, *sum);
                if let Some(small) = w.small_least.get(g) {
                    *sum = product(&w.least[at], small, column).mul_add(-total, *sum);
                }
            }
        }
    }
}

/// # Safety
/// `x` holds `R` rows of as many groups as `w`; the CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn avx512<const R: usize, const N: usize, const BITS: usize>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    use std::arch::x86_64::{
        __m512, __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm512_cvtepi8_epi32,
        _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
        _mm512_fnmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let (groups, depth) = (w.small.len(), depth(N, BITS));
    let mut floats = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller: every index below is inside whole groups.
    unsafe {
        let words = x.words.as_ptr().cast::<i32>();
        let scaled = |large: &[u16; COLUMNS], small: &[i8; COLUMNS], half: usize| -> __m512 {
            let large = _mm256_loadu_si256(large.as_ptr().add(16 * half).cast());
            let small = _mm_loadu_si128(small.as_ptr().add(16 * half).cast());
            let small = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(small));
            _mm512_mul_ps(_mm512_cvtph_ps(large), small)
        };
        for g in 0..groups {
            let block = g * N * PACKED / BLOCK;
            let weights = w.words.as_ptr().add(g * depth * COLUMNS).cast::<i32>();
            let x_sums: [(i32, f32); R] = std::array::from_fn(|i| {
                let (sum, block) = x.group::<N>(i * groups + g);
                (sum, *x.scales.get_unchecked(block))
            });
            for half in 0..2 {
                let load = |row: usize| -> __m512i {
                    _mm512_loadu_si512(weights.add(row * COLUMNS + 16 * half).cast())
                };
                let mut tile = x_sums.map(|(sum, _)| _mm512_set1_epi32(-w.zero * sum));
                let high = load(depth - 1);
                for k in 0..N {
                    let q = if BITS == 8 || k < N / 2 {
                        low::<BITS>(load(k), high, k)
                    } else {
                        up::<BITS>(load(k - N / 2), high, k)
                    };
                    for (i, sum) in tile.iter_mut().enumerate() {
                        let x = words.add((i * groups + g) * N + k).read_unaligned();
                        *sum = _mm512_dpbusd_epi32(*sum, q, _mm512_set1_epi32(x));
                    }
                }
                let factor = scaled(w.scales.get_unchecked(block), &w.small[g], half);
                for (i, (floats, tile)) in floats.iter_mut().zip(tile).enumerate() {
                    let factor = _mm512_mul_ps(factor, _mm512_set1_ps(x_sums[i].1));
                    floats[half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(tile), factor, floats[half]);
                }
                if let Some(small) = w.small_least.get(g) {
                    let least = scaled(w.least.get_unchecked(block), small, half);
                    for (floats, (sum, scale)) in floats.iter_mut().zip(x_sums) {
                        let total = _mm512_set1_ps(sum as f32 * scale);
                        floats[half] = _mm512_fnmadd_ps(least, total, floats[half]);
                    }
                }
            }
        }
        for (floats, sums) in floats.iter().zip(sums) {
            _mm512_storeu_ps(sums.as_mut_ptr(), floats[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(16), floats[1]);
        }
    }
}
