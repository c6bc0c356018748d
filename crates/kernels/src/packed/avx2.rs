//! Products of 8-bit and 4-bit integers on processors with AVX2 and no VNNI.
//!
//! Bytes are multiplied as 16-bit numbers, two products to a 32-bit sum in one instruction: twice the
//! rate of f32. (The instruction for bytes adds two products in 16 bits, which is too few for 255·127.)
//! For 4-bit integers it is wide enough: 16 products of at most 15·127 fit into 16 bits, so a whole
//! block is added up there, at twice that rate again. All sums are exact, as on every path.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_srli_epi16,
    _mm256_storeu_ps, _mm256_sub_epi32,
};

use super::blocks::{Activations, Panel, WORDS};
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
pub(super) unsafe fn blocks<const R: usize, const NIBBLES: bool, const LEAST: bool>(
    w: &Panel,
    x: &Activations,
    sums: &mut Tile,
) {
    let blocks = w.scales.len();
    let depth = if NIBBLES { WORDS / 2 } else { WORDS };
    // SAFETY: promised by the caller: every index below is inside whole blocks.
    unsafe {
        for b in 0..blocks {
            for first in (0..COLUMNS).step_by(WIDTH) {
                let weights = w.words.as_ptr().add(b * depth * COLUMNS + first);
                let mut integers: Sums<R> = std::array::from_fn(|i| {
                    [_mm256_set1_epi32(-w.zero * x.sum(i * blocks + b)); 2]
                });
                let word = |i: usize| (i * blocks + b) * WORDS;
                if NIBBLES {
                    let rows = std::array::from_fn(|i| x.words.as_ptr().add(word(i)));
                    nibbles(weights, rows, &mut integers);
                } else {
                    let rows = std::array::from_fn(|i| x.halves.as_ptr().add(word(i)));
                    dots(weights, rows, WORDS, &mut integers);
                }
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
                            y = _mm256_fmadd_ps(halves(&w.least[b], column), total, y);
                        }
                        _mm256_storeu_ps(sum, y);
                    }
                }
            }
        }
    }
}

/// As [`dots`], of a block of 4-bit integers: a word holds those of inputs `4j..` and `4j + 16..`.
///
/// # Safety
/// As [`dots`], of 4 rows of weights and 8 words of each row.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn nibbles<const R: usize>(
    weights: *const [u8; 4],
    x: [*const [i8; 4]; R],
    sums: &mut Sums<R>,
) {
    let low = _mm256_set1_epi8(15);
    let mut narrow = [[_mm256_setzero_si256(); 2]; R];
    for j in 0..WORDS / 2 {
        // SAFETY: promised by the caller.
        unsafe {
            let at = weights.add(j * COLUMNS).cast::<__m256i>();
            let w = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
            let lower = w.map(|w| _mm256_and_si256(w, low));
            let upper = w.map(|w| _mm256_and_si256(_mm256_srli_epi16::<4>(w), low));
            for (sums, x) in narrow.iter_mut().zip(x) {
                let word = |k: usize| x.add(k).cast::<i32>().read_unaligned();
                let (x0, x1) = (word(j), word(j + WORDS / 2));
                let (x0, x1) = (_mm256_set1_epi32(x0), _mm256_set1_epi32(x1));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(lower[n], x0));
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(upper[n], x1));
                }
            }
        }
    }
    let one = _mm256_set1_epi16(1);
    for (sums, narrow) in sums.iter_mut().zip(narrow) {
        for (sum, narrow) in sums.iter_mut().zip(narrow) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(narrow, one));
        }
    }
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
