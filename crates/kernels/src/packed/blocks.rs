//! Weights in GGUF's blocks of 32 (Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL), multiplied as they are:
//! activations are rounded to 8-bit integers block by block, as ggml does, and the integers are
//! multiplied.
//!
//! A panel is 32 outputs. Of each block of 32 inputs it holds their scales, their least values
//! (Q4_1, Q5_1) and their integers, four inputs to a word; a word of 4-bit integers holds four inputs
//! in its low halves and the four that lie 16 further in its high ones, as the format itself does. The
//! fifth bits of all 32 share one word more. Numbers that a format has in a table are bytes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m512i;

use half::f16;

use super::Blocked;
#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::fill::Fill;
use super::round::{largest, round};
use super::tasks::{COLUMNS, Row, Tile, four};
use crate::lanes::{FOUR, Lanes, Native, have_lanes};
use crate::memory::large;
use crate::parallel::{for_each, rows_per_task};
use crate::quant::{Layout, Parts};
use crate::simd::{has_only_avx2, vectorised};

/// Inputs of a block.
pub(super) const BLOCK: usize = 32;
/// Words of a block of activations.
pub(super) const WORDS: usize = BLOCK / PACKED;
/// Numbers in a word.
const PACKED: usize = 4;
/// Rows that are multiplied at once: 12 sums of integers, 12 of floats, and 8 registers for the rest.
const ROWS: usize = 6;

/// `[out, in]` weights.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    in_: usize,
    layout: Layout,
    /// Panel after panel, block after block: [`COLUMNS`] words for each of 4 or 8 word rows.
    words: Vec<[u8; PACKED]>,
    /// Panel after panel, block after block: one f16 an output.
    scales: Vec<[u16; COLUMNS]>,
    /// The same for the least values; empty where there are none.
    least: Vec<[u16; COLUMNS]>,
}

/// Rows of words that hold `words` words of integers of `bits` bits.
pub(super) const fn depth(words: usize, bits: usize) -> usize {
    match bits {
        8 => words,
        4 => words / 2,
        _ => words / 2 + 1,
    }
}

/// Activations: rows of blocks.
pub(super) struct Rows {
    words: Vec<[i8; PACKED]>,
    /// The words as AVX2 wants them, if it is that which multiplies.
    halves: Vec<[i16; PACKED]>,
    /// Scale of each block.
    scales: Vec<f32>,
    /// Sums of the integers of each block's halves.
    sums: Vec<[i32; 2]>,
}

impl Blocks {
    /// Lays out a matrix `[out, in]` from the bytes of its rows.
    pub(super) fn new(kind: Blocked, out: usize, in_: usize, bytes: &[u8]) -> Self {
        let kind = kind.kind();
        let (layout, size) = (kind.layout(), kind.block_bytes());
        let (blocks, panels) = (in_ / BLOCK, out.div_ceil(COLUMNS));
        assert_eq!(bytes.len(), out * blocks * size, "packed: {kind:?} of {out} x {in_}");
        let depth = depth(WORDS, layout.bits);
        let mut words = large([0; PACKED], panels * blocks * depth * COLUMNS);
        let mut scales = vec![[0; COLUMNS]; panels * blocks];
        let mut least = vec![[0; COLUMNS]; if layout.least { scales.len() } else { 0 }];
        for (n, block) in bytes.chunks_exact(size).enumerate() {
            let (o, b) = (n / blocks, n % blocks);
            let (at, column) = (o / COLUMNS * blocks + b, o % COLUMNS);
            let parts = Parts::of(kind, block);
            scales[at][column] = parts.scale;
            if let Some(least) = least.get_mut(at) {
                least[column] = parts.least;
            }
            let words = &mut words[at * depth * COLUMNS..][..depth * COLUMNS];
            put(words, column, &parts.codes[..BLOCK], layout.bits);
        }
        Self { in_, layout, words, scales, least }
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * PACKED + (self.scales.len() + self.least.len()) * COLUMNS * 2
    }

