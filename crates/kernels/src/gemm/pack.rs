//! Panels: pieces of A and B laid out in the order in which the tile kernel reads them.

use std::cell::RefCell;

use super::Strided;
use super::tile::{COLUMNS, ROWS};

/// Which buffer of the thread: the two are in use at once.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// B of a whole product, read by all its tasks.
    SharedB,
    /// What a task packs for itself.
    Own,
}

thread_local! {
    static SCRATCH: [RefCell<Vec<f32>>; 2] = const { [RefCell::new(Vec::new()), RefCell::new(Vec::new())] };
}

/// Lends `n` uninitialised numbers of this thread's scratch memory, 64-byte aligned. The memory
/// stays: fresh pages for every product would cost more than the packing.
pub(super) fn with_scratch<R>(use_: Use, n: usize, f: impl FnOnce(*mut f32) -> R) -> R {
    const ALIGN: usize = 16;
    // Taken out while in use: a thread that waits for others may start on another product.
    let mut buffer = SCRATCH.with(|scratch| scratch[use_ as usize].take());
    buffer.clear();
    buffer.reserve(n + ALIGN);
    let start = buffer.as_mut_ptr();
    let result = f(start.wrapping_add(start.align_offset(ALIGN * size_of::<f32>()).min(ALIGN)));
    SCRATCH.with(|scratch| {
        let mut kept = scratch[use_ as usize].borrow_mut();
        if kept.capacity() < buffer.capacity() {
            *kept = buffer;
        }
    });
    result
}

/// One panel of B `[depth, columns]`: row after row, filled up with zeros to [`COLUMNS`].
///
/// # Safety
/// `b [depth, columns]` is readable, `columns <= COLUMNS`, `packed [depth, COLUMNS]` writable.
pub(super) unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
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
                    transpose8(
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
unsafe fn transpose8(from: *const f32, row: usize, to: *mut f32) {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };
    // SAFETY: promised by the caller.
    unsafe {
        let r: [_; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * row)));
        // Columns of rows i and i + 1, then of four rows, then of all eight.
        let pairs: [_; 8] = std::array::from_fn(|i| {
            let (x, y) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
            if i % 2 == 0 { _mm256_unpacklo_ps(x, y) } else { _mm256_unpackhi_ps(x, y) }
        });
        let fours: [_; 8] = std::array::from_fn(|i| {
            let (x, y) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
            if i % 2 == 0 {
                _mm256_shuffle_ps::<0x44>(x, y)
            } else {
                _mm256_shuffle_ps::<0xee>(x, y)
            }
        });
        for i in 0..4 {
            let (x, y) = (fours[i], fours[i + 4]);
            _mm256_storeu_ps(to.add(i * COLUMNS), _mm256_permute2f128_ps::<0x20>(x, y));
            _mm256_storeu_ps(to.add((i + 4) * COLUMNS), _mm256_permute2f128_ps::<0x31>(x, y));
        }
    }
}

/// All rows of A `[m, depth]` in panels of [`ROWS`], column after column; rows past `m` in the
/// last panel are left as they are.
///
/// # Safety
/// `a [m, depth]` is readable, `packed` holds `m`, rounded up to [`ROWS`], times `depth`.
pub(super) unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) {
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
