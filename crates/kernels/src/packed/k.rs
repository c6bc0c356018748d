//! Weights in GGUF's blocks of 256 (Q4_K, Q6_K), multiplied as they are: activations are rounded as
//! for blocks of 32.
//!
//! A panel is 32 outputs. Its blocks consist of groups of inputs that share a small integer scale, 32
//! of them in Q4_K and 16 in Q6_K, four inputs to a word. Lower 4 bits of inputs share their words with
//! those of the inputs half a group further; the upper 2 bits of Q6_K's have a word for the whole group.

use half::f16;

use super::blocks::{Activations, BLOCK, Rows, nibbles};
use super::tasks::{COLUMNS, Row, Tile, four};
use crate::lanes::{FOUR, Lanes, Native, have_lanes};
use crate::memory::large;
use crate::quant::k::{self, Parts};
use crate::simd::vectorised;

/// Numbers in a word.
const PACKED: usize = 4;
/// Rows that are multiplied at once, as for blocks of 32.
const ROWS: usize = 6;
/// What integers of 6 bits are raised by.
const ZERO: i32 = 32;

/// `[out, in]` weights.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    in_: usize,
    /// Q6_K in place of Q4_K.
    six: bool,
    /// Panel after panel, group after group: [`COLUMNS`] words for each row of words.
    words: Vec<[u8; PACKED]>,
    /// Small scales of each group: of 6 bits, or signed.
    small: Vec<[u8; COLUMNS]>,
    /// Small least values of each group; none in Q6_K.
    small_least: Vec<[u8; COLUMNS]>,
    /// f16 scales of each block's small scales.
    scales: Vec<[u16; COLUMNS]>,
    /// The same for the small least values.
    least: Vec<[u16; COLUMNS]>,
}

/// Inputs of a group.
const fn group(six: bool) -> usize {
    if six { k::BLOCK / 16 } else { k::BLOCK / 8 }
}

/// Rows of words of a group.
const fn depth(six: bool) -> usize {
    if six { 3 } else { 4 }
}

/// Words of a group of Q4_K.
const Q4_WORDS: usize = group(false) / PACKED;
/// Words of a group of Q6_K.
const Q6_WORDS: usize = group(true) / PACKED;

/// One panel of weights.
struct Panel<'a> {
    words: &'a [[u8; PACKED]],
    small: &'a [[u8; COLUMNS]],
    small_least: &'a [[u8; COLUMNS]],
    scales: &'a [[u16; COLUMNS]],
    least: &'a [[u16; COLUMNS]],
}

impl Blocks {
    /// Lays out a matrix `[out, in]` from the bytes of its rows.
    pub(super) fn new(six: bool, out: usize, in_: usize, bytes: &[u8]) -> Self {
        let size = if six { k::Q6_K_BYTES } else { k::Q4_K_BYTES };
        let (blocks, panels) = (in_ / k::BLOCK, out.div_ceil(COLUMNS));
        assert_eq!(bytes.len(), out * blocks * size, "packed: blocks of 256 of {out} x {in_}");
        let groups = k::BLOCK / group(six);
        let all = panels * blocks * groups;
        let least = |n: usize| if six { 0 } else { n };
        let mut packed = Self {
            in_,
            six,
            words: large([0; PACKED], all * depth(six) * COLUMNS),
            small: vec![[0; COLUMNS]; all],
            small_least: vec![[0; COLUMNS]; least(all)],
            scales: vec![[0; COLUMNS]; panels * blocks],
            least: vec![[0; COLUMNS]; least(panels * blocks)],
        };
        for (n, block) in bytes.chunks_exact(size).enumerate() {
            let (o, b) = (n / blocks, n % blocks);
            let parts = if six { k::parts_q6_k(block) } else { k::parts_q4_k(block) };
            packed.put(o / COLUMNS * blocks + b, o % COLUMNS, &parts);
        }
        packed
    }

    /// One output's block.
    fn put(&mut self, at: usize, column: usize, parts: &Parts) {
        let (group, depth) = (group(self.six), depth(self.six));
        self.scales[at][column] = parts.scale;
        if let Some(least) = self.least.get_mut(at) {
            least[column] = parts.least;
        }
        for (g, codes) in parts.codes.chunks_exact(group).enumerate() {
            let at = at * (k::BLOCK / group) + g;
            self.small[at][column] = parts.small[g];
            if let Some(least) = self.small_least.get_mut(at) {
                least[column] = parts.small_least[g];
            }
            for (i, code) in codes.iter().enumerate() {
                let (row, byte) = (i % (group / 2) / PACKED, i % PACKED);
                let words = &mut self.words[at * depth * COLUMNS..][..depth * COLUMNS];
                words[row * COLUMNS + column][byte] |= (code & 15) << (i / (group / 2) * 4);
                if self.six {
                    words[2 * COLUMNS + column][byte] |= code >> 4 << (i / PACKED * 2);
                }
            }
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
        let blocks = self.in_ / k::BLOCK;
        let groups = self.in_ / group(self.six);
        let w = Panel {
            words: part(&self.words, panel, groups * depth(self.six) * COLUMNS),
            small: part(&self.small, panel, groups),
            small_least: part(&self.small_least, panel, groups),
            scales: part(&self.scales, panel, blocks),
            least: part(&self.least, panel, blocks),
        };
        for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
            let x = x.part(row + n * ROWS, sums.len(), self.in_);
            if self.six { products::<true>(&w, &x, sums) } else { products::<false>(&w, &x, sums) }
        }
    }
}