    /// Sums of a panel for the rows from `row` on.
    pub(super) fn tile(&self, panel: usize, x: &Rows, row: usize, sums: &mut Tile) {
        for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
            self.part(panel, x, row + n * ROWS, sums);
        }
    }

    fn part(&self, panel: usize, x: &Rows, row: usize, sums: &mut Tile) {
        let (blocks, depth) = (self.in_ / BLOCK, depth(WORDS, self.layout.bits));
        let least = panel * blocks..((panel + 1) * blocks).min(self.least.len());
        let part = Panel {
            words: &self.words[panel * blocks * depth * COLUMNS..][..blocks * depth * COLUMNS],
            scales: &self.scales[panel * blocks..][..blocks],
            least: self.least.get(least).unwrap_or_default(),
            zero: self.layout.zero.into(),
        };
        let x = x.part(row, sums.len(), self.in_);
        match (self.layout.bits, self.layout.least) {
            (4, false) => products::<4, false>(&part, &x, sums),
            (4, true) => products::<4, true>(&part, &x, sums),
            (5, false) => products::<5, false>(&part, &x, sums),
            (5, true) => products::<5, true>(&part, &x, sums),
            _ => products::<8, false>(&part, &x, sums),
        }
    }
}

/// Puts the integers of an output into the rows of words of its group.
pub(super) fn put(words: &mut [[u8; PACKED]], column: usize, codes: &[u8], bits: usize) {
    const LOW: u32 = 0x0f0f_0f0f;
    let mut add = |row: usize, bits: u32| {
        let word = &mut words[row * COLUMNS + column];
        *word = (u32::from_le_bytes(*word) | bits).to_le_bytes();
    };
    let (codes, _) = codes.as_chunks::<PACKED>();
    let half = codes.len() / 2;
    for (k, code) in codes.iter().enumerate() {
        let code = u32::from_le_bytes(*code);
        if bits == 8 {
            add(k, code);
            continue;
        }
        add(k % half, (code & LOW) << (k / half * 4));
        if bits > 4 {
            add(half, (code >> 4 & LOW) << (k * (bits - 4)));
        }
    }
}

/// Byte `i` of word `k` of `n`, as [`put`] has put it.
#[inline(always)]
pub(super) fn code(
    words: &[[u8; PACKED]],
    column: usize,
    k: usize,
    i: usize,
    n: usize,
    bits: usize,
) -> i32 {
    let byte = |row: usize| words[row * COLUMNS + column][i];
    if bits == 8 {
        return byte(k).into();
    }
    let mut code = byte(k % (n / 2)) >> (k / (n / 2) * 4) & 15;
    if bits > 4 {
        let high = bits - 4;
        code |= (byte(n / 2) >> (high * k) & ((1 << high) - 1)) << 4;
    }
    code.into()
}

/// One panel of weights.
pub(super) struct Panel<'a> {
    pub(super) words: &'a [[u8; PACKED]],
    pub(super) scales: &'a [[u16; COLUMNS]],
    pub(super) least: &'a [[u16; COLUMNS]],
    pub(super) zero: i32,
}

/// The activations of a tile's rows.
pub(super) struct Activations<'a> {
    pub(super) words: &'a [[i8; PACKED]],
    pub(super) halves: &'a [[i16; PACKED]],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [[i32; 2]],
}

impl<'a> Activations<'a> {
    /// `n` rows of so many blocks from `row` on.
    pub(super) fn rows(&self, row: usize, n: usize, blocks: usize) -> Activations<'a> {
        let blocks = row * blocks..(row + n) * blocks;
        let words = blocks.start * WORDS..blocks.end * WORDS;
        Activations {
            words: &self.words[words.clone()],
            halves: self.halves.get(words).unwrap_or_default(),
            scales: &self.scales[blocks.clone()],
            sums: &self.sums[blocks],
        }
    }

    /// The sum of a block.
    #[inline(always)]
    pub(super) fn sum(&self, block: usize) -> i32 {
        self.sums[block][0] + self.sums[block][1]
    }

    /// The sum of a group of `N` words, a block or half of one, and the block.
    #[inline(always)]
    pub(super) fn group<const N: usize>(&self, group: usize) -> (i32, usize) {
        let block = group * N / WORDS;
        let sum = if N == WORDS { self.sum(block) } else { self.sums[block][group % 2] };
        (sum, block)
    }

    /// The sum of a block, scaled.
    #[inline(always)]
    pub(super) fn total(&self, block: usize) -> f32 {
        self.sum(block) as f32 * self.scales[block]
    }
}

