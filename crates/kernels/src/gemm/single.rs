//! Products of f32 numbers: a 6 x 16 tile, or 12 x 32 with AVX-512. Both give the same bits.

use super::{Format, Kernel, Rows, Strided, prefetch};
use crate::lanes::{FOUR, Lanes, Native, Plain, have_lanes};

/// Longest slice of `k`.
const DEPTH: usize = 384;
/// Elements up to which a transposed A is read where it lies; one whose rows are contiguous
/// always is.
const DIRECT: usize = 16 * 1024;

/// f32 numbers. 6 x 16 needs 12 accumulators, 2 registers for B and 1 for A: 15 of AVX2's 16; and
/// 24, 4 and 1 of NEON's 32.
pub(super) struct Single;

impl Format for Single {
    const ROWS: usize = 6;
    const COLUMNS: usize = 16;
    const DEPTH: usize = DEPTH;
    const PACKED: usize = 1;

    fn room(m: usize, depth: usize, a: Strided) -> usize {
        room(m, depth, a, Self::ROWS)
    }

    unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows {
        // SAFETY: promised by the caller.
        unsafe { pack_a::<{ Self::ROWS }>(m, depth, a, packed) }
    }

    unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { pack_b::<{ Self::COLUMNS }>(depth, columns, b, packed) };
    }

    fn kernel(rows: usize) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if crate::simd::has_avx2() {
            return match rows {
                1 => avx2::<1>,
                2 => avx2::<2>,
                3 => avx2::<3>,
                4 => avx2::<4>,
                5 => avx2::<5>,
                _ => avx2::<6>,
            };
        }
        if have_lanes() { with_lanes::<Native>(rows) } else { with_lanes::<Plain>(rows) }
    }
}

fn with_lanes<L: Lanes>(rows: usize) -> Kernel {
    match rows {
        1 => lanes::<L, 1>,
        2 => lanes::<L, 2>,
        3 => lanes::<L, 3>,
        4 => lanes::<L, 4>,
        5 => lanes::<L, 5>,
        _ => lanes::<L, 6>,
    }
}

/// f32 numbers, for AVX-512: no more of them at a time on every processor, but each read from the
/// caches is used twice as often.
#[cfg(target_arch = "x86_64")]
pub(super) struct Wide;

#[cfg(target_arch = "x86_64")]
impl Wide {
    /// Whether to take it for products of `n` columns.
    pub(super) fn fits(n: usize) -> bool {
        n > Single::COLUMNS && crate::simd::has_avx512()
    }
}

#[cfg(target_arch = "x86_64")]
impl Format for Wide {
    const ROWS: usize = 12;
    const COLUMNS: usize = 32;
    const DEPTH: usize = DEPTH;
    const PACKED: usize = 1;

    fn room(m: usize, depth: usize, a: Strided) -> usize {
        room(m, depth, a, Self::ROWS)
    }

    unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows {
        // SAFETY: promised by the caller.
        unsafe { pack_a::<{ Self::ROWS }>(m, depth, a, packed) }
    }

    unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { pack_b::<{ Self::COLUMNS }>(depth, columns, b, packed) };
    }

    fn kernel(rows: usize) -> Kernel {
        match rows {
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
            _ => avx512::<12>,
        }
    }
}

