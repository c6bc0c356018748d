//! The innermost loop: a tile of C in registers.

use super::Strided;

/// Rows of a tile. 6 x 16 needs 12 accumulators, 2 registers for B and 1 for A: 15 of 16.
pub(super) const ROWS: usize = 6;
/// Columns of a tile.
pub(super) const COLUMNS: usize = 16;

/// `C[rows, columns] = scale·A·B`, or `C += ...` with `add`, for one tile: `a [rows, depth]`,
/// `b [depth, COLUMNS]` packed, rows of C `c_row` apart.
///
/// # Safety
/// All of it must be in bounds, `rows <= ROWS` and `columns <= COLUMNS`.
pub(super) unsafe fn tile(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    rows: usize,
    columns: usize,
    add: bool,
) {
    let run = kernel(rows);
    if columns == COLUMNS {
        // SAFETY: promised by the caller.
        return unsafe { run(depth, scale, a, b, c, c_row, add) };
    }
    let mut edge = [0.0; ROWS * COLUMNS];
    // SAFETY: as above; the edge tile has room for `rows` whole rows.
    unsafe {
        run(depth, scale, a, b, edge.as_mut_ptr(), COLUMNS, false);
        for i in 0..rows {
            for j in 0..columns {
                let c = c.add(i * c_row + j);
                *c = if add { *c + edge[i * COLUMNS + j] } else { edge[i * COLUMNS + j] };
            }
        }
    }
}

type Kernel = unsafe fn(usize, f32, Strided, *const f32, *mut f32, usize, bool);

/// The version for this CPU and number of rows.
fn kernel(rows: usize) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::has_avx2() {
        return match rows {
            1 => avx2::<1>,
            2 => avx2::<2>,
            3 => avx2::<3>,
            4 => avx2::<4>,
            5 => avx2::<5>,
            _ => avx2::<ROWS>,
        };
    }
    match rows {
        1 => portable::<1>,
        2 => portable::<2>,
        3 => portable::<3>,
        4 => portable::<4>,
        5 => portable::<5>,
        _ => portable::<ROWS>,
    }
}

/// # Safety
/// As [`tile`], on a CPU with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: promised by the caller.
    unsafe {
        for k in 0..depth {
            let b = b.add(k * COLUMNS);
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
                let c = c.add(i * c_row + half * 8);
                let scaled = _mm256_mul_ps(sum, scale);
                _mm256_storeu_ps(
                    c,
                    if add { _mm256_add_ps(_mm256_loadu_ps(c), scaled) } else { scaled },
                );
            }
        }
    }
}

/// # Safety
/// As [`tile`].
unsafe fn portable<const R: usize>(
    depth: usize,
    scale: f32,
    a: Strided,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    let mut sums = [[0.0_f32; COLUMNS]; R];
    // SAFETY: promised by the caller.
    unsafe {
        for k in 0..depth {
            for (i, sums) in sums.iter_mut().enumerate() {
                let a_ik = *a.at.add(i * a.row + k * a.column);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = a_ik.mul_add(*b.add(k * COLUMNS + j), *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let c = c.add(i * c_row + j);
                *c = if add { *c + sum * scale } else { sum * scale };
            }
        }
    }
}