fn products<const BITS: usize, const LEAST: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the slices hold whole blocks for every row; the CPU has the instructions.
        return unsafe {
            match sums.len() {
                1 => avx512::<1, BITS, LEAST>(w, x, sums),
                2 => avx512::<2, BITS, LEAST>(w, x, sums),
                3 => avx512::<3, BITS, LEAST>(w, x, sums),
                4 => avx512::<4, BITS, LEAST>(w, x, sums),
                5 => avx512::<5, BITS, LEAST>(w, x, sums),
                _ => avx512::<ROWS, BITS, LEAST>(w, x, sums),
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    if !x.halves.is_empty() {
        return avx2_rows::<BITS, LEAST>(w, x, sums);
    }
    if have_lanes() {
        return lanes::<Native, BITS, LEAST>(w, x, sums);
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        portable_row(BITS, w, x, i, sums);
    }
}

/// Three rows at a time, as many as there are registers for.
#[cfg(target_arch = "x86_64")]
fn avx2_rows<const BITS: usize, const LEAST: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    const ROWS: usize = 3;
    for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
        let x = x.rows(n * ROWS, sums.len(), w.scales.len());
        // SAFETY: the slices hold whole blocks for every row; halves are made only where there are
        // AVX2, FMA and F16C.
        unsafe {
            match sums.len() {
                1 => avx2::blocks::<1, BITS, LEAST>(w, &x, sums),
                2 => avx2::blocks::<2, BITS, LEAST>(w, &x, sums),
                _ => avx2::blocks::<ROWS, BITS, LEAST>(w, &x, sums),
            }
        }
    }
}

/// Block by block, and in it row after row: the weights of a block stay in L1.
fn lanes<L: Lanes, const BITS: usize, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    let (words, _) = w.words.as_chunks::<COLUMNS>();
    let (x_words, _) = x.words.as_chunks::<WORDS>();
    let depth = depth(WORDS, BITS);
    for (b, (w_words, scales)) in words.chunks_exact(depth).zip(w.scales).enumerate() {
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = i * w.scales.len() + b;
            let (words, scale) = (x_words[at].map(L::word), L::splat(x.scales[at]));
            // Bytes are lowered before they are multiplied.
            let zero = if BITS == 8 { 0 } else { -w.zero * x.sum(at) };
            for (n, sums) in sums.as_chunks_mut::<FOUR>().0.iter_mut().enumerate() {
                let integers = dots::<L, WORDS, BITS>(w_words, n, &words);
                let factor = L::multiply(L::halves(four(scales, n)), scale);
                let mut y = L::multiply_add(L::floats(integers, zero), factor, L::load(sums));
                if LEAST {
                    let least = L::halves(four(&w.least[b], n));
                    y = L::multiply_add(least, L::splat(-x.total(at)), y);
                }
                *sums = L::array(y);
            }
        }
    }
}

/// Sums of the products of `N` words of four outputs. Those of one place of all words fit into 16
/// bits: 8 of at most 31·127 each, or 4 of 63·127.
#[inline(always)]
pub(super) fn dots<L: Lanes, const N: usize, const BITS: usize>(
    rows: &[Row],
    n: usize,
    x: &[L::Words; N],
) -> L::Sums {
    if BITS == 8 {
        return bytes::<L>(rows, n, x, L::no_sums());
    }
    let words = |k: usize| L::words(four(&rows[k], n));
    let low = |k: usize| {
        if k < N / 2 { L::lower(words(k)) } else { L::upper(words(k - N / 2)) }
    };
    let w: [L::Words; N] = std::array::from_fn(|k| match BITS {
        4 => low(k),
        5 => L::raised::<1>(low(k), words(N / 2), k),
        _ => L::raised::<2>(low(k), words(N / 2), k),
    });
    L::dots(w, x, L::no_sums())
}

