//! An allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator with counters, to be made a test binary's global allocator:
///
/// ```
/// use sensorium_testkit::CountingAllocator;
///
/// #[global_allocator]
/// static MEMORY: CountingAllocator = CountingAllocator::new();
///
/// let (sum, usage) = MEMORY.count(|| vec![1u8; 1000].len());
/// assert_eq!((sum, usage.allocations, usage.bytes, usage.peak), (1000, 1, 1000, 1000));
/// ```
///
/// It counts the whole process: keep such a test alone in its file under `tests/`.
#[derive(Debug)]
pub struct CountingAllocator {
    allocations: AtomicUsize,
    bytes: AtomicUsize,
    live: AtomicUsize,
    peak: AtomicUsize,
}

/// What a piece of work asked of the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Calls for memory, growing an allocation included.
    pub allocations: usize,
    /// Bytes asked for in all.
    pub bytes: usize,
    /// The most bytes held at once, beyond what was held before.
    pub peak: usize,
}

impl CountingAllocator {
    /// All counters at zero.
    #[allow(clippy::new_without_default, reason = "a static needs a const constructor")]
    pub const fn new() -> Self {
        Self {
            allocations: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Runs `work` and says what the whole process allocated meanwhile.
    pub fn count<R>(&self, work: impl FnOnce() -> R) -> (R, Usage) {
        let (allocations, bytes) = (self.allocations.load(Relaxed), self.bytes.load(Relaxed));
        let held = self.live.load(Relaxed);
        self.peak.store(held, Relaxed);
        let result = work();
        let usage = Usage {
            allocations: self.allocations.load(Relaxed) - allocations,
            bytes: self.bytes.load(Relaxed) - bytes,
            peak: self.peak.load(Relaxed).saturating_sub(held),
        };
        (result, usage)
    }

    fn took(&self, bytes: usize) {
        self.allocations.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(live, Relaxed);
    }

    fn gave_back(&self, bytes: usize) {
        self.live.fetch_sub(bytes, Relaxed);
    }
}

// SAFETY: every request goes to `System` unchanged; the counters never allocate.
#[allow(unsafe_code, reason = "an allocator cannot be written without it")]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: as above. Handed on so that zeroed pages stay untouched.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.gave_back(layout.size());
        self.took(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.gave_back(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
