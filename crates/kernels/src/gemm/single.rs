//! Products of f32 numbers: a 6 x 16 tile.

use super::{Format, Kernel, Rows, Strided};

/// Rows of a tile. 6 x 16 needs 12 accumulators, 2 registers for B and 1 for A: 15 of AVX2's 16.
const ROWS: usize = 6;
/// Columns of a tile.
const COLUMNS: usize = 16;
/// Elements up to which a transposed A is read where it lies; one whose rows are contiguous
/// always is.
const DIRECT: usize = 16 * 1024;

/// f32 numbers.
pub(super) struct Single;

impl Format for Single {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const DEPTH: usize = 320;
    const PACKED: usize = 1;

    fn room(m: usize, depth: usize, a: Strided) -> usize {
        let direct = a.column == 1 || m * depth <= DIRECT;
        if direct { 0 } else { m.next_multiple_of(ROWS) * depth }
    }

    unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) -> Rows {
        if Self::room(m, depth, a) == 0 {
            return Rows { first: a, panel: ROWS * a.row };
        }
        // SAFETY: promised by the caller.
        unsafe { pack_a(m, depth, a, packed) };
        let first = Strided { at: packed.cast_const(), row: 1, column: ROWS };
        Rows { first, panel: ROWS * depth }
    }

    unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { pack_b(depth, columns, b, packed) };
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
/// As [`Kernel`].
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
        super::write(&sums, scale, c, c_row, add);
    }
}

/// One panel of B `[depth, columns]`: row after row, filled up with zeros to [`COLUMNS`].
///
/// # Safety
/// `b [depth, columns]` is readable, `columns <= COLUMNS`, `packed [depth, COLUMNS]` writable.
unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
    // SAFETY: promised by the caller.
    unsafe {
        if columns < COLUMNS {
            return pack_b_edge(depth, columns, b, packed);
        }
        if b.column == 1 {
            for k in 0..depth {
                packed.add(k * COLUMNS).copy_from_nonoverlapping(b.at.add(k * b.row), COLUMNS);
            }
            return;
        }
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if b.row == 1 && crate::simd::has_avx2() {
            done = depth / 8 * 8;
            for k in (0..done).step_by(8) {
                for half in [0, 8] {
                    transpose(
                        b.at.add(k + half * b.column),
                        b.column,
                        packed.add(k * COLUMNS + half),
                    );
                }
            }
        }
        pack_b_edge(depth - done, columns, b.from(done, 0), packed.add(done * COLUMNS));
    }
}

/// [`pack_b`] of any number of columns, one number at a time.
///
/// # Safety
/// As [`pack_b`].
unsafe fn pack_b_edge(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
    for k in 0..depth {
        for j in 0..COLUMNS {
            // SAFETY: promised by the caller.
            unsafe {
                let value = if j < columns { *b.at.add(k * b.row + j * b.column) } else { 0.0 };
                *packed.add(k * COLUMNS + j) = value;
            }
        }
    }
}

/// `to[j][i] = from[i][j]` for 8 x 8 numbers: rows `row` apart become rows [`COLUMNS`] apart.
///
/// # Safety
/// Both squares must be in bounds; the CPU must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose(from: *const f32, row: usize, to: *mut f32) {
    use std::arch::x86_64::{_mm256_loadu_ps, _mm256_storeu_ps};
    // SAFETY: promised by the caller.
    unsafe {
        let rows = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * row)));
        for (i, row) in crate::simd::transpose8(rows).into_iter().enumerate() {
            _mm256_storeu_ps(to.add(i * COLUMNS), row);
        }
    }
}

/// All rows of A `[m, depth]` in panels of [`ROWS`], column after column; rows past `m` in the
/// last panel are left as they are.
///
/// # Safety
/// `a [m, depth]` is readable, `packed` holds `m`, rounded up to [`ROWS`], times `depth`.
unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) {
    let whole = if a.row == 1 { m / ROWS } else { 0 };
    for k in 0..depth {
        let (from, to) = (a.from(0, k).at, packed.wrapping_add(k * ROWS));
        // The columns of a transposed A lie far apart: too far for the processor to guess.
        prefetch(a.from(0, k + 8).at, m);
        // SAFETY: promised by the caller.
        unsafe {
            for panel in 0..whole {
                to.add(panel * ROWS * depth).copy_from_nonoverlapping(from.add(panel * ROWS), ROWS);
            }
            for i in whole * ROWS..m {
                *to.add(i / ROWS * ROWS * depth + i % ROWS) = *from.add(i * a.row);
            }
        }
    }
}

/// Asks for `n` numbers from an address on, which need not exist.
#[inline]
fn prefetch(at: *const f32, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in (0..n).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see, and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, n);
}
