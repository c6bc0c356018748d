//! Products of 8-bit and 4-bit integers on processors with AVX2 and no VNNI.
//!
//! Bytes are multiplied as 16-bit numbers, two products to a 32-bit sum in one instruction: twice the
//! rate of f32. (The instruction for bytes adds two products in 16 bits, which is too few for 255·127.)
//! For fewer bits it is wide enough: 16 products of at most 15·127 fit into 16 bits, 8 of 31·127 and 4
//! of 63·127, so a whole block of 4-bit integers is added up there, at twice that rate again. All sums
//! are exact, as on every path.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_sll_epi16,
    _mm256_srl_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_epi32,
};

use super::blocks::{Activations, Panel, WORDS, depth};
use super::k;
use super::tasks::{COLUMNS, Tile};

/// A word of activations as 16-bit numbers: those at even places, those at odd ones.
pub(super) type Halves = [i16; 4];

/// Outputs that are summed at once: half a panel.
const WIDTH: usize = 16;

/// Words of activations as the products want them.
pub(super) fn halve(words: &[[i8; 4]], to: &mut [Halves]) {
    for (to, &[a, b, c, d]) in to.iter_mut().zip(words) {
        *to = [a, c, b, d].map(i16::from);
    }
}

/// Sums of `R` rows and 16 outputs.
type Sums<const R: usize> = [[__m256i; 2]; R];

/// Adds `depth` words: those of 16 outputs at `weights`, [`COLUMNS`] words further each time, times
/// those of each row at `x`.
///
/// # Safety
/// So many words can be read; the CPU has AVX2.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn dots<const R: usize>(
    weights: *const [u8; 4],
    x: [*const Halves; R],
    depth: usize,
    sums: &mut Sums<R>,
) {
    let even = _mm256_set1_epi16(0xff);
    for k in 0..depth {
        // SAFETY: promised by the caller.
        unsafe {
            let at = weights.add(k * COLUMNS).cast::<__m256i>();
            let w = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
            let evens = w.map(|w| _mm256_and_si256(w, even));
            let odds = w.map(|w| _mm256_srli_epi16::<8>(w));
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = x.add(k).cast::<i32>();
                let (x0, x1) = (x.read_unaligned(), x.add(1).read_unaligned());
                let (x0, x1) = (_mm256_set1_epi32(x0), _mm256_set1_epi32(x1));
                for (n, sum) in sums.iter_mut().enumerate() {
                    let both = _mm256_add_epi32(
                        _mm256_madd_epi16(evens[n], x0),
                        _mm256_madd_epi16(odds[n], x1),
                    );
                    *sum = _mm256_add_epi32(*sum, both);
                }
            }
        }
    }
}

/// `sums[i][j] = (Σ x[i]·w[.][j] - zeros[i])·(x_scales[i]·scales[j])` for rows of `depth` words.
///
/// # Safety
/// `x` has `R` rows of `depth` words, `x_scales` and `zeros` `R` numbers, `weights` `depth` rows of
/// [`COLUMNS`], `scales` as many numbers, `sums` `R` rows; the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn int8<const R: usize>(
    (x, x_scales, zeros): (&[Halves], &[f32], &[i32]),
    (weights, scales): (&[[u8; 4]], &[f32]),
    depth: usize,
    sums: &mut Tile,
) {
    // SAFETY: promised by the caller.
    unsafe {
        let rows: [*const Halves; R] = std::array::from_fn(|i| x.as_ptr().add(i * depth));
        for first in (0..COLUMNS).step_by(WIDTH) {
            let mut integers = [[_mm256_setzero_si256(); 2]; R];
            dots(weights.as_ptr().add(first), rows, depth, &mut integers);
            for (i, integers) in integers.into_iter().enumerate() {
                let zero = _mm256_set1_epi32(*zeros.get_unchecked(i));
                let row = _mm256_set1_ps(*x_scales.get_unchecked(i));
                for (n, integers) in integers.into_iter().enumerate() {
                    let at = first + 8 * n;
                    let scale = _mm256_mul_ps(row, _mm256_loadu_ps(scales.as_ptr().add(at)));
                    let y = _mm256_cvtepi32_ps(_mm256_sub_epi32(integers, zero));
                    let y = _mm256_mul_ps(y, scale);
                    _mm256_storeu_ps(sums.get_unchecked_mut(i).as_mut_ptr().add(at), y);
                }
            }
        }
    }
}

