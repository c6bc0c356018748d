//! Products of numbers rounded to bfloat16, summed in f32: a 12 x 32 tile.
//!
//! A word holds two numbers that follow each other along `k`; AVX512-BF16 multiplies and adds both
//! in one instruction, twice the rate of f32.

use half::bf16;

use super::{BLOCK, Format, Kernel, Rows, Strided};
use crate::lanes::{FOUR, Lanes, Native, Plain, have_lanes};

/// Rows of a tile. 12 x 32 needs 24 accumulators, 2 registers for B and 1 for A of AVX-512's 32.
const ROWS: usize = 12;
/// Columns of a tile.
const COLUMNS: usize = 32;

/// Rows that four lanes take at a time, and 8 columns: 12 accumulators, 4 registers for B, and 2 for
/// each row of A that the compiler reads ahead.
const HALF: usize = ROWS / 2;

/// The kernel of so many rows: `WHOLE` times [`HALF`] and `R` more.
macro_rules! by_rows {
    ($rows:expr, $kernel:ident $(, $lanes:ty)?) => {
        match $rows {
            1 => $kernel::<$($lanes,)? 0, 1>,
            2 => $kernel::<$($lanes,)? 0, 2>,
            3 => $kernel::<$($lanes,)? 0, 3>,
            4 => $kernel::<$($lanes,)? 0, 4>,
            5 => $kernel::<$($lanes,)? 0, 5>,
            6 => $kernel::<$($lanes,)? 0, 6>,
            7 => $kernel::<$($lanes,)? 1, 1>,
            8 => $kernel::<$($lanes,)? 1, 2>,
            9 => $kernel::<$($lanes,)? 1, 3>,
            10 => $kernel::<$($lanes,)? 1, 4>,
            11 => $kernel::<$($lanes,)? 1, 5>,
            _ => $kernel::<$($lanes,)? 1, 6>,
        }
    };
}

/// bfloat16 numbers.
pub(super) struct Bf16;

impl Format for Bf16 {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const DEPTH: usize = 384;
    const PACKED: usize = 2;

    fn room(m: usize, depth: usize, _a: Strided) -> usize {
        m.next_multiple_of(ROWS) * depth.div_ceil(2)
    }

    unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows {
        let words = depth.div_ceil(2);
        // SAFETY: promised by the caller.
        unsafe {
            if a.column == 1 {
                for i in 0..m {
                    pack_run(depth, a.from(i, 0).at, packed.add(i * words));
                }
                let first = Strided { at: packed.cast_const(), row: words, column: 1 };
                return Rows { first, panel: ROWS * words };
            }
            pack_pairs::<ROWS>(depth, m, a.t(), packed, ROWS * words);
        }
        let first = Strided { at: packed.cast_const(), row: 1, column: ROWS };
        Rows { first, panel: ROWS * words }
    }

    unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if b.row == 1 && crate::simd::has_avx512_bf16() {
                for k in (0..depth).step_by(16) {
                    for first in (0..COLUMNS).step_by(8) {
                        let to = packed.add(k / 2 * COLUMNS + first);
                        transpose(depth - k, columns.saturating_sub(first), b.from(k, first), to);
                    }
                }
                return;
            }
            pack_pairs::<COLUMNS>(depth, columns, b, packed, 0);
        }
    }

    fn kernel(rows: usize) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if crate::simd::has_avx512_bf16() {
            return match rows {
                1 => avx512::<1>,
                2 => avx512::<2>,
                3 => avx512::<3>,
                4 => avx512::<4>,
                5 => avx512::<5>,
                6 => avx512::<6>,
                7 => avx512::<7>,
                8 => avx512::<8>,
                9 => avx512::<9>,
                10 => avx512::<10>,
                11 => avx512::<11>,
                _ => avx512::<ROWS>,
            };
        }
        #[cfg(target_arch = "x86_64")]
        if crate::simd::has_avx2() {
            return by_rows!(rows, avx2);
        }
        if have_lanes() { by_rows!(rows, lanes, Native) } else { by_rows!(rows, lanes, Plain) }
    }
}

const _: () = assert!(BLOCK.is_multiple_of(ROWS));

/// Two numbers in a word, the first in its low half.
fn word(low: f32, high: f32) -> f32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    f32::from_bits(bits(low) | bits(high) << 16)
}

