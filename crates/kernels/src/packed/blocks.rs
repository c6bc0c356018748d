//! Weights in GGUF's blocks of 32 (Q8_0, Q4_0, Q4_1), multiplied as they are: activations are
//! rounded to 8-bit integers block by block, as ggml does, and the integers are multiplied.
//!
//! A panel is 32 outputs. Of each block of 32 inputs it holds their scales, their least values
//! (Q4_1) and their integers, four inputs to a word; a word of 4-bit integers holds four inputs in
//! its low halves and the four that lie 16 further in its high ones, as the format itself does.

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
    kind: Layout,
    /// Panel after panel, block after block: [`COLUMNS`] words for each of 4 or 8 word rows.
    words: Vec<[u8; PACKED]>,
    /// Panel after panel, block after block: one f16 an output.
    scales: Vec<[u16; COLUMNS]>,
    /// The same for the least values; empty where there are none.
    least: Vec<[u16; COLUMNS]>,
}

/// What the kernels need to know of a format.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Two integers in a byte.
    nibbles: bool,
    /// What stored integers are raised by.
    zero: i32,
}

impl Layout {
    /// Rows of words in a block.
    fn words(self) -> usize {
        if self.nibbles { WORDS / 2 } else { WORDS }
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
        let layout = match kind {
            Blocked::Q8_0 => Layout { nibbles: false, zero: 128 },
            Blocked::Q4_0 => Layout { nibbles: true, zero: 8 },
            Blocked::Q4_1 => Layout { nibbles: true, zero: 0 },
            Blocked::Q4_K | Blocked::Q6_K => unreachable!("packed: blocks of 256"),
        };
        let size = kind.kind().block_bytes();
        let (blocks, panels) = (in_ / BLOCK, out.div_ceil(COLUMNS));
        assert_eq!(bytes.len(), out * blocks * size, "packed: {kind:?} of {out} x {in_}");
        let depth = layout.words();
        let mut words = large([0; PACKED], panels * blocks * depth * COLUMNS);
        let mut scales = vec![[0; COLUMNS]; panels * blocks];
        let mut least = vec![[0; COLUMNS]; if kind == Blocked::Q4_1 { scales.len() } else { 0 }];
        for (n, block) in bytes.chunks_exact(size).enumerate() {
            let (o, b) = (n / blocks, n % blocks);
            let (at, column) = (o / COLUMNS * blocks + b, o % COLUMNS);
            let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
            scales[at][column] = half(0);
            if let Some(least) = least.get_mut(at) {
                least[column] = half(2);
            }
            let (integers, _) = block[size - depth * PACKED..].as_chunks::<PACKED>();
            for (j, &word) in integers.iter().enumerate() {
                // Bytes of Q8_0 are signed; raised by 128 they are not.
                let word = if layout.nibbles { word } else { word.map(|q| q ^ 0x80) };
                words[(at * depth + j) * COLUMNS + column] = word;
            }
        }
        Self { in_, kind: layout, words, scales, least }
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
        let (blocks, depth) = (self.in_ / BLOCK, self.kind.words());
        let least = panel * blocks..((panel + 1) * blocks).min(self.least.len());
        let part = Panel {
            words: &self.words[panel * blocks * depth * COLUMNS..][..blocks * depth * COLUMNS],
            scales: &self.scales[panel * blocks..][..blocks],
            least: self.least.get(least).unwrap_or_default(),
            zero: self.kind.zero,
        };
        let x = x.part(row, sums.len(), self.in_);
        match (self.kind.nibbles, part.least.is_empty()) {
            (false, _) => products::<false, false>(&part, &x, sums),
            (true, true) => products::<true, false>(&part, &x, sums),
            (true, false) => products::<true, true>(&part, &x, sums),
        }
    }
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
    fn rows(&self, row: usize, n: usize, blocks: usize) -> Activations<'a> {
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

    /// The sum of a block, scaled.
    #[inline(always)]
    pub(super) fn total(&self, block: usize) -> f32 {
        self.sum(block) as f32 * self.scales[block]
    }
}

