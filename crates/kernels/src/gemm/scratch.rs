//! Memory for packed panels, kept from product to product.

use std::cell::RefCell;

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

/// Lends `n` uninitialised words of this thread's scratch memory, 64-byte aligned. The memory
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