/// Packs `n` numbers that lie side by side; an odd last one gets a zero.
///
/// # Safety
/// `from [n]` is readable, `to [n / 2, rounded up]` writable.
pub(super) unsafe fn pack_run(n: usize, from: *const f32, to: *mut f32) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if crate::simd::has_avx512_bf16() {
            return pack_run_avx512(n, from, to);
        }
        for k in (0..n).step_by(2) {
            let high = if k + 1 < n { *from.add(k + 1) } else { 0.0 };
            *to.add(k / 2) = word(*from.add(k), high);
        }
    }
}

/// Of 16 lanes, the first `n`.
#[cfg(target_arch = "x86_64")]
fn first_lanes(n: usize) -> u16 {
    ((1_u32 << n.min(16)) - 1) as u16
}

/// # Safety
/// As [`pack_run`], on a CPU with AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_run_avx512(n: usize, from: *const f32, to: *mut f32) {
    use std::arch::x86_64::{
        __m512, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_storeu_ps,
    };
    let words = |low, high| -> __m512 {
        // SAFETY: any bits are a vector of f32.
        unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
    };
    let whole = n / 32 * 32;
    // SAFETY: promised by the caller; masked-out numbers are not touched.
    unsafe {
        for k in (0..whole).step_by(32) {
            let (low, high) = (_mm512_loadu_ps(from.add(k)), _mm512_loadu_ps(from.add(k + 16)));
            _mm512_storeu_ps(to.add(k / 2), words(low, high));
        }
        let rest = n - whole;
        let (from, to) = (from.add(whole), to.add(whole / 2));
        let low = _mm512_maskz_loadu_ps(first_lanes(rest), from);
        let second = first_lanes(rest.saturating_sub(16));
        let high = _mm512_maskz_loadu_ps(second, from.wrapping_add(16));
        _mm512_mask_storeu_ps(to, first_lanes(rest.div_ceil(2)), words(low, high));
    }
}

/// Packs rows of `from` into panels of `W` columns, two rows in each of a panel's; columns after the
/// last one are zeros, as is the row after an odd last one. Panels are `panel` words apart.
///
/// # Safety
/// `from [depth, columns]` is readable, the panels `[depth / 2, rounded up, W]` are writable.
unsafe fn pack_pairs<const W: usize>(
    depth: usize,
    columns: usize,
    from: Strided,
    to: *mut f32,
    panel: usize,
) {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if from.column == 1 && crate::simd::has_avx512_bf16() {
            return pack_pairs_avx512::<W>(depth, columns, from, to, panel);
        }
        for k in (0..depth).step_by(2) {
            for j in 0..columns.next_multiple_of(W) {
                let at =
                    |k: usize| if j < columns && k < depth { *from.from(k, j).at } else { 0.0 };
                *to.add(j / W * panel + k / 2 * W + j % W) = word(at(k), at(k + 1));
            }
        }
    }
}

/// [`pack_pairs`] of contiguous rows.
///
/// # Safety
/// As [`pack_pairs`], on a CPU with AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_pairs_avx512<const W: usize>(
    depth: usize,
    columns: usize,
    from: Strided,
    to: *mut f32,
    panel: usize,
) {
    use std::arch::x86_64::{
        __m512i, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_mask_storeu_ps,
        _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set_epi16,
    };
    // Number i of the first row beside number i of the second.
    let beside = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    for k in (0..depth).step_by(2) {
        let (first, second) = (from.from(k, 0).at, from.from(k + 1, 0).at);
        // Rows lie far apart: too far for the processor to guess.
        super::prefetch(from.from(k + 8, 0).at, columns);
        super::prefetch(from.from(k + 9, 0).at, columns);
        for column in (0..columns).step_by(W) {
            for part in (0..W).step_by(16) {
                let at = column + part;
                let read = first_lanes(columns.saturating_sub(at).min(W - part));
                let read_second = if k + 1 < depth { read } else { 0 };
                // SAFETY: promised by the caller; masked-out numbers are not touched, and any
                // bits are a vector of integers.
                unsafe {
                    let low = _mm512_maskz_loadu_ps(read, first.wrapping_add(at));
                    let high = _mm512_maskz_loadu_ps(read_second, second.wrapping_add(at));
                    let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    let words = _mm512_castsi512_ps(_mm512_permutexvar_epi16(beside, both));
                    let to = to.wrapping_add(column / W * panel + k / 2 * W + part);
                    _mm512_mask_storeu_ps(to, first_lanes(W - part), words);
                }
            }
        }
    }
}