/// Adds products of bytes to sums of four outputs, two words at a time: two products, at most 128·127
/// each, fit into 16 bits.
#[inline(always)]
pub(super) fn bytes<L: Lanes>(
    rows: &[Row],
    n: usize,
    x: &[L::Words],
    mut sums: L::Sums,
) -> L::Sums {
    let lowered = |row: &Row| L::lowered(L::words(four(row, n)));
    let ((pairs, last), (x_pairs, x_last)) = (rows.as_chunks::<2>(), x.as_chunks::<2>());
    for ([first, second], x) in pairs.iter().zip(x_pairs) {
        sums = L::dots([lowered(first), lowered(second)], x, sums);
    }
    for (row, &x) in last.iter().zip(x_last) {
        sums = L::dots([lowered(row)], &[x], sums);
    }
    sums
}

vectorised! {
    /// One row, block by block, in the order of the fast version.
    fn portable_row(bits: usize, w: &Panel, x: &Activations, row: usize, sums: &mut [f32; COLUMNS]) {
        let blocks = w.scales.len();
        let depth = depth(WORDS, bits) * COLUMNS;
        for b in 0..blocks {
            let at = row * blocks + b;
            let weights = &w.words[b * depth..][..depth];
            let mut integers = [-w.zero * x.sum(at); COLUMNS];
            for (k, x) in x.words[at * WORDS..(at + 1) * WORDS].iter().enumerate() {
                for (column, sum) in integers.iter_mut().enumerate() {
                    for (i, x) in x.iter().enumerate() {
                        *sum += code(weights, column, k, i, WORDS, bits) * i32::from(*x);
                    }
                }
            }
            let scale = x.scales[at];
            for ((sum, &integer), &d) in sums.iter_mut().zip(&integers).zip(&w.scales[b]) {
                *sum = (integer as f32).mul_add(f16::from_bits(d).to_f32() * scale, *sum);
            }
            if let Some(least) = w.least.get(b) {
                let total = x.total(at);
                for (sum, &m) in sums.iter_mut().zip(least) {
                    *sum = f16::from_bits(m).to_f32().mul_add(-total, *sum);
                }
            }
        }
    }
}

/// The integers of word `k` of a group, those of the first half: from the lower halves of their bytes
/// and from their upper bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn low<const BITS: usize>(words: __m512i, high: __m512i, k: usize) -> __m512i {
    use std::arch::x86_64::{
        _mm_cvtsi32_si128, _mm512_and_si512, _mm512_or_si512, _mm512_set1_epi8, _mm512_sll_epi16,
        _mm512_srl_epi16,
    };
    if BITS == 8 {
        return words;
    }
    let low = _mm512_and_si512(words, _mm512_set1_epi8(15));
    if BITS == 4 {
        return low;
    }
    let (above, at) = (BITS - 4, ((BITS - 4) * k) as i32);
    let high = if at < 4 {
        _mm512_sll_epi16(high, _mm_cvtsi32_si128(4 - at))
    } else {
        _mm512_srl_epi16(high, _mm_cvtsi32_si128(at - 4))
    };
    _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(((1 << above) - 1) << 4)))
}

/// The same of the second half: from the upper halves.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn up<const BITS: usize>(words: __m512i, high: __m512i, k: usize) -> __m512i {
    low::<BITS>(std::arch::x86_64::_mm512_srli_epi16::<4>(words), high, k)
}