fn products<const SIX: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the slices hold whole blocks for every row; the CPU has the instructions.
        return unsafe {
            match sums.len() {
                1 => avx512::<1, SIX>(w, x, sums),
                2 => avx512::<2, SIX>(w, x, sums),
                3 => avx512::<3, SIX>(w, x, sums),
                4 => avx512::<4, SIX>(w, x, sums),
                5 => avx512::<5, SIX>(w, x, sums),
                _ => avx512::<ROWS, SIX>(w, x, sums),
            }
        };
    }
    if have_lanes() {
        return if SIX {
            lanes::<Native, Q6_WORDS>(w, x, sums)
        } else {
            lanes::<Native, Q4_WORDS>(w, x, sums)
        };
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        portable_row(SIX, w, x, i, sums);
    }
}

/// Group by group of `N` words, and in it row after row: the weights of a group stay in L1.
fn lanes<L: Lanes, const N: usize>(w: &Panel, x: &Activations, sums: &mut Tile) {
    let six = N == Q6_WORDS;
    let (words, _) = w.words.as_chunks::<COLUMNS>();
    let (x_words, _) = x.words.as_chunks::<N>();
    for (g, (words, small)) in words.chunks_exact(depth(six)).zip(w.small).enumerate() {
        let at = g * group(six) / k::BLOCK;
        let scales = scaled::<L>(&w.scales[at], small, six);
        let least = w.small_least.get(g).map(|small| scaled::<L>(&w.least[at], small, false));
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = i * w.small.len() + g;
            let (x_words, block) = (x_words[at].map(L::word), at * group(six) / BLOCK);
            let zero = if six { -ZERO * x.sums[block][at % 2] } else { 0 };
            let (scale, total) = (L::splat(x.scales[block]), L::splat(-x.total(block)));
            for (n, sums) in sums.as_chunks_mut::<FOUR>().0.iter_mut().enumerate() {
                let integers = L::dots(integers::<L, N>(words, n), &x_words, L::no_sums());
                let factor = L::multiply(scales[n], scale);
                let mut y = L::multiply_add(L::floats(integers, zero), factor, L::load(sums));
                if let Some(least) = &least {
                    y = L::multiply_add(least[n], total, y);
                }
                *sums = L::array(y);
            }
        }
    }
}

/// A group's scales: those of its block times its small ones.
#[inline(always)]
fn scaled<L: Lanes>(
    large: &[u16; COLUMNS],
    small: &[u8; COLUMNS],
    signed: bool,
) -> [L::Floats; COLUMNS / FOUR] {
    let mut floats = [0.0; COLUMNS];
    for (float, &small) in floats.iter_mut().zip(small) {
        *float = if signed { f32::from(small.cast_signed()) } else { f32::from(small) };
    }
    std::array::from_fn(|n| L::multiply(L::halves(four(large, n)), L::load(four(&floats, n))))
}

/// The integers of a group of `N` words of four outputs. Sums of their products, at most 63·127 each,
/// fit into 16 bits.
#[inline(always)]
fn integers<L: Lanes, const N: usize>(rows: &[Row], n: usize) -> [L::Words; N] {
    let low = nibbles::<L, N>(rows, n);
    if N == Q4_WORDS {
        return low;
    }
    let high = L::words(four(&rows[depth(true) - 1], n));
    std::array::from_fn(|k| L::six_bits(low[k], high, k))
}