/// Adds the products of GGUF's blocks of 32 to the sums of `R` rows.
///
/// # Safety
/// `x` holds `R` rows of as many blocks as `w`, `sums` `R` rows; the CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn blocks<const R: usize, const BITS: usize, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    let blocks = w.scales.len();
    let depth = depth(WORDS, BITS);
    // SAFETY: promised by the caller: every index below is inside whole blocks.
    unsafe {
        for b in 0..blocks {
            for first in (0..COLUMNS).step_by(WIDTH) {
                let weights = w.words.as_ptr().add(b * depth * COLUMNS + first);
                let mut integers: Sums<R> = std::array::from_fn(|i| {
                    [_mm256_set1_epi32(-w.zero * x.sum(i * blocks + b)); 2]
                });
                let word = |i: usize| (i * blocks + b) * WORDS;
                group::<R, WORDS, BITS>(weights, x, word, &mut integers);
                for (i, integers) in integers.into_iter().enumerate() {
                    let at = i * blocks + b;
                    let scale = _mm256_set1_ps(*x.scales.get_unchecked(at));
                    for (n, integers) in integers.into_iter().enumerate() {
                        let column = first + 8 * n;
                        let sum = sums.get_unchecked_mut(i).as_mut_ptr().add(column);
                        let factor = _mm256_mul_ps(halves(&w.scales[b], column), scale);
                        let integers = _mm256_cvtepi32_ps(integers);
                        let mut y = _mm256_fmadd_ps(integers, factor, _mm256_loadu_ps(sum));
                        if LEAST {
                            let total = _mm256_set1_ps(x.total(at));
                            y = _mm256_fnmadd_ps(halves(&w.least[b], column), total, y);
                        }
                        _mm256_storeu_ps(sum, y);
                    }
                }
            }
        }
    }
}

/// Adds the products of GGUF's blocks of 256, groups of `N` words, to the sums of `R` rows.
///
/// # Safety
/// `x` holds `R` rows of as many groups as `w`, `sums` `R` rows; the CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn groups<const R: usize, const N: usize, const BITS: usize>(
    w: &k::Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    let groups = w.small.len();
    // SAFETY: promised by the caller: every index below is inside whole groups.
    unsafe {
        for g in 0..groups {
            let block = g * N / WORDS / 8;
            let x_sums: [(i32, f32); R] = std::array::from_fn(|i| {
                let (sum, block) = x.group::<N>(i * groups + g);
                (sum, *x.scales.get_unchecked(block))
            });
            for first in (0..COLUMNS).step_by(WIDTH) {
                let weights = w.words.as_ptr().add(g * depth(N, BITS) * COLUMNS + first);
                let mut integers = x_sums.map(|(sum, _)| [_mm256_set1_epi32(-w.zero * sum); 2]);
                group::<R, N, BITS>(weights, x, |i| (i * groups + g) * N, &mut integers);
                for n in 0..2 {
                    let column = first + 8 * n;
                    let small = |row: &[i8; COLUMNS]| {
                        let bytes = _mm_loadl_epi64(row.as_ptr().add(column).cast());
                        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
                    };
                    let scales = halves(w.scales.get_unchecked(block), column);
                    let factor = _mm256_mul_ps(scales, small(&w.small[g]));
                    let least = w.small_least.get(g).map(|row| {
                        let least = halves(w.least.get_unchecked(block), column);
                        _mm256_mul_ps(least, small(row))
                    });
                    for (i, (x_sum, scale)) in x_sums.into_iter().enumerate() {
                        let sum = sums.get_unchecked_mut(i).as_mut_ptr().add(column);
                        let factor = _mm256_mul_ps(factor, _mm256_set1_ps(scale));
                        let integers = _mm256_cvtepi32_ps(integers[i][n]);
                        let mut y = _mm256_fmadd_ps(integers, factor, _mm256_loadu_ps(sum));
                        if let Some(least) = least {
                            let total = _mm256_set1_ps(x_sum as f32 * scale);
                            y = _mm256_fnmadd_ps(least, total, y);
                        }
                        _mm256_storeu_ps(sum, y);
                    }
                }
            }
        }
    }
}