/// Packs at most 16 numbers of each of at most 8 columns that are contiguous along `k`: up to 8 rows
/// of 8 words, zeros where there are no columns.
///
/// # Safety
/// `from [numbers, columns]` is readable as far as it is packed; `to` has the rows, [`COLUMNS`]
/// apart. The CPU must have AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn transpose(numbers: usize, columns: usize, from: Strided, to: *mut f32) {
    use std::arch::x86_64::{
        __m256, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_cvtneps_pbh, _mm512_maskz_loadu_ps,
    };
    let lanes = first_lanes(numbers);
    // SAFETY: promised by the caller; masked-out numbers are not touched, and any bits are a vector
    // of f32.
    unsafe {
        let columns: [__m256; 8] = std::array::from_fn(|j| {
            if j >= columns {
                return _mm256_setzero_ps();
            }
            let numbers = _mm512_maskz_loadu_ps(lanes, from.from(0, j).at);
            std::mem::transmute(_mm512_cvtneps_pbh(numbers))
        });
        let rows = crate::simd::transpose8(columns);
        for (k, row) in rows.into_iter().enumerate().take(numbers.div_ceil(2)) {
            _mm256_storeu_ps(to.add(k * COLUMNS), row);
        }
    }
}

/// # Safety
/// As [`Kernel`], on a CPU with AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn avx512<const R: usize>(
    words: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    use std::arch::x86_64::{
        __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller; any bits are a vector of bfloat16.
    unsafe {
        for k in 0..words {
            let b = b.add(k * COLUMNS);
            let load = |at| -> __m512bh { std::mem::transmute(_mm512_loadu_ps(at)) };
            let (b0, b1) = (load(b), load(b.add(16)));
            let a_k = a.at.add(k * a.column);
            for (i, sums) in sums.iter_mut().enumerate() {
                let a_ik = _mm512_set1_ps(*a_k.add(i * a.row));
                let a_ik: __m512bh = std::mem::transmute(a_ik);
                sums[0] = _mm512_dpbf16_ps(sums[0], a_ik, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], a_ik, b1);
            }
        }
        let scale = _mm512_set1_ps(scale);
        for (i, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let mut sum = _mm512_mul_ps(sum, scale);
                if let Some(plus) = plus {
                    let plus = plus.at.add(i * plus.row + half * 16);
                    sum = _mm512_add_ps(_mm512_loadu_ps(plus), sum);
                }
                _mm512_storeu_ps(c.add(i * c_row + half * 16), sum);
            }
        }
    }
}

/// # Safety
/// As [`Kernel`].
#[inline(always)]
unsafe fn lanes<L: Lanes, const WHOLE: usize, const R: usize>(
    words: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    let above = WHOLE * HALF;
    let rest = (a.from(above, 0), plus.map(|plus| plus.from(above, 0)));
    // SAFETY: promised by the caller.
    unsafe {
        if WHOLE > 0 {
            lanes_of::<L, HALF>(words, scale, a, b, c, c_row, plus);
        }
        lanes_of::<L, R>(words, scale, rest.0, b, c.add(above * c_row), c_row, rest.1);
    }
}

/// [`lanes`] that are arrays, with the processor's own multiply-add: the same bits.
///
/// # Safety
/// As [`Kernel`], on a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const WHOLE: usize, const R: usize>(
    words: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    // SAFETY: promised by the caller.
    unsafe { lanes::<Plain, WHOLE, R>(words, scale, a, b, c, c_row, plus) };
}

/// At most [`HALF`] rows.
///
/// # Safety
/// As [`Kernel`].
#[inline(always)]
unsafe fn lanes_of<L: Lanes, const R: usize>(
    words: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    const PART: usize = 2;
    for first in (0..COLUMNS).step_by(PART * FOUR) {
        let mut sums = [[L::splat(0.0); PART]; R];
        // SAFETY: promised by the caller.
        unsafe {
            for k in 0..words {
                let b = b.add(k * COLUMNS + first).cast::<[[f32; FOUR]; PART]>();
                let b: [_; PART] = std::array::from_fn(|j| L::bf16(L::load(&(*b)[j])));
                let a_k = a.at.add(k * a.column);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a_ik = L::bf16(L::splat(*a_k.add(i * a.row)));
                    for (sum, b) in sums.iter_mut().zip(&b) {
                        *sum = L::multiply_add(a_ik[1], b[1], *sum);
                        *sum = L::multiply_add(a_ik[0], b[0], *sum);
                    }
                }
            }
            let plus = plus.map(|plus| plus.from(0, first));
            super::write::<L, _>(&sums, scale, c.add(first), c_row, plus);
        }
    }
}
