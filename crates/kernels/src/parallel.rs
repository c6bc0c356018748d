//! How work is cut: by the shape alone, never by the number of threads.

use rayon::prelude::*;

/// Below this many elements a loop stays on its thread: waking another costs more.
pub(crate) const SMALL: usize = 16 * 1024;

/// Elements of one chunk of an elementwise loop: three or four such streams stay in L2.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Rows a task takes when rows are independent: about [`CHUNK`] elements.
pub(crate) fn rows_per_task(d: usize) -> usize {
    (CHUNK / d.max(1)).max(1)
}

/// Rows of one block when sums over rows are taken block by block and added up in order: one
/// block for at most [`SMALL`] elements, else about 32.
pub(crate) fn rows_per_block(rows: usize, d: usize) -> usize {
    if rows * d <= SMALL { rows.max(1) } else { rows.div_ceil(32) }
}

/// Runs `task(0..n)`, on all threads if the `work` (in elements) is worth it.
pub(crate) fn for_each(n: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if work <= SMALL || n <= 1 {
        (0..n).for_each(task);
    } else {
        (0..n).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Runs a kernel over equal chunks of several slices: `chunked!(n, size; x[d], mut y[d] => f)`
/// cuts slice `x` into pieces of `size * d` elements and calls `f((x, y))` on every piece.
/// With at most [`SMALL`] elements of `work` the pieces are not cut at all.
macro_rules! chunked {
    ($work:expr, $size:expr; [$($x:ident * $dx:expr),*], [$($y:ident * $dy:expr),*] => $f:expr) => {{
        let size: usize = $size;
        if $work <= $crate::parallel::SMALL {
            $f($($x,)* $($y),*);
        } else {
            use rayon::prelude::*;
            // A slice of width 0 cannot be cut; there is no work in it either.
            ($($x.par_chunks((size * $dx).max(1)),)* $($y.par_chunks_mut((size * $dy).max(1)),)*)
                .into_par_iter()
                .for_each(|($($x,)* $($y,)*)| $f($($x,)* $($y),*));
        }
    }};
}
pub(crate) use chunked;

/// A pointer into a matrix that several tasks write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: only a pointer; whoever dereferences it states why the places are disjoint.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Lends out the matrix; it must not be used otherwise while tasks write to it.
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The matrix from a pointer.
    pub(crate) fn from_pointer(at: *mut f32) -> Self {
        Self(at)
    }

    /// The matrix from element `offset` on.
    pub(crate) fn from(self, offset: usize) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// Pointer to element `offset`.
    ///
    /// # Safety
    /// `offset` must be inside the matrix.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: promised by the caller.
        unsafe { self.0.add(offset) }
    }
}
