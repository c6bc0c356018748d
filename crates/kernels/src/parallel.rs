//! How work is cut: by the shape alone, never by the number of threads.

mod pool;

use std::marker::PhantomData;

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
pub(crate) fn for_each(n: usize, work: usize, task: impl Fn(usize) + Sync) {
    if work <= SMALL || n <= 1 { (0..n).for_each(task) } else { pool::run(n, &task) }
}

/// Runs a kernel over equal chunks of several slices: `chunked!(work, size; [x * d], [y * d] => f)`
/// cuts slice `x` into pieces of `size * d` elements and calls `f(x, y)` on every piece; those after
/// the first bracket are written. With at most [`SMALL`] elements of `work` they are not cut at all.
macro_rules! chunked {
    ($work:expr, $size:expr; [$($x:ident * $dx:expr),*], [$($y:ident * $dy:expr),*] => $f:expr) => {{
        let size: usize = $size;
        if $work <= $crate::parallel::SMALL {
            $f($($x,)* $($y),*);
        } else {
            // A slice of width 0 cannot be cut; there is no work in it either.
            $(let $x = $x.chunks((size * $dx).max(1));)*
            $(let $y = $crate::parallel::Pieces::new($y, size * $dy);)*
            let n = usize::MAX $(.min($x.len()))* $(.min($y.count()))*;
            $crate::parallel::for_each(n, usize::MAX, |i| {
                $(let $x = $x.clone().nth(i).unwrap_or_default();)*
                // SAFETY: every task has its own number, and so its own piece.
                $(let $y = unsafe { $y.get_mut(i) };)*
                $f($($x,)* $($y),*);
            });
        }
    }};
}
pub(crate) use chunked;

/// A slice that tasks write, in pieces of one size but for a shorter last one.
pub(crate) struct Pieces<'a, T> {
    at: *mut T,
    n: usize,
    size: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: who takes a piece promises that it is nobody else's.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    pub(crate) fn new(slice: &'a mut [T], size: usize) -> Self {
        Self { at: slice.as_mut_ptr(), n: slice.len(), size: size.max(1), slice: PhantomData }
    }

    pub(crate) fn count(&self) -> usize {
        self.n.div_ceil(self.size)
    }

    /// Piece number `i`.
    ///
    /// # Safety
    /// Nobody else has it.
    #[allow(clippy::mut_from_ref)] // Tasks share this and have different pieces.
    pub(crate) unsafe fn get_mut(&self, i: usize) -> &mut [T] {
        let first = (i * self.size).min(self.n);
        // SAFETY: inside the slice, which is borrowed; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(first), self.size.min(self.n - first)) }
    }
}

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in 1..=4 {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            for round in 0..300 {
                let n = round % 17;
                let runs: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.install(|| {
                    for_each(n, usize::MAX, |i| {
                        runs[i].fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
                if round % 50 == 0 {
                    // Long enough for the workers to fall asleep.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn loops_inside_and_beside_each_other_run_all_their_tasks() {
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        for_each(4, usize::MAX, |i| {
                            for_each(3, usize::MAX, |j| {
                                sum.fetch_add(i * 3 + j, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 100 * (0..12).sum::<usize>());
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_next_loop_runs() {
        let result = std::panic::catch_unwind(|| {
            for_each(64, usize::MAX, |i| assert!(i != 13, "task {i}"));
        });
        let message = result.expect_err("task 13 panics");
        assert_eq!(message.downcast_ref::<String>().map(String::as_str), Some("task 13"));
        let sum = AtomicUsize::new(0);
        for_each(64, usize::MAX, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 63 * 32);
    }

    #[test]
    fn pieces_are_the_chunks_of_a_slice() {
        for (n, size) in [(0, 3), (7, 3), (6, 3), (5, 0), (2, 9)] {
            let mut values: Vec<usize> = (0..n).collect();
            let want: Vec<Vec<usize>> = values.chunks(size.max(1)).map(<[_]>::to_vec).collect();
            let pieces = Pieces::new(&mut values, size);
            // SAFETY: one after the other.
            let got: Vec<Vec<usize>> =
                (0..pieces.count()).map(|i| unsafe { pieces.get_mut(i) }.to_vec()).collect();
            assert_eq!(got, want);
        }
    }
}