/// # Safety
/// `x` holds `R` rows of as many blocks as `w`; the CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn avx512<const R: usize, const BITS: usize, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    use std::arch::x86_64::{
        __m512, _mm256_loadu_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
        _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let blocks = w.scales.len();
    let depth = depth(WORDS, BITS);
    let mut floats = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller: every index below is inside whole blocks.
    unsafe {
        let words = x.words.as_ptr().cast::<i32>();
        let halves = |at: &[u16; COLUMNS]| -> [__m512; 2] {
            [0, 16].map(|i| _mm512_cvtph_ps(_mm256_loadu_si256(at.as_ptr().add(i).cast())))
        };
        for b in 0..blocks {
            let mut integers: [[__m512i; 2]; R] = std::array::from_fn(|i| {
                let zero = -w.zero * x.sum(i * blocks + b);
                [_mm512_set1_epi32(zero); 2]
            });
            let load = |row: usize| -> [__m512i; 2] {
                let at = w.words.as_ptr().add((b * depth + row) * COLUMNS).cast::<i32>();
                [0, 16].map(|i| _mm512_loadu_si512(at.add(i).cast()))
            };
            let high = load(depth - 1);
            for j in 0..if BITS == 8 { WORDS } else { WORDS / 2 } {
                let [w0, w1] = load(j);
                let (l0, l1) = (low::<BITS>(w0, high[0], j), low::<BITS>(w1, high[1], j));
                let upper = j + WORDS / 2;
                let (u0, u1) = (up::<BITS>(w0, high[0], upper), up::<BITS>(w1, high[1], upper));
                for (i, integers) in integers.iter_mut().enumerate() {
                    let at = words.add((i * blocks + b) * WORDS + j);
                    let x = _mm512_set1_epi32(at.read_unaligned());
                    integers[0] = _mm512_dpbusd_epi32(integers[0], l0, x);
                    integers[1] = _mm512_dpbusd_epi32(integers[1], l1, x);
                    if BITS < 8 {
                        let x = _mm512_set1_epi32(at.add(WORDS / 2).read_unaligned());
                        integers[0] = _mm512_dpbusd_epi32(integers[0], u0, x);
                        integers[1] = _mm512_dpbusd_epi32(integers[1], u1, x);
                    }
                }
            }
            let scales = halves(w.scales.get_unchecked(b));
            for (i, (floats, integers)) in floats.iter_mut().zip(integers).enumerate() {
                let scale = _mm512_set1_ps(*x.scales.get_unchecked(i * blocks + b));
                for half in 0..2 {
                    let factor = _mm512_mul_ps(scales[half], scale);
                    let integer = _mm512_cvtepi32_ps(integers[half]);
                    floats[half] = _mm512_fmadd_ps(integer, factor, floats[half]);
                }
            }
            if LEAST {
                let least = halves(w.least.get_unchecked(b));
                for (i, floats) in floats.iter_mut().enumerate() {
                    let total = _mm512_set1_ps(x.total(i * blocks + b));
                    for half in 0..2 {
                        floats[half] = _mm512_fnmadd_ps(least[half], total, floats[half]);
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

impl Rows {
    /// Rounds `x [rows, in]`, each block of 32 by itself.
    pub(super) fn new(rows: usize, in_: usize, x: &[f32]) -> Self {
        let (x, _) = x[..rows * in_].as_chunks::<BLOCK>();
        let (words, scales, sums) =
            (Fill::new(x.len() * WORDS), Fill::new(x.len()), Fill::new(x.len()));
        let halved = has_only_avx2();
        let halves = Fill::new(if halved { x.len() * WORDS } else { 0 });
        let task = rows_per_task(BLOCK);
        for_each(x.len().div_ceil(task), x.len() * BLOCK, |n| {
            let blocks = n * task..((n + 1) * task).min(x.len());
            for (at, x) in blocks.clone().zip(&x[blocks]) {
                let (scale, inverse) = super::scale(largest(x));
                // SAFETY: a block is written by one task, all of it.
                unsafe {
                    let words = words.part(at * WORDS, WORDS).as_flattened_mut();
                    let (first, second) = words.split_at_mut(BLOCK / 2);
                    let (x0, x1) = x.split_at(BLOCK / 2);
                    scales.set(at, scale);
                    sums.set(at, [round(x0, inverse, first), round(x1, inverse, second)]);
                    #[cfg(target_arch = "x86_64")]
                    if halved {
                        let words = words.as_chunks().0;
                        avx2::halve(words, halves.part(at * WORDS, WORDS));
                    }
                }
            }
        });
        // SAFETY: every block was written.
        unsafe {
            let (words, halves) = (words.done(), halves.done());
            Self { words, halves, scales: scales.done(), sums: sums.done() }
        }
    }

    /// `n` rows of `in_` numbers from `row` on.
    pub(super) fn part(&self, row: usize, n: usize, in_: usize) -> Activations<'_> {
        let Self { words, halves, scales, sums } = self;
        Activations { words, halves, scales, sums }.rows(row, n, in_ / BLOCK)
    }
}
