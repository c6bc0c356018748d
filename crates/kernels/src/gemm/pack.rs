//! Panels: pieces of A and B laid out in the order in which the tile kernel reads them.

use std::cell::RefCell;

use super::Strided;
use super::tile::{COLUMNS, ROWS};
use crate::simd::vectorised;

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

vectorised! {
    /// One panel of B `[depth, columns]`: row after row, filled up with zeros to [`COLUMNS`].
    fn pack_b_panel(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
        // SAFETY: `pack_b`'s caller promised the sizes.
        unsafe {
            if b.column == 1 && columns == COLUMNS {
                for k in 0..depth {
                    packed.add(k * COLUMNS).copy_from_nonoverlapping(b.at.add(k * b.row), COLUMNS);
                }
                return;
            }
            let mut k = 0;
            if b.row == 1 && columns == COLUMNS {
                while k + 8 <= depth {
                    for half in [0, 8] {
                        transpose8(b.at.add(k + half * b.column), b.column, packed.add(k * COLUMNS + half), COLUMNS);
                    }
                    k += 8;
                }
            }
            for k in k..depth {
                for j in 0..COLUMNS {
                    let value = if j < columns { *b.at.add(k * b.row + j * b.column) } else { 0.0 };
                    *packed.add(k * COLUMNS + j) = value;
                }
            }
        }
    }
}

/// `to[j][i] = from[i][j]` for 8 x 8 numbers, rows `row` apart.
///
/// # Safety
/// Both squares must be in bounds.
#[inline(always)]
unsafe fn transpose8(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    /// Interleaves 1, 2 or 4 numbers at a time of two rows' halves: three rounds transpose.
    #[inline(always)]
    fn zip(x: [f32; 8], y: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        ([x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3]], [x[4], y[4], x[5], y[5], x[6], y[6], x[7], y[7]])
    }
    // SAFETY: promised by the caller.
    let mut rows: [[f32; 8]; 8] = std::array::from_fn(|i| unsafe { from.add(i * from_row).cast::<[f32; 8]>().read_unaligned() });
    // A perfect shuffle of rows i and i + 4, three times, moves bit after bit of the row number
    // to the column number.
    for _ in 0..3 {
        let mut next = [[0.0; 8]; 8];
        for i in 0..4 {
            (next[2 * i], next[2 * i + 1]) = zip(rows[i], rows[i + 4]);
        }
        rows = next;
    }
    for (i, row) in rows.into_iter().enumerate() {
        // SAFETY: promised by the caller.
        unsafe { to.add(i * to_row).cast::<[f32; 8]>().write_unaligned(row) };
    }
}

/// # Safety
/// `b [depth, columns]` is readable, `columns <= COLUMNS`, `packed [depth, COLUMNS]` writable.
pub(super) unsafe fn pack_b(depth: usize, columns: usize, b: Strided, packed: *mut f32) {
    pack_b_panel(depth, columns, b, packed);
}

vectorised! {
    fn pack_a_panels(m: usize, depth: usize, a: Strided, packed: *mut f32) {
        for first in (0..m).step_by(ROWS) {
            let rows = (m - first).min(ROWS);
            let (a, packed) = (a.from(first, 0), packed.wrapping_add(first * depth));
            // SAFETY: `pack_a`'s caller promised the sizes.
            unsafe {
                if rows == ROWS {
                    for k in 0..depth {
                        for i in 0..ROWS {
                            *packed.add(k * ROWS + i) = *a.at.add(i * a.row + k * a.column);
                        }
                    }
                } else {
                    for k in 0..depth {
                        for i in 0..ROWS {
                            *packed.add(k * ROWS + i) = if i < rows { *a.at.add(i * a.row + k * a.column) } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}

/// All rows of A `[m, depth]` in panels of [`ROWS`], column after column, filled up with zeros.
///
/// # Safety
/// `a [m, depth]` is readable, `packed` holds `m`, rounded up to [`ROWS`], times `depth`.
pub(super) unsafe fn pack_a(m: usize, depth: usize, a: Strided, packed: *mut f32) {
    pack_a_panels(m, depth, a, packed);
}