/// # Safety
/// As [`Kernel`], on a CPU with AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller.
    unsafe {
        for k in 0..depth {
            let b = b.add(k * Wide::COLUMNS);
            let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
            let a_k = a.at.add(k * a.column);
            for (i, sums) in sums.iter_mut().enumerate() {
                let a_ik = _mm512_set1_ps(*a_k.add(i * a.row));
                sums[0] = _mm512_fmadd_ps(a_ik, b0, sums[0]);
                sums[1] = _mm512_fmadd_ps(a_ik, b1, sums[1]);
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
/// As [`Kernel`], on a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller.
    unsafe {
        for k in 0..depth {
            let b = b.add(k * Single::COLUMNS);
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            let a_k = a.at.add(k * a.column);
            for (i, sums) in sums.iter_mut().enumerate() {
                let a_ik = _mm256_broadcast_ss(&*a_k.add(i * a.row));
                sums[0] = _mm256_fmadd_ps(a_ik, b0, sums[0]);
                sums[1] = _mm256_fmadd_ps(a_ik, b1, sums[1]);
            }
        }
        let scale = _mm256_set1_ps(scale);
        for (i, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let mut sum = _mm256_mul_ps(sum, scale);
                if let Some(plus) = plus {
                    let plus = plus.at.add(i * plus.row + half * 8);
                    sum = _mm256_add_ps(_mm256_loadu_ps(plus), sum);
                }
                _mm256_storeu_ps(c.add(i * c_row + half * 8), sum);
            }
        }
    }
}

/// # Safety
/// As [`Kernel`].
unsafe fn lanes<L: Lanes, const R: usize>(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    plus: Option<Strided>,
) {
    let mut sums = [[L::splat(0.0); Single::COLUMNS / FOUR]; R];
    // SAFETY: promised by the caller.
    unsafe {
        for k in 0..depth {
            let b = b.add(k * Single::COLUMNS).cast::<[[f32; FOUR]; Single::COLUMNS / FOUR]>();
            let b: [_; Single::COLUMNS / FOUR] = std::array::from_fn(|j| L::load(&(*b)[j]));
            let a_k = a.at.add(k * a.column);
            for (i, sums) in sums.iter_mut().enumerate() {
                let a_ik = L::splat(*a_k.add(i * a.row));
                for (sum, &b) in sums.iter_mut().zip(&b) {
                    *sum = L::multiply_add(a_ik, b, *sum);
                }
            }
        }
        super::write::<L, _>(&sums, scale, c, c_row, plus);
    }
}

/// One panel of B `[depth, columns]`: row after row, filled up with zeros to `W`.
///
/// # Safety
/// `b [depth, columns]` is readable, `columns <= W`, `packed [depth, W]` writable.
unsafe fn pack_b<const W: usize>(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
    // SAFETY: promised by the caller.
    unsafe {
        if b.column == 1 {
            for k in 0..depth {
                // Rows lie far apart: too far for the processor to guess.
                prefetch(b.from(k + 8, 0).at, W);
                let (from, to) = (b.from(k, 0).at, packed.add(k * W));
                if columns == W {
                    to.copy_from_nonoverlapping(from, W);
                } else {
                    to.copy_from_nonoverlapping(from, columns);
                    to.add(columns).write_bytes(0, W - columns);
                }
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        let transposed = if b.row == 1 && crate::simd::has_avx2() { depth / 8 * 8 } else { 0 };
        #[cfg(not(target_arch = "x86_64"))]
        let transposed = 0;
        #[cfg(target_arch = "x86_64")]
        for k in (0..transposed).step_by(8) {
            for first in (0..W).step_by(8) {
                let to = packed.add(k * W + first);
                transpose::<W>(columns.saturating_sub(first), b.from(k, first), to);
            }
        }
        for k in transposed..depth {
            for j in 0..W {
                *packed.add(k * W + j) = if j < columns { *b.from(k, j).at } else { 0.0 };
            }
        }
    }
}

/// `to[i][j] = from[i][j]` for 8 rows and at most 8 columns, those contiguous, to rows `W` apart;
/// zeros where there are no columns.
///
/// # Safety
/// Both squares must be in bounds; the CPU must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose<const W: usize>(columns: usize, from: Strided, to: *mut f32) {
    use std::arch::x86_64::{_mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps};
    // SAFETY: promised by the caller.
    unsafe {
        let columns = std::array::from_fn(|j| {
            if j < columns { _mm256_loadu_ps(from.from(0, j).at) } else { _mm256_setzero_ps() }
        });
        for (i, row) in crate::simd::transpose8(columns).into_iter().enumerate() {
            _mm256_storeu_ps(to.add(i * W), row);
        }
    }
}

/// Words that rows of A need: none if they are read where they lie.
fn room(m: usize, depth: usize, a: Strided, rows: usize) -> usize {
    let direct = a.column == 1 || m * depth <= DIRECT;
    if direct { 0 } else { m.next_multiple_of(rows) * depth }
}

/// All rows of A `[m, depth]` in panels of `R`, column after column; rows past `m` in the last panel
/// are left as they are.
///
/// # Safety
/// `a [m, depth]` is readable, `packed` has [`room`].
unsafe fn pack_a<const R: usize>(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows {
    if room(m, depth, a, R) == 0 {
        return Rows { first: a, panel: R * a.row };
    }
    let whole = if a.row == 1 { m / R } else { 0 };
    for k in 0..depth {
        let (from, to) = (a.from(0, k).at, packed.wrapping_add(k * R));
        // The columns of a transposed A lie far apart: too far for the processor to guess.
        prefetch(a.from(0, k + 8).at, m);
        // SAFETY: promised by the caller.
        unsafe {
            for panel in 0..whole {
                to.add(panel * R * depth).copy_from_nonoverlapping(from.add(panel * R), R);
            }
            for i in whole * R..m {
                *to.add(i / R * R * depth + i % R) = *from.add(i * a.row);
            }
        }
    }
    let first = Strided { at: packed.cast_const(), row: 1, column: R };
    Rows { first, panel: R * depth }
}
