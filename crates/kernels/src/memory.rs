//! What the system is told about our memory. Advice only: where it is not taken, nothing changes.

/// Tells the C library to keep the pages that are freed for the next buffer. A model's activations
/// are megabytes, made and dropped at every layer; giving them back each time costs a page fault
/// for every 4 KiB, up to a fifth of a forward pass. To be called before there are threads.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // From malloc.h: blocks of all sizes come from heaps whose tops are never given back. The
        // thread that computes has one to itself; those that prepare batches beside it, of thousands
        // of small blocks, would wait for each other in a single one.
        const TRIM_THRESHOLD: i32 = -1;
        const TOP_PAD: i32 = -2;
        const MMAP_MAX: i32 = -4;
        const ARENA_MAX: i32 = -8;
        unsafe extern "C" {
            fn mallopt(param: i32, value: i32) -> i32;
        }
        // SAFETY: a function of glibc, with parameters that it documents.
        unsafe {
            mallopt(ARENA_MAX, 8);
            mallopt(MMAP_MAX, 0);
            // -1: never. As a number it would end at 2 GiB, less than a large batch's activations.
            mallopt(TRIM_THRESHOLD, -1);
            mallopt(TOP_PAD, 64 << 20);
        }
    }
}

/// A vector of `n` copies, in large pages where they can be had: for weights, which are read from end
/// to end. The processor's prefetching stops at the end of every page.
pub(crate) fn large<T: Copy>(value: T, n: usize) -> Vec<T> {
    let mut values = Vec::<T>::with_capacity(n);
    ask_for_large_pages(values.spare_capacity_mut());
    values.resize(n, value);
    values
}

/// Nothing has been written to `memory` yet.
fn ask_for_large_pages<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        const HUGEPAGE: i32 = 14;
        /// A large page is given only if all of it was asked for before it is first written, and the
        /// next matrix most often follows this one.
        const AHEAD: usize = 32 << 20;
        unsafe extern "C" {
            fn madvise(at: *mut u8, bytes: usize, advice: i32) -> i32;
        }
        let (at, bytes) = (memory.as_mut_ptr().cast::<u8>(), size_of_val(memory));
        let before = at.addr() % PAGE;
        if bytes >= 16 * PAGE {
            // SAFETY: this advice changes no contents, whatever it reaches; where nothing is mapped it
            // does nothing.
            unsafe { madvise(at.wrapping_sub(before), before + bytes + AHEAD, HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_vectors_are_vectors() {
        keep_freed_pages();
        for n in [0, 1, 3 << 20] {
            let mut values = large(7_u16, n);
            assert!(values.len() == n && values.iter().all(|&x| x == 7));
            values.push(8);
            assert_eq!(values.last(), Some(&8));
        }
    }
}