/// Adds the products of a group of `N` words: those of 16 outputs at `weights`, and of each row from
/// its `word` on.
///
/// # Safety
/// They can be read; the CPU has AVX2.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn group<const R: usize, const N: usize, const BITS: usize>(
    weights: *const [u8; 4],
    x: &Activations,
    word: impl Fn(usize) -> usize,
    sums: &mut Sums<R>,
) {
    // SAFETY: promised by the caller.
    unsafe {
        if BITS == 8 {
            let rows = std::array::from_fn(|i| x.halves.as_ptr().add(word(i)));
            dots(weights, rows, N, sums);
        } else {
            let rows = std::array::from_fn(|i| x.words.as_ptr().add(word(i)));
            nibbles::<R, N, BITS>(weights, rows, sums);
        }
    }
}

/// As [`dots`], of integers of fewer than 8 bits: a word holds those of inputs `4j..` and of those half
/// a group further, and what they have above 4 bits is in one word more.
///
/// # Safety
/// As [`dots`], of the rows of weights of `N` words.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn nibbles<const R: usize, const N: usize, const BITS: usize>(
    weights: *const [u8; 4],
    x: [*const [i8; 4]; R],
    sums: &mut Sums<R>,
) {
    let (low, one) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    // SAFETY: promised by the caller.
    let load = |row: usize| unsafe {
        let at = weights.add(row * COLUMNS).cast::<__m256i>();
        [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))]
    };
    let high = load(depth(N, BITS) - 1);
    let mut narrow = [[_mm256_setzero_si256(); 2]; R];
    for j in 0..N / 2 {
        let w = load(j);
        let lower = w.map(|w| _mm256_and_si256(w, low));
        let upper = w.map(|w| _mm256_and_si256(_mm256_srli_epi16::<4>(w), low));
        let lower = raised::<BITS>(lower, high, j);
        let upper = raised::<BITS>(upper, high, j + N / 2);
        for (sums, x) in narrow.iter_mut().zip(x) {
            // SAFETY: promised by the caller.
            let word = |k: usize| unsafe { x.add(k).cast::<i32>().read_unaligned() };
            let (x0, x1) = (word(j), word(j + N / 2));
            let (x0, x1) = (_mm256_set1_epi32(x0), _mm256_set1_epi32(x1));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(lower[n], x0));
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(upper[n], x1));
            }
        }
        // No more fit into 16 bits.
        if (j + 1) % (4 >> (BITS - 4)) == 0 || j + 1 == N / 2 {
            for (sums, narrow) in sums.iter_mut().zip(&mut narrow) {
                for (sum, narrow) in sums.iter_mut().zip(narrow) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*narrow, one));
                    *narrow = _mm256_setzero_si256();
                }
            }
        }
    }
}

/// Integers of word `k` from their lower four bits and their upper ones.
#[target_feature(enable = "avx2")]
#[inline]
fn raised<const BITS: usize>(low: [__m256i; 2], high: [__m256i; 2], k: usize) -> [__m256i; 2] {
    if BITS == 4 {
        return low;
    }
    let (above, at) = (BITS - 4, ((BITS - 4) * k) as i32);
    let mask = _mm256_set1_epi8(((1 << above) - 1) << 4);
    std::array::from_fn(|n| {
        let high = if at < 4 {
            _mm256_sll_epi16(high[n], _mm_cvtsi32_si128(4 - at))
        } else {
            _mm256_srl_epi16(high[n], _mm_cvtsi32_si128(at - 4))
        };
        _mm256_or_si256(low[n], _mm256_and_si256(high, mask))
    })
}

/// Eight f16 of a row from `first` on.
///
/// # Safety
/// They are inside; the CPU has F16C.
#[target_feature(enable = "avx2,f16c")]
#[inline]
unsafe fn halves(row: &[u16; COLUMNS], first: usize) -> __m256 {
    // SAFETY: promised by the caller.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(row.as_ptr().add(first).cast::<__m128i>())) }
}
