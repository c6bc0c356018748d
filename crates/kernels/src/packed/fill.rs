//! Vectors that tasks fill at disjoint places: nothing is set to zero first.

use std::mem::ManuallyDrop;

/// `n` numbers to be written.
pub(super) struct Fill<T> {
    at: *mut T,
    capacity: usize,
    n: usize,
}

// SAFETY: whoever writes promises that the places are disjoint.
unsafe impl<T: Send> Sync for Fill<T> {}

impl<T: Copy> Fill<T> {
    /// Room for `n`. Memory that is never [`done`](Self::done) is not given back.
    pub(super) fn new(n: usize) -> Self {
        let mut values = ManuallyDrop::new(Vec::<T>::with_capacity(n));
        Self { at: values.as_mut_ptr(), capacity: values.capacity(), n }
    }

    /// `count` places from `first` on.
    ///
    /// # Safety
    /// They are inside, nobody else has them, and all are written before they are read.
    #[allow(clippy::mut_from_ref)] // The places are disjoint: that is what this is for.
    pub(super) unsafe fn part(&self, first: usize, count: usize) -> &mut [T] {
        debug_assert!(first + count <= self.n);
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(first), count) }
    }

    /// Writes one.
    ///
    /// # Safety
    /// As [`part`](Self::part).
    pub(super) unsafe fn set(&self, at: usize, value: T) {
        debug_assert!(at < self.n);
        // SAFETY: promised by the caller.
        unsafe { self.at.add(at).write(value) }
    }

    /// The vector.
    ///
    /// # Safety
    /// All `n` were written.
    pub(super) unsafe fn done(self) -> Vec<T> {
        // SAFETY: the parts of a vector; its numbers are written.
        unsafe { Vec::from_raw_parts(self.at, self.n, self.capacity) }
    }
}