fn products<const NIBBLES: bool, const LEAST: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx512_vnni() {
        // SAFETY: the slices hold whole blocks for every row; the CPU has the instructions.
        return unsafe {
            match sums.len() {
                1 => avx512::<1, NIBBLES, LEAST>(w, x, sums),
                2 => avx512::<2, NIBBLES, LEAST>(w, x, sums),
                3 => avx512::<3, NIBBLES, LEAST>(w, x, sums),
                4 => avx512::<4, NIBBLES, LEAST>(w, x, sums),
                5 => avx512::<5, NIBBLES, LEAST>(w, x, sums),
                _ => avx512::<ROWS, NIBBLES, LEAST>(w, x, sums),
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    if !x.halves.is_empty() {
        return avx2_rows::<NIBBLES, LEAST>(w, x, sums);
    }
    if have_lanes() {
        return lanes::<Native, NIBBLES, LEAST>(w, x, sums);
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        portable_row(NIBBLES, w, x, i, sums);
    }
}

/// Three rows at a time, as many as there are registers for.
#[cfg(target_arch = "x86_64")]
fn avx2_rows<const NIBBLES: bool, const LEAST: bool>(w: &Panel, x: &Activations, sums: &mut Tile) {
    const ROWS: usize = 3;
    for (n, sums) in sums.chunks_mut(ROWS).enumerate() {
        let x = x.rows(n * ROWS, sums.len(), w.scales.len());
        // SAFETY: the slices hold whole blocks for every row; halves are made only where there are
        // AVX2, FMA and F16C.
        unsafe {
            match sums.len() {
                1 => avx2::blocks::<1, NIBBLES, LEAST>(w, &x, sums),
                2 => avx2::blocks::<2, NIBBLES, LEAST>(w, &x, sums),
                _ => avx2::blocks::<ROWS, NIBBLES, LEAST>(w, &x, sums),
            }
        }
    }
}

/// Block by block, and in it row after row: the weights of a block stay in L1.
fn lanes<L: Lanes, const NIBBLES: bool, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    let (words, _) = w.words.as_chunks::<COLUMNS>();
    let (x_words, _) = x.words.as_chunks::<WORDS>();
    let depth = if NIBBLES { WORDS / 2 } else { WORDS };
    for (b, (w_words, scales)) in words.chunks_exact(depth).zip(w.scales).enumerate() {
        for (i, sums) in sums.iter_mut().enumerate() {
            let at = i * w.scales.len() + b;
            let (words, scale) = (x_words[at].map(L::word), L::splat(x.scales[at]));
            // Bytes are lowered before they are multiplied.
            let zero = if NIBBLES { -w.zero * x.sum(at) } else { 0 };
            for (n, sums) in sums.as_chunks_mut::<FOUR>().0.iter_mut().enumerate() {
                let integers = if NIBBLES {
                    L::dots(nibbles::<L, WORDS>(w_words, n), &words, L::no_sums())
                } else {
                    bytes::<L>(w_words, n, &words, L::no_sums())
                };
                let factor = L::multiply(L::halves(four(scales, n)), scale);
                let mut y = L::multiply_add(L::floats(integers, zero), factor, L::load(sums));
                if LEAST {
                    let least = L::halves(four(&w.least[b], n));
                    y = L::multiply_add(least, L::splat(x.total(at)), y);
                }
                *sums = L::array(y);
            }
        }
    }
}

/// The integers of `N` words of four outputs: those of the first half in the lower halves of the bytes
/// of `rows`, those of the second in the upper ones. Sums of 8 products, at most 15·127 each, fit into
/// 16 bits.
#[inline(always)]
pub(super) fn nibbles<L: Lanes, const N: usize>(rows: &[Row], n: usize) -> [L::Words; N] {
    std::array::from_fn(|k| {
        let words = L::words(four(&rows[k % (N / 2)], n));
        if k < N / 2 { L::lower(words) } else { L::upper(words) }
    })
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
    fn portable_row(nibbles: bool, w: &Panel, x: &Activations, row: usize, sums: &mut [f32; COLUMNS]) {
        let blocks = w.scales.len();
        let depth = if nibbles { WORDS / 2 } else { WORDS };
        for b in 0..blocks {
            let at = row * blocks + b;
            let words = &x.words[at * WORDS..(at + 1) * WORDS];
            let mut integers = [-w.zero * x.sum(at); COLUMNS];
            for j in 0..depth {
                let weights = &w.words[(b * depth + j) * COLUMNS..][..COLUMNS];
                for (sum, weights) in integers.iter_mut().zip(weights) {
                    for k in 0..PACKED {
                        let q = i32::from(weights[k]);
                        if nibbles {
                            *sum += (q & 15) * i32::from(words[j][k]);
                            *sum += (q >> 4) * i32::from(words[j + WORDS / 2][k]);
                        } else {
                            *sum += q * i32::from(words[j][k]);
                        }
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
                    *sum = f16::from_bits(m).to_f32().mul_add(total, *sum);
                }
            }
        }
    }
}

/// # Safety
/// `x` holds `R` rows of as many blocks as `w`; the CPU has AVX512-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn avx512<const R: usize, const NIBBLES: bool, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    use std::arch::x86_64::{
        __m512, __m512i, _mm256_loadu_si256, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
        _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_srli_epi16, _mm512_storeu_ps,
    };
    let blocks = w.scales.len();
    let depth = if NIBBLES { WORDS / 2 } else { WORDS };
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
            for j in 0..depth {
                let at = w.words.as_ptr().add((b * depth + j) * COLUMNS).cast::<i32>();
                let (w0, w1) =
                    (_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(16).cast()));
                let low = _mm512_set1_epi8(15);
                let lower = |w| if NIBBLES { _mm512_and_si512(w, low) } else { w };
                let upper = |w| _mm512_and_si512(_mm512_srli_epi16::<4>(w), low);
                let (l0, l1, u0, u1) = (lower(w0), lower(w1), upper(w0), upper(w1));
                for (i, integers) in integers.iter_mut().enumerate() {
                    let at = words.add((i * blocks + b) * WORDS + j);
                    let x = _mm512_set1_epi32(at.read_unaligned());
                    integers[0] = _mm512_dpbusd_epi32(integers[0], l0, x);
                    integers[1] = _mm512_dpbusd_epi32(integers[1], l1, x);
                    if NIBBLES {
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
                        floats[half] = _mm512_fmadd_ps(least[half], total, floats[half]);
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