vectorised! {
    /// One row, group by group, in the order of the fast version.
    fn portable_row(six: bool, w: &Panel, x: &Activations, row: usize, sums: &mut [f32; COLUMNS]) {
        let (group, depth, groups) = (group(six), depth(six), w.small.len());
        let half = group / 2 / PACKED;
        for g in 0..groups {
            let at = (row * groups + g) * group;
            let (block, zero) = (at / BLOCK, if six { -ZERO } else { 0 });
            let mut integers = [zero * x.sums[block][at / group % 2]; COLUMNS];
            let weights = &w.words[g * depth * COLUMNS..][..depth * COLUMNS];
            for (k, x) in x.words[at / PACKED..(at + group) / PACKED].iter().enumerate() {
                for (column, sum) in integers.iter_mut().enumerate() {
                    for i in 0..PACKED {
                        let mut q = weights[k % half * COLUMNS + column][i] >> (k / half * 4) & 15;
                        if six {
                            q |= (weights[2 * COLUMNS + column][i] >> (2 * k) & 3) << 4;
                        }
                        *sum += i32::from(q) * i32::from(x[i]);
                    }
                }
            }
            let (scale, total) = (x.scales[block], x.total(block));
            let at = g * group / k::BLOCK;
            for (column, sum) in sums.iter_mut().enumerate() {
                let small = w.small[g][column];
                let small = if six { f32::from(small.cast_signed()) } else { f32::from(small) };
                let factor = f16::from_bits(w.scales[at][column]).to_f32() * small;
                *sum = (integers[column] as f32).mul_add(factor * scale, *sum);
                if !six {
                    let least = f16::from_bits(w.least[at][column]).to_f32();
                    let least = least * f32::from(w.small_least[g][column]);
                    *sum = (-least).mul_add(total, *sum);
                }
            }
        }
    }
}

/// # Safety
/// `x` holds `R` rows of as many groups as `w`; the CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn avx512<const R: usize, const SIX: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    use std::arch::x86_64::{
        __m512, __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm512_and_si512,
        _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps,
        _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_si512, _mm512_mul_ps,
        _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_ps,
    };
    /// The integers of word `k` of a group, from its lower and its upper bits.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn integers<const SIX: bool>(k: usize, low: __m512i, high: __m512i) -> __m512i {
        let shifted = if k < group(SIX) / 2 / PACKED { low } else { _mm512_srli_epi16::<4>(low) };
        let low = _mm512_and_si512(shifted, _mm512_set1_epi8(15));
        if !SIX {
            return low;
        }
        let high = match k {
            0 => _mm512_slli_epi16::<4>(high),
            1 => _mm512_slli_epi16::<2>(high),
            2 => high,
            _ => _mm512_srli_epi16::<2>(high),
        };
        _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
    }
    let (groups, per_row) = (w.small.len(), w.small.len() * group(SIX));
    let half_group = group(SIX) / 2 / PACKED;
    let mut floats = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller: every index below is inside whole groups.
    unsafe {
        let words = x.words.as_ptr().cast::<i32>();
        let halves = |at: &[u16; COLUMNS], half: usize| -> __m512 {
            _mm512_cvtph_ps(_mm256_loadu_si256(at.as_ptr().add(16 * half).cast()))
        };
        let bytes = |at: &[u8; COLUMNS], half: usize| -> __m512 {
            let bytes = _mm_loadu_si128(at.as_ptr().add(16 * half).cast());
            let integers =
                if SIX { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
            _mm512_cvtepi32_ps(integers)
        };
        for g in 0..groups {
            let at = g * group(SIX);
            let (large, block) = (at / k::BLOCK, at / BLOCK);
            let weights = w.words.as_ptr().add(g * depth(SIX) * COLUMNS).cast::<i32>();
            for half in 0..2 {
                let load = |row: usize| -> __m512i {
                    _mm512_loadu_si512(weights.add(row * COLUMNS + 16 * half).cast())
                };
                let zero = if SIX { -ZERO } else { 0 };
                let mut tile: [__m512i; R] = std::array::from_fn(|i| {
                    let sums = x.sums.get_unchecked(i * (per_row / BLOCK) + block);
                    _mm512_set1_epi32(zero * sums[g % 2])
                });
                let high = load(depth(SIX) - 1);
                for k in 0..2 * half_group {
                    let q = integers::<SIX>(k, load(k % half_group), high);
                    for (i, sum) in tile.iter_mut().enumerate() {
                        let x = words.add((i * per_row + at) / PACKED + k).read_unaligned();
                        *sum = _mm512_dpbusd_epi32(*sum, q, _mm512_set1_epi32(x));
                    }
                }
                let small = bytes(w.small.get_unchecked(g), half);
                let factor = _mm512_mul_ps(halves(w.scales.get_unchecked(large), half), small);
                for (i, (floats, tile)) in floats.iter_mut().zip(tile).enumerate() {
                    let scale = *x.scales.get_unchecked(i * (per_row / BLOCK) + block);
                    let factor = _mm512_mul_ps(factor, _mm512_set1_ps(scale));
                    floats[half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(tile), factor, floats[half]);
                }
                if !SIX {
                    let small = bytes(w.small_least.get_unchecked(g), half);
                    let least = _mm512_mul_ps(halves(w.least.get_unchecked(large), half), small);
                    for (i, floats) in floats.iter_mut().enumerate() {
                        let total = _mm512_set1_ps(x.total(i * (per_row / BLOCK) + block));
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
